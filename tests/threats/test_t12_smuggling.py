"""T12: whatever the framing, the upstream counts one request or none, and never the one hidden in a body."""

import threading
import time

import pytest

from tests.kit import scripts
from tests.kit.raw import chunked, request
from tests.kit.world import World

SMUGGLED = b"GET /app/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
HEAD = b"POST /app/x HTTP/1.1\r\nHost: gateway.test\r\n"
HIDDEN = b"0\r\n\r\n" + SMUGGLED  # the end of a chunked body, and another request

# Each of these heads could be framed in two ways, or is not HTTP: 400 before anything goes upstream.
REFUSED: dict[str, bytes] = {
    "CL.TE": HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "TE.CL": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + HIDDEN,
    "TE.TE identity last": HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    + HIDDEN,
    "TE.TE identity first": HEAD
    + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n"
    + HIDDEN,
    "TE.TE twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
    "TE list": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n" + HIDDEN,
    "TE list, chunked first": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + HIDDEN,
    "TE chunked twice in a list": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + HIDDEN,
    "TE with a comma": HEAD + b"Transfer-Encoding: ,chunked\r\n\r\n" + HIDDEN,
    "TE xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    "TE quoted": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n' + HIDDEN,
    "TE in capitals": HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n" + HIDDEN,
    "TE with a parameter": HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + HIDDEN,
    "TE gzip": HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + HIDDEN,
    "TE gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + HIDDEN,
    "TE identity": HEAD + b"Transfer-Encoding: identity\r\n\r\n" + HIDDEN,
    "TE empty": HEAD + b"Transfer-Encoding:\r\n\r\n" + HIDDEN,
    "TE with a space after": HEAD + b"Transfer-Encoding: chunked \r\n\r\n" + HIDDEN,
    "TE with a vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + HIDDEN,
    "TE with NUL": HEAD + b"Transfer-Encoding: chunked\x00\r\n\r\n" + HIDDEN,
    "TE with a bare CR": HEAD + b"Transfer-Encoding: chunked\rX: y\r\n\r\n" + HIDDEN,
    "TE folded": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + HIDDEN,
    "TE, space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + HIDDEN,
    "TE on 1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + HIDDEN,
    "CL twice, differing": HEAD + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "CL twice, equal": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "CL list": HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "CL 0x": HEAD + b"Content-Length: 0x5\r\n\r\nhello",
    "CL +": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "CL negative": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "CL with a space inside": HEAD + b"Content-Length: 5 0\r\n\r\nhello",
    "CL with an underscore": HEAD + b"Content-Length: 0_5\r\n\r\nhello",
    "CL exponent": HEAD + b"Content-Length: 5e0\r\n\r\nhello",
    "CL empty": HEAD + b"Content-Length:\r\n\r\nhello",
    "CL overflow of 64 bits": HEAD + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "CL overflow of 63 bits": HEAD + b"Content-Length: 9223372036854775813\r\n\r\nhello",
    "CL in other digits": HEAD + "Content-Length: ٥\r\n\r\n".encode() + b"hello",
    "CL folded": HEAD + b"Content-Length: 5\r\n 0\r\n\r\nhello",
    "CL, space before the colon": HEAD + b"Content-Length : 5\r\n\r\nhello",
    "CL, tab before the colon": HEAD + b"Content-Length\t: 5\r\n\r\nhello",
    "obs-fold": HEAD + b"X-A: one\r\n two\r\n\r\n",
    "obs-fold with a tab": HEAD + b"X-A: one\r\n\ttwo\r\n\r\n",
    "obs-fold on the first field": b"GET /app/x HTTP/1.1\r\n Host: gateway.test\r\n\r\n",
    "bare CR in a value": HEAD + b"X-A: one\rContent-Length: 5\r\n\r\n",
    "bare LF ends a field": HEAD + b"X-A: one\nContent-Length: 5\r\n\r\nhello",
    "bare LF ends the request line": b"GET /app/x HTTP/1.1\nHost: gateway.test\r\n\r\n",
    "NUL in a value": HEAD + b"X-A: on\x00e\r\n\r\n",
    "NUL in a name": HEAD + b"X-\x00A: one\r\n\r\n",
    "space in a name": HEAD + b"X A: one\r\n\r\n",
    "no name": HEAD + b": one\r\n\r\n",
    "no colon": HEAD + b"X-A one\r\n\r\n",
    "name outside ASCII": HEAD + b"X-\xc3\xa9: one\r\n\r\n",
    "two spaces in the request line": b"GET  /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "a tab in the request line": b"GET\t/app/x\tHTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "a space after the version": b"GET /app/x HTTP/1.1 \r\nHost: gateway.test\r\n\r\n",
    "a space in the target": b"GET /app/x y HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "LF before the method": b"\nGET /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "CR before the method": b"\rGET /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "a tab before the method": b"\tGET /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "LF after the method": b"GET\n /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "NUL in the method": b"G\x00T /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "no method": b" /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "CR in the target": b"GET /app/x\r HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "LF in the query": b"GET /app/x?\nX: y HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "a space before the method": b" GET /app/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
}

