"""What was measured of httptools (llhttp), as tests of the library, each beside what the edge does of it."""

import threading

import httptools
import pytest

from tests.kit import scripts
from tests.kit.raw import chunked, request
from tests.kit.world import World

Event = tuple[str, bytes]


class Recorder:
    """A protocol that writes down what the parser reports."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_url(self, url: bytes) -> None:
        self.events.append(("url", url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.events.append(("header", name + b"=" + value))

    def on_headers_complete(self) -> None:
        self.events.append(("head", b""))

    def on_body(self, body: bytes) -> None:
        self.events.append(("body", body))

    def on_message_complete(self) -> None:
        self.events.append(("complete", b""))


def parse(data: bytes, *, reply: bool = False) -> tuple[list[Event], Exception | None]:
    recorder = Recorder()
    parser = httptools.HttpResponseParser(recorder) if reply else httptools.HttpRequestParser(recorder)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        return recorder.events, error
    return recorder.events, None


# One head at a time: no pause, no position, no limits, no finish.


def test_fact_the_parser_does_not_stop_after_one_message() -> None:
    events, error = parse(request("/a") + request("/b"))
    assert error is None
    assert [value for kind, value in events if kind == "url"] == [b"/a", b"/b"]


@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n"])
def test_an_empty_line_before_a_request_is_passed_over(world: World, empty: bytes) -> None:
    """RFC 9112 section 2.2; old clients send one after a body."""
    talk = world.talk(empty + request("/app/a", method=b"POST", body=b"body") + empty + request("/app/b"))
    assert talk.statuses == [200, 200]
    assert [seen.path for seen in world.upstream.requests] == [b"/app/a", b"/app/b"]
    with world.client() as client:
        assert client.send(empty + request("/app/c")).reply().status == 200


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_requests_cut_anywhere_are_read_alike(world: World, size: int) -> None:
    data = (
        request("/app/one", method=b"POST", body=b"hello")
        + request("/app/two", b"Transfer-Encoding: chunked", method=b"POST")
        + chunked(b"some", b"more", trailer=b"X: y\r\n")
        + request("/app/three", b"Connection: close")
    )
    with world.client() as client:
        client.send(*[data[at : at + size] for at in range(0, len(data), size)])
        talk = client.talk()
    assert talk.statuses == [200, 200, 200]
    assert [(seen.path, seen.body) for seen in world.upstream.requests] == [
        (b"/app/one", b"hello"), (b"/app/two", b"somemore"), (b"/app/three", b""),
    ]  # fmt: skip


@pytest.mark.parametrize("size", range(1, 6))
def test_the_first_bytes_of_a_request_wait_for_the_rest(world: World, size: int) -> None:
    data = request("/app/one")
    with world.client() as client:
        client.send(data[:size])
        assert world.talk(request("/app/two")).statuses == [200]  # so the worker has read the first bytes
        assert client.send(data[size:]).reply().status == 200


def test_pipelined_requests_go_upstream_one_after_the_other(world: World) -> None:
    """The second waits as bytes until the first is answered."""
    gate = threading.Event()
    world.upstream.reply(scripts.gated(b"", gate, scripts.message(200, b"first")), b"/app/first")
    with world.client() as client:
        client.send(request("/app/first") + request("/app/second") * 40)
        world.upstream.wait_for(1)
        assert [seen.path for seen in world.reached()] == [b"/app/first"]
        gate.set()
        assert [client.reply().body for _ in range(41)] == [b"first", *[b"ok"] * 40]


@pytest.mark.parametrize("body", [b"x", b"x" * 65_535, b"x" * 65_536, b"x" * 65_537, b"x" * 300_000])
def test_a_body_ends_exactly_where_its_length_says(world: World, body: bytes) -> None:
    talk = world.talk(request("/app/a", method=b"POST", body=body) + request("/app/b"))
    assert talk.statuses == [200, 200]
    assert [(seen.path, len(seen.body)) for seen in world.upstream.requests] == [
        (b"/app/a", len(body)), (b"/app/b", 0),
    ]  # fmt: skip


def test_a_chunk_larger_than_a_slice_passes_whole(world: World) -> None:
    body = bytes(range(256)) * 1200
    data = request("/app/a", b"Transfer-Encoding: chunked", method=b"POST") + chunked(body, b"end")
    assert world.talk(data + request("/app/b")).statuses == [200, 200]
    assert world.upstream.on(b"/app/a")[0].body == body + b"end"


# Smuggling by upgrade.


def test_fact_an_upgrade_with_a_length_is_complete_without_its_body() -> None:
    lines = (b"Connection: upgrade", b"Upgrade: foo")
    events, error = parse(request("/a", *lines, method=b"POST", body=b"hello"))
    assert ("complete", b"") in events and not [kind for kind, _ in events if kind == "body"]
    assert isinstance(error, httptools.HttpParserUpgrade) and isinstance(error.args[0], int)


def test_fact_an_upgrade_is_no_parser_error() -> None:
    assert not issubclass(httptools.HttpParserUpgrade, httptools.HttpParserError)


def test_bytes_after_an_upgrade_that_is_not_accepted_are_the_next_requests(world: World) -> None:
    lines = (b"Connection: upgrade", b"Upgrade: foo")
    data = (
        request("/app/a", *lines)
        + request("/app/b", method=b"POST", body=b"body")
        + request("/app/c", *lines)
    )
    assert world.talk(data).statuses == [200, 200, 200]
    assert [(seen.path, seen.body) for seen in world.upstream.requests] == [
        (b"/app/a", b""), (b"/app/b", b"body"), (b"/app/c", b""),
    ]  # fmt: skip


# Versions and methods.


@pytest.mark.parametrize("version", [b"RTSP/1.0", b"HTTP/0.9", b"HTTP/2.0"])
def test_fact_the_parser_accepts_other_versions(version: bytes) -> None:
    events, error = parse(request("/a", version=version))
    assert error is None and ("complete", b"") in events


@pytest.mark.parametrize(
    "version",
    [b"RTSP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/3.0", b"http/1.1", b"HTTP/1.10", b"HTTP/01.1",
     b"HTTP/1", b"ICE/1.0", b"HTTP/1.1\t", b"HTTP1.1", b"", b"X"],
)  # fmt: skip
def test_only_1_0_and_1_1_are_requests(world: World, version: bytes) -> None:
    world.refused(request("/app/x", version=version), code="bad_request")


def test_a_simple_request_of_0_9_is_refused(world: World) -> None:
    talk = world.talk(b"GET /app/x\r\n\r\n")
    assert talk.statuses == [400] and world.reached() == []


@pytest.mark.parametrize("method", [b"BREW", b"get", b"GET1", b"G@T", b"PRI", b"DESCRIBE", b"X" * 100])
def test_methods_unknown_to_the_parser_are_refused(world: World, method: bytes) -> None:
    world.refused(request("/app/x", method=method))


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PURGE"]
)
def test_known_methods_pass(world: World, method: bytes) -> None:
    assert world.send(request("/app/x", method=method), method).status == 200
    assert world.upstream.last.method == method


# Framing is judged from the header bytes.


@pytest.mark.parametrize("value", [b"identity, chunked", b"chunked "])
def test_fact_the_parser_accepts_unclear_codings(value: bytes) -> None:
    events, _ = parse(request("/a", b"Transfer-Encoding: " + value, method=b"POST") + chunked(b"x"))
    assert ("head", b"") in events


def test_fact_the_parser_accepts_chunked_on_1_0() -> None:
    head = request("/a", b"Transfer-Encoding: chunked", method=b"POST", version=b"HTTP/1.0")
    events, error = parse(head + chunked(b"x"))
    assert error is None and ("body", b"x") in events


@pytest.mark.parametrize(
    "value", [b"identity, chunked", b"chunked ", b"chunked\t", b"Chunked", b"chunked, chunked"]
)
def test_anything_but_chunked_is_refused(world: World, value: bytes) -> None:
    head = request("/app/x", b"Transfer-Encoding: " + value, method=b"POST")
    world.refused(head + chunked(b"x"))


def test_fact_a_trailer_is_reported_as_a_header() -> None:
    head = request("/a", b"Transfer-Encoding: chunked", method=b"POST")
    events, _ = parse(head + chunked(b"x", trailer=b"X-User-Id: forged\r\n"))
    assert events.index(("header", b"X-User-Id=forged")) > events.index(("head", b""))


# Replies.


def test_fact_the_parser_waits_for_the_body_of_a_reply_to_head() -> None:
    events, _ = parse(b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n", reply=True)
    assert ("complete", b"") not in events


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
def test_a_reply_to_head_ends_with_its_head(world: World, framing: bytes) -> None:
    world.upstream.reply(scripts.raw(b"HTTP/1.1 200 Fine\r\n" + framing + b"\r\n\r\n"), b"/app/x")
    with world.client() as client:
        for _ in range(3):
            reply = client.send(request("/app/x", method=b"HEAD")).reply(b"HEAD")
            assert (reply.status, reply.body) == (200, b"")
        assert client.send(request("/app/y")).reply().body == b"ok"
    if framing != b"X: y":
        assert len({seen.connection for seen in world.upstream.requests}) == 1, (
            "the connection is good for more"
        )


def test_fact_the_parser_never_completes_a_reply_that_ends_with_the_connection() -> None:
    events, error = parse(b"HTTP/1.1 200 Fine\r\n\r\nbody", reply=True)
    assert error is None and events == [("head", b""), ("body", b"body")]


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@pytest.mark.parametrize("body", [b"", b"short", b"x" * 200_000])
def test_a_reply_that_ends_with_the_connection_is_whole(world: World, version: bytes, body: bytes) -> None:
    world.upstream.reply(scripts.until_close(body, b"X: y", version=version), b"/app/x")
    with world.client() as client:
        reply = client.send(request("/app/x")).reply()
        assert (reply.status, reply.body, reply.whole) == (200, body, True)
        assert client.send(request("/app/y")).reply().body == b"ok"


@pytest.mark.parametrize("status", [b"000", b"600"])
def test_fact_the_parser_accepts_odd_statuses(status: bytes) -> None:
    events, error = parse(b"HTTP/1.1 " + status + b" Fine\r\nContent-Length: 0\r\n\r\n", reply=True)
    assert error is None and ("complete", b"") in events


def test_fact_the_parser_accepts_other_codings_of_a_reply() -> None:
    events, error = parse(b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: gzip\r\n\r\nx", reply=True)
    assert error is None and ("body", b"x") in events


def test_100_of_the_upstream_is_swallowed(world: World) -> None:
    world.upstream.reply(
        scripts.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + scripts.message(200, b"ok")), b"/app/x"
    )
    reply = world.send(request("/app/x", method=b"POST", body=b"body"))
    assert (reply.status, reply.interim) == (200, [])


def test_a_client_of_1_0_gets_no_interim_reply(world: World) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    world.upstream.reply(scripts.raw(hints + scripts.message(200, b"ok")), b"/app/x")
    reply = world.send(request("/app/x", version=b"HTTP/1.0"))
    assert (reply.status, reply.interim) == (200, [])


# The end of a connection is seen while a reply is awaited.


def test_rst_cancels_the_request_upstream(world: World) -> None:
    world.upstream.reply(scripts.silent(), b"/app/x")
    client = world.client().send(request("/app/x"))
    (seen,) = world.upstream.wait_for(1)
    client.abort()
    assert world.upstream.wait_closed(seen.connection, 4)


def test_rst_behind_pipelined_bytes_cancels_the_request_upstream(world: World) -> None:
    """uvloop sees no RST while reading is paused: so the edge goes on reading for a while."""
    world.upstream.reply(scripts.silent(), b"/app/x")
    client = world.client().send(request("/app/x") + request("/app/y") * 10)
    (seen,) = world.upstream.wait_for(1)
    client.abort()
    assert world.upstream.wait_closed(seen.connection, 4)
    assert world.upstream.on(b"/app/y") == []


def test_half_close_after_a_whole_request_is_answered(world: World) -> None:
    gate = threading.Event()
    world.upstream.reply(scripts.gated(b"", gate, scripts.message(200, b"late")), b"/app/x")
    with world.client() as client:
        client.send(request("/app/x")).half_close()
        world.upstream.wait_for(1)
        gate.set()
        talk = client.talk()
    assert [reply.body for reply in talk.replies] == [b"late"] and talk.closed


def test_half_close_after_pipelined_requests_answers_all_of_them(world: World) -> None:
    talk = world.talk(request("/app/x") + request("/app/y", method=b"POST", body=b"body") + request("/app/z"))
    assert talk.statuses == [200, 200, 200] and talk.closed
    assert [seen.path for seen in world.upstream.requests] == [b"/app/x", b"/app/y", b"/app/z"]


def test_half_close_within_a_request_ends_it(world: World) -> None:
    for part in (b"GET /app/x HT", request("/app/x", b"Content-Length: 10", method=b"POST") + b"hello"):
        talk = world.talk(part)
        assert talk.closed and talk.statuses in ([], [400]), talk
    assert not any(seen.complete for seen in world.reached())
