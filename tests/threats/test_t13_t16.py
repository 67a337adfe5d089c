"""T13 to T16: upgrades, authorities, forwarded addresses and user agents open no second door."""

import pytest

from tests.kit import scripts
from tests.kit.raw import chunked, request
from tests.kit.world import TRUSTED, World

SMUGGLED = b"GET /admin/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize("status", [200, 400, 426, 500])
def test_T13_an_upgrade_that_is_not_taken_ends_both_connections(world: World, status: int) -> None:
    world.upstream.reply(scripts.answer(b"no", status=status), b"/app/ws")
    with world.client() as client:
        client.send(request("/app/ws", *UPGRADE) + SMUGGLED)
        reply = client.reply()
        assert (reply.status, reply.body) == (status, b"no")
        assert client.ends()
    (seen,) = world.reached()
    assert seen.path == b"/app/ws" and b"smuggled" not in seen.raw
    assert world.upstream.wait_closed(seen.connection), "the connection must not be pooled"


def test_T13_bytes_before_101_wait_for_it_and_then_pass(world: World) -> None:
    world.upstream.reply(scripts.switch(greeting=b"hello "), b"/app/ws")
    with world.client() as client:
        client.send(request("/app/ws", *UPGRADE) + SMUGGLED)
        assert client.reply().status == 101
        assert client.source.exactly(6 + len(SMUGGLED)) == b"hello " + SMUGGLED
    (seen,) = world.reached()
    assert seen.path == b"/app/ws"


def test_T13_the_tunnel_connection_serves_nobody_else(world: World) -> None:
    world.upstream.reply(scripts.switch(), b"/app/ws")
    with world.client() as client:
        client.send(request("/app/ws", *UPGRADE))
        assert client.reply().status == 101
        client.send(request("/admin"))
        assert client.source.exactly(len(request("/admin"))) == request("/admin")
        tunnel = world.upstream.last.connection
        world.serves()
        assert world.upstream.last.connection != tunnel
    assert world.upstream.wait_closed(tunnel)


@pytest.mark.parametrize("place", ["/app/ws", "/plain/ws", "/answered"])
@pytest.mark.parametrize("framing", ["length", "zero length", "chunked"])
@pytest.mark.parametrize("protocol", [b"websocket", b"foo", b"h2c"])
def test_T13_upgrade_with_a_body_is_refused_everywhere(
    world: World, place: str, framing: str, protocol: bytes
) -> None:
    lines = (b"Connection: Upgrade", b"Upgrade: " + protocol)
    data = {
        "length": request(place, *lines, method=b"POST", body=SMUGGLED),
        "zero length": request(place, *lines, b"Content-Length: 0") + SMUGGLED,
        "chunked": request(place, *lines, b"Transfer-Encoding: chunked", method=b"POST") + chunked(SMUGGLED),
    }[framing]
    world.refused(data, code="bad_upgrade")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"Connection: Upgrade", b"Upgrade: h2c"),
        (b"Connection: upgrade", b"Upgrade: H2C"),
        (b"Connection: upgrade", b"Upgrade: websocket, h2c"),
        (b"Upgrade: h2c",),
        (b"HTTP2-Settings: AAMAAABkAAQAAP__",),
    ],
)
def test_T13_h2c_is_refused(world: World, lines: tuple[bytes, ...]) -> None:
    world.refused(request("/app/x", *lines) + SMUGGLED)


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("/plain/x", UPGRADE),
        ("/app/x", (b"Connection: Upgrade", b"Upgrade: foo")),
        ("/app/x", (b"Upgrade: websocket",)),
    ],
)
def test_T13_an_upgrade_not_offered_is_an_ordinary_request(
    world: World, place: str, lines: tuple[bytes, ...]
) -> None:
    """What follows is the next request, judged like any other."""
    talk = world.talk(request(place, *lines) + SMUGGLED)
    assert talk.statuses == [200, 401], talk
    (seen,) = world.reached()
    assert seen.values(b"upgrade") == []
    assert b"upgrade" not in b",".join(seen.values(b"connection")).lower()


