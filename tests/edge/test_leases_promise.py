"""Over any number of workers, however late answers are: never more than the limit per aligned window."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.rates import Rule
from tests.edge.leased import House, rule

ALIGNED = ("sliding_window", "fixed_window")
PAUSES = (0.0001, 0.01, 0.2, 0.25, 0.499, 0.75, 1.0, 2.5, 11.0)
LIMIT = st.tuples(st.sampled_from([1, 19, 45]), st.sampled_from([1, 3, 10]))
LIMITS = st.lists(LIMIT, min_size=1, max_size=2, unique_by=lambda each: each[1])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rush"), st.integers(0, 7), st.integers(1, 99)),
        st.tuples(st.just("come"), st.integers(0, 7), st.integers(1, 40)),
        st.tuples(st.just("pass"), st.sampled_from(PAUSES), st.just(0)),
        st.tuples(st.just("count"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("deliver"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("answer"), st.just(0), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("reconnect"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("go away"), st.integers(0, 7), st.just(0)),
    ),
    min_size=20,
    max_size=120,
)


async def play(steps: list[tuple[str, float, int]], which: Rule, workers: int) -> House:
    house = House(workers)
    for step, where, many in steps:
        number = int(where)
        if step == "pass":
            house.time += where
        elif step == "come":
            for each in range(many):
                house.spend(which, b"u:%d" % (1 + each % 2), number % workers)
        elif step == "rush":  # all at one worker, all answered at once
            for _ in range(many):
                house.spend(which, worker=number % workers)
            await house.answer_all()
        elif step == "answer":
            await house.answer_all()
        elif step == "reconnect":
            await house.reconnect(number % workers)
        elif step == "go away" and house.waiting:
            house.waiting[number % len(house.waiting)][1].cancel()
        elif house.questions:
            question = house.questions[number % len(house.questions)]
            if step == "lose":
                await house.lose(question)
            elif step == "count" and question.answer is None:
                house.count(question)
            elif step == "deliver" and question.answer is not None:
                await house.deliver(question)
        await house.settle()
    return house


RUSHES = st.lists(
    st.tuples(st.sampled_from(PAUSES), st.integers(0, 2), st.sampled_from([1, 2, 50, 99])),
    min_size=3,
    max_size=12,
)


@pytest.mark.parametrize("algorithm", ALIGNED)
@settings(max_examples=80, deadline=None)
@given(RUSHES)
def test_never_more_whenever_they_come(algorithm: str, rushes: list[tuple[float, int, int]]) -> None:
    """Begun in the midst of a window, with units left from the one before, answered at once."""
    steps: list[tuple[str, float, int]] = []
    for pause, worker, many in rushes:
        steps += [("pass", pause, 0), ("rush", worker, many)]
    for workers, amount in ((1, 45), (3, 130)):
        house = asyncio.run(play(steps, rule((amount, 1), algorithm=algorithm), workers))
        assert max(house.windows(1), default=0) <= amount


@settings(max_examples=120, deadline=None)
@given(STEPS, LIMITS, st.sampled_from(ALIGNED), st.integers(1, 8))
def test_never_more_than_the_limit_in_an_aligned_window(
    steps: list[tuple[str, float, int]], limits: list[tuple[int, int]], algorithm: str, workers: int
) -> None:
    house = asyncio.run(play(steps, rule(*limits, algorithm=algorithm), workers))
    for amount, seconds in limits:
        assert max(house.windows(seconds), default=0) <= amount


async def demand(which: Rule, workers: int, seconds: float, delay: float = 0.0002) -> House:
    """More comes than is let through, evenly, at each worker; frames take `delay` each way."""
    house = House(workers)
    amount, period = which.limits[0].amount, which.limits[0].seconds
    every = period / (2 * amount)  # at each worker: so it is twice the limit, or more
    ends = house.time + seconds
    while house.time < ends:
        for worker in range(workers):
            house.spend(which, worker=worker)
        for _ in range(4):
            house.time += every / 4
            await house.carry(delay)
            await house.settle()
    return house


@pytest.mark.parametrize("algorithm", ALIGNED)
@pytest.mark.parametrize(("workers", "amount"), [(1, 100), (2, 20), (2, 100), (2, 500), (4, 100), (8, 400)])
def test_hardly_less_than_the_limit_while_more_comes(algorithm: str, workers: int, amount: int) -> None:
    """Units that lie unspent at one worker are few."""
    house = asyncio.run(demand(rule((amount, 1), algorithm=algorithm), workers, 4.0))
    counted = list(house.windows(1))
    assert max(counted) <= amount
    assert min(counted[1:-1]) >= 0.95 * amount, counted  # the run begins and ends in the midst of one


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_moving_window_and_small_limits_are_exact(workers: int) -> None:
    for algorithm, amount in (("moving_window", 30), ("sliding_window", 19), ("fixed_window", 7)):
        house = asyncio.run(demand(rule((amount, 1), algorithm=algorithm), workers, 6.0))
        counted = list(house.windows(1))
        assert max(counted) == amount and min(counted[1:-1]) >= amount - 1, (algorithm, counted)


def test_a_moving_window_holds_over_any_stretch_of_its_length() -> None:
    house = asyncio.run(demand(rule((30, 1), algorithm="moving_window"), 3, 5.0))
    moments = [at for _, at in house.admitted]
    lateness = 0.01  # of an answer on its way, at most, here
    assert all(later - first >= 1 - lateness for first, later in zip(moments, moments[30:], strict=False))
    assert len(moments) >= 140
