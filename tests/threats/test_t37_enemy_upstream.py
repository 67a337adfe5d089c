"""T37: an upstream that lies or floods: 502, or a cleaned reply, and its connection is never used again."""

import threading

import pytest

from tests.kit import scripts
from tests.kit.raw import Answer, request
from tests.kit.world import World

OK = b"HTTP/1.1 200 Fine\r\n"
SECOND = b"HTTP/1.1 200 Fine\r\nContent-Length: 6\r\n\r\nsecond"

NOT_A_REPLY: dict[str, bytes] = {
    "garbage": b"hello, who is there?\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "HTTP/3": b"HTTP/3 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "lower case": b"http/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 Fine\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 99 Fine\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Fine\r\nContent-Length: 0\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 Fine\r\nContent-Length: 0\r\n\r\n",
    "status +20": b"HTTP/1.1 +20 Fine\r\nContent-Length: 0\r\n\r\n",
    "status in letters": b"HTTP/1.1 OK Fine\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 Fine\r\nContent-Length: 0\r\n\r\n",
    "status line ended by LF": b"HTTP/1.1 200 Fine\nContent-Length: 0\r\n\r\n",
    "empty line first": b"\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "space in a name": OK + b"X Y: z\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"nonsense\r\nContent-Length: 0\r\n\r\n",
    "no name": OK + b": nonsense\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": OK + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
    "bare LF in a value": OK + b"X: a\nSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 0\r\nContent-Length: 6\r\n\r\nsecond",
    "length list": OK + b"Content-Length: 0, 6\r\n\r\nsecond",
    "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "length 0x": OK + b"Content-Length: 0x0\r\n\r\n",
    "length overflow": OK + b"Content-Length: 18446744073709551616\r\n\r\n",
    "length and chunked": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nx",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked on 1.0": b"HTTP/1.0 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "101 without anything": b"HTTP/1.1 101 Switching\r\n\r\n",
}  # fmt: skip


def assert_bad(world: World, reply: Answer, connection: int) -> None:
    """A 502 that says only what the gateway knows; that connection is never used again."""
    assert (reply.status, reply.code) == (502, "upstream_bad_reply"), reply
    assert b"set-cookie" not in [name.lower() for name, _ in reply.headers]
    assert world.upstream.wait_closed(connection), "the connection must be discarded"
    world.serves()
    assert world.upstream.last.connection != connection


@pytest.mark.parametrize("name", NOT_A_REPLY)
def test_T37_what_is_no_reply_is_502(world: World, name: str) -> None:
    world.upstream.reply(scripts.raw(NOT_A_REPLY[name], then="wait"), b"/app/bad")
    reply = world.send(request("/app/bad", method=b"POST", body=b"x"))
    (seen,) = world.upstream.on(b"/app/bad")
    assert_bad(world, reply, seen.connection)


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"a" * 6, b"X: " + b"y" * 60_000 + b"\r\n"])
def test_T37_a_head_without_end_is_502(world: World, piece: bytes) -> None:
    world.upstream.reply(scripts.endless(OK, piece * 10, 1 << 24), b"/app/bad")
    before = world.gateway.memory()
    reply = world.send(request("/app/bad", method=b"POST", body=b"x"))
    (seen,) = world.upstream.on(b"/app/bad")
    assert_bad(world, reply, seen.connection)
    assert world.gateway.memory() - before < 16 * 1024 * 1024


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Odd"])
def test_T37_interim_replies_without_end_are_502(world: World, status: bytes) -> None:
    interim = b"HTTP/1.1 " + status + b"\r\nX: y\r\n\r\n"
    world.upstream.reply(scripts.endless(b"", interim * 20, 1 << 24), b"/app/bad")
    with world.client() as client:
        client.send(request("/app/bad", method=b"POST", body=b"x"))
        reply = client.reply()
    (seen,) = world.upstream.on(b"/app/bad")
    assert_bad(world, reply, seen.connection)


def test_T37_a_reason_phrase_is_never_forwarded(world: World) -> None:
    head = b"HTTP/1.1 200 <script>forged</script>\r\nContent-Length: 2\r\n\r\nok"
    world.upstream.reply(scripts.raw(head), b"/app/x")
    reply = world.get("/app/x")
    assert reply.status == 200 and b"forged" not in reply.line


@pytest.mark.parametrize("gap", [True, False])
def test_T37_a_second_reply_reaches_nobody(world: World, gap: bool) -> None:
    """In one read with the first, or a moment later: the connection is discarded."""
    first = scripts.message(200, b"first")
    pieces = (first, SECOND) if gap else (first + SECOND,)
    world.upstream.reply(scripts.raw(*pieces, then="wait"), b"/app/x")
    with world.client() as client:
        assert client.send(request("/app/x")).reply().body == b"first"
        (seen,) = world.upstream.on(b"/app/x")
        assert world.upstream.wait_closed(seen.connection)
        assert client.send(request("/app/y")).reply().body == b"ok"
    assert world.upstream.last.connection != seen.connection


