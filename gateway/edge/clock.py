"""Deadlines of a client's connection: one number, set by what it waits for, compared by a sweep."""

import time
from typing import TYPE_CHECKING

from gateway.edge.answers import break_request, close, give_up, refuse_unread
from gateway.edge.states import DRAINING, GATHERING, LINGERING, SENDING, SENT, TUNNEL, UPSTREAM_FULL, WAITING
from gateway.model import faults

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream

NEVER = float("inf")


def touch(down: "Downstream") -> None:
    """Something moved: the time of the present phase begins anew."""
    phase = down.phase
    if phase not in (SENDING, SENT, TUNNEL, DRAINING):
        return
    now = time.monotonic()
    pool = down.exchange.route.pool
    if phase == TUNNEL or (down.replying and down.exchange.endless):
        down.deadline = now + pool.stream_idle
    elif phase == DRAINING or (phase == SENDING and not down.paused & UPSTREAM_FULL):
        down.deadline = now + down.live.limits.body_idle
    else:
        down.deadline = now + pool.idle


def expire(down: "Downstream") -> None:
    """The deadline has passed."""
    down.deadline = NEVER
    phase = down.phase
    if phase == WAITING:
        if down.buffer:
            refuse_unread(down, faults.REQUEST_TIMEOUT)
        else:
            close(down)  # the last reply may still be unread
    elif phase in (LINGERING, DRAINING):
        give_up(down)
    elif phase == TUNNEL and down.tunnel is not None:
        down.tunnel.close()
    elif phase == GATHERING:
        break_request(down, faults.REQUEST_TIMEOUT)
    elif phase in (SENDING, SENT):
        client_is_slow = not down.writable or (phase == SENDING and not down.paused & UPSTREAM_FULL)
        if not client_is_slow and down.upstream is not None:
            down.upstream.timed_out()
        break_request(down, faults.REQUEST_TIMEOUT if client_is_slow else faults.UPSTREAM_TIMEOUT)
