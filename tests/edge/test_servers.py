"""Which servers of an upstream take requests: ejected by health and by failures, never the last one."""

import asyncio
import socket
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Health, Outlier, Server, Timeouts, Upstream, UpstreamTls
from gateway.edge.servers import Found, Group, ServerState
from gateway.model.exchange import Exchange
from tests.edge.moved import Clock

EJECT = Outlier(failures=3, eject=10.0, max_ejected=0.5)
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
    return any([group.failed(server, "connect", clock.now) for _ in range(times)])


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Failures of requests


def test_failures_in_a_row_eject_a_server_and_the_others_take_over(clock: Clock) -> None:
    three = group(clock, fixed(3))
    first = three.servers[0]
    assert not fail(three, first, clock, 2)
    assert picked(three) == set(three.servers)
    assert three.failed(first, "reset", clock.now)
    assert picked(three) == set(three.servers[1:]) == set(three.usable())


def test_a_success_breaks_the_row(clock: Clock) -> None:
    two = group(clock, fixed(2))
    fail(two, two.servers[0], clock, 2)
    two.succeeded(two.servers[0])
    assert not fail(two, two.servers[0], clock, 2)
    assert picked(two) == set(two.servers)


def test_an_ejected_server_returns_when_its_time_is_over(clock: Clock) -> None:
    two = group(clock, fixed(2))
    fail(two, two.servers[0], clock)
    clock.now += 9.9
    assert picked(two) == {two.servers[1]}
    clock.now += 0.2
    assert picked(two) == set(two.servers)


def test_one_that_fails_at_once_again_stays_out_twice_as_long_up_to_a_bound(clock: Clock) -> None:
    two = group(clock, fixed(2))
    first = two.servers[0]
    fail(two, first, clock)
    stays = []
    for _ in range(7):
        clock.now = first.ejected_until
        assert first in picked(two)
        assert two.failed(first, "connect", clock.now)  # one more failure in the same row is enough
        stays.append(first.ejected_until - clock.now)
    assert stays == [20, 40, 80, 160, 300, 300, 300]


def test_one_that_was_well_for_longer_than_it_was_out_starts_anew(clock: Clock) -> None:
    two = group(clock, fixed(2))
    first = two.servers[0]
    fail(two, first, clock)
    clock.now = first.ejected_until + 10.5
    two.succeeded(first)
    fail(two, first, clock)
    assert first.ejected_until - clock.now == 10


def test_no_more_than_the_allowed_share_is_ejected(clock: Clock) -> None:
    five = group(clock, fixed(5))
    ejected = [fail(five, server, clock) for server in five.servers]
    assert ejected == [True, True, False, False, False]
    assert picked(five) == set(five.servers[2:])


@pytest.mark.parametrize(("share", "count", "most"), [(0.29, 100, 29), (0.3, 3, 0), (1.0, 4, 3), (0.0, 4, 0)])
def test_the_share_is_counted_exactly(clock: Clock, share: float, count: int, most: int) -> None:
    many = group(clock, fixed(count), outlier=Outlier(1, 10.0, share))
    assert sum(fail(many, server, clock) for server in many.servers) == most


def test_the_last_one_is_never_ejected(clock: Clock) -> None:
    one = group(clock, fixed(1), outlier=Outlier(1, 10.0, 1.0))
    assert not fail(one, one.servers[0], clock, 100)
    assert picked(one) == set(one.servers)
    two = group(clock, fixed(2), outlier=Outlier(1, 10.0, 1.0))
    assert fail(two, two.servers[0], clock, 1)
    assert not fail(two, two.servers[1], clock, 100)
    assert picked(two) == {two.servers[1]}


def test_without_a_number_of_failures_nobody_is_ejected(clock: Clock) -> None:
    two = group(clock, fixed(2), outlier=Outlier(failures=0))
    assert not fail(two, two.servers[0], clock, 100)
    assert picked(two) == set(two.servers)


def test_failures_are_counted_by_kind_and_outlive_the_server(clock: Clock) -> None:
    named = group(clock, (NAMED,))
    named.resolved(NAMED, [at(1)])
    server = named.servers[0]
    named.failed(server, "connect", clock.now)
    named.failed(server, "connect", clock.now)
    named.failed(server, "timeout", clock.now)
    assert server.errors == {"connect": 2, "timeout": 1}
    named.resolved(NAMED, [at(2)])
    named.failed(server, "reset", clock.now)
    assert named.errors == {"connect": 2, "timeout": 1, "reset": 1}


# Second attempts


def test_a_second_attempt_goes_to_another_server(clock: Clock) -> None:
    three = group(clock, fixed(3))
    first, second, third = three.servers
    assert {three.pick(Exchange(), (first,)) for _ in range(9)} == {second, third}
    assert three.pick(Exchange(), frozenset((first, third))) is second
    assert three.pick(Exchange(), (first, second, third)) is None


