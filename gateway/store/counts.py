"""What `limits` keeps its counts in: a bounded memory of our own, whose clock can be moved."""

from collections import deque
from collections.abc import Callable
from math import floor

from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

MOST = 200_000  # keys; about 60 MB
MOST_STAMPS = 1_000_000  # of moving windows, which keep the moment of each hit; about 40 MB
_SWEPT = 2  # old keys looked at for each new one: so what has expired goes as fast as anything comes
_CANDIDATES = 8


class _Entry:
    __slots__ = ("count", "previous", "stamps", "times", "times_before", "until", "window")

    def __init__(self) -> None:
        self.count = 0
        self.times = self.times_before = 0  # that something was counted; in this window, and the one before
        self.until = 0.0  # when it is as if it had never been
        self.window = 0  # of a sliding window: its number since the clock's beginning
        self.previous = 0  # likewise: the count of the one before
        self.stamps: deque[float] | None = None  # of a moving window, the newest first


class Memory(Storage, SlidingWindowCounterSupport, MovingWindowSupport):
    """The memory of `limits` itself runs a thread, looks at all keys, and has no bound.

    When it is full, the lowest of a few old counts goes: a flood of new keys, each seen once, does not wash
    out those that had been counted up. Low is what was seldom counted: at some rules once is for many units.
    """

    def __init__(self, clock: Callable[[], float], most: int = MOST, most_stamps: int = MOST_STAMPS) -> None:
        super().__init__()
        self._clock = clock
        self._most, self._most_stamps = most, most_stamps
        self._stamps = 0
        self._entries: dict[str, _Entry] = {}
        self._queue: deque[str] = deque()  # the same keys, those not looked at for longest first
        self._stamped: deque[tuple[str, _Entry]] = deque()  # those of moving windows, likewise, and some gone

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    # Fixed windows, and counts of any kind

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        now = self._clock()
        entry = self._entry(key, now)
        if entry.until <= now:
            entry.count, entry.times, entry.until = 0, 0, self._end(now, expiry)
        entry.count += amount
        entry.times += 1
        return entry.count

    def _end(self, now: float, expiry: float) -> float:
        """Of a window that begins with what is counted now."""
        return now + expiry

    def get(self, key: str) -> int:
        entry = self._entries.get(key)
        return entry.count if entry is not None and entry.until > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """By our clock; now, for what is not counted."""
        entry, now = self._entries.get(key), self._clock()
        return max(entry.until, now) if entry is not None else now

    def expires_in(self, key: str) -> float:
        return self.get_expiry(key) - self._clock()

    # Sliding windows: two aligned ones, of which the former weighs less and less

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._clock()
        entry = self._rolled(key, expiry, now)
        before, left, count, _ = _seen(entry, expiry, now)
        if floor(before * left / expiry + count) + amount > limit:
            return False
        if entry is None:
            entry = self._entry(key, now)
            entry.window = int(now // expiry)
        entry.count += amount
        entry.times += 1
        entry.until = (entry.window + 2.0) * expiry
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The former count and how long it still weighs, the present one and how long it will."""
        now = self._clock()
        return _seen(self._rolled(key, expiry, now), expiry, now)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        self.clear(key)

    def _rolled(self, key: str, expiry: int, now: float) -> _Entry | None:
        """The entry, its counts those of this window and the one before."""
        entry = self._entries.get(key)
        window = int(now // expiry)
        if entry is not None and entry.window != window:
            goes_on = entry.window == window - 1
            entry.previous, entry.times_before = (entry.count, entry.times) if goes_on else (0, 0)
            entry.count, entry.times, entry.window = 0, 0, window
        return entry

    # Moving windows: the moment of each hit

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._clock()
        entry = self._entry(key, now)
        if entry.stamps is None:
            self._begin_stamps(key, entry)
        stamps = self._recent(entry, now - expiry)
        if len(stamps) + amount > limit:
            return False
        stamps.extendleft([now] * amount)
        self._stamps += amount
        entry.times, entry.until = len(stamps), now + expiry
        while self._stamps > self._most_stamps and len(self._stamped) > 1:
            self._forget_stamps()
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The oldest hit in the window, and how many there are."""
        entry, now = self._entries.get(key), self._clock()
        if entry is None or entry.stamps is None:
            return now, 0
        stamps = self._recent(entry, now - expiry)
        return (stamps[-1] if stamps else now), len(stamps)

    def _recent(self, entry: _Entry, since: float) -> deque[float]:
        stamps = entry.stamps
        assert stamps is not None
        while stamps and stamps[-1] < since:
            stamps.pop()
            self._stamps -= 1
        return stamps

    def _begin_stamps(self, key: str, entry: _Entry) -> None:
        entry.stamps = deque()
        self._stamped += [*self._oldest_stamped(_SWEPT), (key, entry)]

    def _oldest_stamped(self, most: int) -> list[tuple[str, _Entry]]:
        """Out of their queue, and those that are gone with them."""
        looked_at = [self._stamped.popleft() for _ in range(min(most, len(self._stamped)))]
        return [
            each for each in looked_at if self._entries.get(each[0]) is each[1] and each[1].stamps is not None
        ]

    def _forget_stamps(self) -> None:
        """The lowest of a few old ones: what else is counted has no stamps, and stays."""
        candidates = self._oldest_stamped(_CANDIDATES)
        if candidates:
            lowest = min(candidates, key=lambda each: len(each[1].stamps or ()))
            self._stamped.extend(each for each in candidates if each is not lowest)
            self.clear(lowest[0])

    # All of them

    def clear(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            self._stamps -= len(entry.stamps or ())
            entry.count, entry.previous, entry.until, entry.stamps = 0, 0, 0.0, None  # swept in its turn
            entry.times = entry.times_before = 0

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        self._queue.clear()
        self._stamped.clear()
        self._stamps = 0
        return count

    def _entry(self, key: str, now: float) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            self._make_room(now)
            entry = self._entries[key] = _Entry()
            self._queue.append(key)
        return entry

    def _make_room(self, now: float) -> None:
        for _ in range(min(_SWEPT, len(self._queue))):
            key = self._queue.popleft()
            if self._entries[key].until <= now:
                self._drop(key)
            else:
                self._queue.append(key)
        if len(self._entries) >= self._most:
            self._evict()

    def _evict(self) -> None:
        candidates = [self._queue.popleft() for _ in range(min(_CANDIDATES, len(self._queue)))]
        lowest = min(candidates, key=self._counted)
        self._drop(lowest)
        self._queue.extend(key for key in candidates if key != lowest)

    def _counted(self, key: str) -> int:
        entry = self._entries[key]
        return entry.times + entry.times_before

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._stamps -= len(entry.stamps or ())


class Aligned(Memory):
    """Its fixed windows, too, begin at multiples of their length, whenever the first hit comes."""

    def _end(self, now: float, expiry: float) -> float:
        return (now // expiry + 1) * expiry


def _seen(entry: _Entry | None, expiry: int, now: float) -> tuple[int, float, int, float]:
    left = expiry - now % expiry
    if entry is None:
        return 0, 0.0, 0, left + expiry
    return entry.previous, left if entry.previous else 0.0, entry.count, left + expiry
