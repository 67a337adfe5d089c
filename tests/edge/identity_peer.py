"""An identity service in a few lines, for the edge: the real link's server, with answers of the test's."""

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.config.snapshot import Identity as Settings
from gateway.config.snapshot import Snapshot
from gateway.edge.news import Newsroom
from gateway.link.frames import Message
from gateway.link.questions import Assert, Lease, Mismatch
from gateway.link.server import Hello, LinkServer

log = logging.getLogger(__name__)


class Peer:
    """Answers what `known` says; counts what it was asked; pushes news on demand."""

    def __init__(self) -> None:
        self.n = 0
        self.readable = True
        self.token_ttl = 900.0
        self.known: dict[tuple[str, str], Message] = {}
        self.asked: list[tuple[str, str]] = []
        self.renewed: list[str] = []
        self.asserted: list[Assert] = []
        self.assertions: Message = {"outcome": "asserted", "assertion": "e30.e30.c2ln", "expires_in": 60.0}
        self.touched: list[str] = []
        self.mismatches: list[Mismatch] = []
        self.says_of_mismatches = "noted"
        self.acknowledged = 0
        self.hellos: list[Hello] = []
        self.gate: asyncio.Event | None = None  # answers wait for it, after having looked
        self.news = asyncio.Condition()
        self._push: Callable[[Message], None] | None = None

    # gateway.link.server.Service

    async def resolve(self, kind: str, credential: str, address: str, agent: str, stream: bool) -> Message:
        self.asked.append((kind, credential))
        said = self.known.get((kind, credential), {"outcome": "bad", "code": "invalid_token"})
        if self.gate is not None:
            await self.gate.wait()
        return said

    async def renew(self, credential: str, bearer: bool, address: str, agent: str) -> Message:
        self.renewed.append(credential)
        if ("cookie", credential) not in self.known:
            return {"outcome": "bad"}
        more = {"access_token": "psa_fresh", "expires_in": 900} if bearer else {}
        return {"outcome": "renewed", "set_cookie": "postern=next; HttpOnly"} | more

    async def touch(self, sessions: list[tuple[str, float]]) -> None:
        self.touched += [session for session, _ in sessions]

    def lease_now(self, question: Lease) -> Message | None:
        return None

    async def lease(self, question: Lease) -> Message:
        return {"outcome": "unavailable"}

    async def assertion(self, question: Assert) -> Message:
        self.asserted.append(question)
        said = self.assertions
        if self.gate is not None:
            await self.gate.wait()
        return said

    async def mismatch(self, question: Mismatch) -> Message:
        self.mismatches.append(question)
        return {"outcome": self.says_of_mismatches}

    # gateway.link.server.News

    def join(
        self, hello: Hello, process: int, push: Callable[[Message], None], drop: Callable[[], None]
    ) -> "Peer":
        self.hellos.append(hello)
        self._push = push
        return self

    name = "the test's"

    def beat(self) -> bool:
        return True

    def acknowledge(self, n: int) -> None:
        self.acknowledged = n

    def leave(self, *, clean: bool) -> None:
        self._push = None

    # For the test

    def knows(
        self, credential: str, kind: str = "bearer", expires_in: float = 900.0, **identity: Any
    ) -> None:
        renew_in = identity.pop("renew_in", None)
        self.known[kind, credential] = {
            "outcome": "identified", "identity": {"id": "u1", "session": "s1"} | identity,
            "expires_in": expires_in, "renew_in": renew_in,
        }  # fmt: skip

    async def tell(self, kind: str, session: str = "", user: str = "") -> None:
        """Push, and wait until it is acknowledged."""
        self.n += 1
        assert self._push is not None
        self._push({"t": "push", "n": self.n, "kind": kind, "session": session, "user": user})
        async with asyncio.timeout(5):
            while self.acknowledged < self.n:
                await asyncio.sleep(0.001)


class House:
    """A worker's end and the peer's."""

    def __init__(self, peer: Peer, newsroom: Newsroom, path: str) -> None:
        self.peer, self.newsroom, self.path = peer, newsroom, path
        self.identities, self.streams, self.link = newsroom.identities, newsroom.streams, newsroom.link
        self.told: list[Message] = []
        self.server: LinkServer | None = None

    async def open(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        if os.path.exists(self.path):
            os.unlink(self.path)
        sock.bind(self.path)
        self.server = LinkServer(sock, self.peer, self.peer, log)
        await self.server.start()
        async with asyncio.timeout(5):
            while not self.link.up:
                await asyncio.sleep(0.001)

    async def shut(self) -> None:
        assert self.server is not None
        await self.server.close()
        async with asyncio.timeout(5):
            while self.link.up:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def house(**settings: Any) -> AsyncIterator[House]:
    peer, told = Peer(), list[Message]()
    snapshot = Snapshot("hash", identity=Settings(**settings))
    with tempfile.TemporaryDirectory(prefix="pi") as folder:
        path = f"{folder}/link"
        newsroom = Newsroom(asyncio.get_running_loop(), path, 0, snapshot, told.append)
        made = House(peer, newsroom, path)
        made.told = told
        newsroom.start()
        try:
            await made.open()
            yield made
        finally:
            newsroom.close()
            if made.server is not None:
                await made.server.close()
