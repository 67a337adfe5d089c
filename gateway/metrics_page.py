"""The page /metrics: the sums of our processes, the supervisor's own figures; made by prometheus-client."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from gateway import __version__
from gateway.model.metrics import EDGE_METRICS, IDENTITY_METRICS, Metric, Sample
from gateway.status import Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "postern_"


class Page:
    """A collector of prometheus-client for one scrape."""

    def __init__(self, samples: Iterable[Sample], status: Status) -> None:
        self._samples, self._status = samples, status

    def describe(self) -> list[Family]:
        return []

    def collect(self) -> Iterator[Family]:
        metrics = EDGE_METRICS | (IDENTITY_METRICS if self._status.identity is not None else {})
        by_name: dict[str, list[Sample]] = {name: [] for name in metrics}
        for sample in self._samples:
            if sample.name in by_name:
                by_name[sample.name].append(sample)
        for name, samples in by_name.items():
            yield _family(PREFIX + name, metrics[name], samples)
        yield from self._own()

    def _own(self) -> Iterator[Family]:
        status = self._status
        success = "1 if the last loading of the configuration succeeded."
        yield GaugeMetricFamily(f"{PREFIX}config_reload_success", success, float(status.reload.loaded))
        since = "When the configuration in force was loaded."
        yield GaugeMetricFamily(f"{PREFIX}config_reload_timestamp_seconds", since, status.loaded_at)
        build = GaugeMetricFamily(f"{PREFIX}build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        restarts = float(sum(worker.restarts for worker in status.workers))
        yield CounterMetricFamily(f"{PREFIX}worker_restarts", "Workers started again.", restarts)
        if status.identity is not None:
            again = "Identity processes started again."
            yield CounterMetricFamily(f"{PREFIX}identity_restarts", again, float(status.identity.restarts))
        ready = float(sum(worker.state == "ready" for worker in status.workers))
        yield GaugeMetricFamily(f"{PREFIX}workers_ready", "Workers that accept connections.", ready)


def render(samples: Iterable[Sample], status: Status) -> bytes:
    registry = CollectorRegistry()
    registry.register(Page(samples, status))
    return generate_latest(registry)


def _family(name: str, metric: Metric, samples: Sequence[Sample]) -> Family:
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if metric.kind == "histogram":
        family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
        for sample in samples:
            buckets = list(zip(bounds, map(float, accumulate(sample.counts)), strict=False))
            family.add_metric(sample.labels, buckets, sample.total)
        return family
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, metric.help, labels=metric.labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.value)
    return family
