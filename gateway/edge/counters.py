"""What a worker counts: plain ints on the way of a request, gathered into samples only when asked."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from gateway.model.metrics import DURATIONS, Sample

_SLOTS = len(DURATIONS) + 1
_FIRST = DURATIONS[0]  # where most belong: found without a search


class RouteCounters:
    """The counts of one route, by its name; they outlive reloads."""

    __slots__ = ("auth", "durations", "identified", "name", "refusals", "requests", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: dict[tuple[bytes, int], list[int]] = {}  # in a list, so that it is looked up once
        self.refusals: dict[str, int] = {}
        self.auth: dict[str, int] = {}
        self.identified = 0
        self.durations = [0] * _SLOTS
        self.seconds = 0.0

    def add(self, method: bytes, status: int, seconds: float) -> None:
        key = (method, status)
        try:
            self.requests[key][0] += 1
        except KeyError:
            self.requests[key] = [1]
        self.durations[0 if seconds <= _FIRST else bisect_left(DURATIONS, seconds)] += 1
        self.seconds += seconds

    def refuse(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def authenticated(self, result: str) -> None:
        self.auth[result] = self.auth.get(result, 0) + 1

    def samples(self) -> Iterator[Sample]:
        for (method, status), (count,) in self.requests.items():
            yield Sample("requests_total", (self.name, method.decode("ascii", "replace"), str(status)), count)
        for code, count in self.refusals.items():
            yield Sample("refusals_total", (self.name, code), count)
        if self.identified:
            yield Sample("auth_total", (self.name, "identified"), self.identified)
        for result, count in self.auth.items():
            yield Sample("auth_total", (self.name, result), count)
        yield Sample("request_duration_seconds", (self.name,), 0.0, tuple(self.durations), self.seconds)


class UpstreamCounters:
    """The counts of one upstream, by its name."""

    __slots__ = ("durations", "errors", "name", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.errors: dict[str, int] = {}
        self.durations = [0] * _SLOTS
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.durations[0 if seconds <= _FIRST else bisect_left(DURATIONS, seconds)] += 1
        self.seconds += seconds

    def fail(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def samples(self) -> Iterator[Sample]:
        for kind, count in self.errors.items():
            yield Sample("upstream_errors_total", (self.name, kind), count)
        yield Sample("upstream_duration_seconds", (self.name,), 0.0, tuple(self.durations), self.seconds)


class Counters:
    """All counts of a worker; a route or upstream finds its own by name, also after a reload."""

    __slots__ = ("_routes", "_upstreams")

    def __init__(self) -> None:
        self._routes: dict[str, RouteCounters] = {}
        self._upstreams: dict[str, UpstreamCounters] = {}

    def route(self, name: str) -> RouteCounters:
        return self._routes.setdefault(name, RouteCounters(name))

    def upstream(self, name: str) -> UpstreamCounters:
        return self._upstreams.setdefault(name, UpstreamCounters(name))

    def identified(self) -> int:
        return sum(route.identified for route in self._routes.values())

    def samples(self) -> Iterable[Sample]:
        for route in self._routes.values():
            yield from route.samples()
        for upstream in self._upstreams.values():
            yield from upstream.samples()