# The head is clear; the chunks are not: the request may have begun, but it never ends, and no other one does.
BROKEN_CHUNKS: dict[str, bytes] = {
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "+": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "only an extension": b";a=b\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "overflow of 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "far too many digits": b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n",
    "extension with LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension ended by LF": b"5;a\nhello\r\n0\r\n\r\n",
    "extension with CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension with NUL": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "size ended by LF": b"5\nhello\r\n0\r\n\r\n",
    "size ended by CR": b"5\rhello\r\n0\r\n\r\n",
    "data longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "data without CRLF": b"5\r\nhello0\r\n\r\n",
    "data ended by LF": b"5\r\nhello\n0\r\n\r\n",
    "trailer with a bare LF": b"5\r\nhello\r\n0\r\nX: y\n\r\n",
    "trailer folded": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nXy\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_T12_unclear_head_is_refused_and_nothing_goes_upstream(world: World, name: str) -> None:
    world.refused(REFUSED[name] + SMUGGLED)


@pytest.mark.parametrize("name", ["LF only", "CR only", "LF after the head"])
def test_T12_heads_without_crlf_are_never_a_request(world: World, name: str) -> None:
    data = {
        "LF only": b"GET /app/x HTTP/1.1\nHost: gateway.test\n\n",
        "CR only": b"GET /app/x HTTP/1.1\rHost: gateway.test\r\r",
        "LF after the head": b"GET /app/x HTTP/1.1\r\nHost: gateway.test\r\n\n",
    }[name]
    talk = world.talk(data + SMUGGLED)
    assert all(status == 400 for status in talk.statuses) and talk.closed, talk
    assert world.reached() == []


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_T12_broken_chunks_never_become_a_request(world: World, name: str) -> None:
    world.upstream.reply(scripts.answer(b"complete"), b"/app/x")
    talk = world.talk(
        request("/app/x", b"Transfer-Encoding: chunked", b"X-Case: " + name.encode(), method=b"POST")
        + BROKEN_CHUNKS[name]
        + SMUGGLED
    )
    assert talk.closed and talk.statuses in ([400], []), talk
    # the upstream's thread may record the head that the case before this one broke off only now
    seen = [one for one in world.reached() if one.values(b"x-case") in ([], [name.encode()])]
    assert len(seen) <= 1 and all(not one.complete and one.path == b"/app/x" for one in seen), seen


@pytest.mark.parametrize(
    ("name", "size_line"),
    [
        ("extension", b"5;a=b"),
        ("quoted extension", b'5;a="b;c"'),
        ("leading zeros", b"0005"),
        ("capital", b"5"),
    ],
)
def test_T12_what_chunks_may_carry_is_not_passed_on(world: World, name: str, size_line: bytes) -> None:
    head = request("/app/x", b"Transfer-Encoding: chunked", method=b"POST")
    talk = world.talk(head + size_line + b"\r\nhello\r\n0\r\n\r\n")
    assert talk.statuses == [200]
    (seen,) = world.reached()
    assert seen.body == b"hello" and b"a=" not in seen.raw and b"0005" not in seen.raw


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"POST"])
def test_T12_a_body_is_a_body_with_every_method(world: World, method: bytes) -> None:
    talk = world.talk(request("/app/x", method=method, body=SMUGGLED), method)
    assert talk.statuses == [200] and not talk.leftover
    (seen,) = world.reached()
    assert (seen.method, seen.body) == (method, SMUGGLED)


