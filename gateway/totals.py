"""Adds up what our processes counted, the dead ones too: sums never go backwards."""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import msgspec

from gateway.model.metrics import EDGE_METRICS, IDENTITY_METRICS, Sample

Key = tuple[str, tuple[str, ...]]
BY_MINIMUM = frozenset({"upstream_healthy"})  # healthy only where every worker says so


class Totals:
    """The last samples of each living process, and one sum of all that are gone."""

    def __init__(self) -> None:
        self._living: dict[int, list[Sample]] = {}
        self._gone: dict[Key, Sample] = {}

    def remember(self, process: int, samples: list[Any]) -> None:
        """What a process answered; msgspec.ValidationError when these are no samples."""
        self._living[process] = msgspec.convert(samples, list[Sample])

    def bury(self, process: int) -> None:
        """The process ended: its counts stay, its gauges (connections, requests in flight) end with it."""
        lasting = (s for s in self._living.pop(process, []) if _kind(s.name) != "gauge")
        _add(self._gone, lasting)

    def sums(self) -> list[Sample]:
        result = dict(self._gone)
        for samples in self._living.values():
            _add(result, samples)
        return [result[key] for key in sorted(result)]


def _kind(name: str) -> str:
    metric = EDGE_METRICS.get(name) or IDENTITY_METRICS.get(name)
    return metric.kind if metric else ""


def _add(into: dict[Key, Sample], samples: Iterable[Sample]) -> None:
    for sample in samples:
        key = sample.name, sample.labels
        before = into.get(key)
        into[key] = sample if before is None else _sum(before, sample)


def _sum(a: Sample, b: Sample) -> Sample:
    if a.name in BY_MINIMUM:
        return Sample(a.name, a.labels, min(a.value, b.value))
    counts = tuple(x + y for x, y in zip_longest(a.counts, b.counts, fillvalue=0))
    return Sample(a.name, a.labels, a.value + b.value, counts, a.total + b.total)
