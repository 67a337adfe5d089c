"""Bodies for the identity service: gathered whole, so that who sends slowly holds no connection of its.

They are small, and the service's connections are few: a thousand callers that never end their body would keep
everybody else from signing in.
"""

import time
from typing import TYPE_CHECKING

from gateway.edge import answers, forward
from gateway.edge.body import MOST_KEPT, TooLarge
from gateway.edge.framing import BadChunk
from gateway.edge.states import GATHERING, HOLDING, JUDGING
from gateway.model import faults

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream


def begin(down: "Downstream") -> None:
    """From here on, until the body is whole; all of it has as long as otherwise a silence in it may last."""
    assert down.body is not None
    if not down.body.chunked and down.body.left > MOST_KEPT:
        answers.refuse(down, faults.BODY_TOO_LARGE)
        return
    down.body.keep()
    down.phase = GATHERING
    down.deadline = time.monotonic() + down.live.limits.body_idle
    data, down.buffer = down.buffer, b""
    down.resume(HOLDING)
    if data:
        more(down, data)
    if down.half_closed and down.phase == GATHERING:
        answers.break_request(down, faults.BAD_REQUEST)  # it will never be complete


def more(down: "Downstream", data: bytes) -> None:
    exchange, body = down.exchange, down.body
    assert body is not None
    try:
        data, rest = body.feed(data, MOST_KEPT)
    except BadChunk as error:
        exchange.note(str(error))
        answers.break_request(down, faults.BAD_FRAMING)
        return
    except TooLarge:
        answers.break_request(down, faults.BODY_TOO_LARGE)
        return
    exchange.bytes_in += len(data)
    if not body.over:
        return
    down.request_is_over = True
    down.phase = JUDGING
    down.deadline = float("inf")
    if rest:
        down.hold(rest)
    forward.begin(down, exchange)
