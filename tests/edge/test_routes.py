"""The table of routes against a plain search over all of them, and the rules by their names."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.routes import NotAllowed, RouteTable
from gateway.model.exchange import Exchange


class Made(NamedTuple):
    pattern: bytes
    methods: frozenset[bytes] | None = None
    hosts: tuple[bytes, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()


def asking(path: bytes, host: bytes = b"a.test", noted: dict[bytes, bytes] | None = None) -> Exchange:
    exchange = Exchange()
    exchange.path, exchange.host, exchange.noted = path, host, noted or {}
    return exchange


def find(
    routes: list[Made], path: bytes, method: bytes = b"GET", host: bytes = b"a.test", **noted: bytes
) -> object:
    return RouteTable(routes).find(asking(path, host, {k.encode(): v for k, v in noted.items()}), method)


SEGMENT = st.sampled_from([b"a", b"b", b"{x}"])
PATTERN = st.builds(
    lambda segments, rest: b"/" + b"/".join(segments) + (b"/**" if segments else b"**") * rest,
    st.lists(SEGMENT, max_size=3),
    st.booleans(),
)
PATH = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4).map(lambda parts: b"/" + b"/".join(parts))


def rank(pattern: bytes, path: bytes) -> tuple[int, ...] | None:
    """How specific the pattern is for the path, segment by segment; None when it does not fit."""
    wanted = [part for part in pattern[1:].split(b"/") if part]
    given_ = [part for part in path[1:].split(b"/") if part]
    ranks: list[int] = []
    for at, part in enumerate(wanted):
        if part == b"**":
            return (*ranks, 1)
        if at >= len(given_) or (not part.startswith(b"{") and part != given_[at]):
            return None
        ranks.append(2 if part.startswith(b"{") else 3)
    return (*ranks, 4) if len(wanted) == len(given_) else None


@settings(max_examples=300)
@given(st.lists(PATTERN, unique=True, max_size=8), PATH)
def test_the_most_specific_pattern_wins(patterns: list[bytes], path: bytes) -> None:
    unique = list({pattern.replace(b"{x}", b"{}"): pattern for pattern in patterns}.values())
    ranked = [(rank(pattern, path), pattern) for pattern in unique]
    fitting = [(how, pattern) for how, pattern in ranked if how is not None]
    found = RouteTable([Made(pattern) for pattern in unique]).find(asking(path), b"GET")
    assert (found.pattern if isinstance(found, Made) else None) == (max(fitting)[1] if fitting else None)


def test_a_final_slash_makes_no_difference() -> None:
    for pattern in (b"/a", b"/a/", b"/a/**", b"/{x}"):
        for path in (b"/a", b"/a/"):
            assert find([Made(pattern)], path) == Made(pattern)


def test_a_method_the_place_has_not_is_never_a_fall_to_a_broader_route() -> None:
    narrow, broad = Made(b"/a/b", frozenset({b"GET"})), Made(b"/**")
    found = find([broad, narrow], b"/a/b", b"POST")
    assert isinstance(found, NotAllowed) and found.allow == b"GET"
    assert find([broad, narrow], b"/a/c", b"POST") is broad


def test_methods_of_one_place_add_up() -> None:
    reads, writes = Made(b"/a", frozenset({b"GET", b"HEAD"})), Made(b"/a", frozenset({b"PUT"}))
    assert find([reads, writes], b"/a", b"PUT") is writes
    found = find([reads, writes], b"/a", b"DELETE")
    assert isinstance(found, NotAllowed) and found.allow == b"GET, HEAD, PUT"


def test_an_exact_host_beats_a_wildcard_beats_any() -> None:
    exact, longer = Made(b"/**", hosts=(b"x.shop.test",)), Made(b"/**", hosts=(b"*.shop.test",))
    shorter, anywhere = Made(b"/**", hosts=(b"*.test",)), Made(b"/**")
    routes = [anywhere, shorter, longer, exact]
    assert find(routes, b"/a", host=b"X.shop.test:80") is exact
    assert find(routes, b"/a", host=b"y.z.shop.test") is longer
    assert find(routes, b"/a", host=b"shop.test") is shorter
    assert find(routes, b"/a", host=b"other.example") is anywhere
    assert find(routes[1:], b"/a", host=b"other.example") is None


def test_a_host_comes_after_the_path() -> None:
    broad, narrow = Made(b"/**", hosts=(b"a.test",)), Made(b"/a")
    assert find([broad, narrow], b"/a") is narrow
    elsewhere = Made(b"/a", hosts=(b"b.test",))
    assert find([broad, elsewhere], b"/a") is broad


def test_headers_then_the_order_of_the_file() -> None:
    first, second = Made(b"/a", frozenset({b"GET"})), Made(b"/a", frozenset({b"GET", b"PUT"}))
    versioned = Made(b"/a", headers=((b"x-v", b"2"),))
    assert find([first, second, versioned], b"/a") is first
    assert (
        RouteTable([first, second, versioned]).find(asking(b"/a", noted={b"x-v": b"2"}), b"GET") is versioned
    )
    assert find([second, first], b"/a") is second
    assert find([versioned], b"/a") is None


def test_both_spellings_of_a_reserved_character_are_one_place() -> None:
    guarded, rest = Made(b"/@admin/**"), Made(b"/**")
    assert find([rest, guarded], b"/%40admin/x") is guarded
    assert find([rest, Made(b"/%40admin")], b"/@admin") == Made(b"/%40admin")
