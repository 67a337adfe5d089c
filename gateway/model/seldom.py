"""Keeps what may happen with every request from being told each time: once for each place is enough."""

import time
from collections.abc import Callable


class Seldom:
    """In so many seconds each key of a group is new once, and at most `each` keys of a group are new."""

    def __init__(
        self, seconds: float, each: int, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._each, self._most, self._clock = seconds, each, most, clock
        self._groups: dict[str, tuple[float, set[str]]] = {}  # until when, which; the oldest first

    def __len__(self) -> int:
        return len(self._groups)

    def new(self, group: str, key: str) -> bool:
        """Whether this is to be told; from then on it is not, for a while."""
        now = self._clock()
        until, keys = self._groups.get(group, (0.0, set[str]()))
        if now >= until:
            self._groups.pop(group, None)  # the next one stands at the end
            if len(self._groups) >= self._most:
                del self._groups[next(iter(self._groups))]
            keys = set()
            self._groups[group] = (now + self._seconds, keys)
        if key in keys or len(keys) >= self._each:
            return False
        keys.add(key)
        return True

    def forget(self, group: str, key: str) -> None:
        """It could not be told after all."""
        if group in self._groups:
            self._groups[group][1].discard(key)
