"""The edge worker's process: takes its sockets and its configuration from the supervisor, and serves.

python -m gateway.edge.worker --control FD
"""

import asyncio
import contextlib
import gc
import logging
import random
import resource
import socket
import sys
import time
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from gateway.config import snapshot as config
from gateway.edge.access_log import AccessLog, LineWriter
from gateway.edge.assertions import Assertions
from gateway.edge.clock import expire
from gateway.edge.counters import Counters
from gateway.edge.downstream import Downstream
from gateway.edge.forward_auth import Verifier
from gateway.edge.health import HealthChecker
from gateway.edge.identities import Identities
from gateway.edge.kept import Kept
from gateway.edge.leases import Leases
from gateway.edge.listeners import Listener
from gateway.edge.live import IDENTITY, Live
from gateway.edge.news import Newsroom
from gateway.edge.redirect import RedirectProtocol, Room
from gateway.edge.reply_heads import ReplyReader
from gateway.edge.report import samples
from gateway.edge.resolver import Resolver
from gateway.edge.states import SENDING, SENT, WAITING
from gateway.edge.streams import LASTS, Streams
from gateway.edge.tls import BadTls, ServerTls
from gateway.edge.tokens import Ids
from gateway.link import child, frames
from gateway.model.addresses import TrustedProxies
from gateway.model.exchange import Exchange

log = logging.getLogger(__name__)
SWEEP = 0.25  # seconds: how exactly deadlines are kept
IDLE_AFTER_DRAIN = 2.0  # seconds that an idle connection has for its one more request
_TLS_LOOKED_AT = 5.0
_STREAMS_LOOKED_AT = 0.5


