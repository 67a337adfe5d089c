"""Connections to the servers of one upstream: kept warm, bounded, dialled when there is none."""

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING

from gateway.config.snapshot import Upstream as Record
from gateway.edge.counters import UpstreamCounters
from gateway.edge.servers import Group, ServerState
from gateway.edge.tls import upstream_context
from gateway.model import faults
from gateway.model.faults import Fault

if TYPE_CHECKING:
    from gateway.edge.upstream import Upstream
    from gateway.edge.worker import Worker

log = logging.getLogger(__name__)


class DialFailed(Exception):
    """No connection to this server; `kind` is what is counted, `fault` what the client is told."""

    def __init__(self, fault: Fault, kind: str) -> None:
        super().__init__(kind)
        self.fault, self.kind = fault, kind


class Pool:
    """One upstream of one configuration."""

    __slots__ = (
        "_ssl", "_waiting", "attempts", "connect_timeout", "counters", "first_byte", "group", "host", "idle",
        "idle_for", "max", "name", "retry_connect", "retry_methods", "retry_reset", "retry_statuses",
        "stream_idle",
        "worker",
    )  # fmt: skip

    def __init__(self, worker: "Worker", record: Record, counters: UpstreamCounters) -> None:
        self.worker = worker
        self.name = record.name
        self.group = Group(record)
        self.counters = counters
        self.max = record.pool_max
        self.idle_for = record.pool_idle
        self.connect_timeout = record.timeouts.connect
        self.first_byte = record.timeouts.first_byte or float("inf")
        self.idle = record.timeouts.idle or float("inf")
        self.stream_idle = record.timeouts.stream_idle or float("inf")
        self.attempts = record.retry.attempts
        self.retry_connect = "connect" in record.retry.when
        self.retry_reset = "reset" in record.retry.when
        self.retry_statuses = frozenset(int(word) for word in record.retry.when if word.isdigit())
        self.retry_methods = frozenset(method.encode() for method in record.retry.methods)
        self.host = (
            b"" if record.host == "preserve" else record.host.encode()
        )  # b"upstream": the server's own
        self._ssl: ssl.SSLContext | None = (
            upstream_context(record.tls) if any(server.secure for server in record.servers) else None
        )
        self._waiting: dict[ServerState, deque[asyncio.Future[None]]] = {}
        self.group.on_removed.append(self.close_idle)

    @property
    def ssl(self) -> ssl.SSLContext | None:
        return self._ssl

    # Taking and giving back

    def warm(self, server: ServerState) -> "Upstream | None":
        """An idle connection, the one used last: it is the least likely to be closed by the other side."""
        idle = server.idle
        while idle:
            connection: Upstream = idle.pop()
            if not connection.closed:
                connection.pool = self  # a reload may have made a new pool round the same servers
                return connection
        return None

    def adopt(self, old: "Pool") -> None:
        """After a reload: keep the connections to servers that are still the same."""
        self.group.adopt(old.group)
        self._waiting = old._waiting

    def release(self, connection: "Upstream", now: float) -> None:
        """A connection whose request has ended well just now; the next one may use it."""
        server = connection.server
        if server.gone:
            connection.close()
            return
        connection.since = now
        server.idle.append(connection)
        if self._waiting:
            self.let_one_in(server)

    def let_one_in(self, server: ServerState) -> None:
        waiting = self._waiting.get(server)
        while waiting:
            waiter = waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._waiting.pop(server, None)

    async def connection(self, server: ServerState, *, fresh: bool) -> "Upstream":
        """A warm connection or (always, when `fresh`) a new one; waits while the server has as many as it
        may."""
        deadline = time.monotonic() + self.connect_timeout
        while True:
            warm = self.warm(server)
            if warm is not None:
                if not fresh:
                    return warm
                warm.close()
            if server.open < self.max:
                return await self._dial(server, deadline)
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(server, deque()).append(waiter)
            try:
                await asyncio.wait_for(waiter, deadline - time.monotonic())
            except TimeoutError:
                if waiter.done() and not waiter.cancelled():
                    self.let_one_in(server)  # its turn came in the same moment; pass it on
                raise DialFailed(faults.UPSTREAM_BUSY, "busy") from None
            except asyncio.CancelledError:
                self.let_one_in(server)  # the turn may have been this one's; pass it on
                raise

    async def _dial(self, server: ServerState, deadline: float) -> "Upstream":
        from gateway.edge.upstream import Upstream  # noqa: PLC0415 - the two know each other

        server.open += 1  # counted before it stands, so that a burst can't pass the bound
        connection = Upstream(self, server)
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                await self._connect(server, connection)
            return connection
        except TimeoutError:
            failure = DialFailed(faults.UPSTREAM_CONNECT_TIMEOUT, "connect_timeout")
        except (ssl.SSLError, ssl.CertificateError):
            failure = DialFailed(faults.UPSTREAM_TLS, "tls")
        except OSError:
            failure = DialFailed(faults.UPSTREAM_UNAVAILABLE, "connect")
        except BaseException:
            self._undo(connection)
            raise
        self._undo(connection)
        raise failure from None

    def _undo(self, connection: "Upstream") -> None:
        if connection.stood:  # its connection_lost counts it off
            connection.close()
            return
        connection.server.open -= 1
        self.let_one_in(connection.server)

    async def _connect(self, server: ServerState, connection: "Upstream") -> None:
        loop = self.worker.loop
        secure = server.record.secure
        context = self._ssl if secure else None
        name = self.group.upstream.tls.server_name or server.record.host or "localhost" if secure else None

        address = server.address
        if isinstance(address, str):
            await loop.create_unix_connection(lambda: connection, address, ssl=context, server_hostname=name)
            return
        family = socket.AddressFamily(server.family)
        await loop.create_connection(
            lambda: connection, address[0], address[1], family=family, ssl=context, server_hostname=name
        )

    def failed(self, server: ServerState, kind: str) -> None:
        """Count a failure of the server; it may be ejected for it."""
        self.counters.fail(kind)
        if self.group.failed(server, kind, time.monotonic()):
            log.warning("%s: %s is ejected for %.0f s: %s", self.name, server.name, server.ejected_for, kind)

    # Tidying

    def sweep(self, now: float) -> None:
        """Close what was idle too long; oldest first."""
        for server in self.group.servers:
            idle = server.idle
            while idle and (idle[0].closed or now - idle[0].since > self.idle_for):
                idle.popleft().close()

    def close_idle(self, server: ServerState) -> None:
        while server.idle:
            server.idle.pop().close()

    def close(self) -> None:
        """This configuration is over: idle connections go, those in use end with their requests."""
        for server in self.group.servers:
            server.gone = True
            self.close_idle(server)
