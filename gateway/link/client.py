"""The edge's end of the link to the identity service: questions, news of revocations, and a lease.

What the edge has cached is vouched for until `lease`, counted from the sending of a heartbeat that was
answered, on a clock that runs on while the process is frozen. On one connection everything comes in order:
when a pong is here, all news from before it have been applied.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from gateway.link import frames
from gateway.link.questions import ANSWERS
from gateway.model.clock import boottime

VERSIONS = (1,)
LEASE = 3.0  # seconds from the sending of a heartbeat that was answered
BEAT = 1.0
QUIET = 1.5  # seconds after which `fresh` asks
PING_WITHIN = 0.25
SILENT = 3  # heartbeats in a row without an answer, after which the link counts as down
CONNECT_WITHIN = 2.0
WELCOME_WITHIN = 5.0
FIRST_PAUSE, LAST_PAUSE = 0.02, 1.0
LIVED = 1.0  # seconds: a connection that lasted so long is followed by the next one at once
MAX_QUESTION = 64 * 1024  # bytes of a frame from an edge
MAX_ANSWER = 1024 * 1024
TOUCHES = 1000  # sessions in one frame
MAX_UNSENT = 1024 * 1024
_ANSWERS = frozenset(ANSWERS.values())

now = boottime


class LinkDown(Exception):
    """No answer: the link is down, or none came in time."""


class Push(msgspec.Struct, frozen=True):
    """News of a revocation or a change; neither session nor user: it concerns everybody."""

    n: int
    kind: str  # revoked, changed
    session: str = ""
    user: str = ""


class _Question(msgspec.Struct, frozen=True):
    answer: "asyncio.Future[frames.Message]"
    until: float
    timer: asyncio.TimerHandle


class Link:
    """One per worker. It reconnects by itself until it is closed.

    `on_push` drops what is cached before it returns; the awaitable it may return is for what takes longer
    (closing streams), and the acknowledgement goes when that is done. `on_up` is called after each welcome,
    when nothing that was known before counts any more; numbers of pushes begin anew. Its awaitable, too, is
    waited for before the service is told that this edge has begun afresh. `on_down` is called each time `up`
    becomes false. A link that counts as down because nothing answered, and answers again on the same
    connection, missed nothing: `up` becomes true without `on_up`.
    """

    __slots__ = (
        "_clock", "_connection", "_fresh", "_fresh_id", "_handling", "_hello", "_keeper", "_last_id", "_log",
        "_loop", "_on_down", "_on_push", "_on_up", "_path", "_questions", "_sent", "epoch", "known",
        "last_answer", "lease", "token_ttl", "up",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: str,
        hello: frames.Message,
        on_push: Callable[[Push], Awaitable[None] | None],
        on_up: Callable[[], Awaitable[None] | None],
        on_down: Callable[[], None],
        log: logging.Logger,
        *,
        clock: Callable[[], float] = now,
    ) -> None:
        self.up = False
        self.epoch = 0  # of the connection
        self.known = 0  # number of the latest push
        self.lease = 0.0
        # when the latest ping that was answered was sent: what the service knew by then has been applied here
        self.last_answer = 0.0
        self.token_ttl = 0.0  # as the service tells it
        self._loop, self._path, self._hello, self._log, self._clock = loop, path, hello, log, clock
        self._on_push, self._on_up, self._on_down = on_push, on_up, on_down
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._questions: dict[int, _Question] = {}
        self._handling: set[asyncio.Future[None]] = set()
        self._sent: dict[int, float] = {}  # pings without an answer yet
        self._last_id = 0
        self._fresh: asyncio.Future[bool] | None = None
        self._fresh_id = 0

    # Its life

    def start(self) -> None:
        self._keeper = self._loop.create_task(self._keep())

    def close(self) -> None:
        """Say good-bye: from here on this edge uses nothing of what it was told."""
        if self._keeper is not None:
            self._keeper.cancel()
        connection = self._connection
        if connection is not None:
            self._send({"t": "bye"})
            self.up = False  # as its owner wants it: nobody need be told
            self.lost(connection)
            connection.transport.close()
        for task in list(self._handling):
            task.cancel()

    def reintroduce(self, hello: frames.Message) -> None:
        """Another hello (the longest `serve_stale` has changed): over a new connection, if it differs."""
        if hello != self._hello:
            self._hello = hello
            if self._connection is not None:
                self._give_up(self._connection)

    # Asked on the way of requests

    def ask(self, message: frames.Message, timeout: float) -> "asyncio.Future[frames.Message]":
        """The answer to this question; LinkDown if none comes in time, or the link is or goes down."""
        answer: asyncio.Future[frames.Message] = self._loop.create_future()
        number = self._next_id()
        if not self.up or not self._send({**message, "id": number}):
            answer.set_exception(LinkDown("the question can't be asked"))
            return answer
        timer = self._loop.call_later(timeout, self._too_late, number)
        self._questions[number] = _Question(answer, self._clock() + timeout, timer)
        return answer

    def tell(self, message: frames.Message) -> None:
        """Something that needs no answer; lost when the link is down."""
        if self.up:
            self._send(message)

    def touch(self, sessions: Iterable[tuple[str, float]]) -> None:
        """These were used so many seconds ago: told in frames of a size that is taken."""
        told = [list(session) for session in sessions]
        for first in range(0, len(told), TOUCHES):
            self.tell({"t": "touch", "sessions": told[first : first + TOUCHES]})

    async def fresh(self) -> bool:
        """Whether all news from before this call have been applied: one question for all who ask at once."""
        if not self.up:
            return False
        if self._fresh is None:
            if self._clock() - self.last_answer <= QUIET:
                return True
            self._fresh = self._loop.create_future()
            self._fresh_id = self._ping()
            self._loop.call_later(PING_WITHIN, self._not_fresh, self._fresh, self._clock() + PING_WITHIN)
        return await asyncio.shield(self._fresh) and self._clock() < self.lease

    # The connection

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            began = self._clock()
            with contextlib.suppress(OSError, TimeoutError):
                await self._connect_once()
            lived = self._clock() - began > LIVED
            pause = 0.0 if lived else min(max(pause * 2, FIRST_PAUSE), LAST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _connect_once(self) -> None:
        """Connect, and stay until it is over."""
        async with asyncio.timeout(CONNECT_WITHIN):
            _, connection = await self._loop.create_unix_connection(lambda: _Connection(self), self._path)
        try:
            async with asyncio.timeout(WELCOME_WITHIN):
                await asyncio.shield(connection.welcomed)
            await asyncio.shield(connection.over)
        finally:
            if not connection.over.done():
                self._give_up(connection)

    def made(self, connection: "_Connection") -> None:
        self._connection = connection
        self._sent = {0: self._clock()}  # the hello counts as a ping, and the welcome as its answer
        self._send({"versions": list(VERSIONS), **self._hello, "t": "hello"})

    def received(self, connection: "_Connection", message: frames.Message) -> None:
        """One message, in its order."""
        kind = message.get("t")
        if connection is not self._connection:
            return
        if kind == "welcome":
            self._welcomed(connection, message)
        elif kind == "pong":
            self._answered(message["id"], message["n"])
        elif kind == "push":
            self._pushed(connection, message)
        elif kind in _ANSWERS:
            self._give(message)

    def _welcomed(self, connection: "_Connection", message: frames.Message) -> None:
        if message["version"] not in VERSIONS or connection.welcomed.done():
            raise frames.BadFrame("a welcome that was not expected")
        connection.welcomed.set_result(True)
        self.known = int(message["n"])
        self.token_ttl = float(message["token_ttl"])
        self.epoch += 1
        self._answered(0, self.known)
        self._log.info("the link to the identity service is up")
        self._acknowledge(connection, self.known, self._on_up())
        self._loop.call_later(BEAT, self._beat, connection)

    def _pushed(self, connection: "_Connection", message: frames.Message) -> None:
        push = Push(message["n"], message["kind"], message.get("session", ""), message.get("user", ""))
        if push.n != self.known + 1:
            raise frames.BadFrame("news are missing")
        self.known = push.n
        self._acknowledge(connection, push.n, self._on_push(push))

    def _acknowledge(self, connection: "_Connection", number: int, done: Awaitable[None] | None) -> None:
        """Now, or when it is done; if that fails nobody knows what this edge still holds: begin afresh."""
        if done is None:
            self._send({"t": "ack", "n": number})
            return

        def handled(task: "asyncio.Future[None]") -> None:
            self._handling.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is not None:
                self._log.error("news could not be applied; connecting anew", exc_info=error)
                self._give_up(connection)
            elif connection is self._connection:
                self._send({"t": "ack", "n": number})

        task: asyncio.Future[None] = asyncio.ensure_future(done, loop=self._loop)
        self._handling.add(task)
        task.add_done_callback(handled)

    def _give(self, message: frames.Message) -> None:
        question = self._questions.pop(message["id"], None)
        if question is None:
            return
        question.timer.cancel()
        if question.answer.done():
            return
        if self._clock() > question.until:  # this process was frozen: its timer did not tell
            question.answer.set_exception(LinkDown("the answer came too late"))
        else:
            question.answer.set_result(message)

    def _too_late(self, number: int) -> None:
        question = self._questions.pop(number, None)
        if question is not None and not question.answer.done():
            question.answer.set_exception(LinkDown("no answer in time"))

    def failed(self, connection: "_Connection") -> None:
        """Called while a message's exception is handled."""
        self._log.exception("a message of the identity service could not be taken; connecting anew")
        self._give_up(connection)

    def _give_up(self, connection: "_Connection") -> None:
        connection.transport.abort()
        self.lost(connection)

    def lost(self, connection: "_Connection") -> None:
        """The connection is over: nothing that was asked on it will be answered."""
        for future in (connection.welcomed, connection.over):
            if not future.done():
                future.set_result(False)
        if connection is not self._connection:
            return
        self._connection = None
        self._sent.clear()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.timer.cancel()
            if not question.answer.done():
                question.answer.set_exception(LinkDown("the link went down"))
        self._count_as_down("the link to the identity service is down")

    # Heartbeats

    def _beat(self, connection: "_Connection") -> None:
        if connection is not self._connection:
            return
        self._loop.call_later(BEAT, self._beat, connection)
        if len(self._sent) >= SILENT:
            self._count_as_down("the identity service does not answer")
        while len(self._sent) > 2 * SILENT:
            del self._sent[next(iter(self._sent))]
        self._ping()

    def _ping(self) -> int:
        number = self._next_id()
        self._sent[number] = self._clock()
        self._send({"t": "ping", "id": number})
        return number

    def _answered(self, number: int, known: int) -> None:
        """A pong: pushes came before it in the same stream, so it knows nothing that is not known here."""
        if known != self.known:
            raise frames.BadFrame("news are missing")
        sent = self._sent.get(number)
        if sent is None:
            return
        self._sent = {ping: at for ping, at in self._sent.items() if ping > number}
        self.last_answer = sent
        self.lease = sent + LEASE
        self.up = True
        if self._fresh is None or number < self._fresh_id:
            return
        if self._clock() - sent > QUIET:  # frozen since it was sent: newer news may wait behind this pong
            self._fresh_id = self._ping()
        else:
            self._end_fresh(True)

    def _not_fresh(self, asked: "asyncio.Future[bool]", until: float, again: bool = True) -> None:
        """The ping's time is over; but if this process was frozen, frames that wait are handled first."""
        if asked is not self._fresh:
            return
        if again and self._clock() > until + PING_WITHIN / 2:
            self._loop.call_later(PING_WITHIN, self._not_fresh, asked, until, False)
            return
        self._count_as_down("the identity service does not answer")

    def _count_as_down(self, why: str) -> None:
        """Until it answers nobody waits for a ping; heartbeats go on, so that it can."""
        self._end_fresh(False)
        if self.up:
            self.up = False
            self._log.warning(why)
            self._on_down()

    def _end_fresh(self, result: bool) -> None:
        asked, self._fresh = self._fresh, None
        if asked is not None and not asked.done():
            asked.set_result(result)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _send(self, message: frames.Message) -> bool:
        """Whether it is on its way. A frame that the service would not take would end the link for all."""
        connection, frame = self._connection, frames.encode(message)
        if connection is None or connection.transport.is_closing() or len(frame) > MAX_QUESTION:
            return False
        connection.transport.write(frame)
        if connection.transport.get_write_buffer_size() > MAX_UNSENT:
            connection.transport.abort()  # it is read no more
        return True


class _Connection(asyncio.Protocol):
    """One connection: bytes to messages, and the end of both."""

    transport: asyncio.Transport

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reader = frames.FrameReader(MAX_ANSWER)
        loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[bool] = loop.create_future()
        self.over: asyncio.Future[bool] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._link.received(self, message)
        except Exception:
            self._link.failed(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._link.lost(self)