def test_T37_a_reply_before_its_request_reaches_nobody(world: World) -> None:
    """Sent on an idle connection, it would be the reply to whoever comes next."""
    gate = threading.Event()
    world.upstream.reply(scripts.gated(scripts.message(200, b"first"), gate, SECOND), b"/app/x")
    with world.client() as client:
        assert client.send(request("/app/x")).reply().body == b"first"
        (seen,) = world.upstream.on(b"/app/x")
        gate.set()
        assert world.upstream.wait_closed(seen.connection)
        assert client.send(request("/app/y")).reply().body == b"ok"
    assert world.upstream.last.connection != seen.connection


@pytest.mark.parametrize("status", [204, 304])
def test_T37_a_body_where_none_can_be_reaches_nobody(world: World, status: int) -> None:
    data = b"HTTP/1.1 %d Fine\r\nContent-Length: %d\r\n\r\n" % (status, len(SECOND)) + SECOND
    world.upstream.reply(scripts.raw(data, then="wait"), b"/app/x")
    with world.client() as client:
        assert client.send(request("/app/x")).reply().status == status
        (seen,) = world.upstream.on(b"/app/x")
        assert world.upstream.wait_closed(seen.connection)
        assert client.send(request("/app/y")).reply().body == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 Fine\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 204 Fine\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Fine\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_T37_a_reply_that_speaks_of_a_body_it_cannot_have_is_the_last(world: World, head: bytes) -> None:
    """The body may come later, and would be taken for the reply to somebody else's request."""
    world.upstream.reply(scripts.raw(head, then="wait"), b"/app/x")
    reply = world.get("/app/x")
    assert not reply.values(b"transfer-encoding") + reply.values(b"content-length")
    (seen,) = world.upstream.on(b"/app/x")
    assert world.upstream.wait_closed(seen.connection)
    assert world.get("/app/y").body == b"ok"


def test_T37_a_body_after_head_reaches_nobody(world: World) -> None:
    data = OK + b"Content-Length: %d\r\n\r\n" % len(SECOND) + SECOND
    world.upstream.reply(scripts.raw(data, then="wait"), b"/app/x")
    with world.client() as client:
        assert client.send(request("/app/x", method=b"HEAD")).reply(b"HEAD").status == 200
        (seen,) = world.upstream.on(b"/app/x")
        assert world.upstream.wait_closed(seen.connection)
        assert client.send(request("/app/y")).reply().body == b"ok"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 100\r\n\r\nonly this",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_T37_a_body_that_breaks_off_is_never_ended_as_if_complete(
    world: World, data: bytes, then: str
) -> None:
    world.upstream.reply(scripts.raw(data, then=then), b"/app/x")
    with world.client() as client:
        client.send(request("/app/x", method=b"POST", body=b"x"))
        reply = client.reply()
        assert reply.status == 502 or not reply.whole, reply
        assert client.ends()


@pytest.mark.parametrize("size", [b"5x", b"-5", b"+5", b"0x5", b"", b"5\n", b"FFFFFFFFFFFFFFFFF", b" 5"])
def test_T37_broken_chunks_break_the_reply_off(world: World, size: bytes) -> None:
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"
    world.upstream.reply(scripts.raw(data, then="wait"), b"/app/x")
    with world.client() as client:
        client.send(request("/app/x", method=b"POST", body=b"x"))
        reply = client.reply()
        assert reply.status == 502 or not reply.whole, reply
    (seen,) = world.upstream.on(b"/app/x")
    assert world.upstream.wait_closed(seen.connection)


@pytest.mark.parametrize(
    "cookie",
    [
        b"postern=stolen", b"__Host-postern=stolen; Secure; Path=/", b"__Secure-postern=stolen; Secure",
        b" postern =stolen", b"postern=", b"postern", b"postern=; Max-Age=0", b"__Host-postern-device=stolen",
        b"postern-device=stolen", b"\tpostern\t=\tstolen",
    ],
)  # fmt: skip
def test_T37_an_upstream_cannot_set_our_cookies(world: World, cookie: bytes) -> None:
    head = (
        OK
        + b"Set-Cookie: a=1\r\nSet-Cookie: "
        + cookie
        + b"\r\nset-cookie: postern2=x\r\nContent-Length: 2\r\n\r\nok"
    )
    world.upstream.reply(scripts.raw(head), b"/app/x")
    reply = world.get("/app/x")
    assert reply.status == 200
    assert reply.values(b"set-cookie") == [b"a=1", b"postern2=x"]


