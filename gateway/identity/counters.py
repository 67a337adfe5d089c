"""What the identity service counts: plain numbers in memory, gathered into samples when asked."""

from bisect import bisect_left
from collections.abc import Iterator

from gateway.model.metrics import IDENTITY_METRICS, Sample

_Key = tuple[str, tuple[str, ...]]


class Counters:
    """Counts by metric and labels; a name that is not in the table is a mistake of the caller's."""

    def __init__(self) -> None:
        self._counts: dict[_Key, int] = {}
        self._slots: dict[_Key, list[int]] = {}
        self._sums: dict[_Key, float] = {}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        assert len(labels) == len(IDENTITY_METRICS[name].labels)
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + by

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        buckets = IDENTITY_METRICS[name].buckets
        key = (name, labels)
        slots = self._slots.setdefault(key, [0] * (len(buckets) + 1))
        slots[bisect_left(buckets, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + seconds

    def samples(self) -> Iterator[Sample]:
        for (name, labels), count in self._counts.items():
            yield Sample(name, labels, count)
        for (name, labels), slots in self._slots.items():
            yield Sample(name, labels, 0.0, tuple(slots), self._sums[name, labels])
