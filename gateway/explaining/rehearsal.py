"""One request through the real worker, with nobody at the other ends: the same engine, and nothing happens.

The configuration is compiled as a worker compiles it, the head is taken by a real connection's protocol,
judged by the real chain and written upstream by the real code, to a connection that leads nowhere. Its link
leads to a stand-in of the identity service, which looks things up and notes nothing.
"""

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from gateway.config import snapshot as config
from gateway.edge import arrival, states
from gateway.edge.downstream import Downstream
from gateway.edge.live import Live
from gateway.edge.servers import ServerState, literal, resolvable
from gateway.edge.upstream import Upstream
from gateway.edge.worker import Worker
from gateway.explaining.asked import Asked
from gateway.explaining.knowledge import Answers, Remembered, Somebody
from gateway.explaining.trace import Trace
from gateway.explaining.wires import Wire
from gateway.link.server import LinkServer
from gateway.model.addresses import UNIX
from gateway.model.exchange import Exchange

log = logging.getLogger(__name__)
_PATIENCE = 30.0  # seconds for all that is waited for
_SOON = 2.0
_LONGEST_FOLDER = 60
_PORT = 50_000  # of the client: it takes part in nothing
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"


class Sent(msgspec.Struct, frozen=True):
    """What would go upstream."""

    upstream: str
    server: ServerState
    head: bytes


class Rehearsed(msgspec.Struct, frozen=True):
    """One request, from its head to what would go up or come back."""

    exchange: Exchange
    trace: Trace
    sent: Sent | None
    answered: bytes  # by the gateway itself; where the request goes up: to an upstream's plain 200, or 101


class Stage:
    """A worker that serves nobody, under one configuration."""

    def __init__(self, worker: Worker, trace: Trace, answers: Answers) -> None:
        self._worker, self._trace, self._answers = worker, trace, answers
        self._sent: list[Sent] = []
        for name, pool in worker.live.pools.items():
            for record in pool.group.upstream.servers:
                if resolvable(record):  # not looked up here: the name stands for its addresses
                    pool.group.resolved(record, [literal(record)])
            for server in pool.group.servers:
                server.idle.append(self._connected(name, server))

    def _connected(self, name: str, server: ServerState) -> Upstream:
        connection = Upstream(self._worker.live.pools[name], server)

        def written(data: bytes) -> None:
            if not self._sent:
                self._sent.append(Sent(name, server, data))

        connection.transport = cast(asyncio.Transport, Wire(written=written))
        connection.stood = True
        return connection

    def stands_for(self, credential: str, somebody: Somebody) -> None:
        """The service's stand-in knows this credential from now on."""
        self._answers.known[credential] = somebody

    def route_of(self, asked: Asked) -> str:
        """The name of the route that it would take; empty when it finds none."""
        down, wire = self._client(asked)
        exchange = arrival.blank(down)
        refused = arrival.read(down, exchange, asked.head())
        return "" if refused is not None else exchange.route.name

    async def rehearse(self, asked: Asked) -> Rehearsed:
        """The whole way of the request, once."""
        down, wire = self._client(asked)
        others = asyncio.all_tasks()
        down.data_received(asked.head())
        if down.phase == states.WAITING and not wire.written:
            raise ValueError("the head has no end")
        async with asyncio.timeout(_PATIENCE):
            await _settled(down)
            if down.phase == states.GATHERING:  # a body for the identity service is awaited whole
                down.data_received(_body(down.exchange))
                await _settled(down)
            await _over(asyncio.all_tasks() - others)
        exchange = down.exchange
        sent = self._sent.pop() if self._sent else None
        if sent is not None:
            wire.written = b""
            self._reply(down, exchange)
        return Rehearsed(exchange, self._trace, sent, wire.written)

    def _reply(self, down: Downstream, exchange: Exchange) -> None:
        """What is added to a reply shows on a plain one."""
        assert down.upstream is not None
        upgrade = exchange.upgrade
        down.upstream.data_received(_SWITCHING % upgrade if upgrade else _REPLY)

    def _client(self, asked: Asked) -> tuple[Downstream, Wire]:
        snapshot = self._worker.live.snapshot
        here = snapshot.listen[0]
        wire = Wire(
            "" if asked.address == UNIX else (asked.address, _PORT),
            here.path if here.path else (here.host, here.port),
        )
        down = Downstream(self._worker, None, snapshot.tls is not None)
        down.transport = cast(asyncio.Transport, wire)
        arrival.settle(down, self._worker.live)
        return down, wire


@asynccontextmanager
async def staged(snapshot: config.Snapshot, knowledge: Remembered) -> AsyncIterator[Stage]:
    """Ready for one request."""
    trace = Trace()
    answers = Answers(knowledge, trace)
    where_to = None if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"  # a socket's path is short
    with tempfile.TemporaryDirectory(prefix="postern-explain-", dir=where_to) as folder:
        path = os.path.join(folder, "link")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        server = LinkServer(sock, answers, answers, log)
        await server.start()
        worker = Worker(asyncio.get_running_loop(), lambda message: None)
        try:
            where = {"http": os.path.join(folder, "http"), "link": path}
            worker._meet_identity({"worker": 0, "identity": where}, snapshot)
            assert worker.newsroom is not None
            async with asyncio.timeout(_PATIENCE):
                while not worker.newsroom.link.up:
                    await asyncio.sleep(0.001)
            worker.live = Live(worker, _without_files(snapshot))
            trace.watch(worker.live.routes)
            yield Stage(worker, trace, answers)
        finally:
            if worker.newsroom is not None:
                worker.newsroom.close()
            await server.close()


def _without_files(snapshot: config.Snapshot) -> config.Snapshot:
    """Keys and certificates of upstreams need not be readable for somebody who connects to none."""
    plain = (msgspec.structs.replace(each, tls=config.UpstreamTls()) for each in snapshot.upstreams)
    return msgspec.structs.replace(snapshot, upstreams=tuple(plain))


async def _settled(down: Downstream) -> None:
    """Until it waits for nothing but the client or the upstream."""
    last: Any = None
    while (task := down.task) is not None and task is not last:
        last = task
        await asyncio.wait([task])


async def _over(begun: "set[asyncio.Task[Any]]") -> None:
    """What policies have begun and wait for no longer, such as telling somebody."""
    if begun:
        await asyncio.wait(begun, timeout=_SOON)


def _body(exchange: Exchange) -> bytes:
    length = exchange.content_length
    return b"0\r\n\r\n" if length is None else b" " * length
