"""Connections: kept alive, pooled, retried only when safe, broken where the other side broke."""

import threading

import pytest

from tests.kit import scripts
from tests.kit.line import Line, Received
from tests.kit.raw import request
from tests.kit.world import World

UPGRADE = (b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


def test_a_connection_of_1_1_is_kept(world: World) -> None:
    with world.client() as client:
        for _ in range(5):
            reply = client.send(request("/app/x")).reply()
            assert reply.status == 200 and b"close" not in reply.values(b"connection")
        assert client.is_open()


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"x, close"])
def test_a_client_that_asks_for_the_end_gets_it(world: World, value: bytes) -> None:
    with world.client() as client:
        client.send(request("/app/x", b"Connection: " + value) + request("/app/never"))
        reply = client.reply()
        assert (reply.status, reply.value(b"connection").lower()) == (200, b"close")
        assert client.ends()
    assert [seen.path for seen in world.reached()] == [b"/app/x"]


def test_a_connection_of_1_0_ends_unless_it_asks_to_be_kept(world: World) -> None:
    with world.client() as client:
        assert client.send(request("/app/x", version=b"HTTP/1.0")).reply().status == 200
        assert client.ends()
    with world.client() as client:
        for _ in range(3):
            data = request("/app/x", b"Connection: keep-alive", version=b"HTTP/1.0")
            reply = client.send(data).reply()
            assert reply.status == 200
            if b"keep-alive" not in [value.lower() for value in reply.values(b"connection")]:
                assert client.ends()
                break


def test_the_upstream_sees_neither_the_clients_end_nor_its_keep_alive(world: World) -> None:
    for value in (b"close", b"keep-alive"):
        assert world.get("/app/x", b"Connection: " + value, b"Keep-Alive: timeout=1").status == 200
        seen = world.upstream.last
        assert b"close" not in seen.values(b"connection") and seen.values(b"keep-alive") == []


def test_one_upstream_connection_serves_many_clients(world: World) -> None:
    for _ in range(20):
        world.serves()
    assert len({seen.connection for seen in world.upstream.requests}) == 1


@pytest.mark.parametrize("line", [b"Connection: close", b"connection: Close", b"Connection: x, close"])
def test_an_upstream_that_says_close_is_not_asked_again_on_that_connection(world: World, line: bytes) -> None:
    world.upstream.reply(scripts.answer(b"last", line), b"/app/x")
    with world.client() as client:
        reply = client.send(request("/app/x")).reply()
        assert reply.body == b"last"
        assert client.send(request("/app/y")).reply().body == b"ok"
    first, second = world.upstream.requests
    assert first.connection != second.connection


def test_an_upstream_of_1_0_is_not_asked_again_on_that_connection(world: World) -> None:
    world.upstream.reply(scripts.raw(b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok"), b"/app/x")
    assert world.talk(request("/app/x") + request("/app/y")).statuses == [200, 200]
    first, second = world.upstream.requests
    assert first.connection != second.connection


def test_an_idle_connection_that_closes_harms_nobody(world: World) -> None:
    world.serves()
    for line in world.upstream.open_lines():
        line.close()
    for _ in range(5):
        world.serves()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_request_that_met_a_closing_connection_is_sent_once_more(
    world: World, method: bytes, then: str
) -> None:
    world.serves()  # a connection is in the pool
    world.upstream.reply(scripts.in_turn(scripts.raw(then=then), scripts.answer(b"")), b"/app/x")
    assert world.send(request("/app/x", method=method), method).status == 200
    first, second = world.upstream.on(b"/app/x")
    assert first.connection != second.connection and first.headers == second.headers


def test_a_retry_sends_the_body_again(world: World) -> None:
    world.serves()
    world.upstream.reply(scripts.in_turn(scripts.raw(then="close"), scripts.answer(b"")), b"/app/x")
    assert world.send(request("/app/x", method=b"OPTIONS", body=b"body")).status == 200
    assert [seen.body for seen in world.upstream.on(b"/app/x")] == [b"body", b"body"]


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"DELETE", b"PUT"])
def test_a_method_that_does_something_is_not_sent_twice(world: World, method: bytes) -> None:
    world.serves()
    world.upstream.reply(scripts.raw(then="close"), b"/app/x")
    reply = world.send(request("/app/x", method=method, body=b"body"), method)
    assert (reply.status, reply.code) == (502, "upstream_reset")
    assert len(world.upstream.on(b"/app/x")) == 1


def test_a_request_whose_reply_began_is_not_sent_twice(world: World) -> None:
    world.upstream.reply(scripts.raw(b"HTTP/1.1 200 Fi", then="close"), b"/app/x")
    assert world.get("/app/x").status == 502
    assert len(world.upstream.on(b"/app/x")) == 1