class Worker:
    """The process's one context object: all connections, counters and the configuration of the moment."""

    live: Live
    assertions: Assertions
    identities: Identities
    leases: Leases
    streams: Streams

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[frames.Message], None]) -> None:
        self.loop = loop
        self.tell = tell  # the supervisor
        self.newsroom: Newsroom | None = None
        self._identity_path = ""
        self._looked_at_streams = 0.0
        self.connections: set[Downstream] = set()
        self.counters = Counters()
        self.ids = Ids()
        self.reply_reader = ReplyReader()
        self.draining = False
        self._logs: dict[str, AccessLog] = {}
        self._lines = LineWriter()
        self._kept = Kept()
        self._listeners: list[Listener] = []
        self._tls: ServerTls | None = None
        self._tls_looked_at = 0.0
        self._watchers: list[Resolver | HealthChecker] = []
        self._most_connections = 0

    # Configuration

    async def start(self, message: frames.Message) -> None:
        snapshot = config.decode(message["snapshot"])
        self._kept = Kept(message.get("workers") or 1)
        if snapshot.tls is not None:
            self._tls = ServerTls(snapshot.tls, log.warning)
        self._meet_identity(message, snapshot)
        live = Live(self, snapshot)
        live.open_logs(self)
        self._use(live)
        for entry in message["listeners"]:
            sock = socket.socket(fileno=entry["fd"])
            listener = self._listener(snapshot, sock, entry["role"], entry.get("number", 0))
            await listener.start()
            self._listeners.append(listener)
        self.loop.call_later(SWEEP, self._sweep)

    def _meet_identity(self, message: frames.Message, snapshot: config.Snapshot) -> None:
        """The identity service beside us, if this gateway has one; the link is made in the background."""
        where = message.get("identity") or {"http": "", "link": ""}
        self._identity_path = where["http"]
        self.newsroom = Newsroom(self.loop, where["link"], message["worker"], snapshot, self.tell)
        self.identities, self.streams = self.newsroom.identities, self.newsroom.streams
        self.leases = self.newsroom.leases
        self.leases.edges = message.get("workers", 1)  # until the service says
        self.assertions = self.newsroom.assertions
        self.newsroom.start()

    def identity_upstream(self) -> tuple[config.Upstream, ...]:
        """The service, for the built-in routes."""
        server = config.Server(IDENTITY, path=self._identity_path or "/nowhere")
        return (config.Upstream(IDENTITY, (server,), host="preserve"),)

    def _listener(self, snapshot: config.Snapshot, sock: socket.socket, role: str, number: int) -> Listener:
        trusted = TrustedProxies(snapshot.trusted_proxies)
        if role == "forward_auth":
            return Listener(
                self.loop, sock, lambda origin: Verifier(self, origin, number), None, "none", trusted,
                log=log.warning,
            )  # fmt: skip
        if role == "redirect":
            port = https_port(snapshot)
            room = Room(most_connections())
            return Listener(
                self.loop, sock, lambda origin: RedirectProtocol(self.loop, port, room=room), None,
                snapshot.proxy_protocol, trusted, log=log.warning,
            )  # fmt: skip
        secure = self._tls is not None
        return Listener(
            self.loop, sock, lambda origin: Downstream(self, origin, secure), self._tls,
            snapshot.proxy_protocol,
            trusted, log=log.warning,
        )  # fmt: skip

    def reload(self, snapshot: config.Snapshot) -> None:
        """All or nothing: whatever can fail has happened before anything changes."""
        live = Live(self, snapshot)
        live.open_logs(self)
        if self._tls is not None and snapshot.tls is not None:
            self._tls.reload(snapshot.tls)
        for listener in self._listeners:
            listener.trust(TrustedProxies(snapshot.trusted_proxies))
        for access_log in self._logs.values():
            access_log.reopen()
        self._use(live)

    def _use(self, live: Live) -> None:
        old: Live | None = getattr(self, "live", None)
        for watcher in self._watchers:
            watcher.close()
        live.open_logs(self)
        if old is not None:
            for name, pool in old.pools.items():
                if name in live.pools:
                    live.pools[name].adopt(pool)
                else:
                    pool.close()
        self.live = live
        if self.newsroom is not None:
            self.newsroom.use(live.snapshot)
        self._most_connections = live.limits.connections or most_connections()
        self._watchers = []
        for pool in live.pools.values():
            self._watchers += (
                Resolver(
                    pool.group, lambda group, record, reason: log.warning("%s: %s", record.name, reason)
                ),
                HealthChecker(pool.group, _health_changed, pool.ssl),
            )
        for watcher in self._watchers:
            watcher.start()

    def log_to(self, to: str) -> AccessLog:
        if to not in self._logs:
            self._logs[to] = AccessLog(to, self.loop, self._kept)
        return self._logs[to]

    # Connections and requests

    def welcome(self, connection: Downstream) -> bool:
        """Count a new connection; False when there are too many already."""
        self.connections.add(connection)
        return len(self.connections) <= self._most_connections

    def record(self, exchange: Exchange, now: float = 0.0) -> float:
        """Count and log one request: the one place for both. Gives the time, as of now."""
        now = now or monotonic()
        route = exchange.route
        route.counters.add(exchange.method, exchange.status, now - exchange.began)
        if exchange.who is not None:
            route.counters.identified += 1
            if self.streams.open:
                self.streams.discard(exchange)
        if exchange.rare:
            if exchange.failed is not None:
                route.counters.refuse(exchange.failed.code)
            for policy, code in exchange.verdicts:
                if policy == "authenticate":
                    route.counters.authenticated(code)
        access_log = route.log
        if access_log is not None and (route.log_sample >= 1.0 or random.random() < route.log_sample):
            access_log.add(self._lines.line(exchange, route, now))
        return now

    def find(self, request_id: str) -> list[bytes]:
        """The last lines of the access log that are of this request."""
        for access_log in self._logs.values():
            access_log.gather()
        return self._kept.find(request_id)

    def log_crash(self, what: str, exchange: Exchange) -> None:
        log.exception(
            what, extra={"route": exchange.route.name, "request_id": exchange.request_id.decode("ascii")}
        )

    def samples(self) -> list[Any]:
        return samples(
            self.counters, self.live, self.connections, sum(a.dropped for a in self._logs.values()),
            self.identities, self.leases,
        )  # fmt: skip

    # Time

    def _sweep(self) -> None:
        """Deadlines, idle upstream connections, clocks and certificates, a few times a second."""
        self.loop.call_later(SWEEP, self._sweep)  # first of all: whatever happens here, it happens again
        now = time.monotonic()
        for connection in [each for each in self.connections if each.deadline < now]:
            try:
                expire(connection)
            except Exception:
                log.exception("a deadline crashed")
                connection.transport.abort()
        for pool in self.live.pools.values():
            pool.sweep(now)
        self._lines.wall = time.time() - now
        if now - self._looked_at_streams > _STREAMS_LOOKED_AT:
            self._looked_at_streams = now
            self._look_at_streams(now)
        if self._tls is not None and now - self._tls_looked_at > _TLS_LOOKED_AT:
            self._tls_looked_at = now
            self._look_at_certificates(self._tls)

    def _look_at_streams(self, now: float) -> None:
        """Find what has become one that lasts; end those that nobody vouches for any more."""
        for each in self.connections:
            if each.phase in (SENDING, SENT) and now - each.exchange.began > LASTS:
                self.streams.add(each)
        if self.newsroom is not None:
            self.newsroom.look()

    def _look_at_certificates(self, tls: ServerTls) -> None:
        if tls.changed() and self.live.snapshot.tls is not None:
            try:
                tls.reload(self.live.snapshot.tls)
                log.info("the certificate's files have changed: loaded")
            except BadTls as error:
                log.error(
                    "the certificate's files have changed and can't be used; the old ones stay: %s", error
                )

    # The end

    async def drain(self, patience: float) -> None:
        """Take what is queued, give every connection one more reply, end when all are gone or time is up."""
        self.draining = True
        began = time.monotonic()
        await asyncio.wait([asyncio.ensure_future(listener.drain()) for listener in self._listeners])
        while self.connections and time.monotonic() - began < patience:
            if time.monotonic() - began > min(IDLE_AFTER_DRAIN, patience / 2):
                for connection in list(self.connections):
                    if connection.phase == WAITING and not connection.buffer:
                        connection.transport.close()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.transport.abort()
        if self.newsroom is not None:
            self.newsroom.close()
        for access_log in self._logs.values():
            access_log.close()