def test_a_second_attempt_takes_an_ejected_server_rather_than_none(clock: Clock) -> None:
    two = group(clock, fixed(2))
    ejected, other = two.servers
    fail(two, ejected, clock)
    assert two.pick(Exchange(), (other,)) is ejected


def test_the_one_server_is_not_offered_twice(clock: Clock) -> None:
    one = group(clock, fixed(1))
    assert one.pick(Exchange(), (one.servers[0],)) is None


# Checks

CHECK = Health("/healthz", healthy=2, unhealthy=3)


def test_a_server_leaves_after_failed_checks_in_a_row_and_returns_after_passed_ones(clock: Clock) -> None:
    two = group(clock, fixed(2), health=CHECK)
    first, second = two.servers
    assert [two.checked(first, passed) for passed in (False, False, True, False, False)] == [False] * 5
    assert picked(two) == {first, second}
    assert two.checked(first, False)
    assert picked(two) == {second}
    assert [two.checked(first, passed) for passed in (True, False, True)] == [False] * 3
    assert two.checked(first, True)
    assert picked(two) == {first, second}


def test_the_last_one_stays_in_use_even_when_its_checks_fail(clock: Clock) -> None:
    three = group(clock, fixed(3), health=CHECK)
    first, second, third = three.servers
    for server in (third, first, second):
        for _ in range(3):
            three.checked(server, False)
    assert not second.healthy
    assert picked(three) == {second}
    three.checked(third, True)
    three.checked(third, True)
    assert picked(three) == {third}


def test_an_ejected_server_that_passes_its_checks_is_better_than_one_that_does_not(clock: Clock) -> None:
    two = group(clock, fixed(2), health=CHECK)
    ejected, failing = two.servers
    fail(two, ejected, clock)
    for _ in range(3):
        two.checked(failing, False)
    assert picked(two) == {ejected}


def test_a_server_that_alone_passes_its_checks_is_not_ejected(clock: Clock) -> None:
    two = group(clock, fixed(2), health=CHECK, outlier=Outlier(1, 10.0, 1.0))
    healthy, failing = two.servers
    for _ in range(3):
        two.checked(failing, False)
    assert not fail(two, healthy, clock, 50)
    assert picked(two) == {healthy}


def test_health_found_again_ends_an_ejection(clock: Clock) -> None:
    two = group(clock, fixed(2), health=CHECK)
    first = two.servers[0]
    fail(two, first, clock)
    for passed in (False, False, False, True, True):
        two.checked(first, passed)
    assert first in picked(two)
    assert not two.failed(first, "reset", clock.now)


# Names


def test_every_address_of_a_name_becomes_a_server(clock: Clock) -> None:
    named = group(clock, (NAMED, *fixed(1)))
    assert [server.name for server in named.servers] == ["http://10.0.0.1"]
    named.resolved(NAMED, [at(5), at(6), at(5)])
    assert [(server.name, server.address) for server in named.servers[1:]] == [
        ("http://app.test (10.0.0.5)", ("10.0.0.5", 80)),
        ("http://app.test (10.0.0.6)", ("10.0.0.6", 80)),
    ]
    assert picked(named) == set(named.servers)


def test_addresses_that_stay_keep_their_state_and_those_that_vanish_are_drained(clock: Clock) -> None:
    named = group(clock, (NAMED,))
    named.resolved(NAMED, [at(1), at(2)])
    stays, leaves = named.servers
    stays.active, leaves.active = 3, 4
    told: list[tuple[str, ServerState]] = []
    named.on_added.append(lambda server: told.append(("added", server)))
    named.on_removed.append(lambda server: told.append(("removed", server)))
    named.resolved(NAMED, [at(3), at(1)])
    assert named.servers[0] is stays and stays.active == 3 and not stays.gone
    assert leaves.gone and leaves not in picked(named)
    assert told == [("added", named.servers[1]), ("removed", leaves)]


def test_a_failed_look_up_keeps_the_old_addresses(clock: Clock) -> None:
    named = group(clock, (NAMED,))
    named.resolved(NAMED, [at(1)])
    before = list(named.servers)
    named.resolved(NAMED, None)
    assert named.servers == before and picked(named) == set(before)


def test_a_vanished_server_is_neither_ejected_nor_checked_any_more(clock: Clock) -> None:
    named = group(clock, (NAMED,), health=CHECK)
    named.resolved(NAMED, [at(1), at(2), at(3)])
    leaves = named.servers[0]
    named.resolved(NAMED, [at(2), at(3)])
    assert not fail(named, leaves, clock, 20)
    assert not any(named.checked(leaves, False) for _ in range(9))
    assert picked(named) == set(named.servers)


def test_an_ipv6_address_and_a_unix_socket_need_no_look_up(clock: Clock) -> None:
    both = group(
        clock, (Server("http://[::1]:8", host="::1", port=8), Server("unix:/run/a.sock", path="/run/a.sock"))
    )
    assert not both.resolving
    assert [(server.family, server.address) for server in both.servers] == [
        (socket.AF_INET6, ("::1", 8)),
        (socket.AF_UNIX, "/run/a.sock"),
    ]


