"""The names, helps and labels of all metrics: one table for those who count and for the page of metrics."""

import msgspec

# seconds; requests and upstream replies
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# seconds; how long sessions lasted: a minute to 90 days
LIVES = (60.0, 600.0, 3600.0, 14_400.0, 86_400.0, 604_800.0, 2_592_000.0, 7_776_000.0)
# seconds; queries, and news on their way to the edges
SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)


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
    "rate_limit_total": Metric(
        "counter",
        "Requests by rate limit: allowed, refused; local_allowed, local_refused, uncounted, denied.",
        ("rule", "result"),
    ),
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

# of the identity service; likewise
IDENTITY_METRICS: dict[str, Metric] = {
    "sessions_active": Metric("gauge", "Sessions that live."),
    "sessions_started_total": Metric("counter", "Sign-ins that opened a session."),
    "sessions_ended_total": Metric("counter", "Sessions ended, by why.", ("reason",)),
    "session_duration_seconds": Metric("histogram", "From sign-in to end.", (), LIVES),
    "tokens_issued_total": Metric("counter", "Tokens given out: access, refresh, cookie.", ("kind",)),
    "tokens_refreshed_total": Metric(
        "counter", "Refreshes: rotated, repeated, reused, invalid, cookie.", ("result",)
    ),
    "logins_total": Metric("counter", "Attempts to sign in.", ("result",)),
    "login_duration_seconds": Metric("histogram", "Sign-in calls, argon2 included.", (), DURATIONS),
    "lockouts_total": Metric("counter", "Attempts that were refused unheard: too many had failed."),
    "revocations_total": Metric(
        "counter", "Revoking calls, by whether every edge acknowledged in time.", ("acknowledged",)
    ),
    "revocation_propagation_seconds": Metric(
        "histogram", "From a revocation's commit to the last edge's acknowledgement.", (), SHORT
    ),
    "mails_total": Metric("counter", "Mails: sent, failed (tried again), refused, expired.", ("result",)),
    "webhooks_total": Metric("counter", "Webhooks, likewise.", ("result",)),
    "outbox_pending": Metric("gauge", "Mails and webhooks that wait.", ("kind",)),
    "store_query_duration_seconds": Metric("histogram", "Queries of the store.", ("query",), SHORT),
}


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One counter or gauge of one worker, or (counts, total) of one histogram. Samples of workers are
    added."""

    name: str
    labels: tuple[str, ...]
    value: float = 0.0
    counts: tuple[int, ...] = ()  # histogram: per bucket, not cumulative; the last is +Inf
    total: float = 0.0  # histogram: sum of observations
