"""Finding the route by canonical path, host, headers and method, in time independent of the number of routes.

Exact beats {name} beats /**, segment by segment; then an exact host beats a wildcard beats any; then headers;
then the file's order. The most specific place wins before methods are looked at.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from gateway.model.exchange import Exchange
from gateway.model.paths import compared, host_name


class Matchable(Protocol):
    """What the table needs to know of a route."""

    @property
    def pattern(self) -> bytes: ...
    @property
    def methods(self) -> frozenset[bytes] | None: ...
    @property
    def hosts(self) -> tuple[bytes, ...]: ...
    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]: ...


R = TypeVar("R", bound=Matchable)


class NotAllowed:
    """The place exists, but not for this method."""

    __slots__ = ("allow",)

    def __init__(self, allow: bytes) -> None:
        self.allow = allow


class _Place(Generic[R]):
    """All routes of one path pattern."""

    __slots__ = ("any_host", "only", "exact_hosts", "wildcards")

    def __init__(self) -> None:
        self.only: R | None = None  # the one route without conditions: the usual case
        self.exact_hosts: dict[bytes, list[R]] = {}
        self.wildcards: list[tuple[bytes, list[R]]] = []  # longest suffix first
        self.any_host: list[R] = []

    def add(self, route: R) -> None:
        first = not (self.only or self.exact_hosts or self.wildcards or self.any_host)
        for host in route.hosts:
            if host.startswith(b"*."):
                same = [routes for suffix, routes in self.wildcards if suffix == host[1:]]
                if same:
                    _insert(same[0], route)
                else:
                    self.wildcards.append((host[1:], [route]))
                    self.wildcards.sort(key=lambda entry: -len(entry[0]))
            else:
                _insert(self.exact_hosts.setdefault(host, []), route)
        if not route.hosts:
            _insert(self.any_host, route)
        self.only = route if first and not route.hosts and not route.headers else None

    def find(self, exchange: Exchange, method: bytes) -> R | NotAllowed | None:
        for routes in self._by_host(exchange.host):
            here = [route for route in routes if _has_headers(exchange, route.headers)]
            for route in here:
                if route.methods is None or method in route.methods:
                    return route
            if here:
                return NotAllowed(_allow(here))
        return None

    def _by_host(self, host: bytes) -> Iterator[list[R]]:
        if self.exact_hosts or self.wildcards:
            name = host_name(host)
            if name in self.exact_hosts:
                yield self.exact_hosts[name]
            for suffix, routes in self.wildcards:
                if name.endswith(suffix) and len(name) > len(suffix):
                    yield routes
        if self.any_host:
            yield self.any_host


def _insert(routes: list[R], route: R) -> None:
    """More headers first; else the file's order."""
    at = next((i for i, other in enumerate(routes) if len(other.headers) < len(route.headers)), len(routes))
    routes.insert(at, route)


def _has_headers(exchange: Exchange, wanted: tuple[tuple[bytes, bytes], ...]) -> bool:
    return all(exchange.noted.get(name) == value for name, value in wanted)


def _allow(routes: Iterable[R]) -> bytes:
    return b", ".join(sorted({method for route in routes for method in route.methods or ()}))


class _Node(Generic[R]):
    __slots__ = ("leaf", "literal", "param", "rest")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node[R]] = {}
        self.param: _Node[R] | None = None
        self.leaf: _Place[R] | None = None  # the pattern ends here
        self.rest: _Place[R] | None = None  # the pattern goes on with /**


class RouteTable(Generic[R]):
    """All routes of one configuration, as a tree of segments."""

    __slots__ = ("_exact", "_literal", "_root")

    def __init__(self, routes: Iterable[R]) -> None:
        self._root: _Node[R] = _Node()
        self._exact: dict[
            bytes, R
        ] = {}  # fully literal patterns with one unconditional route: no walk needed
        self._literal = True  # no pattern has a {name}
        places: dict[bytes, _Place[R]] = {}
        for route in routes:
            pattern = compared(route.pattern)
            place = self._place(pattern)
            place.add(route)
            if b"{" not in pattern and not pattern.endswith(b"/**"):
                places[pattern.rstrip(b"/") or b"/"] = place
        for path, place in places.items():
            if place.only is not None:
                self._exact[path] = place.only
                if path != b"/":
                    self._exact[path + b"/"] = place.only

    def _place(self, pattern: bytes) -> _Place[R]:
        node = self._root
        segments = _segments(pattern)
        rest = bool(segments) and segments[-1] == b"**"
        for segment in segments[:-1] if rest else segments:
            if segment.startswith(b"{"):
                self._literal = False
                node.param = node.param or _Node()
                node = node.param
            else:
                node = node.literal.setdefault(segment, _Node())
        if rest:
            node.rest = node.rest or _Place()
            return node.rest
        node.leaf = node.leaf or _Place()
        return node.leaf

    def find(self, exchange: Exchange, method: bytes) -> R | NotAllowed | None:
        """The route, or that the place does not take this method, or None."""
        path = compared(exchange.path)
        route = self._exact.get(path)
        if route is None:
            place = self._literal_place(path) if self._literal else None
            if place is not None and place.only is not None:
                route = place.only  # the usual case
            else:
                for place in self._places(_segments(path)):
                    route = place.only
                    if route is None:
                        found = place.find(exchange, method)
                        if found is None:
                            continue
                        return found
                    break
                else:
                    return None
        if route.methods is None or method in route.methods:
            return route
        return NotAllowed(_allow((route,)))

    def _literal_place(self, path: bytes) -> _Place[R] | None:
        """The most specific place, where no pattern has a {name}: one way down the tree."""
        node = self._root
        place = node.rest
        for segment in _segments(path):
            child = node.literal.get(segment)
            if child is None:
                return place
            node = child
            if node.rest is not None:
                place = node.rest
        return node.leaf or place

    def _places(self, segments: list[bytes]) -> Iterator[_Place[R]]:
        """Places whose pattern fits, the most specific first."""
        count = len(segments)
        waiting: list[tuple[_Node[R], int] | _Place[R]] = [(self._root, 0)]
        while waiting:
            entry = waiting.pop()
            if isinstance(entry, _Place):
                yield entry
                continue
            node, at = entry
            if node.rest is not None:
                waiting.append(node.rest)
            if at == count:
                if node.leaf is not None:
                    yield node.leaf
                continue
            segment = segments[at]
            if node.param is not None and segment:
                waiting.append((node.param, at + 1))
            child = node.literal.get(segment)
            if child is not None:
                waiting.append((child, at + 1))


def _segments(path: bytes) -> list[bytes]:
    """Of a canonical path or pattern; a final slash makes no difference."""
    segments = path[1:].split(b"/")
    if not segments[-1]:
        segments.pop()
    return segments
