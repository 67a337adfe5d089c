"""When the gateway itself answers a client, or breaks off: refusals, fixed answers, the connection's end."""

import time
from typing import TYPE_CHECKING

from gateway.edge import arrival, chain, replies
from gateway.edge.body import TooLarge
from gateway.edge.framing import BadChunk
from gateway.edge.identities import UNAVAILABLE
from gateway.edge.states import DRAINING, GONE, HOLDING, JUDGING, LINGERING, UPSTREAM_FULL
from gateway.model.faults import Fault
from gateway.model.verdict import Answer, Refuse, Reply

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream

LINGER = 2.0  # seconds for the client to take the last reply and close
MOST_DRAINED = 1024 * 1024  # bytes of a body that nobody wants any more


def refuse(down: "Downstream", fault: Fault) -> None:
    """Answer with the fault; or, when a reply has begun, break the connection."""
    if down.phase >= LINGERING:
        return
    if down.replying:
        break_off(down, fault)
    else:
        conclude(down, Refuse(fault))


def refuse_unread(down: "Downstream", fault: Fault) -> None:
    """For bytes that are no request: there is something to log and to answer, not more."""
    down.exchange = arrival.blank(down)
    down.body = None
    down.request_is_over = False
    down.replying = False
    down.phase = JUDGING
    refuse(down, fault)


def break_request(down: "Downstream", fault: Fault) -> None:
    """The request can't be completed: the upstream must not take what it has for the whole."""
    upstream, down.upstream = down.upstream, None
    if upstream is not None:
        upstream.abandon()
    refuse(down, fault)


def conclude(down: "Downstream", outcome: Refuse | Answer) -> None:
    """Write the gateway's own reply, and go on to the next request or close."""
    exchange = down.exchange
    if isinstance(outcome, Refuse):
        if exchange.route.identity and outcome.fault.guilty == "upstream":
            exchange.note(outcome.fault.code)  # of our own service: not an upstream's fault
            outcome = UNAVAILABLE
        fault = outcome.fault
        exchange.failed = fault
        exchange.rare = True
        reply = replies.of_fault(exchange, fault, outcome.detail, outcome.headers)
        if fault.closes:
            down.keep = False
    else:
        made = outcome.reply
        exchange.failed = outcome.instead_of
        exchange.rare = exchange.rare or outcome.instead_of is not None
        reply = Reply(made.status, list(made.headers), made.body)
    if exchange.upgrade:  # what follows may be of either protocol
        down.keep = False
    _swallow_small_body(down)
    if not down.request_is_over or down.worker.draining:
        down.keep = False
    if exchange.route.on_responses:
        reply = chain.on_way_back(exchange, reply)
    exchange.status = reply.status
    if exchange.method != b"HEAD" and reply.status not in replies.BODYLESS:
        exchange.bytes_out = len(reply.body)
    down.transport.write(down.written(reply))
    down.worker.record(exchange)
    if down.keep:
        down.next(down.buffer)
    elif down.request_is_over and not down.buffer:
        close(down)
    else:
        linger(down)


def _swallow_small_body(down: "Downstream") -> None:
    """A body that is here already, whole, is no reason to close."""
    body = down.body
    if body is None or down.request_is_over or not down.keep or not down.buffer:
        return
    try:
        _, rest = body.feed(down.buffer, MOST_DRAINED)
    except (BadChunk, TooLarge):
        return
    if body.over:
        down.request_is_over = True
        down.buffer = rest


def drain_body(down: "Downstream") -> None:
    """Answered before the request's body has ended: take the rest if it is small, else close."""
    body = down.body
    if down.keep and body is not None and not body.chunked and body.left <= MOST_DRAINED:
        down.phase = DRAINING
        down.deadline = time.monotonic() + down.live.limits.body_idle
        data, down.buffer = down.buffer, b""
        down.resume(HOLDING | UPSTREAM_FULL)
        if data:  # some of it is here already, held while the reply was read
            down.data_received(data)
    else:
        linger(down)


def break_off(down: "Downstream", fault: Fault) -> None:
    """The reply has begun and can't be ended: break the connection, so that nobody takes it for complete."""
    exchange = down.exchange
    exchange.failed = fault
    exchange.rare = True
    down.worker.record(exchange)
    give_up(down)


def give_up(down: "Downstream") -> None:
    down.phase = GONE
    down.transport.abort()


def close(down: "Downstream") -> None:
    """Close once everything written has gone out."""
    _last_state(down)
    down.transport.close()


def linger(down: "Downstream") -> None:
    """Close so that the reply arrives: an early close would reset it away while the client still sends."""
    _last_state(down)
    down.taken = 0
    down.buffer = b""
    down.resume(HOLDING | UPSTREAM_FULL)
    if down.transport.can_write_eof():
        down.transport.write_eof()
    else:
        down.transport.close()


def _last_state(down: "Downstream") -> None:
    down.phase = LINGERING
    unread = down.transport.get_write_buffer_size()
    down.deadline = time.monotonic() + (down.live.limits.body_idle if unread else LINGER)