async def test_requests_wait_for_the_first_look_up(clock: Clock) -> None:
    named = group(clock, (NAMED,), connect=30)
    assert named.resolving and named.pick(Exchange()) is None
    waiting = [asyncio.create_task(named.ready()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    named.resolved(NAMED, [at(1)])
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert not named.resolving and named.pick(Exchange()) is named.servers[0]


async def test_a_first_look_up_that_fails_ends_the_waiting(clock: Clock) -> None:
    other = Server("http://other.test", host="other.test", port=80)
    named = group(clock, (NAMED, other), connect=30)
    waiting = asyncio.create_task(named.ready())
    await asyncio.sleep(0)
    named.resolved(NAMED, None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()  # the other name may still bring a server
    named.resolved(other, None)
    await asyncio.wait_for(waiting, 10)
    assert named.pick(Exchange()) is None


async def test_nobody_waits_longer_than_for_a_connection(clock: Clock) -> None:
    named = group(clock, (NAMED,), connect=0.01)
    await asyncio.wait_for(named.ready(), 10)
    assert named.resolving and named.pick(Exchange()) is None


# Reload


def test_a_reload_keeps_the_servers_that_are_the_same(clock: Clock) -> None:
    old = group(clock, fixed(3))
    for server in old.servers:
        server.idle.append("a connection")
    fail(old, old.servers[0], clock)
    gone: list[ServerState] = []
    old.on_removed.append(gone.append)
    one, two, _ = fixed(3)
    heavier = Server(two.name, host=two.host, port=two.port, weight=3)
    new = group(clock, (one, heavier, Server("http://10.0.0.9", host="10.0.0.9", port=80)))
    new.adopt(old)
    assert new.servers[:2] == old.servers[:2]
    assert new.servers[1].weight == 3 and new.servers[1].idle
    assert new.servers[2].name == "http://10.0.0.9" and not new.servers[2].idle
    assert gone == [old.servers[2]] and gone[0].gone
    assert picked(new) == set(new.servers[1:])  # the first is ejected still
    assert new.errors == {"connect": 3}
    clock.now += 11
    assert picked(new) == set(new.servers)


def test_a_reload_keeps_what_dns_said(clock: Clock) -> None:
    old = group(clock, (NAMED,))
    old.resolved(NAMED, [at(1), at(2)])
    renamed = Server("http://app.test:80", host="app.test", port=80)
    new = group(clock, (renamed,))
    assert new.resolving
    new.adopt(old)
    assert not new.resolving and new.servers == old.servers
    assert new.servers[0].name == "http://app.test:80 (10.0.0.1)"
    new.resolved(renamed, [at(2)])
    assert [server.address for server in new.servers] == [("10.0.0.2", 80)]


def test_connections_made_with_other_tls_settings_are_not_taken_over(clock: Clock) -> None:
    old = group(clock, fixed(2))
    new = group(clock, fixed(2), tls=UpstreamTls(server_name="other.test"))
    new.adopt(old)
    assert not set(new.servers) & set(old.servers)
    assert all(server.gone for server in old.servers)
    assert picked(new) == set(new.servers)


def test_without_checks_in_the_new_file_everybody_is_healthy(clock: Clock) -> None:
    old = group(clock, fixed(2), health=CHECK)
    for _ in range(3):
        old.checked(old.servers[0], False)
    new = group(clock, fixed(2))
    new.adopt(old)
    assert picked(new) == set(new.servers)


# All of it together

events = st.one_of(
    st.tuples(st.just("fail"), st.integers(0, 9)),
    st.tuples(st.just("succeed"), st.integers(0, 9)),
    st.tuples(st.just("pass"), st.integers(0, 9)),
    st.tuples(st.just("miss"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(1, 30)),
    st.tuples(st.just("dns"), st.sets(st.integers(1, 6), min_size=1)),
)


@given(st.lists(events, max_size=60), st.sampled_from([0.0, 0.34, 0.5, 1.0]))
def test_whatever_happens_some_server_takes_requests(
    happened: list[tuple[str, int | set[int]]], share: float
) -> None:
    clock = Clock()
    named = group(
        clock, (NAMED,), outlier=Outlier(1, 10.0, share), health=Health("/", healthy=1, unhealthy=1)
    )
    named.resolved(NAMED, [at(1)])
    for what, which in happened:
        if isinstance(which, set):
            named.resolved(NAMED, [at(number) for number in sorted(which)])
            continue
        server = named.servers[which % len(named.servers)]
        if what == "fail":
            named.failed(server, "reset", clock.now)
        elif what == "succeed":
            named.succeeded(server)
        elif what == "wait":
            clock.now += which
        else:
            named.checked(server, what == "pass")
        taking = picked(named)
        assert taking == set(named.usable()) and taking <= set(named.servers)
        wanted = {each for each in named.servers if each.healthy and each.ejected_until <= clock.now}
        assert taking == wanted if wanted else len(taking) >= 1
