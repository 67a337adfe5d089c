"""Counting by the strategies of `limits`: calls of the identity service, and what rate limits share."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from gateway.model import rates
from gateway.model.clock import boottime
from gateway.store.counts import MOST, Aligned, Memory

SOON = 0.01  # seconds: nobody who was given nothing asks again before
LATE = 1.0  # seconds that a unit of a moving window may be on its way
_ROUNDING = 1e-6  # seconds by which sums of large times may be off
_MOST_RULES = 10_000


class Rule(msgspec.Struct, frozen=True):
    """So many in so many seconds, from the first on."""

    name: str
    amount: int
    seconds: int


class Hit(msgspec.Struct, frozen=True):
    allowed: bool
    remaining: int
    reset_in: float  # seconds


class Counter(Protocol):
    """What counts: this process's memory, or what several replicas share."""

    async def hit(self, rule: Rule, key: str, cost: int = 1) -> Hit:
        """Count it, also when it is refused."""

    async def incr(self, key: str, seconds: float, amount: int = 1) -> int:
        """The count, which is forgotten so many seconds after its first."""

    async def get(self, key: str) -> int: ...

    async def expires_in(self, key: str) -> float:
        """Seconds until the count is forgotten; 0 when there is none."""

    async def clear(self, key: str) -> None: ...


class Limiters:
    """A Counter in this process's memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._memory = Memory(clock, most)
        self._fixed = FixedWindowRateLimiter(self._memory)

    def __len__(self) -> int:
        return len(self._memory)

    async def hit(self, rule: Rule, key: str, cost: int = 1) -> Hit:
        item = RateLimitItemPerSecond(rule.amount, rule.seconds, rule.name)
        allowed = self._fixed.hit(item, key, cost=cost)
        stats = self._fixed.get_window_stats(item, key)
        return Hit(allowed, stats.remaining, self._memory.expires_in(item.key_for(key)))

    async def incr(self, key: str, seconds: float, amount: int = 1) -> int:
        return self._memory.incr(key, seconds, amount)

    async def get(self, key: str) -> int:
        return self._memory.get(key)

    async def expires_in(self, key: str) -> float:
        return self._memory.expires_in(key)

    async def clear(self, key: str) -> None:
        self._memory.clear(key)


class Taken(msgspec.Struct, frozen=True):
    """Units of a shared count, all of them counted in the present windows."""

    units: int
    spend_within: float  # seconds; the end of the first of these windows to end
    ask_again_in: float  # seconds until there are units again; 0 when some were given
    left: int  # units of the limit that is nearest to its end
    nearest: int  # which one that is
    reset_in: float  # seconds until its window is over


class SharedCounts(Protocol):
    """What rate limits are counted in: this process's memory, or what several replicas share."""

    def take_now(self, rule: rates.Rule, key: str, want: int) -> Taken | None:
        """So many units at most; of 0 nothing is counted. None where the count has to be waited for."""

    async def take(self, rule: rates.Rule, key: str, want: int) -> Taken: ...


class Counts:
    """SharedCounts in this process's memory. Windows are aligned: they begin at multiples of their length."""

    def __init__(self, clock: Callable[[], float] | None = None, most: int = MOST) -> None:
        self._clock = clock or steady()
        self._now = 0.0  # one moment for all that is asked of the storage in one call
        self._memory = memory = Aligned(lambda: self._now, most)
        self._strategies: dict[str, RateLimiter] = {
            "sliding_window": SlidingWindowCounterRateLimiter(memory),
            "moving_window": MovingWindowRateLimiter(memory),
            "fixed_window": FixedWindowRateLimiter(memory),
        }
        self._items: dict[rates.Rule, tuple[RateLimitItem, ...]] = {}

    def __len__(self) -> int:
        return len(self._memory)

    async def take(self, rule: rates.Rule, key: str, want: int) -> Taken:
        return self.take_now(rule, key, want)

    def take_now(self, rule: rates.Rule, key: str, want: int) -> Taken:
        """All or nothing is what `hit` takes, and a refused one may burn what is left: so that is looked at
        first."""
        self._now = self._clock()
        strategy = self._strategies[rule.algorithm]
        items = self._items.get(rule) or self._known(rule)
        left = [strategy.get_window_stats(item, key).remaining for item in items]
        units = min(want, *left)
        if units > 0 and not all(strategy.hit(item, key, cost=units) for item in items):
            units = 0  # as it can happen where others count in the same place
        nearest = left.index(min(left)) if len(left) > 1 else 0
        wait = 0.0
        if units == 0:
            spent = [item for item, each in zip(items, left, strict=True) if each <= 0]
            wait = max((self._wait(rule.algorithm, item, key) for item in spent), default=SOON)
        return Taken(
            units, self._within(rule), wait, left[nearest] - units, nearest,
            self._reset(rule.algorithm, items[nearest], key),
        )  # fmt: skip

    def _known(self, rule: rates.Rule) -> tuple[RateLimitItem, ...]:
        """The algorithm stands in the name: each counts in its own way."""
        if len(self._items) >= _MOST_RULES:
            self._items.clear()
        name = f"{rule.algorithm}:{rule.name}"
        items = tuple(RateLimitItemPerSecond(each.amount, each.seconds, name) for each in rule.limits)
        self._items[rule] = items
        return items

    def _within(self, rule: rates.Rule) -> float:
        if rule.algorithm == "moving_window":
            return min(LATE, *(each.seconds for each in rule.limits))
        end = min(each.seconds - self._now % each.seconds for each in rule.limits)
        return max(0.0, end - _ROUNDING)

    def _reset(self, algorithm: str, item: RateLimitItem, key: str) -> float:
        seconds = item.get_expiry()
        if algorithm != "moving_window":
            return seconds - self._now % seconds
        oldest, _ = self._memory.get_moving_window(item.key_for(key), item.amount, seconds)
        return oldest + seconds - self._now

    def _wait(self, algorithm: str, item: RateLimitItem, key: str) -> float:
        """Seconds until this limit, which has nothing left, has something."""
        seconds, end = item.get_expiry(), self._reset(algorithm, item, key)
        if algorithm != "sliding_window":
            return max(SOON, end)
        before, weighs, count, _ = self._memory.get_sliding_window(item.key_for(key), seconds)
        if count >= item.amount:
            return max(SOON, end + _ROUNDING)  # then it begins to weigh less
        return max(SOON, weighs - (item.amount - count) * seconds / max(before, 1))


def steady() -> Callable[[], float]:
    """The time of day as it was when this began, never set forward or back since."""
    began = time.time() - boottime()
    return lambda: boottime() + began
