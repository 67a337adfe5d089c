"""Headers on their way to the upstream and back: what is kept, what is made, byte for byte."""

import re

import pytest

from tests.kit import scripts
from tests.kit.raw import request
from tests.kit.world import TRUSTED, World

KEPT = (
    b"User-Agent: probe/1.0 (a; b)",
    b"Accept: */*",
    b"accept-LANGUAGE: de, en;q=0.5",
    b"X-Twice: one",
    b"X-Twice: two",
    b"X-Empty:",
    b"X-Bytes: caf\xc3\xa9 \xff",
    b'X-Quoted: "a, b"; c="\\""',
    b"Referer: http://gateway.test/?a=b#c",
    b"X.dotted~name!: y",
)


def test_headers_of_no_concern_pass_byte_for_byte_and_in_order(world: World) -> None:
    assert world.get("/app/x", *KEPT).status == 200
    seen = world.upstream.last
    kept = [name + b": " + value for name, value in seen.headers]
    expected = [line.replace(b"X-Empty:", b"X-Empty: ") for line in KEPT]
    assert [line for line in kept if line in expected] == expected


def test_headers_of_the_reply_pass_byte_for_byte_and_in_order(world: World) -> None:
    lines = (b"X-Twice: one", b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2", b"X-Bytes: \xff", b"x-lower: y",
             b"ETag: W/\"x\"", b"Server: mine", b"X-Twice: two")  # fmt: skip
    world.upstream.reply(scripts.answer(b"ok", *lines), b"/app/x")
    reply = world.get("/app/x")
    assert [b"%b: %b" % pair for pair in reply.headers if b"%b: %b" % pair in lines] == list(lines)


def test_only_known_headers_are_added(world: World) -> None:
    assert world.get("/app/x").status == 200
    added = set(world.upstream.last.names())
    assert added <= {
        b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port",
        b"x-request-id", b"traceparent",
    }, added  # fmt: skip


def test_forwarded_names_tell_the_truth(world: World) -> None:
    assert world.send(request("/app/x", host=b"shop.test:8080")).status == 200
    seen = world.upstream.last
    assert seen.value(b"x-forwarded-for") == b"127.0.0.1"
    assert seen.value(b"x-forwarded-proto") == b"http"
    assert seen.value(b"x-forwarded-host") == b"shop.test:8080"
    assert seen.value(b"x-forwarded-port").isdigit()


def test_a_trusted_proxy_says_scheme_host_and_port(world: World) -> None:
    lines = (b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.test",
             b"X-Forwarded-Port: 443")  # fmt: skip
    assert world.get("/app/x", *lines, source=TRUSTED).status == 200
    seen = world.upstream.last
    assert seen.value(b"x-forwarded-for").split(b",")[0] == b"203.0.113.7"
    assert seen.value(b"x-forwarded-proto") == b"https"
    assert seen.value(b"x-forwarded-host") == b"shop.test"
    assert seen.value(b"x-forwarded-port") == b"443"


def test_a_trusted_proxy_may_use_forwarded(world: World) -> None:
    line = b'Forwarded: for="[2001:db8::7]:4711";proto=https;host=shop.test'
    assert world.get("/app/x", line, source=TRUSTED).status == 200
    seen = world.upstream.last
    assert seen.value(b"x-forwarded-for").split(b",")[0] == b"2001:db8::7"
    assert seen.value(b"x-forwarded-proto") == b"https" and seen.value(b"x-forwarded-host") == b"shop.test"
    assert seen.values(b"forwarded") == []


@pytest.mark.parametrize(
    "line", [b"X-Forwarded-Proto: javascript", b"X-Forwarded-Host: a b/c", b"X-Forwarded-Port: 0x50"]
)
def test_nonsense_of_a_trusted_proxy_is_not_passed_on(world: World, line: bytes) -> None:
    assert world.get("/app/x", line, source=TRUSTED).status == 200
    assert line.partition(b": ")[2] not in world.upstream.last.raw


def test_a_request_id_is_made_sent_and_echoed(world: World) -> None:
    ids = set()
    for _ in range(20):
        reply = world.get("/app/x", b"X-Request-Id: from-a-stranger")
        made = reply.value(b"x-request-id")
        assert re.fullmatch(rb"[A-Za-z0-9._-]{8,128}", made) and made != b"from-a-stranger"
        assert world.upstream.last.value(b"x-request-id") == made
        ids.add(made)
    assert len(ids) == 20


