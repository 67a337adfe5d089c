"""The identity service's end of the link: takes edges in, answers their questions, tells them the news.

What goes to one edge goes in one stream: a pong, and the answer to a question, stand behind all news that
were known before them.
"""

import asyncio
import logging
import os
import re
import socket
import traceback
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from gateway.link import frames
from gateway.link.client import MAX_QUESTION
from gateway.link.peer import peer_of
from gateway.link.questions import ANSWERS, ASKED, Assert, Lease, Mismatch, Question, Renew, Resolve
from gateway.model.credentials import redacted

VERSIONS = (1,)
HELLO_WITHIN = 2.0
ANSWER_WITHIN = 4.0
MAX_UNREAD = 1024 * 1024  # bytes for an edge that doesn't read
AT_ONCE = 64  # questions of one edge being answered
WAITING = 1024  # and waiting for their turn
MAX_STALE = 366 * 86400.0
SESSIONS = 100_000  # of one link, that it may keep alive by `touch`
BACKLOG = 1024

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNAVAILABLE: frames.Message = {"outcome": "unavailable"}


class Hello(msgspec.Struct, frozen=True):
    versions: list[int]
    edge: str
    pid: int
    serve_stale: float = 0.0  # the longest of its routes; -1: until_expiry


class Touch(msgspec.Struct, frozen=True):
    sessions: list[tuple[str, float]]  # id, seconds ago


class Numbered(msgspec.Struct, frozen=True):
    """A ping's id, or an acknowledgement's number."""

    id: int = 0
    n: int = -1


class Service(Protocol):
    """Answers edges' questions; what it returns is the answer without `t`, `id` and `as_of`."""

    async def resolve(
        self, kind: str, credential: str, address: str, agent: str, stream: bool
    ) -> frames.Message: ...
    async def renew(self, credential: str, bearer: bool, address: str, agent: str) -> frames.Message: ...
    async def touch(self, sessions: list[tuple[str, float]]) -> None: ...
    def lease_now(self, question: Lease) -> frames.Message | None:
        """Asked often, so without a task; None where the answer has to be waited for: then `lease`."""

    async def lease(self, question: Lease) -> frames.Message: ...
    async def assertion(self, question: Assert) -> frames.Message: ...
    async def mismatch(self, question: Mismatch) -> frames.Message: ...


class Membership(Protocol):
    """One edge, from its welcome to its end."""

    @property
    def name(self) -> str: ...
    def beat(self) -> bool:
        """A heartbeat has come: whether it may be answered, which prolongs what the edge may use."""

    def acknowledge(self, n: int) -> None: ...
    def leave(self, *, clean: bool) -> None:
        """The connection is over; clean: the edge said that it uses nothing any more."""


class News(Protocol):
    """Who tells edges what was revoked."""

    @property
    def n(self) -> int:
        """The number of the latest news that this replica knows."""

    @property
    def readable(self) -> bool: ...
    @property
    def token_ttl(self) -> float: ...
    def join(
        self, hello: Hello, process: int, push: Callable[[frames.Message], None], drop: Callable[[], None]
    ) -> Membership: ...


class LinkServer:
    """Listens on a Unix socket that is bound already; its file is not touched."""

    def __init__(
        self, sock: socket.socket, service: Service, propagation: News, log: logging.Logger,
        *, uid: int | None = None,
    ) -> None:  # fmt: skip
        self.service, self.propagation, self.log = service, propagation, log
        self.uid = os.geteuid() if uid is None else uid
        self.connections: set[_Connection] = set()
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._sock.setblocking(False)
        # create_unix_server would remove the socket's file at its end (Python 3.13)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), sock=self._sock, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Take no more, and let go of all edges: each dials whoever comes after us."""
        if self._server is not None:
            self._server.close()
        ending = [task for connection in self.connections for task in connection.end()]
        if ending:
            await asyncio.wait(ending)


