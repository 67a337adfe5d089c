"""One upstream's servers: what is known of each, which of them take requests, and which takes the next."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from math import inf
from random import Random
from typing import Any

import msgspec

from gateway.config.snapshot import Server, Upstream
from gateway.edge.balance import Balancer, balancer
from gateway.model.exchange import Exchange

Address = tuple[Any, ...] | str  # as the socket module has it; a str is the path of a Unix socket
Found = tuple[int, Address]  # family and address
Notice = Callable[["ServerState"], None]
Tried = frozenset["ServerState"] | tuple["ServerState", ...]

LONGEST_EJECTION = 300.0


class ServerState:
    """One address of an upstream, as this worker sees it."""

    __slots__ = (
        "active", "address", "checks", "ejected_for", "ejected_until", "errors", "failures", "family", "gone",
        "healthy", "idle", "key", "log_name", "name", "open", "record", "weight",
    )  # fmt: skip

    def __init__(self, record: Server, family: int, address: Address) -> None:
        self.record = record
        self.family = family
        self.address = address
        self.name = label(record, address)
        self.log_name = msgspec.json.encode(self.name)
        self.key = _key(address)  # what hashing knows it by: equal in all workers
        self.weight = record.weight
        self.active = 0  # requests now
        self.open = 0  # connections
        self.idle: deque[Any] = deque()  # connections waiting for a request
        self.gone = False  # no longer in the configuration or in DNS: close what becomes idle
        self.healthy = True  # by the active checks
        self.checks = 0  # in a row: passed when positive, failed when negative
        self.failures = 0  # of requests, in a row
        self.ejected_until = -inf
        self.ejected_for = 0.0
        self.errors: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<ServerState {self.name} active={self.active} open={self.open}>"


class Group:
    """One upstream. Made per snapshot; `adopt` carries over what lives on."""

    __slots__ = (
        "_balancer", "_choose", "_clock", "_last", "_only", "_outlier", "_random", "_returns", "_unresolved",
        "_usable", "_waiter", "errors", "on_added", "on_removed", "servers", "upstream",
    )  # fmt: skip

    def __init__(
        self, upstream: Upstream, clock: Callable[[], float] = time.monotonic, random: Random | None = None
    ) -> None:
        self.upstream = upstream
        self.servers: list[ServerState] = []
        self.errors: dict[str, int] = {}  # of all servers, those that are gone too
        self.on_added: list[Notice] = []
        self.on_removed: list[Notice] = []
        self._outlier = upstream.outlier
        self._clock = clock
        self._random = random or Random()
        self._returns = inf  # when the next ejection ends
        self._usable: tuple[ServerState, ...] = ()
        self._only: ServerState | None = None
        self._last: ServerState | None = None  # the last that was usable, should none be now
        self._balancer: Balancer[ServerState] | None = None
        self._choose: Callable[[Exchange], ServerState | None] = _none
        self._unresolved = {server for server in upstream.servers if resolvable(server)}
        self._waiter: asyncio.Event | None = None
        for record in upstream.servers:
            if record not in self._unresolved:
                self.servers.append(ServerState(record, *literal(record)))
        self._recompute(clock())

    # Choosing

    def pick(self, exchange: Exchange, tried: Tried = ()) -> ServerState | None:
        """The server for this request, none of those it tried before; None when there is none."""
        if self._returns != inf and self._clock() >= self._returns:
            self._recompute(self._clock())
        if tried:
            return self._pick_another(exchange, tried)
        return self._only or self._choose(exchange)

    def usable(self) -> tuple[ServerState, ...]:
        """Those that take requests now."""
        if self._clock() >= self._returns:
            self._recompute(self._clock())
        return self._usable

    def _pick_another(self, exchange: Exchange, tried: Tried) -> ServerState | None:
        if self._balancer is not None:
            for server in self._balancer.order(exchange):
                if server not in tried:
                    return server
        # A server out of use may have recovered unseen: better than to fail the request now.
        rest = [server for server in self.servers if server not in tried]
        return max(rest, key=lambda server: (server.healthy, -server.ejected_until), default=None)

    # What requests tell

    def succeeded(self, server: ServerState) -> None:
        server.failures = 0

    def failed(self, server: ServerState, kind: str, now: float) -> bool:
        """Count a failure of the server; True when it is ejected for it."""
        server.errors[kind] = server.errors.get(kind, 0) + 1
        self.errors[kind] = self.errors.get(kind, 0) + 1
        server.failures += 1
        if server.failures < self._outlier.failures or not self._may_eject(server, now):
            return False
        # One that fails again soon after its return stays out for longer each time.
        again = now - server.ejected_until < server.ejected_for
        longest = max(self._outlier.eject, LONGEST_EJECTION)
        server.ejected_for = min(2 * server.ejected_for, longest) if again else self._outlier.eject
        server.ejected_until = now + server.ejected_for
        self._recompute(now)
        return True

    def _may_eject(self, server: ServerState, now: float) -> bool:
        if server.gone or server.ejected_until > now or not self._outlier.failures:
            return False
        others = [other for other in self.servers if other is not server]
        out = sum(other.ejected_until > now for other in others)
        last = not any(other.healthy and other.ejected_until <= now for other in others)
        # A little more than the product, for 0.29 * 100 is less than 29.
        return not last and out + 1 <= self._outlier.max_ejected * len(self.servers) + 1e-9

    # What checks tell

    def checked(self, server: ServerState, passed: bool) -> bool:
        """Note the result of an active check; True when the server's health changed by it."""
        health = self.upstream.health
        if health is None or server.gone:
            return False
        server.checks = max(server.checks, 0) + 1 if passed else min(server.checks, 0) - 1
        if server.healthy == passed or abs(server.checks) < (health.healthy if passed else health.unhealthy):
            return False
        server.healthy = passed
        if passed:  # checked anew: what its requests met before no longer counts
            server.failures, server.ejected_until = 0, -inf
        self._recompute(self._clock())
        return True

    # What DNS tells

    @property
    def resolving(self) -> bool:
        """Some host name has not been looked up yet: without a server, wait for `ready`."""
        return bool(self._unresolved)

    async def ready(self) -> None:
        """Wait for a server, until every name was looked up once, at most for the time to connect."""
        deadline = self._clock() + self.upstream.timeouts.connect
        while not self.servers and self._unresolved and (left := deadline - self._clock()) > 0:
            self._waiter = self._waiter or asyncio.Event()
            try:
                await asyncio.wait_for(self._waiter.wait(), left)
            except TimeoutError:
                return

    def resolved(self, record: Server, found: Iterable[Found] | None) -> None:
        """Take the addresses of a host name; None when it could not be looked up: the old ones stay."""
        self._unresolved.discard(record)
        added: list[ServerState] = []
        removed: list[ServerState] = []
        if found is not None:
            wanted = dict.fromkeys(found)
            present = {(state.family, state.address) for state in self.servers if state.record == record}
            removed = [
                state
                for state in self.servers
                if state.record == record and (state.family, state.address) not in wanted
            ]
            for family, address in wanted:
                if (family, address) not in present:
                    added.append(ServerState(record, family, address))
            self.servers = [state for state in self.servers if state not in removed] + added
            self._recompute(self._clock())
        if self._waiter is not None:
            self._waiter.set()
            self._waiter = None
        for state in added:
            _tell(self.on_added, state)
        self._remove(removed)

    # Reload

    def adopt(self, old: "Group") -> None:
        """Take over every server of the former snapshot's group that is still the same, with its connections.

        Only when the new snapshot is sure to be used, and after the old resolver and checker were closed:
        the states belong to this group then. Those left over are gone; the old group's `on_removed` is told.
        """
        self.errors = old.errors
        same_tls = self.upstream.tls == old.upstream.tls
        records = {_place(record): record for record in self.upstream.servers} if same_tls else {}
        fixed = {_place(state.record): state for state in self.servers}
        left: list[ServerState] = []
        kept: list[ServerState] = []
        for state in old.servers:
            record = records.get(_place(state.record))
            if record is None:
                left.append(state)
                continue
            self._keep(state, record)
            fixed.pop(_place(record), None)
            kept.append(state)
        self.servers = kept + list(fixed.values())
        self._recompute(self._clock())
        old._remove(left)

    def _keep(self, state: ServerState, record: Server) -> None:
        self._unresolved.discard(record)
        state.record, state.weight, state.name = record, record.weight, label(record, state.address)
        state.log_name = msgspec.json.encode(state.name)
        if self.upstream.health is None:
            state.healthy, state.checks = True, 0

    # The usable ones

    def _remove(self, states: Iterable[ServerState]) -> None:
        for state in states:
            state.gone = True
            _tell(self.on_removed, state)

    def _recompute(self, now: float) -> None:
        """Who takes requests: the healthy that are not ejected, but never nobody while there is a server."""
        healthy = [state for state in self.servers if state.healthy]
        usable = [state for state in healthy if state.ejected_until <= now] or healthy
        if not usable and self.servers:
            usable = [self._last if self._last in self.servers else self.servers[0]]
        self._returns = min([s.ejected_until for s in self.servers if s.ejected_until > now], default=inf)
        if tuple(usable) != self._usable or self._balancer is None:
            self._usable = tuple(usable)
            self._last = usable[-1] if usable else None
            self._balancer = balancer(self.upstream.balance, usable, self._random) if usable else None
            self._choose = self._balancer.pick if self._balancer is not None else _none
            self._only = usable[0] if len(usable) == 1 else None