@pytest.mark.parametrize("kept", [b"12345678", b"a" * 128, b"A.b_c-9" * 2])
def test_a_request_id_of_a_trusted_proxy_is_kept(world: World, kept: bytes) -> None:
    reply = world.get("/app/x", b"X-Request-Id: " + kept, source=TRUSTED)
    assert reply.value(b"x-request-id") == world.upstream.last.value(b"x-request-id") == kept


@pytest.mark.parametrize(
    "bad", [b"1234567", b"a" * 129, b"with space", b'"quoted"', b"a=b;c=d e", b"caf\xc3\xa9-12345"]
)
def test_a_bad_request_id_is_replaced_even_from_a_trusted_proxy(world: World, bad: bytes) -> None:
    reply = world.get("/app/x", b"X-Request-Id: " + bad, source=TRUSTED)
    assert reply.value(b"x-request-id") not in (b"", bad)


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traceparent_is_passed_on(world: World) -> None:
    assert world.get("/app/x", b"Traceparent: " + TRACE, b"Tracestate: a=1,b=2").status == 200
    version, trace, _, flags = world.upstream.last.value(b"traceparent").split(b"-")
    assert (version, trace, flags) == (b"00", TRACE.split(b"-")[1], b"01")
    assert world.upstream.last.value(b"tracestate") == b"a=1,b=2"


@pytest.mark.parametrize("bad", [b"", b"nonsense", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"])
def test_a_traceparent_is_started(world: World, bad: bytes) -> None:
    assert world.get("/app/x", *([b"Traceparent: " + bad] if bad else [])).status == 200
    pattern = rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    assert re.fullmatch(pattern, world.upstream.last.value(b"traceparent"))


def test_expect_is_answered_by_the_gateway_and_not_forwarded(world: World) -> None:
    with world.client() as client:
        client.send(request("/app/x", b"Expect: 100-continue", b"Content-Length: 5", method=b"POST"))
        assert client.head().status == 100
        client.send(b"hello")
        assert client.reply().status == 200
    seen = world.upstream.last
    assert seen.body == b"hello" and seen.values(b"expect") == []


@pytest.mark.parametrize(
    ("target", "status"),
    [("/admin", 401), ("/nowhere", 404), ("/answered", 200), ("/reads", 405), ("/small", 413)],
)
def test_expect_is_not_answered_before_the_policies_have_said_yes(
    world: World, target: str, status: int
) -> None:
    with world.client() as client:
        client.send(request(target, b"Expect: 100-continue", b"Content-Length: 5000", method=b"POST"))
        reply = client.reply()
    assert (reply.status, reply.interim) == (status, [])
    assert world.reached() == []


def test_other_expectations_fail(world: World) -> None:
    lines = (b"Expect: 200-ok", b"Content-Length: 5")
    world.refused(request("/app/x", *lines, method=b"POST") + b"hello", 417, "expectation_failed")


def test_expect_of_1_0_is_ignored(world: World) -> None:
    data = request("/app/x", b"Expect: 100-continue", method=b"POST", body=b"hello", version=b"HTTP/1.0")
    reply = world.send(data)
    assert (reply.status, reply.interim) == (200, [])
    assert world.upstream.last.body == b"hello"


def test_the_host_is_kept_unless_the_upstream_has_a_fixed_one(world: World) -> None:
    assert world.send(request("/app/x", host=b"shop.test")).status == 200
    assert world.upstream.last.value(b"host") == b"shop.test"
    assert world.send(request("/inside", host=b"shop.test")).status == 200
    assert world.upstream.last.value(b"host") == b"inside.test"
    assert world.upstream.last.value(b"x-forwarded-host") == b"shop.test"


def test_many_cookies_keep_their_order_without_ours(world: World) -> None:
    lines = (b"Cookie: a=1; postern=x; b=2", b"Cookie: __Host-postern=y", b'Cookie: c="3 4"; a=5')
    assert world.get("/app/x", *lines).status == 200
    pairs = [pair.strip() for value in world.upstream.last.values(b"cookie") for pair in value.split(b";")]
    assert pairs == [b"a=1", b"b=2", b'c="3 4"', b"a=5"]
