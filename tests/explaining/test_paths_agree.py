"""T01 to T05, explained: what explain says of a path is what the gateway does with it."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.explaining.asked import Asked
from tests.explaining.agreeing import HOST, Explaining, beside
from tests.kit.world import TRUSTED, World
from tests.threats.test_t01_t05_paths import MIXTURES, QUERIES

PLACES = st.sampled_from(
    [
        b"/app/",
        b"/public/",
        b"/api/",
        b"/slashes/",
        b"/parameters/",
        b"/doubles/",
        b"/empties/",
        b"/bare/",
        b"/",
    ]
)


@pytest.fixture
def explaining(world: World) -> Iterator[Explaining]:
    with beside(world) as made:
        yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=PLACES, path=MIXTURES, query=QUERIES)
def test_any_mixture(explaining: Explaining, place: bytes, path: bytes, query: bytes) -> None:
    target = (place + path + query).decode("utf-8", "surrogateescape")
    if "\r" not in target and "\n" not in target:
        explaining.agree(Asked("GET", target, HOST))


TARGETS = [
    "/app/x", "/app/%41%7e%c3%A9", "/app//x", "/app/..%2fadmin", "/public/../admin", "/public/%2e%2e/admin",
    "/public/%252e%252e/admin", "/public/a#b", "/public/a;b", "/public/a%00", "/public/a?x=/../admin",
    "/public/a?x=%zz", "/public/a?b#c", "/admin/x", "/app/@me/x", "/api/a/b", "/api", "/user/7/card",
    "/slashes/a%2Fb", "/slashes/a%2F..%2Fb", "/nowhere/at/all", "/nowhere?x", "/reads", "/reads/",
    "/answered", "/moved", "/dead/x", "/", "http://gateway.test/app/absolute",
    "http://other.test/app/absolute", "*", "app",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_target(explaining: Explaining, method: str, target: str) -> None:
    told = explaining.agree(Asked(method, target, HOST))
    if target == "/reads" and method == "POST":
        assert told.refusal is not None and told.reply is not None
        assert told.refusal.by == "routes" and "Allow: GET, HEAD" in told.reply.headers
    if "%2e%2e" in target or ".." in target.partition("?")[0]:
        assert told.path is None and told.refusal is not None


LINES = [
    ("Cookie: a=b; __Host-postern=x; c", "Authorization: Basic YTpi"),
    ("X-User-Id: 1", "x_user_id: 2", "Remote-User: 3"),
    ("Connection: X-One, close", "X-One: 1", "X-Two: 2"),
    ("Authorization: Bearer a", "Authorization: Bearer b"),
    ("Host: second.test",),
    ("Content-Length: 0",),
    ("Expect: 100-continue",),
    ("Expect: 200-ok",),
    ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA=="),
    ("Upgrade: h2c", "Connection: Upgrade"),
    ("X-Request-Id: a-request-of-mine", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01"),
    ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test"),
    ("Forwarded: for=203.0.113.9",),
    ("X-Api-Key: psk_nothing", "Proxy: x", "X-HTTP-Method-Override: PUT"),
    ("Accept: text/html",),
    ("Transfer-Encoding: identity",),
    ("Bad Name: x",),
    ("No-Value:",),
    ("X-Utf: ünïcode",),
]


@pytest.mark.parametrize("lines", LINES, ids=lambda lines: lines[0])
@pytest.mark.parametrize("target", ["/app/x", "/admin/x", "/forwarding", "/plain/x"])
@pytest.mark.parametrize("source", ["127.0.0.1", TRUSTED])
def test_a_head(explaining: Explaining, target: str, lines: tuple[str, ...], source: str) -> None:
    explaining.agree(Asked("GET", target, HOST, lines, source))


@pytest.mark.parametrize("target", ["/small", "/large", "/app/x", "/reads", "/admin/x"])
def test_a_body(explaining: Explaining, target: str) -> None:
    for length in (5, 1024, 1025):
        explaining.agree(Asked("POST", target, HOST, (f"Content-Length: {length}",)), b"x" * length)
    explaining.agree(Asked("POST", target, HOST, ("Transfer-Encoding: chunked",)), b"1\r\nx\r\n0\r\n\r\n")


def test_a_head_over_the_limits(explaining: Explaining) -> None:
    explaining.agree(Asked("GET", "/app/x", HOST, tuple(f"X-{number}: y" for number in range(80))))
    explaining.agree(Asked("GET", "/app/" + "x" * 5000, HOST))
    explaining.agree(Asked("GET", "/app/x", HOST, ("X-Large: " + "y" * 20_000,)))
