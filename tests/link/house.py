"""What these tests stand on: a log of revocations, a service that answers, and both ends of the link."""

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.identity.edge_book import EdgeBook
from gateway.identity.propagation import Propagation
from gateway.link import frames
from gateway.link.client import Link, Push, now
from gateway.link.questions import Assert, Lease, Mismatch
from gateway.link.server import LinkServer

TOKEN_TTL = 900.0
_pids = itertools.count(1_000_000)  # one process stands for several edges here


async def until(condition: Callable[[], Any], within: float = 5.0) -> None:
    """Wait for something that happens elsewhere."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.002)


class Clock:
    """The real clock, and what a test moves it by."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return now() + self.moved

    def wall(self) -> float:
        return time.time() + self.moved


class Row(msgspec.Struct, frozen=True):
    sequence: int
    kind: str
    session: str
    user: str


class Rows:
    """A log of revocations in memory; `commit` in any order, as a database's transactions do."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.broken = False

    def commit(self, sequence: int, session: str = "s", kind: str = "revoked", user: str = "") -> int:
        self.rows[sequence] = Row(sequence, kind, session, user)
        return sequence

    def write(self, session: str = "s") -> int:
        return self.commit(max(self.rows, default=0) + 1, session)

    async def end(self) -> int:
        return max(self.rows, default=0)

    async def after(self, sequence: int, window: int) -> list[Row]:
        if self.broken:
            raise ConnectionError("the database is away")
        return [row for key, row in sorted(self.rows.items()) if key > sequence - window]


class Answers:
    """A service whose users each have a session of their credential's name."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.touched: list[tuple[str, float]] = []
        self.before: Callable[[], Awaitable[None]] | None = None  # runs within each answer
        self.at_once = self.most_at_once = 0

    async def resolve(
        self, kind: str, credential: str, address: str, agent: str, stream: bool
    ) -> frames.Message:
        self.asked.append((kind, credential, address, agent, stream))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.before is not None:
                await self.before()
        finally:
            self.at_once -= 1
        identity = {"id": "u", "session": credential}
        return {"outcome": "identified", "identity": identity, "expires_in": 900.0, "renew_in": None}

    async def renew(self, credential: str, bearer: bool, address: str, agent: str) -> frames.Message:
        self.asked.append((credential, bearer, address, agent))
        return {"outcome": "renewed", "set_cookie": "c", "access_token": None, "expires_in": None}

    async def touch(self, sessions: list[tuple[str, float]]) -> None:
        self.touched += sessions

    def lease_now(self, question: Lease) -> frames.Message | None:
        return None

    async def lease(self, question: Lease) -> frames.Message:
        return {"outcome": "unavailable"}

    async def assertion(self, question: Assert) -> frames.Message:
        return {"outcome": "unavailable"}

    async def mismatch(self, question: Mismatch) -> frames.Message:
        return {"outcome": "unavailable"}


class Edge:
    """An edge's end: what it was told, in the order in which it heard it."""

    def __init__(self, path: str, name: str, serve_stale: float, clock: Callable[[], float]) -> None:
        self.pid = next(_pids)
        self.events: list[Any] = []
        self.handle: Callable[[Push], Awaitable[None] | None] = lambda push: None
        hello = {"edge": name, "pid": self.pid, "serve_stale": serve_stale}
        self.link = Link(
            asyncio.get_running_loop(), path, hello, self._heard, self._up, self._down,
            logging.getLogger(f"edge {name}"), clock=clock,
        )  # fmt: skip
        self.link.start()

    def _heard(self, push: Push) -> Awaitable[None] | None:
        self.events.append(push)
        return self.handle(push)

    def _up(self) -> None:
        self.events.append("up")

    def _down(self) -> None:
        self.events.append("down")

    @property
    def pushes(self) -> list[Push]:
        return [event for event in self.events if isinstance(event, Push)]

    def ask(self, credential: str = "c", timeout: float = 5.0) -> "asyncio.Future[frames.Message]":
        message = {"t": "resolve", "kind": "bearer", "credential": credential, "address": "192.0.2.1"}
        return self.link.ask({**message, "agent": "a", "stream": False}, timeout)


