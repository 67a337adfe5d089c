"""Which servers of an upstream take requests: ejected by health and by failures, never the last one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Health, Outlier
from gateway.model.exchange import Exchange
from tests.edge.groups import CHECK, NAMED, at, fail, fixed, group, picked
from tests.edge.moved import Clock


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