@pytest.mark.parametrize(
    "line",
    [
        b"X-Accel-Redirect: /internal/secret", b"X-Accel-Buffering: no", b"x-accel-expires: 0",
        b"X-Access-Token: x", b"X-Access-Token-Expires: 1", b"Connection: X-Secret",
        b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Upgrade: h2c",
        b"Proxy-Authenticate: Basic", b"X-Request-Id: forged-by-upstream", b"TE: trailers",
    ],
)  # fmt: skip
def test_T37_headers_that_speak_to_a_gateway_end_here(world: World, line: bytes) -> None:
    name, _, value = line.partition(b": ")
    head = OK + line + b"\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok"
    world.upstream.reply(scripts.raw(head), b"/app/x")
    reply = world.get("/app/x")
    assert (reply.status, reply.body, reply.value(b"x-kept")) == (200, b"ok", b"yes")
    assert value not in reply.values(name)


@pytest.mark.parametrize("status", [103, 101])
def test_T37_an_interim_reply_is_cleaned_too(world: World, status: int) -> None:
    """A 1xx has no body, so what frames one would frame the reply after it (RFC 9110 section 8.6)."""
    lines = (b"Content-Length: 5", b"Set-Cookie: postern=stolen", b"X-Accel-Redirect: /x", b"X-Kept: yes")
    first = [b"HTTP/1.1 %d Fine" % status, *lines]
    first += [b"Connection: Upgrade", b"Upgrade: websocket"] if status == 101 else []
    after = b"hello" if status == 101 else scripts.message(200, b"ok")
    world.upstream.reply(scripts.raw(b"\r\n".join(first) + b"\r\n\r\n", after), b"/app/x")
    with world.client() as client:
        client.send(request("/app/x", b"Connection: Upgrade", b"Upgrade: websocket"))
        reply = client.head()
        if (status, reply.status) != (101, 502):
            assert (reply.status, reply.value(b"x-kept")) == (status, b"yes")
            for name in (b"content-length", b"transfer-encoding", b"set-cookie", b"x-accel-redirect"):
                assert reply.values(name) == [], name


def test_T37_headers_nominated_by_the_upstream_end_here(world: World) -> None:
    head = OK + b"Connection: X-Secret, keep-alive\r\nX-Secret: hop\r\nContent-Length: 2\r\n\r\nok"
    world.upstream.reply(scripts.raw(head), b"/app/x")
    assert world.get("/app/x").values(b"x-secret") == []


def test_T37_headers_nominated_in_an_interim_reply_end_here(world: World) -> None:
    hint = b"HTTP/1.1 103 Early\r\nConnection: X-Inner\r\nX-Inner: 1\r\nLink: a\r\n\r\n"
    world.upstream.reply(scripts.raw(hint, scripts.message(200, b"ok")), b"/app/x")
    (interim,) = world.get("/app/x").interim
    assert interim.headers == [(b"Link", b"a")]


def test_T37_a_nominated_content_length_stays_framing(world: World) -> None:
    head = OK + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\nok"
    world.upstream.reply(scripts.raw(head + SECOND, then="wait"), b"/app/x")
    reply = world.get("/app/x")
    assert reply.status == 502 or reply.body == b"ok"


@pytest.mark.parametrize("then", ["close", "reset"])
def test_T37_no_reply_at_all_is_502_and_not_asked_twice(world: World, then: str) -> None:
    """POST is not sent again: nobody knows whether it was done."""
    world.upstream.reply(scripts.raw(then=then), b"/app/x")
    reply = world.send(request("/app/x", method=b"POST", body=b"x"))
    assert (reply.status, reply.code) == (502, "upstream_reset")
    assert len(world.upstream.on(b"/app/x")) == 1


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 Fine\r\n", b"HTTP/1.1 200 Fine\r\nContent-Le"])
def test_T37_half_a_head_is_502(world: World, part: bytes) -> None:
    world.upstream.reply(scripts.raw(part, then="close"), b"/app/x")
    reply = world.send(request("/app/x", method=b"POST", body=b"x"))
    assert reply.status == 502 and reply.code in ("upstream_reset", "upstream_bad_reply")


def test_T37_an_upstream_that_says_nothing_is_504(world: World) -> None:
    world.upstream.reply(scripts.silent(), b"/app/x")
    reply = world.get("/app/x")
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    (seen, *_) = world.upstream.on(b"/app/x")
    assert world.upstream.wait_closed(seen.connection)
