"""One connection to an upstream server: sends a request, reads its reply strictly, streams it down."""

import asyncio
import contextlib
import select
from time import monotonic
from typing import TYPE_CHECKING, cast

from gateway.edge.answers import break_request
from gateway.edge.chain import on_way_back
from gateway.edge.clock import touch
from gateway.edge.forward import may_retry, upstream_failed
from gateway.edge.framing import LAST_CHUNK, BadChunk, ChunkDecoder, as_chunk
from gateway.edge.replies import BODYLESS, STATUS_LINES, connection_line, http_date
from gateway.edge.reply_heads import LENGTH_NAME, BadReply, ReplyHead
from gateway.edge.states import UPSTREAM_FULL
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.headers import CODING, CONNECTION, KEPT, LENGTH, dropped, find, without_nominated
from gateway.model.verdict import Reply

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.pool import Pool
    from gateway.edge.servers import ServerState

IDLE, HEAD, BY_LENGTH, CHUNKED, TO_THE_END, TUNNEL, OVER = range(7)
LONGEST_HEAD = 64 * 1024
MOST_INTERIM = 16  # replies 1xx before the real one


class Upstream(asyncio.Protocol):
    """Serves one request at a time; `down` is the client's connection while it does."""

    __slots__ = (
        "_buffer", "_decoder", "_interim", "_left", "_poll", "_reusable", "closed", "down", "phase", "pool",
        "reading_paused", "server", "since", "stood", "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport
    down: "Downstream"

    def __init__(self, pool: "Pool", server: "ServerState") -> None:
        self.pool = pool
        self.server = server
        self.phase = IDLE
        self.closed = False
        self.stood = False  # the connection was made
        self.used = False  # served a request before: its server may have closed it meanwhile
        self.since = 0.0
        self.reading_paused = False
        self._buffer = b""
        self._left = 0
        self._interim = 0
        self._poll: select.poll | None = None

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.stood = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.server.open -= 1
        self.pool.let_one_in(self.server)
        phase, self.phase = self.phase, OVER
        if phase == IDLE:  # closed by the server, or never used
            with contextlib.suppress(ValueError):
                self.server.idle.remove(self)
        elif phase == TUNNEL:
            self.server.active -= 1
            if self.down.tunnel is not None:
                self.down.tunnel.upstream_lost()
        elif phase == TO_THE_END and exc is None:
            self._leave()
            self.down.end_reply(LAST_CHUNK if self.down.chunked else b"", monotonic())
        elif phase != OVER:
            self._failed(faults.UPSTREAM_RESET, "reset")

    def eof_received(self) -> bool:
        if self.phase == IDLE:
            self.closed = True  # no longer to be taken, though its end is reported only in the next turn
        if self.phase == TUNNEL:
            tunnel = self.down.tunnel
            return tunnel is not None and tunnel.upstream_eof() and not self.server.record.secure
        return False

    def pause_writing(self) -> None:
        if self.phase not in (IDLE, OVER):
            self.down.pause(UPSTREAM_FULL)
            touch(self.down)

    def resume_writing(self) -> None:
        if self.phase not in (IDLE, OVER):
            self.down.resume(UPSTREAM_FULL)
            touch(self.down)

    def close(self) -> None:
        """End it; a request that it may still serve is the caller's affair."""
        self.phase = OVER
        if not self.closed:
            self.closed = True
            self.transport.abort()

    # The request

    def send(self, down: "Downstream", message: bytes) -> None:
        self.down = down
        self.phase = HEAD
        self._interim = 0
        self.server.active += 1
        self.transport.write(message)

    def abandon(self) -> None:
        """The client is gone, or this reply will not be awaited any longer."""
        if self.phase not in (IDLE, OVER):
            self.server.active -= 1
        self.close()

    def has_news(self) -> bool:
        """Whether something came that was not read yet: perhaps an early reply, which a write that fails
        would lose."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(
                self.transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLHUP
            )
        return bool(self._poll.poll(0))

    # The reply

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == HEAD:
            self._read_head(data)
        elif phase == TUNNEL:
            touch(self.down)
            if self.down.tunnel is not None:
                self.down.tunnel.from_upstream(data)
        elif phase in (BY_LENGTH, CHUNKED, TO_THE_END):
            self._stream(data)
        elif phase == IDLE:  # a reply to nothing
            self.close()

    def _read_head(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        down = self.down
        exchange = down.exchange
        while True:
            head, mark, data = data.partition(b"\r\n\r\n")
            if not mark or len(head) > LONGEST_HEAD:
                self._head_is_incomplete(head)
                return
            try:
                reply = down.worker.reply_reader.read(head, exchange.route.reply_names)
            except BadReply as error:
                self._bad_reply(str(error))
                return
            status = reply.status
            if status >= 200:
                break
            if status == 101:
                self._switch_protocols(reply, data)
                return
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self._bad_reply("too many interim replies")
                return
            if status != 100 and exchange.version:
                down.transport.write(b"%b%b\r\n" % (STATUS_LINES[status], reply.interim_lines()))
            if not data:
                return
        if status in self.pool.retry_statuses and may_retry(down):
            self._failed(faults.UPSTREAM_BAD_REPLY, str(status))
            return
        exchange.status = status
        exchange.replied = now = monotonic()
        self.pool.counters.add(now - exchange.sent)
        if self.server.failures and status < 500:
            self.pool.group.succeeded(self.server)
        if (
            reply.usual
            and len(data) == reply.length
            and down.keep
            and reply.dated
            and exchange.version
            and not (exchange.upgrade or exchange.route.on_responses or down.worker.draining)
            and exchange.method != b"HEAD"
        ):
            self._whole(exchange, reply, data)
        else:
            self._begin_reply(exchange, reply, data)

    def _head_is_incomplete(self, data: bytes) -> None:
        if len(data) > LONGEST_HEAD:
            self._bad_reply("the head is too large")
        elif data[:5] != b"HTTP/"[: len(data)]:
            self._bad_reply("this is no HTTP")
        else:
            self._buffer = data

    def _whole(self, exchange: Exchange, reply: ReplyHead, body: bytes) -> None:
        """The usual case: all of a reply in one read, and both connections stay."""
        down = self.down
        down.replying = True
        down.chunked = False
        exchange.bytes_out = len(body)
        down.transport.write(
            b"".join((
                reply.opening, exchange.route.reply_add, exchange.reply_add, b"X-Request-Id: ",
                exchange.request_id, b"\r\n\r\n", body,
            ))
        )  # fmt: skip
        self._reusable = True
        self._complete(False, exchange.replied)

    def _begin_reply(self, exchange: Exchange, reply: ReplyHead, data: bytes) -> None:
        down = self.down
        route = exchange.route
        status, lines = reply.status, self._judge_framing(exchange, reply)
        keep = down.keep and not down.worker.draining and not exchange.upgrade
        if route.on_responses:
            status, lines = self._through_policies(status, lines)
            if exchange.failed is faults.POLICY_CRASHED:  # none of this reply may go on
                return break_request(down, faults.POLICY_CRASHED)
        parts = [STATUS_LINES[status], lines]
        down.chunked = False
        if self.phase > BY_LENGTH:
            if exchange.version:
                down.chunked = True
                parts.append(b"Transfer-Encoding: chunked\r\n")
            else:
                keep = False
            exchange.endless = (find(lines, b"content-type") or b"").startswith(b"text/event-stream")
            if exchange.endless:
                down.worker.streams.add(down)
        down.keep = keep
        if not reply.dated and find(lines, b"date") is None:  # RFC 9110 section 6.6.1
            parts += (b"Date: ", http_date(), b"\r\n")
        parts += (
            route.reply_add, exchange.reply_add, b"X-Request-Id: ", exchange.request_id,
            b"\r\n", connection_line(exchange, keep=keep), b"\r\n",
        )  # fmt: skip
        down.replying = True
        left = self._left
        if self.phase == BY_LENGTH and len(data) >= left:  # all of it in one read
            exchange.bytes_out = left
            parts.append(data[:left])
            down.transport.write(b"".join(parts))
            self._complete(len(data) > left, exchange.replied)
            return
        down.transport.write(b"".join(parts))
        if data:
            self._stream(data)
        else:
            touch(down)

    def _judge_framing(self, exchange: Exchange, reply: ReplyHead) -> bytes:
        """How this reply ends, and whether the connection can be used again; the lines less those that go no
        further."""
        status, flags, length, lines = reply.status, reply.flags, reply.length, reply.lines
        reusable = bool(reply.minor)
        if flags & CONNECTION or not reply.minor:
            connection = reply.noted.get(b"connection", b"").lower()
            kept = flags & KEPT or b"keep-alive" in connection
            reusable = b"close" not in connection and bool(reusable or kept)
            lines = without_nominated(lines, connection)
        if exchange.upgrade:  # refused by the upstream: what follows may be of either protocol
            reusable = False
        self._left = 0
        if exchange.method == b"HEAD" or status in BODYLESS:
            self.phase = BY_LENGTH
            if status == 204 and flags & LENGTH:
                lines = dropped(lines, LENGTH_NAME)
            if status in BODYLESS and (flags & CODING or (status == 204 and length)):
                reusable = False  # it speaks of a body; should one follow, nobody may take it for a reply
        elif flags & CODING:
            self._decoder = ChunkDecoder(LONGEST_HEAD)
            self.phase = CHUNKED
        elif length is not None:
            self._left, self.phase = length, BY_LENGTH
        else:
            self.phase, reusable = TO_THE_END, False
        self._reusable = reusable
        return lines

    def _through_policies(self, status: int, lines: bytes) -> tuple[int, bytes]:
        exchange = self.down.exchange
        split = [line.partition(b":") for line in lines.split(b"\r\n")[:-1]]
        reply = Reply(status, [(name, value.strip()) for name, _, value in split])
        on_way_back(exchange, reply)
        exchange.status = reply.status
        return reply.status, b"".join([b"%b: %b\r\n" % line for line in reply.headers])

    def _stream(self, data: bytes) -> None:
        down = self.down
        over = surplus = False
        if self.phase == BY_LENGTH:
            size = len(data)
            if size >= self._left:
                surplus = size > self._left
                data = data[: self._left]
                over = True
            self._left -= len(data)
        elif self.phase == CHUNKED:
            try:
                data, rest = self._decoder.feed(data)
            except BadChunk as error:
                self._bad_reply(str(error))
                return
            over = self._decoder.done
            surplus = bool(rest)
        if data:
            down.exchange.bytes_out += len(data)
            down.body_to_client(as_chunk(data) if down.chunked else data)
        if over and self.phase != OVER:
            self._complete(surplus, monotonic())

    def _complete(self, surplus: bool, now: float) -> None:
        """The reply has ended as its framing says; a connection with something more on it is not used
        again."""
        down = self.down
        self.server.active -= 1
        if (
            self._reusable
            and not surplus
            and down.request_is_over
            and not self.closed
            and (down.body is None or not self.transport.get_write_buffer_size())  # all of it went out
        ):
            self.phase = IDLE
            self.used = True
            if self.reading_paused:
                self.resume_reading()
            self.pool.release(self, now)
        else:
            self.close()
        down.end_reply(LAST_CHUNK if down.chunked else b"", now)

    def _leave(self) -> None:
        self.server.active -= 1

    def _bad_reply(self, why: str) -> None:
        self.down.exchange.note(why)
        self._failed(faults.UPSTREAM_BAD_REPLY, "bad_reply")

    def _failed(self, fault: Fault, kind: str) -> None:
        self._leave()
        seen = bool(self._buffer) or self._interim > 0
        raced = self.used and kind == "reset" and not seen and not self.down.replying
        if not raced:  # a kept connection that the server closed just then says nothing about the server
            self.pool.failed(self.server, kind)
        self.close()
        upstream_failed(self.down, self.server, fault, kind, seen=seen, raced=raced)

    def timed_out(self) -> None:
        """No reply, or no more of it, in time; the caller tells the client and abandons this connection."""
        self.pool.failed(self.server, "timeout")

    # Upgrades

    def _switch_protocols(self, reply: ReplyHead, data: bytes) -> None:
        down = self.down
        exchange = down.exchange
        if not exchange.upgrade or reply.noted.get(b"upgrade", b"").lower() != exchange.upgrade:
            self._bad_reply("101 that was not asked for")
            return
        exchange.status = 101
        exchange.replied = monotonic()
        self.pool.counters.add(exchange.replied - exchange.sent)
        self.phase = TUNNEL
        route = exchange.route
        head = (STATUS_LINES[101], reply.interim_lines(), route.reply_add, exchange.reply_add,
                b"X-Request-Id: ", exchange.request_id, b"\r\nConnection: Upgrade\r\nUpgrade: ",
                reply.noted[b"upgrade"], b"\r\n\r\n", data)  # fmt: skip
        exchange.bytes_out += len(data)
        down.transport.write(b"".join(head))
        down.begin_tunnel()

    # Back-pressure

    def pause_reading(self) -> None:
        if not self.reading_paused and not self.closed:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.reading_paused and not self.closed:
            self.reading_paused = False
            self.transport.resume_reading()