def _health_changed(group: Any, server: Any, fault: str) -> None:
    if fault:
        log.warning("%s: %s is unhealthy: %s", group.upstream.name, server.name, fault)
    else:
        log.warning("%s: %s is healthy again", group.upstream.name, server.name)


def https_port(snapshot: config.Snapshot) -> int:
    """Where clients reach us by TLS: as `identity.base_url` says, or else where we listen."""
    base = urlsplit(snapshot.identity.base_url)
    if base.scheme == "https":
        return base.port or 443
    return next((listen.port for listen in snapshot.listen if listen.port), 443)


def most_connections() -> int:
    """Half of the files this process may open: each client may need a connection upstream."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(20_000, (soft - 512) // 2))


async def serve(control: socket.socket) -> int:
    """Follow the supervisor's messages until it says drain, or is gone."""
    control.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=control)

    def tell(message: frames.Message) -> None:
        writer.write(frames.encode(message))

    worker = Worker(asyncio.get_running_loop(), tell)
    incoming = frames.FrameReader()
    draining: asyncio.Task[None] | None = None
    while True:
        reading = asyncio.ensure_future(reader.read(1 << 20))
        await asyncio.wait(
            [reading, draining] if draining else [reading], return_when=asyncio.FIRST_COMPLETED
        )
        if draining is not None and draining.done():
            reading.cancel()
            break
        data = await reading
        if not data:
            draining = draining or asyncio.ensure_future(worker.drain(5.0))
            await draining
            break
        for message in incoming.feed(data):
            kind = message["t"]
            if kind == "start":
                try:
                    await worker.start(message)
                except (BadTls, OSError, ValueError) as error:
                    tell({"t": "failed", "error": str(error)})
                    await writer.drain()
                    return 1
                gc.collect()
                gc.freeze()
                gc.set_threshold(50_000, 50, 50)
                tell({"t": "ready"})
            elif kind == "reload":
                tell({"t": "reloaded", "id": message["id"], "error": _reload(worker, message["snapshot"])})
            elif kind == "collect":
                tell({"t": "counters", "id": message["id"], "samples": worker.samples()})
            elif kind == "find":
                tell({"t": "found", "id": message["id"], "lines": worker.find(message["request_id"])})
            elif kind == "drain":
                draining = draining or asyncio.ensure_future(worker.drain(message["timeout"]))
    with contextlib.suppress(OSError):
        tell({"t": "counters", "id": -1, "samples": worker.samples()})
        tell({"t": "drained"})
        await writer.drain()
    writer.close()
    return 0


def _reload(worker: Worker, data: bytes) -> str:
    """The reason why it can't be done; empty when it was done."""
    try:
        worker.reload(config.decode(data))
    except (BadTls, OSError, ValueError) as error:
        return str(error)
    except Exception as error:
        log.exception("a reload crashed")
        return f"the worker could not use the configuration: {error!r}"
    return ""


if __name__ == "__main__":
    sys.exit(child.main(sys.argv, "gateway.edge.worker", serve))
