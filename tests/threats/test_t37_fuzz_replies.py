"""T37 by chance: whatever an upstream sends, its client gets a reply, a cut one, or 502; others their own."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import scripts
from tests.kit.raw import request
from tests.kit.world import World

STARTS = st.sampled_from(
    [b"HTTP/1.1 200 Fine"] * 8
    + [b"HTTP/1.0 200 Fine", b"HTTP/1.1 200", b"HTTP/1.1 204 X", b"HTTP/1.1 304 X", b"HTTP/1.1 101 X",
       b"HTTP/1.1 100 X",
       b"HTTP/1.1 103 X", b"HTTP/2 200", b"HTTP/1.1 000 X", b"HTTP/1.1  200 X", b"HTTP/1.1 200\tX", b"",
       b"\n", b"HTTP/1.1",
       b"HTTP/1.1 200 \x00", b"HTTP/1.1 200 a\nX: y", b"HTTP/1.1 200 a\rb", b"ICY 200 OK", b"HTTP/1.1 999 X"]
)  # fmt: skip
LINES = st.sampled_from(
    [
        b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 50", b"content-length:5",
        b"Content-Length: -1", b"Content-Length: 5, 5", b"Content-Length: 0x5", b"Content-Length:",
        b"Content-Length: " + b"9" * 30, b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: identity", b"transfer-encoding:chunked",
        b"Transfer-Encoding : chunked", b"Connection: close", b"Connection: keep-alive",
        b"Connection: Content-Length", b"Connection: upgrade", b"Upgrade: websocket",
        b"Set-Cookie: postern=x", b"Set-Cookie: a=b", b"X: y", b" folded", b"X: a\nSet-Cookie: postern=x",
        b"X: a\rY: b", b"X\x00: y", b"nonsense", b": y", b"X: \xff", b"Trailer: X", b"X-Accel-Redirect: /x",
        b"X-" * 40 + b": y",
    ]
)  # fmt: skip
BODIES = st.sampled_from(
    [
        b"", b"hello", b"hel", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n", b"5\r\nhello!\r\n", b"-5\r\n",
        b"0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", b"\r\n", b"\x00",
        b"HTTP/1.1 200 Fine\r\nContent-Length: 7\r\n\r\nanother",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n"])
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])

common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A reply that is valid here and there."""
    lines = draw(st.lists(LINES, max_size=4))
    return b"".join(part + draw(ENDS) for part in [draw(STARTS), *lines, b""]) + draw(BODIES)


def check(world: World, data: bytes, method: bytes) -> None:
    """The gateway's own words are well formed, and the next request gets its own reply."""
    world.upstream.reply(scripts.raw(data, then="close"), b"/app/enemy")
    world.upstream.reply(scripts.answer(b"mine"), b"/app/mine")
    with world.client() as client:
        client.send(request("/app/enemy", method=method))
        talk = client.talk(method, most=1)
        assert not talk.leftover, (data, talk)
        for reply in talk.replies:
            assert reply.status in (200, 204, 304, 502), (data, reply)
            assert not any(value.startswith(b"postern=") for value in reply.values(b"set-cookie")), (
                data,
                reply,
            )
            assert reply.values(b"x-accel-redirect") == [] and b"Traceback" not in reply.body, (data, reply)
        if talk.replies and talk.replies[0].whole and client.is_open():
            mine = client.send(request("/app/mine")).talk(most=1)
            assert [reply.body for reply in mine.replies] in ([b"mine"], []), (data, mine)
    assert world.get("/app/mine").body == b"mine", data
    assert world.upstream.violations == []


@settings(common, max_examples=300)
@given(data=messages(), method=METHODS)
def test_T37_a_reply_of_any_pieces(world: World, data: bytes, method: bytes) -> None:
    check(world, data, method)


@settings(common, max_examples=100)
@given(data=st.binary(max_size=200), at=st.integers(0, 120), method=METHODS)
def test_T37_any_bytes_anywhere_in_a_reply(world: World, data: bytes, at: int, method: bytes) -> None:
    whole = b"HTTP/1.1 200 Fine\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    check(world, whole[:at] + data + whole[at:], method)


@pytest.mark.hard
@settings(common, max_examples=20_000)
@given(data=messages(), method=METHODS)
def test_T37_a_great_many_replies(world: World, data: bytes, method: bytes) -> None:
    check(world, data, method)
