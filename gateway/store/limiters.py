"""Counting: strategies of `limits` over a bounded memory of our own, whose clock can be moved."""

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
from limits import RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

MOST = 200_000  # keys; about 40 MB
_SWEPT = 2  # old keys looked at for each new one: so what has expired goes as fast as anything comes
_CANDIDATES = 8


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


class _Entry:
    __slots__ = ("count", "until")

    def __init__(self) -> None:
        self.count = 0
        self.until = 0.0


class Memory(Storage):
    """What `limits` keeps counts in. Its own memory runs a thread, looks at all keys, and has no bound.

    When it is full, the lowest of a few old counts goes: a flood of new keys, each seen once, does not wash
    out those that had been counted up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._entries: dict[str, _Entry] = {}
        self._queue: deque[str] = deque()  # the same keys, those not looked at for longest first

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        now = self._clock()
        entry = self._entries.get(key)
        if entry is None:
            self._make_room(now)
            entry = self._entries[key] = _Entry()
            self._queue.append(key)
        if entry.until <= now:
            entry.count, entry.until = 0, now + expiry
        entry.count += amount
        return entry.count

    def get(self, key: str) -> int:
        entry = self._entries.get(key)
        return entry.count if entry is not None and entry.until > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """By our clock; now, for what is not counted."""
        entry, now = self._entries.get(key), self._clock()
        return max(entry.until, now) if entry is not None else now

    def expires_in(self, key: str) -> float:
        return self.get_expiry(key) - self._clock()

    def clear(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            entry.count, entry.until = 0, 0.0  # swept in its turn

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        self._queue.clear()
        return count

    def _make_room(self, now: float) -> None:
        for _ in range(min(_SWEPT, len(self._queue))):
            key = self._queue.popleft()
            if self._entries[key].until <= now:
                del self._entries[key]
            else:
                self._queue.append(key)
        if len(self._entries) >= self._most:
            self._evict()

    def _evict(self) -> None:
        candidates = [self._queue.popleft() for _ in range(min(_CANDIDATES, len(self._queue)))]
        lowest = min(candidates, key=lambda key: self._entries[key].count)
        del self._entries[lowest]
        self._queue.extend(key for key in candidates if key != lowest)


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
