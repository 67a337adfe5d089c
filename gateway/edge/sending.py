"""A request's body goes up: as it comes, as fast as the upstream takes it, to the byte of its framing."""

import time
from typing import TYPE_CHECKING

from gateway.edge import answers
from gateway.edge.body import TooLarge
from gateway.edge.clock import touch
from gateway.edge.framing import BadChunk
from gateway.edge.states import HOLDING, SENDING, SENT
from gateway.model import faults

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream

SLICE = 64 * 1024  # of a chunked body, decoded in one go


def begin(down: "Downstream") -> None:
    """The head went upstream: now what there is of the body, and from here on as it comes."""
    if down.request_is_over:  # a retry
        if down.body is not None and down.upstream is not None:
            down.upstream.transport.write(down.body.again())
        down.phase = SENT
        down.deadline = down.exchange.sent + down.exchange.route.pool.first_byte
        return
    down.phase = SENDING
    touch(down)
    data, down.buffer = down.buffer, b""
    down.resume(HOLDING)
    if data:
        pump(down, data)
    if down.half_closed and down.phase == SENDING and not down.buffer:
        answers.break_request(down, faults.BAD_REQUEST)  # its body will never be complete


def most_taken(down: "Downstream") -> int:
    """How large the body may be; in report mode a lower limit of the route is only written down."""
    exchange = down.exchange
    limit = exchange.body_limit
    return max(limit, down.live.limits.body_bytes) if exchange.route.report else limit


def more(down: "Downstream", data: bytes) -> None:
    """The client sent more of the body."""
    if not down.worker.streams.flows(down):
        return
    if down.buffer:  # slices of what came before are not through yet
        down.buffer += data
    else:
        pump(down, data)


def pump(down: "Downstream", data: bytes) -> None:
    """A piece of the body to the upstream; what follows the body is held."""
    exchange, body, upstream = down.exchange, down.body, down.upstream
    assert body is not None and upstream is not None
    if not (down.replying or upstream.closed or upstream.reading_paused) and upstream.has_news():
        # an early reply, it may be: read it before a write to a closed connection would throw it away
        down.buffer = data
        down.pause(HOLDING)
        down.worker.loop.call_soon(_pump_again, down)
        return
    if body.chunked and len(data) > SLICE:  # tiny chunks cost much: others have their turn in between
        down.buffer = data[SLICE:]
        data = data[:SLICE]
        down.pause(HOLDING)
        down.worker.loop.call_soon(_pump_again, down)
    try:
        data, rest = body.feed(data, most_taken(down))
    except BadChunk as error:
        exchange.note(str(error))
        answers.break_request(down, faults.BAD_FRAMING)
        return
    except TooLarge:
        answers.break_request(down, faults.BODY_TOO_LARGE)
        return
    exchange.bytes_in += len(data)
    if body.taken > exchange.body_limit:
        exchange.objected("body_limit", faults.BODY_TOO_LARGE.code)
    if data and not upstream.closed:
        upstream.transport.write(data)
    if body.over:
        down.request_is_over = True
        down.phase = SENT
        if not down.replying:
            down.deadline = time.monotonic() + exchange.route.pool.first_byte
        if rest or down.buffer:
            down.hold(rest + down.buffer)


def _pump_again(down: "Downstream") -> None:
    if down.phase == SENDING and down.buffer:
        data, down.buffer = down.buffer, b""
        down.resume(HOLDING)
        pump(down, data)


def throw_away(down: "Downstream", data: bytes) -> None:
    """The rest of a body whose request has been answered."""
    assert down.body is not None
    _, rest = down.body.feed(data, 1 << 62)
    if down.body.over:
        down.request_is_over = True
        down.next(rest)
