"""The memory that `limits` counts in: as its own, but for its aligned fixed windows, and with a bound."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from gateway.model.rates import Limit, Rule
from gateway.store import limiters
from gateway.store.counts import Aligned, Memory
from gateway.store.limiters import Counts

# Fractions that sums of floats have exactly, and none that ends on a border: there `limits` says two things.
PAUSES = [each + 2**-13 for each in (0.0, 1 / 64, 0.25, 0.75, 2.0, 9.5)]
HITS = st.lists(st.tuples(st.sampled_from(PAUSES), st.integers(1, 6)), max_size=60)


class Clock:
    def __init__(self, now: float = 1_700_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("strategy", [SlidingWindowCounterRateLimiter, MovingWindowRateLimiter])
@settings(max_examples=60, deadline=None)
@given(HITS)
def test_it_counts_as_the_memory_of_limits_does(
    strategy: type[RateLimiter], hits: list[tuple[float, int]]
) -> None:
    clock, item = Clock(), RateLimitItemPerSecond(10, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStorage, "_MemoryStorage__schedule_expiry", lambda self: None)  # its thread
        for module in ("limits.storage.memory.time", "limits.strategies.time"):
            patch.setattr(module, SimpleNamespace(time=clock))
        theirs, ours = strategy(MemoryStorage()), strategy(Memory(clock))
        for pause, cost in hits:
            clock.now += pause
            left = theirs.get_window_stats(item, "a").remaining
            assert ours.get_window_stats(item, "a").remaining == left
            assert ours.hit(item, "a", cost=cost) == theirs.hit(item, "a", cost=cost)


def test_fixed_windows_of_rate_limits_begin_at_multiples_of_their_length() -> None:
    clock, item = Clock(), RateLimitItemPerSecond(2, 60)  # twenty seconds before one begins, and a quarter
    fixed = FixedWindowRateLimiter(Aligned(clock))
    assert [fixed.hit(item, "a") for _ in range(3)] == [True, True, False]
    clock.now += 60 - clock.now % 60 - 0.001
    assert not fixed.hit(item, "a")
    clock.now += 0.001
    assert [fixed.hit(item, "a") for _ in range(3)] == [True, True, False]


def test_a_clear_forgets_whatever_was_counted() -> None:
    clock, item = Clock(), RateLimitItemPerSecond(2, 60)
    memory = Memory(clock)
    for strategy in (FixedWindowRateLimiter, SlidingWindowCounterRateLimiter, MovingWindowRateLimiter):
        counting = strategy(memory)
        assert counting.hit(item, "a", cost=2) and not counting.hit(item, "a")
        counting.clear(item, "a")
        assert counting.hit(item, "a", cost=2)
        counting.clear(item, "a")


def test_moving_windows_of_many_keys_have_a_bound_of_their_own() -> None:
    clock, item = Clock(), RateLimitItemPerSecond(100, 60)
    memory = Memory(clock, most_stamps=1000)
    moving = MovingWindowRateLimiter(memory)
    moving.hit(item, "counted up", cost=90)
    for number in range(500):
        moving.hit(item, f"u{number}", cost=5)
    assert memory._stamps <= 1000 and len(memory) < 500
    assert moving.get_window_stats(item, "counted up").remaining == 10
    clock.now += 61
    moving.get_window_stats(item, "counted up")
    assert memory._stamps <= 910


def test_a_flood_of_moments_forgets_nothing_else() -> None:
    """Only what has moments makes room for moments."""
    clock, item = Clock(), RateLimitItemPerSecond(100, 60)
    memory = Memory(clock, most_stamps=1000)
    moving, sliding = MovingWindowRateLimiter(memory), SlidingWindowCounterRateLimiter(memory)
    for number in range(50):
        sliding.hit(item, f"quiet{number}")
    for number in range(100):
        for _ in range(100):
            moving.hit(item, f"busy{number}")
    assert memory._stamps <= 1000
    assert {sliding.get_window_stats(item, f"quiet{number}").remaining for number in range(50)} == {99}


def test_what_comes_and_goes_leaves_nothing_behind() -> None:
    clock, item = Clock(), RateLimitItemPerSecond(100, 60)
    memory = Memory(clock)
    moving = MovingWindowRateLimiter(memory)
    for number in range(20_000):
        moving.hit(item, f"u{number % 5000}")
        clock.now += 0.1
    assert len(memory) <= 1300 and len(memory._stamped) <= 1300 and memory._stamps <= 1300


def test_a_flood_of_large_batches_does_not_wash_out_what_was_counted_up_one_by_one() -> None:
    """A rule of 1,000 gives 25 at once to a key that is seen for the first time; one of 10 has one each."""
    counts = Counts(Clock(), most=1000)
    few, many = Rule("few", (Limit(10, 3600),)), Rule("many", (Limit(1000, 60),))
    for _ in range(10):
        assert counts.take_now(few, "somebody", 1).units == 1
    for number in range(20_000):
        assert counts.take_now(many, f"flood{number}", 25).units == 25
    assert len(counts) == 1000
    assert counts.take_now(few, "somebody", 1).units == 0


# Taking from it


def taking(clock: Clock, *limits: tuple[int, int], algorithm: Any = "sliding_window") -> Any:
    counts, rule = Counts(clock), Rule("r", tuple(Limit(*each) for each in limits), algorithm)
    return lambda want, key="a": counts.take_now(rule, key, want)


def test_what_is_left_is_given_and_no_more() -> None:
    take = taking(Clock(), (10, 60))
    assert [take(4).units for _ in range(4)] == [4, 4, 2, 0]
    assert take(4, "b").units == 4


def test_of_several_limits_the_nearest_gives() -> None:
    clock = Clock()
    take = taking(clock, (5, 1), (8, 60))
    first = take(9)
    assert (first.units, first.nearest, first.left) == (5, 0, 0)
    clock.now += 2
    second = take(9)
    assert (second.units, second.nearest, second.left) == (3, 1, 0)
    clock.now += 2
    nothing = take(9)
    assert nothing.units == 0 and nothing.nearest == 1 and nothing.ask_again_in > 10


def test_nothing_is_counted_for_nothing() -> None:
    take = taking(Clock(), (10, 60))
    assert [take(0).left for _ in range(20)] == [10] * 20


@pytest.mark.parametrize("algorithm", ["sliding_window", "fixed_window", "moving_window"])
@settings(max_examples=60, deadline=None)
@given(HITS, st.floats(0, 100))
def test_after_the_time_it_names_there_is_something_again_and_hardly_before(
    algorithm: str, hits: list[tuple[float, int]], more: float
) -> None:
    clock = Clock(1_700_000_000.25 + more)
    take = taking(clock, (10, 3), algorithm=algorithm)
    for pause, want in hits:
        clock.now += pause
        take(want)
    while (taken := take(1)).units:
        pass
    early = taken.ask_again_in - 2 * limiters.SOON
    if early > 0:
        clock.now += early
        assert take(0).left == 0
    clock.now += 3 * limiters.SOON
    assert take(0).left > 0


def test_units_are_good_until_the_first_of_their_windows_ends() -> None:
    clock = Clock(1_700_000_000.0 - 1_700_000_000 % 60 + 45.25)
    assert taking(clock, (100, 60))(1).spend_within == pytest.approx(14.75, abs=1e-5)
    assert taking(clock, (100, 60), (50, 1))(1).spend_within == pytest.approx(0.75, abs=1e-5)
    assert taking(clock, (100, 60), algorithm="moving_window")(1).spend_within == limiters.LATE


def test_equal_names_that_are_counted_otherwise_do_not_mix() -> None:
    counts, clock = Counts(Clock()), Limit(5, 60)
    algorithms: tuple[Any, ...] = ("sliding_window", "fixed_window", "moving_window")
    for algorithm in algorithms:
        assert counts.take_now(Rule("r", (clock,), algorithm), "a", 9).units == 5
