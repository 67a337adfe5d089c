"""One client connection: takes requests one at a time, streams their bodies up and their replies down.

The main path of a request: serve → arrival.read → chain.judge → forward → (Upstream) → end_reply.
It is plain calls from the first byte of a request to the write upstream, unless something must be waited for.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from gateway.edge import answers, arrival, chain, forward, gathering, replies, sending
from gateway.edge.answers import MOST_DRAINED, conclude, refuse, refuse_unread
from gateway.edge.body import RequestBody
from gateway.edge.clock import NEVER, touch
from gateway.edge.states import (
    DRAINING,
    GATHERING,
    GONE,
    HOLDING,
    JUDGING,
    LINGERING,
    SENDING,
    SENT,
    TUNNEL,
    UPSTREAM_FULL,
    WAITING,
)
from gateway.edge.tunnel import Tunnel
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.headers import EXPECT
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict

if TYPE_CHECKING:
    from gateway.edge.live import Live
    from gateway.edge.upstream import Upstream
    from gateway.edge.worker import Worker

MOST_HELD = 64 * 1024  # bytes of pipelined requests, or of a body that can't be sent yet
MOST_PIPELINED = 16


class Downstream(asyncio.Protocol):
    """Its `phase` is one of edge.states."""

    __slots__ = (
        "body", "buffer", "chunked", "deadline", "exchange", "forwarded", "half_closed", "keep", "live",
        "origin",
        "paused", "peer", "phase", "replying", "request_is_over", "secure", "serving", "taken", "task",
        "transport",
        "tunnel", "upstream", "worker", "writable",
    )  # fmt: skip

    transport: asyncio.Transport
    exchange: Exchange
    live: "Live"
    peer: bytes  # the address of the other end, or what a trusted PROXY header says
    forwarded: bytes  # the X-Forwarded-* lines for a peer that is no trusted proxy

    def __init__(self, worker: "Worker", origin: tuple[str, int] | None, secure: bool) -> None:
        self.worker = worker
        self.origin = origin
        self.secure = secure
        self.phase = WAITING
        self.deadline = NEVER
        self.upstream: Upstream | None = None
        self.tunnel: Tunnel | None = None
        self.body: RequestBody | None = None
        self.task: asyncio.Task[None] | None = None
        self.buffer = b""
        self.paused = self.taken = 0
        self.half_closed = False
        self.replying = False  # the head of the upstream's reply went to the client
        self.chunked = False  # the reply goes to the client in chunks
        self.serving = False  # take() is at work further up the stack
        self.writable = self.request_is_over = self.keep = True

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        worker = self.worker
        arrival.settle(self, worker.live)
        self.deadline = time.monotonic() + self.live.limits.keepalive
        if not worker.welcome(self):
            refuse_unread(self, faults.TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        phase, self.phase = self.phase, GONE
        if self.task is not None:
            self.task.cancel()
            self.task = None
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        if phase in (JUDGING, GATHERING, SENDING, SENT):
            exchange = self.exchange
            exchange.failed = faults.CLIENT_CLOSED
            exchange.rare = True
            exchange.status = exchange.status or faults.CLIENT_CLOSED.status
            self.worker.record(exchange)
        elif phase == TUNNEL:
            self.worker.record(self.exchange)

    def eof_received(self) -> bool:
        phase = self.phase
        if phase in (SENT, JUDGING):  # a half-close: replies to what is here are still wanted
            self.half_closed = True
            return not self.secure
        if phase == TUNNEL and self.tunnel is not None:
            return self.tunnel.client_eof() and not self.secure
        return False

    def pause_writing(self) -> None:
        self.writable = False
        touch(self)
        if self.upstream is not None:
            self.upstream.pause_reading()

    def resume_writing(self) -> None:
        self.writable = True
        touch(self)
        if self.upstream is not None:
            self.upstream.resume_reading()
        elif self.buffer:
            self.take_again()

    # A request comes in

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == WAITING:
            if self.buffer:
                data = self.buffer + data
            size = len(data)
            if (
                data.find(b"\r\n\r\n") == size - 4 >= 0  # three bytes have none at -1
                and size <= self.live.limits.header_bytes
                and self.writable
                and data[0] != 13
            ):
                self.buffer = b""
                self.serve(data)  # the usual case: one whole head
            else:
                self.take(data)
        elif phase == SENDING:
            touch(self)
            sending.more(self, data)
        elif phase == GATHERING:
            gathering.more(self, data)
        elif phase == TUNNEL:
            touch(self)
            assert self.tunnel is not None
            self.tunnel.from_client(data)
        elif phase in (JUDGING, SENT):
            self.hold(self.buffer + data)
        elif phase == DRAINING:
            sending.throw_away(self, data)
        elif phase == LINGERING:
            self.taken += len(data)
            if self.taken > MOST_DRAINED:
                answers.give_up(self)

    def hold(self, buffer: bytes) -> None:
        """Bytes whose time has not come: a body that can't be sent yet, or pipelined requests."""
        self.buffer = buffer
        if len(buffer) > MOST_HELD or (self.request_is_over and buffer.count(b"\r\n\r\n") >= MOST_PIPELINED):
            self.pause(HOLDING)

    def take(self, data: bytes) -> None:
        """Serve the requests that are complete in `data`, until one has to be waited for."""
        self.serving = True
        turns = 0
        while data and self.phase == WAITING:
            if not self.writable or turns == MOST_PIPELINED:
                self.take_later(data)
                break
            turns += 1
            if data[0] == 13 and data[:2] == b"\r\n":
                # RFC 9112 section 2.2: empty lines before a request line are passed over, each in a turn of
                # its own
                data = data[2:]
                self.buffer = b""
                continue
            end = data.find(b"\r\n\r\n")
            if end < 0 or end + 4 > self.live.limits.header_bytes:
                self.head_is_incomplete(data, end)
                break
            end += 4
            self.buffer = data[end:]
            self.serve(data[:end])
            data = self.buffer
        self.serving = False
        if self.phase == WAITING and self.half_closed and not self.paused:
            answers.close(self)
        elif self.buffer and self.phase in (JUDGING, SENT):
            self.hold(self.buffer)

    def take_later(self, data: bytes) -> None:
        """Go on when others have had their turn; or, when the client does not read its replies, once it
        does."""
        self.buffer = data
        self.pause(HOLDING)
        if self.writable:
            self.worker.loop.call_soon(self.take_again)

    def take_again(self) -> None:
        if self.phase == WAITING and self.writable and not self.serving:
            self.resume(HOLDING)
            data, self.buffer = self.buffer, b""
            self.take(data)

    def head_is_incomplete(self, data: bytes, end: int) -> None:
        limits = self.live.limits
        fault = None
        if end >= 0 or len(data) > limits.header_bytes:
            line_end = data.find(b"\r\n")
            too_long = line_end < 0 or line_end > limits.target_bytes + 32
            fault = faults.TARGET_TOO_LONG if too_long else faults.HEADERS_TOO_LARGE
        elif data.count(b"\n") != data.count(b"\r\n"):
            fault = faults.BAD_REQUEST  # a bare LF: the end of this head would be waited for in vain
        if fault is not None:
            refuse_unread(self, fault)
            return
        if not self.buffer:
            self.deadline = time.monotonic() + limits.header_timeout
        self.buffer = data

    def serve(self, head: bytes) -> None:
        """One request: read it, find its route, ask its policies, send it upstream."""
        self.phase = JUDGING
        self.replying = False
        self.deadline = NEVER
        if self.worker.live is not self.live:
            arrival.settle(self, self.worker.live)
        exchange = self.exchange = arrival.blank(self)
        try:
            verdict: Verdict = arrival.read(self, exchange, head)
            length = exchange.content_length
            if length == 0:
                self.request_is_over = True
            else:
                self.request_is_over = False
                self.body = RequestBody(length, self.live.limits.header_bytes)
            if verdict is None:
                verdict = chain.judge(exchange)
            if verdict is None:
                self.proceed(exchange)
            elif isinstance(verdict, Refuse | Answer):
                conclude(self, verdict)
            else:
                self.task = self.worker.loop.create_task(self.wait(exchange, verdict))
        except Exception:
            self.crashed()

    async def wait(self, exchange: Exchange, verdict: Awaitable[Outcome]) -> None:
        """The slow path of policies: one of them waits for something."""
        outcome = await verdict
        self.task = None
        try:
            if outcome is None:
                self.proceed(exchange)
            else:
                conclude(self, outcome)
        except Exception:
            self.crashed()

    def crashed(self) -> None:
        """A defect of the gateway: this request fails, the worker lives on."""
        self.worker.log_crash("a request crashed", self.exchange)
        try:
            answers.break_request(self, faults.INTERNAL_ERROR)
        except Exception:
            answers.give_up(self)

    def proceed(self, exchange: Exchange) -> None:
        """The policies have said yes."""
        route = exchange.route
        if exchange.content_length == 0 and route.straight:
            forward.begin(self, exchange)
            return
        if route.fixed is not None:
            conclude(self, route.fixed)
            return
        length = exchange.content_length
        if length != 0:
            if length is not None and length > sending.most_taken(self):
                conclude(self, Refuse(faults.BODY_TOO_LARGE))
                return
            if self.body is not None and exchange.method in route.pool.retry_methods:
                self.body.keep()
        if route.rewrite is not None and not arrival.rewrite(exchange):
            conclude(self, Refuse(faults.AMBIGUOUS_PATH, "The rewritten path is not canonical."))
            return
        if exchange.flags & EXPECT and length != 0 and exchange.version and not self.buffer:
            self.transport.write(replies.CONTINUE)
        if route.identity and length != 0:
            gathering.begin(self)
        else:
            forward.begin(self, exchange)

    def written(self, reply: Reply) -> bytes:
        """A reply made by the gateway, as it goes to the client."""
        exchange = self.exchange
        return replies.to_bytes(exchange, reply, keep=self.keep, bodyless=exchange.method == b"HEAD")

    def dial(self, exchange: Exchange) -> None:
        self.task = self.worker.loop.create_task(self.dialled(exchange))

    async def dialled(self, exchange: Exchange) -> None:
        try:
            fault = await forward.dial(self, exchange)
        except Exception:
            self.worker.log_crash("dialling failed", exchange)
            fault = faults.INTERNAL_ERROR
        self.task = None
        if fault is not None:
            refuse(self, fault)

    # The reply comes down (called by Upstream)

    def body_to_client(self, data: bytes) -> None:
        touch(self)
        if self.worker.streams.flows(self):
            self.transport.write(data)

    def end_reply(self, ending: bytes, now: float) -> None:
        """The upstream's reply is over."""
        self.upstream = None
        if ending:
            self.transport.write(ending)
        self.worker.record(self.exchange, now)
        if not self.request_is_over:
            answers.drain_body(self)
        elif self.keep:
            if self.buffer or self.paused or self.half_closed:
                self.next(self.buffer)
                return
            self.phase = WAITING  # the usual case
            self.body = None
            self.deadline = now + self.live.limits.keepalive
        elif self.buffer:
            answers.linger(self)
        else:
            answers.close(self)

    def next(self, data: bytes) -> None:
        """Ready for the next request; it may be here already."""
        self.phase = WAITING
        self.body = None
        self.deadline = time.monotonic() + self.live.limits.keepalive
        self.buffer = data
        if self.paused:
            self.resume(HOLDING | UPSTREAM_FULL)
        if not self.serving:
            if data:
                self.buffer = b""
                self.take(data)
            elif self.half_closed:
                answers.close(self)

    def begin_tunnel(self) -> None:
        assert self.upstream is not None
        self.phase = TUNNEL
        self.replying = True
        self.tunnel = Tunnel(self, self.upstream)
        self.worker.streams.add(self)
        touch(self)
        data, self.buffer = self.buffer, b""
        self.resume(HOLDING)
        if data:
            self.tunnel.from_client(data)

    # Pausing: read nothing more while nobody can take it

    def pause(self, why: int) -> None:
        if not self.paused and self.phase != GONE:
            self.transport.pause_reading()
        self.paused |= why

    def resume(self, why: int) -> None:
        if self.paused:
            self.paused &= ~why
            if not self.paused and self.phase != GONE and not self.transport.is_closing():
                self.transport.resume_reading()
