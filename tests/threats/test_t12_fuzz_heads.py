"""T12 by chance: heads put together from what parsers disagree about never crash, hang, or split in two."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.raw import exchange, request
from tests.kit.world import World

METHODS = st.sampled_from(
    [
        b"GET", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"SOURCE", b"get", b"\nGET", b"\rGET", b"G\tT",
        b"", b"\r\nGET", b"\x00", b"GET\x0b", b"M-SEARCH", b"QUERY", b"\xc3\xa9", b"{}",
    ]
)  # fmt: skip
TARGETS = st.sampled_from(
    [
        b"/app/x", b"/app/x", b"/app/x?a=b", b"/app/\x00", b"/app/x?\x80", b"/app/x?\x01", b"*", b"",
        b"/app/x#y", b"/app/\xff", b"http://gateway.test/app/x", b"gateway.test:80", b"/plain/x", b"/admin",
        b"/answered", b'/app/"', b"/app/x?\t",
    ]
)  # fmt: skip
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"HTTP/1.1 ", b"\nHTTP/1.1"]
)
LINES = st.sampled_from(
    [
        b"Host: gateway.test", b"Host:", b"host: gateway.test", b"Host: a,b", b"Content-Length: 5",
        b"Content-Length: 0", b"content-length:5", b"Content-Length: 5 ", b"Content-Length: +5",
        b"Content-Length: 5,5", b"Content-Length: \xb5", b"Content-Length: " + b"9" * 30,
        b"Transfer-Encoding: chunked", b"transfer-encoding:\tchunked", b"Transfer-Encoding: chunked ",
        b"Transfer-Encoding: Chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding:",
        b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding\x00: chunked",
        b"Transfer_Encoding: chunked", b"Connection: close", b"Connection: upgrade",
        b"Connection: keep-alive, upgrade", b"Connection: content-length",
        b"Connection: transfer-encoding, host", b"Upgrade: websocket", b"Upgrade: h2c", b"Upgrade: foo",
        b"Upgrade:", b"Expect: 100-continue", b"Expect: x", b"X: y", b" X: y", b"\tchunked", b"X: \xff\x80",
        b"X:y\x0bz", b"X: a\nY: b", b"X: a\rY: b", b"X\r: y", b"\nX: y", b"X : y", b": y", b"nonsense",
        b"X:", b"X\xc3: y", b"Trailer: X", b"TE: chunked", b"Keep-Alive: x", b"X-User-Id: forged",
        b"Cookie: a=b", b"Authorization: Basic YTpi", b"Proxy-Connection: close", b"HTTP2-Settings: AA",
        b"Content-Encoding: chunked", b"X: \x7f", b"X: \x00", b"Sec-WebSocket-Key: x", b"X-" * 50 + b": y",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n\r"])
BODIES = st.sampled_from(
    [
        b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"5\r\nhel",
        b"5;x\nhello\r\n0\r\n\r\n", b"0\r\nX-User-Id: forged\r\n\r\n", b"\r\n", b"\x00\x00",
    ]
)  # fmt: skip

STATUSES = {200, 204, 400, 401, 404, 405, 408, 413, 414, 417, 431}

common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A request that is valid here and there."""
    start = b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))
    lines = [b"Host: gateway.test"] * draw(st.sampled_from([1, 1, 1, 0])) + draw(st.lists(LINES, max_size=5))
    return b"".join(part + draw(ENDS) for part in [start, *lines, b""]) + draw(BODIES)


def check(world: World, data: bytes) -> None:
    """Replies are whole and valid, what went upstream too, and the next client is served."""
    world.upstream.clear()
    talk = exchange(world.port, data, half_close=True)
    assert talk.closed and {*talk.statuses} <= STATUSES, (data, talk)
    assert all(reply.whole or reply is talk.replies[-1] for reply in talk.replies), (data, talk)
    assert world.upstream.violations == [], data
    seen = world.reached()
    assert len([one for one in seen if one.complete]) <= len(talk.statuses), (data, seen, talk)
    assert not any(b"forged" in one.raw for one in seen), data
    assert b"Traceback" not in b"".join(reply.body for reply in talk.replies)


@settings(common, max_examples=400)
@given(data=messages())
def test_T12_a_head_of_any_pieces_is_refused_or_forwarded_cleanly(world: World, data: bytes) -> None:
    check(world, data)


@settings(common, max_examples=100)
@given(data=st.lists(messages(), min_size=2, max_size=4).map(b"".join))
def test_T12_several_heads_of_any_pieces_do_not_mix(world: World, data: bytes) -> None:
    check(world, data)


@settings(common, max_examples=150)
@given(data=st.binary(max_size=200), at=st.integers(0, 400))
def test_T12_any_bytes_anywhere_in_a_request(world: World, data: bytes, at: int) -> None:
    whole = (
        request("/app/x", b"User-Agent: x", b"Transfer-Encoding: chunked", method=b"POST")
        + b"5\r\nhello\r\n0\r\n\r\n"
    )
    check(world, whole[:at] + data + whole[at:])


@pytest.mark.hard
@settings(common, max_examples=20_000)
@given(data=messages())
def test_T12_a_great_many_heads(world: World, data: bytes) -> None:
    check(world, data)