def test_T12_a_chunked_body_is_a_body_on_get(world: World) -> None:
    talk = world.talk(request("/app/x", b"Transfer-Encoding: chunked") + chunked(SMUGGLED))
    assert talk.statuses == [200]
    (seen,) = world.reached()
    assert seen.body == SMUGGLED


def test_T12_a_request_without_a_length_has_no_body(world: World) -> None:
    talk = world.talk(request("/app/x", method=b"POST") + request("/app/y"))
    assert talk.statuses == [200, 200]
    assert [(seen.path, seen.body) for seen in world.reached()] == [(b"/app/x", b""), (b"/app/y", b"")]


def test_T12_an_early_reply_does_not_turn_the_body_into_requests(world: World) -> None:
    world.upstream.reply(scripts.answer(b"early", status=401), b"/app/x", at_head=True)
    body = SMUGGLED * 20
    with world.client() as client:
        client.send(request("/app/x", b"Content-Length: %d" % len(body), method=b"POST"))
        assert client.reply().status == 401
        talk = client.send(body).half_close().talk()
    assert talk.replies == [] and not talk.leftover
    assert [seen.path for seen in world.reached()] == [b"/app/x"]


def test_T12_an_early_reply_that_meets_the_body_does_not_turn_the_next_request_into_it(world: World) -> None:
    """Both have come when the gateway looks: the body that it holds meanwhile must not be forgotten."""
    gate = threading.Event()
    script = scripts.gated(b"", gate, scripts.message(401, b"early"))
    world.upstream.reply(script, b"/app/x", at_head=True)
    with world.client() as client:
        client.send(request("/app/x", b"Content-Length: %d" % len(SMUGGLED), method=b"POST"))
        world.upstream.wait_head()
        with world.gateway.stopped():
            client.send(SMUGGLED)
            gate.set()
            time.sleep(0.05)  # on its way through the kernel
        assert client.reply().status == 401
        assert client.send(request("/app/y")).reply().status == 200
    assert [seen.path for seen in world.reached()] == [b"/app/x", b"/app/y"]


def test_T12_an_early_reply_to_chunks_does_not_turn_the_rest_into_requests(world: World) -> None:
    world.upstream.reply(scripts.answer(b"early", status=401), b"/app/x", at_head=True)
    with world.client() as client:
        client.send(request("/app/x", b"Transfer-Encoding: chunked", method=b"POST"), b"5\r\nhello\r\n")
        assert client.reply().status == 401
        talk = client.send(b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n").half_close().talk()
    assert talk.replies == [] and not talk.leftover
    assert [seen.path for seen in world.reached()] == [b"/app/x"]


def test_T12_a_refused_request_does_not_turn_its_body_into_requests(world: World) -> None:
    talk = world.talk(request("/admin", method=b"POST", body=SMUGGLED))
    assert talk.statuses == [401]
    assert world.reached() == []


@pytest.mark.parametrize("target", ["/answered", "/moved", "/nowhere"])
def test_T12_an_answer_of_our_own_does_not_turn_the_body_into_requests(world: World, target: str) -> None:
    talk = world.talk(request(target, method=b"POST", body=SMUGGLED))
    assert len(talk.statuses) == 1
    assert world.reached() == []


def test_T12_pipelined_requests_are_counted_and_answered_in_order(world: World) -> None:
    for number in range(5):
        world.upstream.reply(scripts.answer(b"reply %d" % number), b"/app/%d" % number)
    talk = world.talk(b"".join(request(f"/app/{number}", body=b"%d" % number) for number in range(5)))
    assert [reply.body for reply in talk.replies] == [b"reply %d" % number for number in range(5)]
    assert [(seen.path, seen.body) for seen in world.reached()] == [
        (b"/app/%d" % number, b"%d" % number) for number in range(5)
    ]
