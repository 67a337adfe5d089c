"""The plain listener beside a TLS one: where it sends people, and whom it refuses."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.edge.redirect import RedirectProtocol, Room


@contextlib.asynccontextmanager
async def redirecting(https_port: int = 443, timeout: float = 10.0) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: RedirectProtocol(loop, https_port, timeout), "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    reply = await reader.read()
    writer.close()
    return reply


def request(target: bytes, host: bytes = b"example.com", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)


def location(reply: bytes) -> bytes:
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert status == b"HTTP/1.1 308 Permanent Redirect" and body == b""
    assert b"Connection: close" in lines and b"Content-Length: 0" in lines
    (found,) = [line[10:] for line in lines if line.startswith(b"Location: ")]
    return found


@pytest.mark.parametrize(
    ("https_port", "head", "target"),
    [
        (443, request(b"/"), b"https://example.com/"),
        (443, request(b"/a%20b/?q=1&r=%2f"), b"https://example.com/a%20b/?q=1&r=%2f"),
        (443, request(b"//evil.test/"), b"https://example.com//evil.test/"),
        (443, request(b"/x", b"Example.COM:8080", b"DELETE"), b"https://example.com/x"),
        (8443, request(b"/x", b"example.com:8080"), b"https://example.com:8443/x"),
        (8443, request(b"/x", b"[2001:db8::1]:80"), b"https://[2001:db8::1]:8443/x"),
        (443, b"GET /x HTTP/1.0\r\nX-A: \xc3\xa9\r\nhost:a.test \r\n\r\n", b"https://a.test/x"),
    ],
)
async def test_it_sends_each_request_to_the_same_place_on_https(
    https_port: int, head: bytes, target: bytes
) -> None:
    async with redirecting(https_port) as port:
        assert location(await ask(port, head)) == target
        assert location(await ask(port, head[:5], head[5:])) == target


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"bad_host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"bad_host"),
        (request(b"/", b"a b"), b"bad_host"),
        (request(b"/", b"user@a"), b"bad_host"),
        (request(b"/", b"a/../b"), b"bad_host"),
        (request(b"/", b""), b"bad_host"),
        (request(b"/a b"), b"bad_request"),
        (request(b"/\\evil.test"), b"bad_request"),
        (request(b'/"><script>'), b"bad_request"),
        (request(b"/\xc3\xa9"), b"bad_request"),
        (request(b"/a#b"), b"bad_request"),
        (request(b"http://example.com/"), b"bad_request"),
        (request(b"*", method=b"OPTIONS"), b"bad_request"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"bad_request"),
        (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", b"bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", b"bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\rLocation: b\r\n\r\n", b"bad_request"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"bad_request"),
    ],
)
async def test_it_refuses_what_it_can_not_send_on_safely(head: bytes, code: bytes) -> None:
    async with redirecting() as port:
        reply = await ask(port, head)
        assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b'"code":"%b"' % code in reply
        assert b"Location" not in reply


@pytest.mark.parametrize("end", [b"", b"\r\nHost: a\r\n\r\n"])
async def test_a_head_of_more_than_16_kib_is_refused(end: bytes) -> None:
    async with redirecting() as port:
        reply = await ask(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 16384 + end)
        assert reply.startswith(b"HTTP/1.1 431 ") and b'"code":"headers_too_large"' in reply


async def test_a_body_under_way_does_not_undo_the_answer() -> None:
    async with redirecting() as port:
        head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        assert location(await ask(port, head, bytes(500_000))) == b"https://a/x"


async def test_a_second_request_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with redirecting() as port:
        assert (await ask(port, request(b"/a") + request(b"/b"))).count(b"HTTP/1.1") == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(b"/a"))
        assert location(await reader.readuntil(b"\r\n\r\n")) == b"https://example.com/a"
        writer.write(request(b"/b"))
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert not caplog.records


async def test_a_slow_client_is_not_waited_for() -> None:
    async with redirecting(timeout=0.05) as port:
        assert (await ask(port, b"GET / HTT")).startswith(b"HTTP/1.1 408 ")
        assert await ask(port) == b""


async def test_a_client_that_goes_away_is_no_trouble() -> None:
    async with redirecting() as port:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.send(b"GET")
        sock.close()
        assert location(await ask(port, request(b"/"))) == b"https://example.com/"


async def test_beyond_its_room_a_connection_is_closed_and_those_inside_are_served() -> None:
    loop = asyncio.get_running_loop()
    room = Room(2)
    server = await loop.create_server(lambda: RedirectProtocol(loop, 443, room=room), "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        port = server.sockets[0].getsockname()[1]
        inside = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        while room.left:
            await asyncio.sleep(0)
        reader, beyond = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        beyond.close()
        for reader, writer in inside:
            writer.write(request(b"/"))
            assert b"308" in await reader.readline()
            writer.close()
        while room.left < 2:
            await asyncio.sleep(0)
        assert location(await ask(port, request(b"/"))) == b"https://example.com/"
