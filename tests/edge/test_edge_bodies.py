"""Bodies: framed by us on each side, streamed as they come, never ended as if complete, never held whole."""

import threading
import time

import pytest

from tests.kit import scripts
from tests.kit.line import Line, Received
from tests.kit.raw import Client, chunked, request
from tests.kit.world import World

MEBIBYTE = 1024 * 1024
PIECE = bytes(range(256)) * 256  # 64 KiB


def test_a_known_length_is_kept_both_ways(world: World) -> None:
    world.upstream.reply(scripts.answer(b"reply"), b"/app/x")
    reply = world.send(request("/app/x", method=b"POST", body=b"body"))
    assert world.upstream.last.value(b"content-length") == b"4"
    assert world.upstream.last.values(b"transfer-encoding") == []
    assert reply.value(b"content-length") == b"5" and reply.values(b"transfer-encoding") == []


def test_an_unknown_length_is_chunked_both_ways(world: World) -> None:
    world.upstream.reply(scripts.chunked(b"some", b"more"), b"/app/x")
    data = request("/app/x", b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"one", b"two")
    reply = world.send(data)
    seen = world.upstream.last
    assert (seen.value(b"transfer-encoding"), seen.body) == (b"chunked", b"onetwo")
    assert (reply.value(b"transfer-encoding"), reply.body) == (b"chunked", b"somemore")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_request_without_a_body_gets_no_framing(world: World, method: bytes) -> None:
    assert world.send(request("/app/x", method=method), method).status == 200
    names = world.upstream.last.names()
    assert b"content-length" not in names and b"transfer-encoding" not in names


def test_a_post_without_a_body_says_so_or_nothing(world: World) -> None:
    assert world.send(request("/app/x", method=b"POST", body=b"")).status == 200
    assert world.upstream.last.values(b"content-length") == [b"0"]


@pytest.mark.parametrize("script", [scripts.chunked(b"so", b"me"), scripts.until_close(b"some", b"X: y")])
def test_a_client_of_1_0_gets_the_body_until_close(world: World, script: scripts.Script) -> None:
    world.upstream.reply(script, b"/app/x")
    with world.client() as client:
        reply = client.send(request("/app/x", b"Connection: keep-alive", version=b"HTTP/1.0")).reply()
        assert reply.values(b"transfer-encoding") == [] and reply.values(b"content-length") == []
        assert reply.body == b"some" and client.ends()


def test_a_body_of_1_0_is_forwarded_on_1_1(world: World) -> None:
    reply = world.send(request("/app/x", method=b"POST", body=b"body", version=b"HTTP/1.0"))
    assert reply.status == 200 and world.upstream.last.body == b"body"


@pytest.mark.parametrize("lines", [(b"Content-Length: 1000",), (b"Transfer-Encoding: chunked",), ()])
def test_head_has_the_headers_of_get_and_no_body(world: World, lines: tuple[bytes, ...]) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200 Fine", *lines, b"X: y"]) + b"\r\n\r\n"
    world.upstream.reply(scripts.raw(head), b"/app/x")
    talk = world.talk(request("/app/x", method=b"HEAD"), b"HEAD")
    assert talk.statuses == [200] and not talk.leftover
    assert talk.only.values(b"content-length") == ([b"1000"] if b"1000" in head else [])


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none(world: World, status: int) -> None:
    world.upstream.reply(scripts.raw(b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status), b"/app/x")
    talk = world.talk(request("/app/x") + request("/app/y"))
    assert talk.statuses == [status, 200] and not talk.leftover
    assert talk.replies[0].values(b"transfer-encoding") == []
    assert len({seen.connection for seen in world.upstream.requests}) == 1


def test_304_may_say_the_length_that_200_would_have(world: World) -> None:
    world.upstream.reply(scripts.raw(b"HTTP/1.1 304 Fine\r\nContent-Length: 99\r\n\r\n"), b"/app/x")
    assert world.talk(request("/app/x") + request("/app/y")).statuses == [304, 200]


@pytest.mark.parametrize("script", [scripts.answer(b""), scripts.chunked()])
def test_an_empty_body_is_an_empty_body(world: World, script: scripts.Script) -> None:
    world.upstream.reply(script, b"/app/x")
    talk = world.talk(request("/app/x") + request("/app/y"))
    assert [reply.body for reply in talk.replies] == [b"", b"ok"]