def test_T13_an_upgrade_on_a_guarded_route_is_refused(world: World) -> None:
    talk = world.talk(request("/admin/ws", *UPGRADE) + SMUGGLED)
    assert set(talk.statuses) == {401}, talk
    assert world.reached() == []


def test_T13_upgrade_on_http_1_0_is_no_upgrade(world: World) -> None:
    world.upstream.reply(scripts.switch(), b"/app/ws")
    reply = world.send(request("/app/x", *UPGRADE, version=b"HTTP/1.0"))
    assert reply.status == 200
    assert world.upstream.last.values(b"upgrade") == []


BAD_HOSTS = [
    b"gateway.test/admin", b"gateway.test?x", b"gateway.test#x", b"user@gateway.test",
    b"user:pass@gateway.test", b"gateway.test:80:80", b"gateway.test:port", b"gateway.test:99999",
    b"gateway test", b"", b"..", b"<gateway>", b"gateway.test,other.test", b"gateway.test\\x", b"[::1",
    b"::1", b"[::1]x", b"[gateway]", b"gateway%2etest", b"gate\xc3\xa9.test", b"gateway.test;x",
    b"http://gateway.test",
]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_T14_a_host_that_is_no_host_is_refused(world: World, host: bytes) -> None:
    world.refused(request("/app/x", host=host))


@pytest.mark.parametrize(
    "host", [b"gateway.test", b"GATEWAY.test:4000", b"127.0.0.1:80", b"[::1]:80", b"a_b.test"]
)
def test_T14_a_good_host_is_forwarded_as_it_came(world: World, host: bytes) -> None:
    assert world.send(request("/app/x", host=host)).status == 200
    assert world.upstream.last.value(b"host") == host


def test_T14_no_host_is_refused(world: World) -> None:
    world.refused(request("/app/x", host=None), code="bad_host")
    world.refused(request("/app/x", host=None, version=b"HTTP/1.0"), code="bad_host")


@pytest.mark.parametrize(
    "target",
    [
        b"http://other.test/app/x", b"http://gateway.test:81/app/x", b"http://user@gateway.test/app/x",
        b"http://gateway.test@other.test/app/x", b"http:///app/x", b"ftp://gateway.test/app/x",
        b"file:///etc/passwd", b"http:/gateway.test/app/x", b"//gateway.test/app/x", b"gateway.test/app/x",
        b"app/x", b"http://gateway.test\\@other.test/app/x", b"http://gateway.test%2f/app/x", b"javascript:x",
        b"?x", b"https://gateway.test.other.test/app/x",
    ],
)  # fmt: skip
def test_T14_another_authority_in_the_target_is_refused(world: World, target: bytes) -> None:
    world.refused(request(target))


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"http://gateway.test/app/x?a=b", b"/app/x?a=b"),
        (b"HTTP://GATEWAY.TEST/app/%41", b"/app/A"),
        (b"https://gateway.test/app/x", b"/app/x"),
    ],
)
def test_T14_absolute_form_is_reduced(world: World, target: bytes, forwarded: bytes) -> None:
    assert world.get(target).status == 200
    assert world.upstream.last.target == forwarded
    assert world.upstream.last.value(b"host").lower() == b"gateway.test"


@pytest.mark.parametrize("path", [b"/admin", b"/app/../admin", b"/public/..;/admin", b"/%61dmin"])
def test_T14_absolute_form_is_judged_like_any_other(world: World, path: bytes) -> None:
    assert world.get(b"http://gateway.test" + path).status in (400, 401)
    assert world.reached() == []


@pytest.mark.parametrize("target", [b"gateway.test:80", b"/app/x", b"other.test:443"])
def test_T14_connect_is_refused(world: World, target: bytes) -> None:
    world.refused(request(target, method=b"CONNECT") + SMUGGLED, 405, "connect_refused")


