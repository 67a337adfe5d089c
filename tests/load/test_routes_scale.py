"""Ten thousand routes are matched as fast as ten."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from gateway.config.snapshot import FixedAnswer, Route, Snapshot
from gateway.edge import live
from gateway.edge.worker import Worker
from gateway.model.exchange import Exchange

FEW, MANY = 10, 10_000
GENEROUS, WANTED = 1.5, 1.1  # times as long; the second on a quiet machine
KINDS = (
    "/team-{n}/**",
    "/page-{n}",
    "/shop-{n}/{{id}}",
    "/shop-{n}/{{id}}/parts/{{part}}",
    "/api/v{n}/deep/er/**",
)
ASKED = ("/team-{n}/a/b", "/page-{n}", "/shop-{n}/7", "/shop-{n}/7/parts/9", "/api/v{n}/deep/er/x")


@pytest.fixture
def worker() -> Iterator[Worker]:
    loop = asyncio.new_event_loop()
    made = Worker(loop, lambda message: None)
    made._meet_identity({"worker": 0}, Snapshot(hash="test"))
    yield made
    loop.close()


def table(worker: Worker, count: int) -> "live.Live":
    """A configuration of so many routes, of every kind."""
    routes = []
    for number in range(count):
        path = KINDS[number % len(KINDS)].format(n=number // len(KINDS))
        routes.append(Route(name=f"r{number}", path=path, answer=FixedAnswer()))
    return live.Live(worker, Snapshot(hash="test", routes=tuple(routes)))


def exchanges(count: int, asked: int) -> list[Exchange]:
    """Requests for `asked` of `count` routes, spread over all of them; every fifth is for none."""
    made = []
    for turn in range(asked):
        number = turn * 7919 % count
        exchange = Exchange()
        exchange.noted = {}
        exchange.host = b"gateway.test"
        path = ASKED[number % len(ASKED)] if turn % 5 else "/nothing-{n}/here"
        exchange.path = path.format(n=number // len(ASKED)).encode()
        made.append(exchange)
    return made


def seconds(configuration: "live.Live", requests: list[Exchange], rounds: int) -> float:
    """The time of one match, in the best of many rounds: what disturbs only makes it longer."""
    find, best = configuration.table.find, float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(20):
            for exchange in requests:
                find(exchange, b"GET")
        best = min(best, time.perf_counter() - began)
    return best / (20 * len(requests))


def ratio(worker: Worker, rounds: int) -> float:
    """How many times as long a match takes among many routes as among few, for the same requests."""
    few, many = table(worker, FEW), table(worker, MANY)
    requests = exchanges(FEW, FEW)
    assert [route_of(few, each) for each in requests] == [route_of(many, each) for each in requests]
    assert sum(route_of(few, each) == "" for each in requests) == 2
    one, other = seconds(few, requests, rounds), seconds(many, requests, rounds)
    everywhere = seconds(many, exchanges(MANY, 1000), max(1, rounds // 20))
    print(
        f"figure: a match takes {one * 1e9:.0f} ns among {FEW} routes, {other * 1e9:.0f} among {MANY}"
        f" (ratio {other / one:.2f}, wanted {WANTED}); {everywhere * 1e9:.0f} for a thousand of them in turn"
    )
    return other / one


def route_of(configuration: "live.Live", exchange: Exchange) -> str:
    found = configuration.table.find(exchange, b"GET")
    return str(getattr(found, "name", ""))


def test_the_number_of_routes_costs_no_time(worker: Worker) -> None:
    assert any(ratio(worker, 100) <= GENEROUS for _ in range(5))


@pytest.mark.hard
def test_ten_thousand_routes_are_within_a_tenth_of_ten(worker: Worker) -> None:
    assert any(ratio(worker, 1000) <= WANTED for _ in range(10))