def test_a_request_is_sent_twice_at_most(world: World) -> None:
    world.upstream.reply(scripts.raw(then="close"), b"/app/x")
    assert world.get("/app/x").status == 502
    assert len(world.upstream.on(b"/app/x")) == 2


def test_a_client_that_leaves_ends_its_reply_upstream(world: World) -> None:
    head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.upstream.reply(scripts.raw(head, b"5\r\nhello\r\n", then="wait"), b"/app/x")
    client = world.client().send(request("/app/x"))
    assert client.head().status == 200
    (seen,) = world.upstream.wait_for(1)
    client.abort()
    assert world.upstream.wait_closed(seen.connection, 4)


def test_a_client_that_closes_ends_its_stream_upstream(world: World) -> None:
    """A close looks like a half-close until something is written to it; then the stream ends."""
    head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.upstream.reply(scripts.endless(head, b"5\r\nhello\r\n"), b"/app/x")
    with world.client() as client:
        assert client.send(request("/app/x")).head().status == 200
        (seen,) = world.upstream.wait_for(1)
    assert world.upstream.wait_closed(seen.connection, 4)


def test_a_client_that_leaves_within_its_body_ends_the_request_upstream(world: World) -> None:
    client = world.client()
    client.send(request("/app/x", b"Content-Length: 100", method=b"POST") + b"hello")
    (seen,) = world.upstream.wait_head(1)
    client.abort()
    assert world.upstream.wait_closed(seen.connection, 4)
    assert not seen.complete


def test_replies_go_to_their_own_requests_under_many_clients(world: World) -> None:
    def echo(line: Line, seen: Received) -> None:
        line.send(scripts.message(200, seen.target + seen.value(b"x-mine")))

    world.upstream.reply(echo)
    failures: list[object] = []

    def ask(who: int) -> None:
        with world.client() as client:
            for step in range(40):
                target, mine = b"/app/%d/%d" % (who, step), b"X-Mine: %d" % who
                client.send(request(target, mine) * 2)
                for _ in range(2):
                    reply = client.reply()
                    if reply.body != target + b"%d" % who:
                        failures.append((target, reply))

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(world.upstream.requests) == 8 * 40 * 2


def test_a_tunnel_passes_every_byte_both_ways(world: World) -> None:
    world.upstream.reply(scripts.switch(b"Sec-WebSocket-Accept: x", b"X-Kept: y"), b"/app/ws")
    with world.client() as client:
        reply = client.send(request("/app/ws", *UPGRADE, b"Sec-WebSocket-Key: x")).reply()
        assert (reply.status, reply.value(b"upgrade").lower()) == (101, b"websocket")
        assert b"upgrade" in reply.value(b"connection").lower()
        assert reply.value(b"sec-websocket-accept") == b"x" and reply.value(b"x-kept") == b"y"
        for size in (1, 2, 100, 70_000, 1_000_000):
            data = bytes(range(251)) * (size // 251 + 1)
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            assert client.source.exactly(len(data)) == data
            sender.join(10)
    seen = world.upstream.last
    assert seen.value(b"connection").lower() == b"upgrade" and seen.value(b"sec-websocket-key") == b"x"


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_tunnel_ends_when_its_upstream_does(world: World, then: str) -> None:
    data = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye"
    world.upstream.reply(scripts.raw(data, then=then), b"/app/ws")
    with world.client() as client:
        assert client.send(request("/app/ws", *UPGRADE)).reply().status in (101, 502)
        client.rest()
        assert client.source.ended


def test_a_tunnel_ends_when_its_client_does(world: World) -> None:
    world.upstream.reply(scripts.switch(), b"/app/ws")
    with world.client() as client:
        assert client.send(request("/app/ws", *UPGRADE)).reply().status == 101
    assert world.upstream.wait_closed(world.upstream.last.connection, 4)


def test_a_half_closed_tunnel_still_delivers_the_rest(world: World) -> None:
    """The echo comes back after the client has said that it will send no more."""
    world.upstream.reply(scripts.switch(), b"/app/ws")
    data = b"x" * 200_000
    with world.client() as client:
        assert client.send(request("/app/ws", *UPGRADE)).reply().status == 101
        sender = threading.Thread(target=lambda: client.send(data).half_close())
        sender.start()
        assert client.rest() == data
        sender.join(10)


@pytest.mark.parametrize("protocol", [b"other", b"websocket, other", b""])
def test_a_101_to_another_protocol_is_502(world: World, protocol: bytes) -> None:
    head = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
    world.upstream.reply(scripts.raw(head, then="wait"), b"/app/ws")
    with world.client() as client:
        reply = client.send(request("/app/ws", *UPGRADE)).reply()
        assert (reply.status, reply.code) == (502, "upstream_bad_reply")
        assert client.ends()
    assert world.upstream.wait_closed(world.upstream.last.connection)
