"""Counting: windows that begin with the first, a clock that is moved, a memory that has a bound."""

import pytest

from gateway.store.counts import Memory
from gateway.store.limiters import Hit, Limiters, Rule

RULE = Rule("login", 3, 60)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiters(clock: Clock) -> Limiters:
    return Limiters(clock)


async def test_so_many_are_allowed_until_the_window_is_over(limiters: Limiters, clock: Clock) -> None:
    told = []
    for _ in range(4):
        told.append(await limiters.hit(RULE, "192.0.2.1"))
        clock.now += 10
    assert told == [Hit(True, 2, 60), Hit(True, 1, 50), Hit(True, 0, 40), Hit(False, 0, 30)]
    clock.now = 1060
    assert await limiters.hit(RULE, "192.0.2.1") == Hit(True, 2, 60)


async def test_each_key_and_each_rule_is_counted_by_itself(limiters: Limiters) -> None:
    for _ in range(4):
        await limiters.hit(RULE, "192.0.2.1")
    assert (await limiters.hit(RULE, "192.0.2.2")).allowed
    assert (await limiters.hit(Rule("register", 3, 60), "192.0.2.1")).allowed
    assert not (await limiters.hit(RULE, "192.0.2.1")).allowed


async def test_a_call_may_cost_more_than_one(limiters: Limiters) -> None:
    assert await limiters.hit(RULE, "a", cost=2) == Hit(True, 1, 60)
    assert await limiters.hit(RULE, "a", cost=2) == Hit(False, 0, 60)


async def test_failures_are_counted_until_they_are_forgotten(limiters: Limiters, clock: Clock) -> None:
    assert [await limiters.incr("ann", 900) for _ in range(3)] == [1, 2, 3]
    clock.now += 899
    assert await limiters.incr("ann", 900, 2) == 5
    assert (await limiters.get("ann"), await limiters.expires_in("ann")) == (5, 1)
    clock.now += 1
    assert (await limiters.get("ann"), await limiters.expires_in("ann")) == (0, 0)
    assert await limiters.incr("ann", 900) == 1


async def test_a_count_can_be_cleared(limiters: Limiters) -> None:
    await limiters.incr("ann", 900)
    await limiters.incr("bob", 900)
    await limiters.clear("ann")
    await limiters.clear("nobody")
    assert [await limiters.get(name) for name in ("ann", "bob")] == [0, 1]
    assert await limiters.expires_in("ann") == 0
    assert await limiters.incr("ann", 60) == 1
    assert await limiters.expires_in("ann") == 60


async def test_what_has_expired_goes_while_others_come(limiters: Limiters, clock: Clock) -> None:
    for number in range(1000):
        await limiters.incr(f"old{number}", 60)
    clock.now += 60
    for number in range(1000):
        await limiters.incr(f"new{number}", 60)
    assert len(limiters) <= 1010


async def test_memory_has_a_bound_and_a_flood_does_not_wash_out_what_was_counted_up(clock: Clock) -> None:
    limiters = Limiters(clock, most=1000)
    for _ in range(100):
        await limiters.incr("guessed", 900)
    for number in range(50_000):
        await limiters.incr(f"flood{number}", 900)
    assert len(limiters) == 1000
    assert await limiters.get("guessed") == 100


async def test_a_hundred_thousand_live_keys_cost_no_more_than_ten(clock: Clock) -> None:
    """Counted in steps, not in seconds: each new key looks at two old ones, whatever there are."""
    memory = Memory(clock)
    for number in range(100_000):
        memory.incr(f"k{number}", 900)
    looked_at = []

    class Watched(dict[str, object]):
        def __getitem__(self, key: str) -> object:
            looked_at.append(key)
            return super().__getitem__(key)

    memory._entries = Watched(memory._entries)  # type: ignore[assignment]
    memory.incr("one more", 900)
    memory.incr("one more", 900)
    assert len(looked_at) <= 3
    assert len(memory) == 100_001


def test_it_is_what_limits_takes_for_a_storage(clock: Clock) -> None:
    memory = Memory(clock)
    memory.incr("a", 60)
    assert memory.check()
    assert memory.get_expiry("a") == 1060
    assert memory.get_expiry("b") == 1000
    assert memory.reset() == 1
    assert memory.get("a") == 0