def test_T14_options_star_is_answered_by_the_gateway(world: World) -> None:
    reply = world.send(request("*", method=b"OPTIONS"))
    assert (reply.status, reply.body) == (204, b"")
    for method in (b"GET", b"POST", b"DELETE"):
        world.refused(request("*", method=method))
    assert world.reached() == []


def seen_client(world: World, *lines: bytes, source: str = TRUSTED) -> bytes:
    """The client's address as the upstream is told it."""
    assert world.get("/app/x", *lines, source=source).status == 200
    return world.upstream.last.value(b"x-forwarded-for").split(b",")[0].strip()


@pytest.mark.parametrize(
    "left", [b"", b"1.1.1.1, ", b"9.9.9.9, 8.8.8.8, ", b"unknown, ", b"203.0.113.9, 10.1.1.1, "]
)
def test_T15_what_stands_left_of_the_client_changes_nothing(world: World, left: bytes) -> None:
    assert seen_client(world, b"X-Forwarded-For: " + left + b"203.0.113.7, 10.2.2.2") == b"203.0.113.7"


def test_T15_an_untrusted_peer_is_the_client_whatever_it_says(world: World) -> None:
    for line in (b"X-Forwarded-For: 203.0.113.7", b"X-Real-IP: 203.0.113.7", b"Forwarded: for=203.0.113.7"):
        assert seen_client(world, line, source="127.0.0.5") == b"127.0.0.5"
        reply = world.get("/app/x", line, source="127.0.0.5")
        logged = world.gateway.wait_logged(reply.value(b"x-request-id").decode())
        assert logged["client"] == "127.0.0.5"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"203.0.113.7", b"203.0.113.7"),
        (b"203.0.113.7:4711", b"203.0.113.7"),
        (b"::ffff:203.0.113.7", b"203.0.113.7"),
        (b"::FFFF:cb00:7107", b"203.0.113.7"),
        (b"[2001:db8::1]:443", b"2001:db8::1"),
        (b"2001:DB8:0:0::1", b"2001:db8::1"),
        (b"203.0.113.7, ::ffff:10.0.0.1", b"203.0.113.7"),
    ],
)
def test_T15_one_address_has_one_spelling(world: World, chain: bytes, client: bytes) -> None:
    assert seen_client(world, b"X-Forwarded-For: " + chain) == client


@pytest.mark.parametrize(
    "hop",
    [
        b"garbage",
        b"",
        b"unknown",
        b"1.2.3",
        b"1.2.3.4.5",
        b"0x7f.1",
        b"127.1",
        b"<script>",
        b"1.2.3.4 5.6.7.8",
    ],
)
def test_T15_a_garbage_hop_ends_the_walk_at_who_sent_it(world: World, hop: bytes) -> None:
    """Whoever can write garbage can't put another's address behind it."""
    assert seen_client(world, b"X-Forwarded-For: 203.0.113.7, " + hop) == TRUSTED.encode()
    assert seen_client(world, b"X-Forwarded-For: 203.0.113.7, " + hop + b", 10.9.9.9") == b"10.9.9.9"


def test_T15_several_lines_are_one_chain(world: World) -> None:
    lines = (b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-For: 203.0.113.7, 10.0.0.1")
    assert seen_client(world, *lines) == b"203.0.113.7"


@pytest.mark.parametrize(
    "agent", [b"kube-probe/1.30", b"GoogleHC/1.0", b"ELB-HealthChecker/2.0", b"Prometheus/2.5"]
)
def test_T16_a_probes_user_agent_opens_nothing(world: World, agent: bytes) -> None:
    for path in ("/admin", "/admin/healthz", "/admin/ping", "/admin/ready"):
        assert world.get(path, b"User-Agent: " + agent).code == "credential_missing"
    assert world.reached() == []
