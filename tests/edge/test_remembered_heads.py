"""Heads that come again are known by heart: and are understood exactly as when they came first."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.heads import RequestReader
from gateway.edge.memory import Memory
from gateway.edge.reply_heads import BadReply, ReplyHead, ReplyReader
from gateway.model.exchange import Exchange
from gateway.model.headers import AUTHORIZATION, COOKIE, NOTED, OURS, SINGLE, ReplyNames, RequestNames

LINES = (
    b"Host: shop.example.com", b"Host: other.test", b"User-Agent: curl/8.5.0", b"Accept: */*",
    b"accept: text/html", b"X-Plain: 1", b"X-Plain: 2", b"Referer: https://a.test/b", b"X-User-Id: admin",
    b"X_User_Id: admin", b"Connection: keep-alive", b"Connection: close", b"Connection: X-Plain",
    b"Cookie: a=1; postern=pss_x", b"Cookie: b=2", b"cookie: c=3", b"Cookie:d=4",
    b"Cookie: e=5 ", b"Cookie: ", b"X-Api-Key: psk_abc", b"X-Api-Key: theirs",
    b"Access-Token: psa_abc", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Upgrade: websocket",
    b"Expect: 100-continue", b"X-Forwarded-For: 192.0.2.1", b"traceparent: 00-1", b"X-Request-Id: abcdefgh",
    b"Sec-Fetch-Site: same-origin", b"Origin: https://a.test", b"X-Removed: 1", b"X-Watched: v",
    b"Authorization: Bearer psa_1", b"Authorization: Bearer psa_2", b"authorization: Bearer psa_3",
    b"Authorization: Basic dTpw", b"Authorization:Bearer x", b"Authorization: Bearer a b",
    b"AUTHORIZATION: Bearer y", b"Authorization: Bearer \xff", b" folded", b"Bad Name: x", b"No-Colon",
    b"X-Odd: \x01", b"Empty:", b"X-Space:  two  ",
)  # fmt: skip
HEADS = st.lists(st.sampled_from(LINES), max_size=9)
FIRSTS = st.sampled_from((b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET / HTTP/1.0", b"GET /", b"G T / x"))


def reader(*told: bytes) -> RequestReader:
    names = RequestNames(
        reads=frozenset({b"origin", b"sec-fetch-site", b"x-watched", *told}),
        credential_names=frozenset({b"x-api-key", b"access-token"}),
        droppable=frozenset({b"x-removed"}),
    )
    return RequestReader(names, header_count=8, target_bytes=64)


def understood(by: RequestReader, head: bytes) -> tuple[Any, ...]:
    exchange = Exchange()
    fault = by.read(head, exchange)
    if fault is not None:
        return (fault.code,)
    exchange.lines += b"X-Added: by the forwarding\r\n"  # nobody may see what another request adds
    noted = dict(exchange.noted)
    flags = exchange.flags & ~(NOTED | SINGLE)  # of single lines; as a sum nobody reads them
    return (
        exchange.method, exchange.version, by.target, exchange.lines, noted, flags, exchange.content_length,
        exchange.host, exchange.authorization, exchange.cookie,
    )  # fmt: skip


@settings(max_examples=400)
@given(
    st.lists(st.tuples(FIRSTS, HEADS), min_size=1, max_size=8),
    st.sampled_from(((), (b"authorization",), (b"cookie",))),
)
def test_T12_it_makes_no_difference_whether_a_head_came_before(
    came: list[tuple[bytes, list[bytes]]], told: tuple[bytes, ...]
) -> None:
    knowing = reader(*told)
    for first, lines in came + came:
        head = b"\r\n".join((first, *lines)) + b"\r\n\r\n"
        assert understood(knowing, head) == understood(reader(*told), head)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("value", "flag"),
    [(b"Bearer psa_0aZ", OURS), (b"Bearer psa_0-Z", AUTHORIZATION), (b"Bearer x", AUTHORIZATION)],
)
def test_a_bearer_of_ours_is_told_from_others_and_only_who_reads_it_finds_it_among_the_noted(
    times: int, value: bytes, flag: int
) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: %b\r\n\r\n" % value
    for knowing, noted in ((reader(), None), (reader(b"authorization"), value)):
        for _ in range(times):
            exchange = Exchange()
            assert knowing.read(head, exchange) is None
        assert exchange.flags & (OURS | AUTHORIZATION) == flag and exchange.authorization == value
        assert exchange.noted.get(b"authorization") == noted


def test_a_head_that_came_before_is_known_and_brings_its_own_bearer() -> None:
    knowing = reader()
    usual = b"GET /%b HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer %b\r\nAccept: */*\r\n\r\n"
    for number in range(3):
        exchange = Exchange()
        assert knowing.read(usual % (b"x", b"token-%d" % number), exchange) is None
        assert exchange.authorization == b"Bearer token-%d" % number
        assert exchange.flags & AUTHORIZATION and exchange.lines == b"Accept: */*\r\n"
    without = Exchange()
    assert knowing.read(b"GET /x HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n", without) is None
    assert without.authorization == b"" and not without.flags & AUTHORIZATION
    assert len(knowing._heads.young) == 1


def test_T25_no_credential_is_kept_with_a_head() -> None:
    knowing = reader()
    usual = b"GET / HTTP/1.1\r\nHost: a.test\r\n%b\r\n\r\n"
    for line in (b"X-Api-Key: psk_secret", b"Access-Token: psa_secret", b"Authorization: Basic secret"):
        assert knowing.read(usual % line, Exchange()) is None
    assert knowing._heads.young == {}
    for line in (b"Authorization: Bearer secret", b"Cookie: a=secret", b"Cookie: b=1; c=secret"):
        for _ in range(2):
            assert knowing.read(usual % line, Exchange()) is None
    assert len(knowing._heads.young) == 1
    assert "secret" not in repr((knowing._heads.young, knowing._memory.young))


def test_cookies_are_found_among_the_noted_by_who_reads_them_only() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a.test\r\nCookie: a=1; b=2\r\n\r\n"
    for knowing, noted in ((reader(), None), (reader(b"cookie"), b"a=1; b=2")):
        for _ in range(2):
            exchange = Exchange()
            assert knowing.read(head, exchange) is None
            assert (exchange.cookie, exchange.noted.get(b"cookie")) == (b"a=1; b=2", noted)
            assert exchange.flags & COOKIE and exchange.lines == b""
            assert exchange.header(b"cookie") == b"a=1; b=2" and exchange.header(b"authorization") is None


def test_what_is_kept_is_bounded_and_heads_that_never_come_again_are_soon_not_looked_for() -> None:
    knowing = reader()
    for number in range(5000):
        knowing.read(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Id: %d\r\n\r\n" % number, Exchange())
    heads = knowing._heads
    assert len(heads.young) + len(heads.old) < 1000 and heads.pause > 0
    for number in range(5000):  # all come twice
        for _ in range(2):
            knowing.read(b"GET / HTTP/1.1\r\nHost: b.test\r\nX-Id: %d\r\n\r\n" % number, Exchange())
    assert len(heads.young) <= 1024 and len(heads.old) <= 1024


REPLIES = (
    b"Content-Type: text/html", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length: x",
    b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive", b"Date: now",
    b"date: then", b"Server: x", b"Set-Cookie: a=1", b"Set-Cookie: postern=stolen", b"X-Access-Token: psa_1",
    b"X-Plain: 1", b"Upgrade: websocket", b" folded", b"Bad Name: x", b"RateLimit: 1",
)  # fmt: skip
STATUSES = st.sampled_from(
    (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 404", b"HTTP/1.1 99 x", b"HTTP/2 200 OK")
)


def reply_understood(by: ReplyReader, head: bytes, names: ReplyNames) -> tuple[Any, ...]:
    try:
        read = by.read(head, names)
    except BadReply as error:
        return (str(error),)
    return tuple(getattr(read, name) for name in ReplyHead.__slots__)


@settings(max_examples=300)
@given(st.lists(st.tuples(STATUSES, st.lists(st.sampled_from(REPLIES), max_size=7)), min_size=1, max_size=8))
def test_T37_nor_whether_a_reply_came_before(came: list[tuple[bytes, list[bytes]]]) -> None:
    dropped = frozenset({b"server"})
    knowing, names = ReplyReader(), ReplyNames(dropped, Memory())
    for first, lines in came + came:
        head = b"\r\n".join((first, *lines))
        fresh = reply_understood(ReplyReader(), head, ReplyNames(dropped, Memory()))
        assert reply_understood(knowing, head, names) == fresh


def test_T25_no_cookie_is_kept_with_a_reply() -> None:
    names = ReplyNames(frozenset(), Memory())
    ReplyReader().read(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1", names)
    assert names.memory.heads.young == {}
