"""T36: who is slow or sends without end costs little, is cut off, and nobody else notices."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.kit import scripts
from tests.kit.raw import Client, chunked, exchange, request
from tests.kit.world import World, run_world

ROUTES = """
limits: {header_timeout: 1s, body_idle: 1s, keepalive: 1s,
  header_bytes: 8KiB, target_bytes: 2KiB, header_count: 40}
upstreams:
  app: {servers: ["URL"], timeouts: {connect: 1s, first_byte: 5s, idle: 5s}}
  brief: {servers: ["URL"], timeouts: {idle: 1s, stream_idle: 1s}}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app, policies: {body_limit: 1GiB}}
  - {name: brief, match: {path: /brief/**}, upstream: brief}
  - {name: small, match: {path: /small}, upstream: app, policies: {body_limit: 1KiB}}
  - {name: guarded, match: {path: /guarded}, upstream: app, policies: {authenticate: required}}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: from the gateway}}
"""
MEMORY = 24 * 1024 * 1024  # what a flood may cost: far less than what it sends


@pytest.fixture(scope="module")
def impatient() -> Iterator[World]:
    with run_world(ROUTES) as world:
        yield world


@pytest.fixture
def strict(impatient: World) -> World:
    """A gateway with small limits."""
    impatient.upstream.clear()
    return impatient


def drip(client: Client, pieces: list[bytes]) -> None:
    """Send a piece every now and then until the gateway has had enough."""
    for piece in pieces:
        try:
            client.sock.sendall(piece)
        except OSError:
            return
        if not client.is_open():
            return
        time.sleep(0.05)


def send_until_full(client: Client, data: bytes, most: int) -> int:
    """Send the same again and again until the gateway takes no more for a while; the bytes it took."""
    client.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < most:
            sent += client.sock.send(data)
    except OSError:  # also its timeout
        pass
    return sent


def test_T36_a_slow_head_is_cut_off(strict: World) -> None:
    with strict.client() as client:
        reply = client.send(b"GET /app/x HTTP/1.1\r\nHost: ga").reply()
        assert (reply.status, reply.code) == (408, "request_timeout")
        assert client.ends()
    assert strict.reached() == []


def test_T36_a_dripping_head_gets_no_more_time(strict: World) -> None:
    """The time runs from the first byte; each new one does not start it again."""
    with strict.client() as client:
        drip(client, [b"GET /app/x HTTP/1.1\r\nHost: gateway.test\r\nX: "] + [b"a"] * 200)
        assert client.reply().status == 408
        assert client.ends()
    assert strict.reached() == []


def test_T36_a_connection_that_says_nothing_is_closed(strict: World) -> None:
    with strict.client() as client:
        assert client.ends()


def test_T36_an_idle_connection_is_closed_after_keepalive(strict: World) -> None:
    with strict.client() as client:
        assert client.send(request("/app/x")).reply().status == 200
        assert client.ends()


def test_T36_empty_lines_before_a_request_do_not_hold_a_connection(strict: World) -> None:
    with strict.client() as client:
        drip(client, [b"\r\n"] * 200)
        assert client.source.ended or client.talk().closed
    assert strict.reached() == []


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_T36_a_body_that_stops_is_cut_off(strict: World, framing: bytes) -> None:
    with strict.client() as client:
        client.send(request("/app/x", framing, method=b"POST") + b"5\r\nhello\r\n")
        reply = client.reply()
        assert (reply.status, reply.code) == (408, "request_timeout")
        assert client.ends()
    assert [seen.complete for seen in strict.reached()] in ([], [False])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /app/" + b"a" * 1024 * 1024, 414),
        (request(b"/app/" + b"a" * 2048), 414),
        (request(b"/app/?" + b"a" * 2048), 414),
        (request("/app/x", b"X: " + b"a" * 9000), 431),
        (b"GET /app/x HTTP/1.1\r\nHost: gateway.test\r\n" + b"X: y\r\n" * 200_000, 431),
        (request("/app/x", *[b"X: y"] * 50), 431),
        (b"GET /app/x HTTP/1.1\r\nHost: gateway.test\r\n" + b"X" * 1024 * 1024, 431),
        (b"A" * 1024 * 1024, 400),
        (b"\r\n" * 500_000, 400),
    ],
    ids=["endless target", "long target", "long query", "long field", "endless fields", "many fields",
         "endless name", "endless method", "endless empty lines"],
)  # fmt: skip
def test_T36_a_huge_head_is_refused(strict: World, data: bytes, status: int) -> None:
    talk = exchange(strict.port, data)
    assert talk.closed and len(talk.replies) <= 1, talk
    # a peer that sends on may lose the reply to the reset that follows
    if talk.replies:
        accepted = {status, 414, 431} if b"\r\n\r\n" not in data else {status}
        assert talk.replies[0].status in accepted, talk
    assert strict.reached() == []


def test_T36_limits_are_not_smaller_than_they_say(strict: World) -> None:
    assert strict.get(b"/app/" + b"a" * (2048 - 5)).status == 200
    assert strict.get("/app/x", *[b"X-%d: y" % number for number in range(39)]).status == 200
    assert strict.get("/app/x", b"X: " + b"a" * 8000).status == 200


@pytest.mark.parametrize("target", ["/small", "/app/x"])
def test_T36_trailers_and_extensions_count_as_head(strict: World, target: str) -> None:
    head = request(target, b"Transfer-Encoding: chunked", method=b"POST")
    floods = [b"1;" + b"a" * 2000 + b"\r\nx\r\n"] * 50, [b"0\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 50]
    for flood in floods:
        talk = exchange(strict.port, [head, *flood, b"0\r\n\r\n"])
        assert talk.closed and talk.statuses in ([431], [400], []), talk
        assert not any(seen.complete for seen in strict.reached())
        strict.upstream.clear()


def test_T36_tiny_chunks_are_not_a_body_without_limit(strict: World) -> None:
    """1 KiB is allowed; a hundred thousand chunks of one byte are not."""
    talk = exchange(
        strict.port,
        [request("/small", b"Transfer-Encoding: chunked", method=b"POST"), b"1\r\nx\r\n" * 100_000],
    )
    assert talk.closed and talk.statuses in ([413], []), talk
    assert not any(seen.complete for seen in strict.reached())


def test_T36_tiny_chunks_within_the_limit_pass_whole(strict: World) -> None:
    body = [bytes([number % 256]) for number in range(50_000)]
    data = request("/app/x", b"Transfer-Encoding: chunked", method=b"POST") + chunked(*body)
    assert strict.send(data).status == 200
    assert strict.upstream.last.body == b"".join(body)


def test_T36_ten_thousand_pipelined_requests_cost_no_memory(strict: World) -> None:
    """All come from one connection that reads nothing; the others are served, and each gets its own reply."""
    count = 10_000
    data = b"".join(request(f"/app/{number}") for number in range(count))
    before = strict.gateway.memory()
    with strict.client() as client:
        sender = threading.Thread(target=client.send, args=(data,), daemon=True)
        sender.start()
        strict.serves()
        assert strict.gateway.memory() - before < MEMORY
        for number in range(count):
            assert client.reply().status == 200, number
            if number % 2000 == 0:
                strict.serves()
        sender.join(10)
    paths = [seen.path for seen in strict.upstream.requests if seen.path != b"/app/still-serves"]
    assert paths == [b"/app/%d" % number for number in range(count)]
    assert strict.gateway.memory() - before < MEMORY


def test_T36_pipelined_requests_behind_a_slow_one_wait_as_bytes(strict: World) -> None:
    """The edge stops reading: what one connection can leave in it is bounded, whatever it sends."""
    gate = threading.Event()
    strict.upstream.reply(scripts.gated(b"", gate, scripts.message(200, b"late")), b"/app/slow")
    before = strict.gateway.memory()
    with strict.client() as client:
        client.send(request("/app/slow"))
        sent = send_until_full(client, request("/app/next", b"X: " + b"a" * 4000) * 16, 64 * 1024 * 1024)
        assert sent < 64 * 1024 * 1024, "the gateway never stopped reading"
        strict.serves()
        assert strict.gateway.memory() - before < MEMORY
        gate.set()


@pytest.mark.parametrize("target", ["/answered", "/nowhere", "/guarded", "/app/x"])
def test_T36_replies_that_nobody_reads_are_not_made_without_end(strict: World, target: str) -> None:
    before = strict.gateway.memory()
    with Client(strict.port, receive_buffer=4096) as client:
        sent = send_until_full(client, request(target) * 200, 32 * 1024 * 1024)
        assert sent < 32 * 1024 * 1024, "the gateway never stopped reading"
        strict.serves()
        assert strict.gateway.memory() - before < MEMORY


def test_T36_empty_lines_without_end_hold_up_nobody(world: World) -> None:
    with world.client() as client:
        sender = threading.Thread(target=send_until_full, args=(client, b"\r\n" * 131_072, 1 << 22))
        sender.start()
        for _ in range(10):
            world.serves()
        sender.join(20)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_T36_a_tunnel_holds_little_for_who_does_not_read(strict: World, direction: str) -> None:
    piece, most = b"x" * 65536, 64 * 1024 * 1024
    head = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    gate = threading.Event()
    up = scripts.gated(head, gate, b"") if direction == "up" else scripts.endless(head, piece, most)
    strict.upstream.reply(up, b"/app/ws")
    before = strict.gateway.memory()
    with Client(strict.port, receive_buffer=8192) as client:
        client.send(request("/app/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
        assert client.head().status == 101
        if direction == "up":
            assert send_until_full(client, piece, most) < most
        for _ in range(20):
            strict.serves()
        assert strict.gateway.memory() - before < MEMORY
        gate.set()


def test_T36_a_client_that_reads_nothing_stops_its_upstream_only(strict: World) -> None:
    head = b"HTTP/1.1 200 Fine\r\nContent-Length: 268435456\r\n\r\n"
    strict.upstream.reply(scripts.endless(head, b"x" * 65536, 268435456), b"/app/flood")
    before = strict.gateway.memory()
    with Client(strict.port, receive_buffer=8192) as client:
        client.send(request("/app/flood"))
        assert client.head().status == 200
        for _ in range(20):
            strict.serves()
        assert strict.gateway.memory() - before < MEMORY


@pytest.mark.parametrize("kind", ["reply", "tunnel"])
def test_T36_a_reply_that_is_never_read_to_its_end_does_not_hold_its_connection(
    strict: World, kind: str
) -> None:
    """The upstream is done with it: what waits in the gateway for the client waits no longer than a while."""
    lines = (b"Connection: Upgrade", b"Upgrade: websocket") if kind == "tunnel" else ()
    head = b"\r\n".join((b"HTTP/1.1 101 Switching", *lines)) + b"\r\n\r\n"
    clients = []
    for size in range(1 << 20, 4 << 20, 100 << 10):  # some of them fill the kernel and a part of the buffer
        body = b"x" * size
        script = scripts.raw(head, body, then="close") if lines else scripts.answer(body)
        strict.upstream.reply(script, b"/brief/%d" % size)
        clients.append(Client(strict.port, receive_buffer=4096))
        clients[-1].send(request(f"/brief/{size}", *lines))
    strict.upstream.wait_for(len(clients))
    deadline = time.monotonic() + 20
    while strict.gateway.metrics()["postern_connections"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for client in clients:
        client.sock.close()


def test_T36_a_body_behind_replies_that_nobody_reads_does_not_spin(strict: World) -> None:
    """The upstream's news can't be read before the client reads: to look for them again and again is
    busy waiting."""
    hint = b"HTTP/1.1 103 Early\r\nLink: " + b"x" * 60_000 + b"\r\n\r\n"
    strict.upstream.reply(scripts.raw(hint * 14, then="wait"), b"/app/hints", at_head=True)
    strict.upstream.reply(scripts.answer(b"x" * 2_600_000), b"/app/large")
    with Client(strict.port, receive_buffer=4096) as client:
        client.send(request("/app/large"))
        strict.upstream.wait_for()
        client.send(request("/app/hints", b"Content-Length: 1000", method=b"POST"))
        strict.upstream.wait_head(2)
        strict.serves()
        client.send(b"x")
        strict.serves()
        before = strict.gateway.cpu_ticks()
        time.sleep(0.5)
        assert strict.gateway.cpu_ticks() - before < 10


def test_T36_many_slow_heads_keep_nobody_out(strict: World) -> None:
    slow = [strict.client().send(b"GET /app/x HTTP/1.1\r\nHo") for _ in range(300)]
    for _ in range(20):
        strict.serves()
    for client in slow:
        assert client.talk().closed
        client.sock.close()


def test_T36_above_the_limit_of_connections_there_is_a_503() -> None:
    with run_world(ROUTES.replace("limits: {", "limits: {connections: 20, ")) as world:
        held = [world.client() for _ in range(20)]
        for client in held:
            assert client.send(request("/app/x")).reply().status == 200
        talk = exchange(world.port, request("/app/x"))
        assert talk.closed and talk.statuses == [503]
        assert talk.only.code == "too_many_connections"
        for client in held:
            client.sock.close()


@pytest.mark.hard
def test_T36_fifteen_thousand_connections() -> None:
    """Each sends half a head; memory stays bounded and others are served."""
    count = 15_000
    text = ROUTES.replace("header_timeout: 1s", "header_timeout: 60s").replace(
        "limits: {", "limits: {connections: 16000, "
    )
    with run_world(text) as world:
        before = world.gateway.memory()
        held: list[socket.socket] = []
        try:
            for number in range(count):
                sock = socket.socket()
                sock.bind((f"127.0.1.{number % 100 + 1}", 0))
                sock.connect(("127.0.0.1", world.port))
                sock.sendall(b"GET /app/x HTTP/1.1\r\nHo")
                held.append(sock)
            for _ in range(100):
                world.serves()
            assert (world.gateway.memory() - before) / count < 12 * 1024
        finally:
            for sock in held:
                sock.close()
        world.serves()