def test_early_hints_pass(world: World) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    world.upstream.reply(scripts.raw(hints, hints, scripts.message(200, b"ok")), b"/app/x")
    reply = world.get("/app/x")
    assert [interim.status for interim in reply.interim] == [103, 103]
    assert reply.interim[0].value(b"link") == b"</style.css>; rel=preload"
    assert (reply.status, reply.body) == (200, b"ok")


def test_each_event_of_a_stream_comes_when_it_is_sent(world: World) -> None:
    """The next event is only made once the one before has reached the client."""
    steps = [threading.Event() for _ in range(5)]

    def stream(line: Line, seen: Received) -> None:
        line.send(
            b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number, step in enumerate(steps):
            step.wait(10)
            line.send(b"9\r\ndata: %d\n\n\r\n" % number)
        line.send(b"0\r\n\r\n")

    world.upstream.reply(stream, b"/app/events")
    with world.client() as client:
        client.send(request("/app/events"))
        assert client.head().status == 200
        for number, step in enumerate(steps):
            step.set()
            assert client.source.until(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % number
        assert client.source.until(b"\r\n\r\n") == b"0\r\n\r\n"


def test_each_part_of_an_upload_goes_on_when_it_is_sent(world: World) -> None:
    with world.client() as client:
        client.send(request("/app/x", b"Transfer-Encoding: chunked", method=b"POST"))
        (seen,) = world.upstream.wait_head(1)
        for number in range(1, 6):
            client.send(chunked(b"part")[:-5])
            deadline = time.monotonic() + 10
            while seen.body_bytes < 4 * number and time.monotonic() < deadline:
                time.sleep(0.002)
            assert seen.body_bytes == 4 * number
        assert client.send(b"0\r\n\r\n").reply().status == 200


def test_an_early_reply_goes_through_at_once(world: World) -> None:
    world.upstream.reply(scripts.answer(b"too much", status=413), b"/large", at_head=True)
    with world.client() as client:
        client.send(request("/large", b"Content-Length: 1000000000", method=b"POST"), b"begin")
        reply = client.reply()
        assert (reply.status, reply.body) == (413, b"too much")
        client.sock.settimeout(5)
        for _ in range(20_000):  # 1.25 GiB at most: the gateway reads up to its bound, then closes
            try:
                client.sock.sendall(PIECE)
            except OSError:
                break
        else:
            pytest.fail("the gateway swallowed the whole body")


@pytest.mark.parametrize("framing", ["length", "close"])
def test_an_early_reply_of_a_server_that_lingers_goes_through(world: World, framing: str) -> None:
    """It says no more at once, but reads on, so that nothing is reset (RFC 9112 section 9.6)."""

    def script(line: Line, seen: Received) -> None:
        whole = scripts.message(413, b"too much")
        line.send(whole if framing == "length" else whole.replace(b"Content-Length: 8", b"X: y"))
        line.say_no_more()
        line.wait_gone()

    world.upstream.reply(script, b"/large", at_head=True)
    for _ in range(5):
        with world.client() as client:
            client.send(request("/large", b"Content-Length: 5000000", method=b"POST"), b"x" * 5_000_000)
            reply = client.reply()
            assert (reply.status, reply.body, reply.whole) == (413, b"too much", True)


def test_an_early_reply_keeps_the_connection_when_the_rest_is_small(world: World) -> None:
    """Or closes it; but a reply after it is never lost or mixed up."""
    world.upstream.reply(scripts.answer(b"early", status=403), b"/app/x", at_head=True)
    with world.client() as client:
        client.send(request("/app/x", b"Content-Length: 10", method=b"POST"))
        assert client.reply().body == b"early"
        talk = client.send(b"0123456789" + request("/app/y")).half_close().talk()
    assert [reply.body for reply in talk.replies] in ([b"ok"], [])


@pytest.mark.parametrize("size", [0, 1, 1024])
def test_a_body_within_the_limit_passes(world: World, size: int) -> None:
    assert world.send(request("/small", method=b"POST", body=b"x" * size)).status == 200
    data = request("/small", b"Transfer-Encoding: chunked", method=b"POST") + chunked(*[b"x"] * size)
    assert world.send(data).status == 200
    assert len(world.upstream.last.body) == size


def test_a_body_over_the_limit_is_refused_by_its_length(world: World) -> None:
    with world.client() as client:
        reply = client.send(request("/small", b"Content-Length: 1025", method=b"POST")).reply()
        assert (reply.status, reply.code) == (413, "body_too_large")
        assert client.ends()
    assert world.reached() == []


def test_a_body_over_the_limit_is_refused_when_it_passes_it(world: World) -> None:
    with world.client() as client:
        client.send(
            request("/small", b"Transfer-Encoding: chunked", method=b"POST"), chunked(b"x" * 1024)[:-5]
        )
        reply = client.send(chunked(b"x")).reply()
        assert (reply.status, reply.code) == (413, "body_too_large")
        assert client.ends()
    assert not any(seen.complete for seen in world.reached())


def download(world: World, size: int, slow: bool) -> None:
    """`size` bytes down, the reader slower than the writer; the gateway holds next to nothing of it."""
    head = b"HTTP/1.1 200 Fine\r\nContent-Length: %d\r\n\r\n" % size
    world.upstream.reply(scripts.endless(head, PIECE, size), b"/large")
    before, peak = world.gateway.memory(), 0
    with Client(world.port, receive_buffer=64 * 1024, patience=30) as client:
        client.send(request("/large"))
        assert client.head().status == 200
        client.source.keep, left = 0, size
        while left:
            part = client.source.some(min(left, 256 * 1024))
            at = (size - left) % 256
            assert part[:256] == bytes((at + step) % 256 for step in range(min(256, len(part))))
            left -= len(part)
            if slow and left // len(PIECE) % 40 == 0:
                time.sleep(0.001)
                peak = max(peak, world.gateway.memory())
    assert peak - before < 2 * MEBIBYTE, f"grew by {(peak - before) / MEBIBYTE:.1f} MiB"


def upload(world: World, size: int, framing: str) -> None:
    """`size` bytes up to a server that reads slowly."""
    before, peak = world.gateway.memory(), 0
    piece, line = PIECE, b"Content-Length: %d" % size
    if framing == "chunked":
        piece, line = b"%x\r\n%b\r\n" % (len(PIECE), PIECE), b"Transfer-Encoding: chunked"
    with Client(world.port, patience=30) as client:
        client.send(request("/large", line, method=b"POST"))
        for number in range(size // len(PIECE)):
            client.sock.sendall(piece)
            if number % 50 == 0:
                peak = max(peak, world.gateway.memory())
        if framing == "chunked":
            client.send(b"0\r\n\r\n")
        assert client.reply().status == 200
    seen = world.upstream.last
    assert seen.body_bytes == size and seen.complete
    assert peak - before < 2 * MEBIBYTE, f"grew by {(peak - before) / MEBIBYTE:.1f} MiB"


@pytest.mark.parametrize("size", [64 * MEBIBYTE, pytest.param(1024 * MEBIBYTE, marks=pytest.mark.hard)])
def test_a_large_reply_to_a_slow_reader_is_streamed(world: World, size: int) -> None:
    download(
        world, 4 * MEBIBYTE, slow=False
    )  # what the process keeps for itself is there before it is measured
    download(world, size, slow=True)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [64 * MEBIBYTE, pytest.param(1024 * MEBIBYTE, marks=pytest.mark.hard)])
def test_a_large_request_is_streamed(world: World, size: int, framing: str) -> None:
    keep, world.upstream.keep, world.upstream.pause = world.upstream.keep, 0, 0.0002
    try:
        upload(world, 4 * MEBIBYTE, framing)
        upload(world, size, framing)
    finally:
        world.upstream.keep, world.upstream.pause = keep, 0.0


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_a_reply_that_stalls_is_broken_off_not_completed(world: World, kind: str) -> None:
    framing = b"Content-Length: 100" if kind == "length" else b"Transfer-Encoding: chunked"
    data = b"HTTP/1.1 200 Fine\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n"
    world.upstream.reply(scripts.raw(data, then="wait"), b"/app/x")
    with world.client() as client:
        reply = client.send(request("/app/x")).reply()
        assert reply.status == 200 and not reply.whole
    (seen,) = world.upstream.on(b"/app/x")
    assert world.upstream.wait_closed(seen.connection)