class House:
    """The identity side on a socket of its own, and edges that dial it."""

    def __init__(self, folder: Path, book: EdgeBook | None = None, uid: int | None = None) -> None:
        self.path = str(folder / "link.sock")
        self.clock, self.rows, self.answers = Clock(), Rows(), Answers()
        self.durations: list[float] = []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen()
        self.edges: list[Edge] = []
        self._book, self._uid = book, uid
        self.make()

    def make(self) -> None:
        """A service, as a new process would make it."""
        self.propagation = Propagation(
            self.rows, TOKEN_TTL, book=self._book, observe=self.durations.append,
            clock=self.clock, wall=self.clock.wall,
        )  # fmt: skip
        self.server = LinkServer(
            self.sock.dup(), self.answers, self.propagation, logging.getLogger("link"), uid=self._uid
        )

    async def start(self) -> None:
        await self.propagation.start()
        await self.server.start()

    async def stop(self) -> None:
        await self.server.close()
        await self.propagation.close()

    async def edge(
        self, name: str = "worker-1", serve_stale: float = 10.0, clock: Callable[[], float] = now,
        path: str = "",
    ) -> Edge:  # fmt: skip
        edge = Edge(path or self.path, name, serve_stale, clock)
        self.edges.append(edge)
        await until(lambda: edge.link.up)
        await until(lambda: any(state.pid == edge.pid for state in self.propagation.edges()))
        return edge

    async def close(self) -> None:
        for edge in self.edges:
            edge.link.close()
        await self.stop()
        self.sock.close()


class Raw:
    """A client that speaks bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._frames = frames.FrameReader()
        self._waiting: list[frames.Message] = []

    @classmethod
    async def dial(cls, path: str) -> "Raw":
        return cls(*await asyncio.open_unix_connection(path))

    @classmethod
    async def hello(cls, path: str, name: str = "raw", serve_stale: float = 10.0, **more: Any) -> "Raw":
        raw = await cls.dial(path)
        raw.say({"t": "hello", "versions": [1], "edge": name, "pid": next(_pids),
                 "serve_stale": serve_stale, **more})  # fmt: skip
        return raw

    def say(self, *messages: frames.Message) -> None:
        self.writer.write(b"".join(frames.encode(message) for message in messages))

    async def hear(self, within: float = 5.0) -> frames.Message:
        """The next message; EOFError when there is none any more."""
        async with asyncio.timeout(within):
            while not self._waiting:
                data = await self._reader.read(1 << 20)
                if not data:
                    raise EOFError
                self._waiting += self._frames.feed(data)
            return self._waiting.pop(0)

    async def is_closed(self) -> bool:
        """Whether the other side ends it, without another word."""
        try:
            await self.hear()
        except (EOFError, ConnectionError):
            return True
        return False

    def close(self) -> None:
        self.writer.close()


class Relay:
    """Between an edge and the service: passes frames on, holds or loses those a test names."""

    def __init__(self, folder: Path, to: str) -> None:
        self.path, self._to = str(folder / "relay.sock"), to
        self.seen: list[frames.Message] = []
        self.held: list[tuple[asyncio.StreamWriter, frames.Message]] = []
        self.hold: Callable[[frames.Message], bool] = lambda message: False
        self.lose: Callable[[frames.Message], bool] = lambda message: False
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._edge: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._to)
        self._writers += (writer, back)
        self._edge = writer
        self._tasks += (
            asyncio.create_task(self._pass(reader, back)),
            asyncio.create_task(self._pass(there, writer)),
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming = frames.FrameReader()
        while data := await reader.read(1 << 20):
            for message in incoming.feed(data):
                self.seen.append(message)
                if self.hold(message) or any(held is writer for held, _ in self.held):
                    self.held.append((writer, message))  # a stream keeps its order
                elif not self.lose(message):
                    writer.write(frames.encode(message))
        writer.close()

    def count(self, kind: str) -> int:
        return sum(message["t"] == kind for message in self.seen)

    def release(self) -> None:
        """Everything that is held, in its order."""
        self.hold = lambda message: False
        held, self.held = self.held, []
        for writer, message in held:
            writer.write(frames.encode(message))

    def inject(self, message: frames.Message) -> None:
        """A frame out of its order, to the edge's present connection."""
        assert self._edge is not None
        self._edge.write(frames.encode(message))

    def cut(self) -> None:
        self.held.clear()
        for writer in self._writers:
            writer.close()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()