class _Connection(asyncio.Protocol):
    """One edge's connection."""

    _transport: asyncio.Transport

    def __init__(self, server: LinkServer) -> None:
        self._server = server
        self._reader = frames.FrameReader(MAX_QUESTION)
        self._edge: Membership | None = None
        self._process = 0
        self._hello_timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[Question] = deque()
        self._touching: asyncio.Task[None] | None = None
        self._touches: dict[str, float] = {}
        self._sessions: OrderedDict[str, None] = OrderedDict()

    # Bytes

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.connections.add(self)
        try:
            peer = peer_of(transport.get_extra_info("socket").fileno())
        except OSError:
            self._refuse("somebody of whom the kernel tells nothing")
            return
        if peer.uid != self._server.uid:
            self._refuse(f"a process of another user (uid {peer.uid})")
            return
        self._process = peer.process
        self._hello_timer = asyncio.get_running_loop().call_later(
            HELLO_WITHIN, self._refuse, "somebody who said no hello"
        )

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                if self._transport.is_closing():
                    return
                self._received(message)
        except (frames.BadFrame, msgspec.ValidationError):
            # nothing of what came is said here: it may be anything
            self._refuse(self._edge.name if self._edge else "somebody", "for what is not of this protocol")
        except Exception:
            self._server.log.exception("a link crashed: closed")
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._leave(clean=False)
        self.end()
        self._server.connections.discard(self)

    def end(self) -> "list[asyncio.Task[None]]":
        """Answer nothing more; gives what is ending."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._waiting.clear()
        tasks = [*self._running, *([self._touching] if self._touching is not None else [])]
        for task in tasks:
            task.cancel()
        self._transport.abort()
        return tasks

    def _refuse(self, whom: str, why: str = "") -> None:
        self._server.log.warning("the link of %s is closed%s", whom, f" {why}" if why else "")
        self._transport.abort()

    def _leave(self, *, clean: bool) -> None:
        edge, self._edge = self._edge, None
        if edge is not None:
            edge.leave(clean=clean)

    def _send(self, message: frames.Message) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(frames.encode(message))
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self._refuse(self._edge.name if self._edge else "an edge", "because it does not read")

    # Messages

    def _received(self, message: frames.Message) -> None:
        kind = message.get("t")
        if self._edge is None:
            if kind != "hello":
                raise frames.BadFrame("no hello")
            self._greet(msgspec.convert(message, Hello))
        elif kind == "ping":
            self._pong(msgspec.convert(message, Numbered).id)
        elif kind == "ack":
            self._edge.acknowledge(msgspec.convert(message, Numbered).n)
        elif kind in ASKED:
            self._asked(msgspec.convert(message, ASKED[kind]))
        elif kind == "touch":
            self._touch(msgspec.convert(message, Touch))
        elif kind == "bye":
            self._leave(clean=True)
            self._transport.close()
        elif kind == "hello":
            raise frames.BadFrame("a second hello")

    def _greet(self, hello: Hello) -> None:
        news = self._server.propagation
        versions = set(hello.versions) & set(VERSIONS)
        if not versions or not _NAME.fullmatch(hello.edge) or not -1 <= hello.serve_stale <= MAX_STALE:
            raise frames.BadFrame("a hello that can't be answered")
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if not news.readable:  # a welcome would be a lease; it will dial again
            self._transport.abort()
            return
        self._edge = news.join(hello, self._process, self._send, self._transport.abort)
        self._send({"t": "welcome", "version": max(versions), "n": news.n, "token_ttl": news.token_ttl})

    def _pong(self, number: int) -> None:
        news = self._server.propagation
        if self._edge is not None and news.readable and self._edge.beat():
            self._send({"t": "pong", "id": number, "n": news.n})

    # Questions

    def _asked(self, question: Question) -> None:
        if isinstance(question, Lease) and self._leased(question):
            return
        if len(self._running) < AT_ONCE:
            self._begin(question)
        elif len(self._waiting) < WAITING:
            self._waiting.append(question)
        else:
            self._say(question, self._server.propagation.n, _UNAVAILABLE)

    def _leased(self, question: Lease) -> bool:
        """Whether it could be answered at once."""
        server = self._server
        try:
            said = server.service.lease_now(question)
        except Exception as error:
            self._crashed(error)
            said = _UNAVAILABLE
        if said is None:
            return False
        self._say(question, server.propagation.n, said)
        return True

    def _begin(self, question: Question) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(question))
        self._running.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if self._waiting:
            self._begin(self._waiting.popleft())

    async def _answer(self, question: Question) -> None:
        as_of = self._server.propagation.n  # before anything is read
        service = self._server.service
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                said = await _answered_by(service, question)
        except TimeoutError:
            said = _UNAVAILABLE
        except Exception as error:
            self._crashed(error)
            said = _UNAVAILABLE
        self._say(question, as_of, said)

    def _say(self, question: Question, as_of: int, said: frames.Message) -> None:
        if isinstance(question, Resolve):
            self._remember(said.get("identity"))
        self._send({**said, "t": ANSWERS[type(question)], "id": question.id, "as_of": as_of})

    def _crashed(self, error: Exception) -> None:
        """T25: an exception's text may hold what was asked."""
        self._server.log.error(
            "a question of an edge crashed: %s", redacted("".join(traceback.format_exception(error)))
        )

    def _remember(self, identity: Any) -> None:
        session = identity.get("session") if isinstance(identity, dict) else getattr(identity, "session", "")
        if not session:
            return
        sessions = self._sessions
        sessions[session] = None
        sessions.move_to_end(session)
        if len(sessions) > SESSIONS:
            sessions.popitem(last=False)

    def _touch(self, touch: Touch) -> None:
        """T42: a link keeps alive only what it resolved."""
        self._touches.update((session, ago) for session, ago in touch.sessions if session in self._sessions)
        if self._touches and self._touching is None:
            self._touching = asyncio.get_running_loop().create_task(self._touch_all())

    async def _touch_all(self) -> None:
        try:
            while self._touches:
                touches, self._touches = self._touches, {}
                async with asyncio.timeout(ANSWER_WITHIN):
                    await self._server.service.touch(list(touches.items()))
        except TimeoutError:
            self._server.log.warning("sessions could not be marked as used in time")
        except Exception as error:
            self._crashed(error)
        finally:
            self._touching = None


def _answered_by(service: Service, question: Question) -> Awaitable[frames.Message]:
    if isinstance(question, Resolve):
        return service.resolve(
            question.kind, question.credential, question.address, question.agent, question.stream
        )
    if isinstance(question, Renew):
        return service.renew(question.credential, question.bearer, question.address, question.agent)
    if isinstance(question, Lease):
        return service.lease(question)
    if isinstance(question, Assert):
        return service.assertion(question)
    return service.mismatch(question)
