"""The names, helps and labels of all metrics: one table for those who count and for the page of metrics."""

import msgspec

# seconds; requests and upstream replies
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metric(msgspec.Struct, frozen=True):
    kind: str  # counter, gauge, histogram
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# name without the prefix "postern_"; counters end in _total
EDGE_METRICS: dict[str, Metric] = {
    "requests_total": Metric("counter", "Requests answered.", ("route", "method", "status")),
    "request_duration_seconds": Metric("histogram", "From the head to the last byte.", ("route",), DURATIONS),
    "upstream_duration_seconds": Metric(
        "histogram", "From the request upstream to the head of its reply.", ("upstream",), DURATIONS
    ),
    "requests_in_flight": Metric("gauge", "Requests being served.", ("route",)),
    "refusals_total": Metric("counter", "Requests the gateway itself refused.", ("route", "code")),
    "auth_total": Metric("counter", "Results of authenticate.", ("route", "result")),
    "identity_cache": Metric("counter", "Look-ups of credentials: hit, miss, stale.", ("result",)),
    "identities_cached": Metric("gauge", "Identities in the caches."),
    "resolve_duration_seconds": Metric("histogram", "Asking the identity service.", (), DURATIONS),
    "link_up": Metric("gauge", "Workers whose link to the identity service is up."),
    "upstream_healthy": Metric("gauge", "1 while the server takes requests.", ("upstream", "server")),
    "upstream_errors_total": Metric("counter", "Failures of upstream servers.", ("upstream", "kind")),
    "upstream_connections": Metric("gauge", "Connections to upstream servers.", ("upstream", "state")),
    "connections": Metric("gauge", "Client connections open.", ()),
    "log_lines_dropped_total": Metric(
        "counter", "Access log lines dropped because the log was too slow.", ()
    ),
}


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One counter or gauge of one worker, or (counts, total) of one histogram. Samples of workers are
    added."""

    name: str
    labels: tuple[str, ...]
    value: float = 0.0
    counts: tuple[int, ...] = ()  # histogram: per bucket, not cumulative; the last is +Inf
    total: float = 0.0  # histogram: sum of observations