def resolvable(record: Server) -> bool:
    """Whether the server is named by a host name, which DNS must turn into addresses."""
    if record.path:
        return False
    try:
        ip_address(record.host)
    except ValueError:
        return True
    return False


def label(record: Server, address: Address) -> str:
    """The server's name in logs and metrics."""
    return f"{record.name} ({address[0]})" if resolvable(record) else record.name


def authority(record: Server) -> str:
    """The server's own Host: with its port unless that is the scheme's."""
    if record.path:
        return "localhost"
    name = f"[{record.host}]" if ":" in record.host else record.host
    return name if record.port == (443 if record.secure else 80) else f"{name}:{record.port}"


def literal(record: Server) -> Found:
    """Family and address of a server that needs no DNS."""
    if record.path:
        return socket.AF_UNIX, record.path
    if ":" in record.host:
        return socket.AF_INET6, (record.host, record.port)
    return socket.AF_INET, (record.host, record.port)


def _place(record: Server) -> tuple[str, int, str, bool]:
    return record.host, record.port, record.path, record.secure


def _key(address: Address) -> bytes:
    return (address if isinstance(address, str) else f"{address[0]} {address[1]}").encode()


def _none(exchange: Exchange) -> ServerState | None:
    return None


def _tell(listeners: list[Notice], state: ServerState) -> None:
    for listener in listeners:
        listener(state)
