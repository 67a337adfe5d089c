"""Groups of servers for tests, and what to do to them."""

import socket
from random import Random

from gateway.config.snapshot import Health, Outlier, Server, Timeouts, Upstream, UpstreamTls
from gateway.edge.servers import Found, Group, ServerState
from gateway.model.exchange import Exchange
from tests.edge.moved import Clock

EJECT = Outlier(failures=3, eject=10.0, max_ejected=0.5)
CHECK = Health("/healthz", healthy=2, unhealthy=3)
NAMED = Server("http://app.test", host="app.test", port=80)


def at(number: int, port: int = 80) -> Found:
    return socket.AF_INET, (f"10.0.0.{number}", port)


def fixed(count: int) -> tuple[Server, ...]:
    return tuple(Server(f"http://10.0.0.{n}", host=f"10.0.0.{n}", port=80) for n in range(1, count + 1))


def group(
    clock: Clock,
    servers: tuple[Server, ...],
    *,
    outlier: Outlier = EJECT,
    health: Health | None = None,
    tls: UpstreamTls | None = None,
    connect: float = 2.0,
) -> Group:
    upstream = Upstream(
        "app",
        servers,
        "round_robin",
        outlier=outlier,
        health=health,
        tls=tls or UpstreamTls(),
        timeouts=Timeouts(connect=connect),
    )
    return Group(upstream, clock, Random(1))


def picked(group: Group, count: int = 20) -> set[ServerState]:
    exchange = Exchange()
    return {server for server in (group.pick(exchange) for _ in range(count)) if server is not None}


def fail(group: Group, server: ServerState, clock: Clock, times: int = EJECT.failures) -> bool:
    return any(group.failed(server, "connect", clock.now) for _ in range(times))
