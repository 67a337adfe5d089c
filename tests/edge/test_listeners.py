"""Accepting connections on real sockets: plain, TLS, PROXY protocol, full, draining."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.snapshot import Tls
from gateway.edge import listeners
from gateway.edge.proxy_protocol import INCOMPLETE, Header, Mode, parse
from gateway.edge.tls import ServerTls
from gateway.model.addresses import TrustedProxies
from tests.edge.accepting import (
    HERE,
    LOCAL,
    NOBODY,
    V1,
    V2,
    ask,
    ask_in_one_packet,
    closed,
    ended,
    served,
    tcp,
    unix,
)
from tests.kit.certs import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def settings(authority: Authority) -> Tls:
    pair = authority.issue("server")
    return Tls(pair.cert, pair.key)


async def test_plain_connections_are_served_without_delay_by_nagle() -> None:
    async with served() as house:
        assert await ask(house) == b"None"
        sock = house.made[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_connections_accepted_by_us_are_without_delay_too() -> None:
    async with served(proxy="any") as house:
        assert await ask(house, LOCAL) == b"None"
        sock = house.made[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_unix_sockets_are_served_in_every_way(
    tmp_path: Path, authority: Authority, settings: Tls
) -> None:
    tls, client = ServerTls(settings), authority.client_context()
    for index, (how, proxy) in enumerate([(None, "none"), (tls, "none"), (None, "any"), (tls, "any")]):
        folder = tmp_path / str(index)
        folder.mkdir()
        async with served(unix(folder), how, "any" if proxy == "any" else "none") as house:
            if how and proxy == "any":
                assert await ask_in_one_packet(house, V2, client) == b"('192.0.2.7', 51000)"
            elif proxy == "any":
                assert await ask(house, V2) == b"('192.0.2.7', 51000)"
            else:
                assert await ask(house, tls=client if how else None) == b"None"
        assert (folder / "s").exists(), "the socket's name is the supervisor's"


@pytest.mark.parametrize(
    ("head", "source"), [(V1, b"('192.0.2.7', 51000)"), (V2, b"('192.0.2.7', 51000)"), (LOCAL, b"None")]
)
async def test_a_trusted_peer_tells_the_client(
    head: bytes, source: bytes, authority: Authority, settings: Tls
) -> None:
    async with served(proxy="any") as house:
        assert await ask(house, head) == source
    async with served(proxy="any", tls=ServerTls(settings)) as house:
        assert await ask_in_one_packet(house, head, authority.client_context()) == source


async def test_curl_speaks_it(authority: Authority, settings: Tls) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    async with served(proxy="v1", tls=ServerTls(settings)) as house:
        url = f"https://localhost:{house.address[1]}/"
        process = await asyncio.create_subprocess_exec(
            curl, "-sN", "--http0.9", "--haproxy-protocol", "--cacert", authority.ca, "-m", "1", url,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"('127.0.0.1', ")
        process.terminate()
        await process.wait()


async def test_a_header_byte_by_byte_is_read_once_per_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counted(data: bytes, mode: Mode) -> object:
        found = parse(data, mode)
        parsed.append(len(data))
        assert isinstance(found, Header) or found is INCOMPLETE
        return found

    monkeypatch.setattr(listeners, "parse", counted)
    async with served(proxy="any") as house:
        loop, sock = asyncio.get_running_loop(), house.dial()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index, byte in enumerate(V1):
            await loop.sock_sendall(sock, bytes([byte]))
            while len(parsed) <= index:
                await asyncio.sleep(0)
        assert await loop.sock_recv(sock, 100) == b"('192.0.2.7', 51000)\n"
        assert parsed == list(range(1, len(V1) + 1)), "bytes left in the socket would wake the loop for ever"
        sock.close()


@pytest.mark.parametrize("head", [V1, V2])
async def test_a_header_in_two_packets_ends_where_it_ends(head: bytes) -> None:
    async with served(proxy="any") as house:
        loop, sock = asyncio.get_running_loop(), house.dial()
        await loop.sock_sendall(sock, head[:15])
        while not house.listener.pending:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # the first packet is read by itself
        await loop.sock_sendall(sock, head[15:] + b"hello\n")
        sock.shutdown(socket.SHUT_WR)
        assert await closed(sock) == b"('192.0.2.7', 51000)\nhello\n"


@pytest.mark.parametrize("beginning", [b"", V1[:10], V2[:14]])
async def test_a_header_that_does_not_come_ends_the_connection(beginning: bytes) -> None:
    async with served(proxy="any") as house:
        sock = house.dial()
        sock.send(beginning)
        await ended(sock)
        assert house.made == [] and house.listener.pending == 0


async def test_garbage_from_a_trusted_peer_is_refused_and_logged(settings: Tls) -> None:
    async with served(proxy="any") as house:
        sock = house.dial()
        sock.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = await closed(sock)
        assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b'"code":"bad_proxy_header"' in reply
        assert house.said == ["refused a connection from 127.0.0.1: no PROXY protocol header"]
        assert house.made == []
        assert await ask(house, V1) == b"('192.0.2.7', 51000)"
    async with served(proxy="v2", tls=ServerTls(settings)) as house:
        sock = house.dial()
        sock.send(V1)
        await ended(sock)
        assert house.said == ["refused a connection from 127.0.0.1: no PROXY protocol v2 header"]


async def test_an_untrusted_peers_header_is_not_believed() -> None:
    async with served(proxy="any", trusted=NOBODY) as house:
        reader, writer = await house.open()
        writer.write(V1)
        assert await reader.readline() == b"None\n"
        assert await reader.readline() == V1, "the header is the protocol's to refuse, as bad HTTP"
        writer.close()


async def test_whom_to_trust_can_change() -> None:
    async with served(proxy="any", trusted=NOBODY) as house:
        assert await ask(house) == b"None"
        house.listener.trust(HERE)
        assert await ask(house, V1) == b"('192.0.2.7', 51000)"


async def test_an_unlisted_unix_peer_is_untrusted(tmp_path: Path) -> None:
    async with served(unix(tmp_path), proxy="any", trusted=TrustedProxies(["127.0.0.1"])) as house:
        assert await ask(house) == b"None"


async def test_a_certificate_is_swapped_while_connections_are_open(
    authority: Authority, settings: Tls
) -> None:
    tls, client = ServerTls(settings), authority.client_context()
    async with served(tls=tls) as house:

        def serial(writer: asyncio.StreamWriter) -> object:
            return writer.get_extra_info("peercert")["serialNumber"]

        reader, writer = await house.open(client)
        early = house.dial()  # connected, and its handshake begins before the swap
        fresh = authority.issue("fresh")
        os.replace(fresh.cert, settings.cert)
        os.replace(fresh.key, settings.key)
        assert tls.reload(settings) == "swapped"
        other_reader, other = await house.open(client)
        writer.write(b"still here\n")
        assert [await reader.readline(), await reader.readline()] == [b"None\n", b"still here\n"]
        assert serial(writer) != serial(other)
        third_reader, third = await asyncio.open_connection(
            sock=early, ssl=client, server_hostname="localhost"
        )
        assert await third_reader.readline() == b"None\n"
        for each in (writer, other, third):
            each.close()


async def test_a_failed_handshake_harms_nobody_else(authority: Authority, settings: Tls) -> None:
    async with served(tls=ServerTls(settings)) as house:
        silent, plain = house.dial(), house.dial()
        plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await ask(house, tls=authority.client_context()) == b"None"
        await ended(plain)
        await ended(silent)
        while house.listener.pending:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("proxy", ["none", "any"])
async def test_draining_serves_what_the_kernel_has_queued(kind: str, proxy: Mode, tmp_path: Path) -> None:
    async with served(tcp() if kind == "tcp" else unix(tmp_path), proxy=proxy) as house:
        queued = [house.dial() for _ in range(40)]
        assert house.made == [], "nothing ran in between: all of them are in the kernel's queue"
        if proxy == "any":
            for sock in queued:
                sock.send(V1)
        await house.listener.drain()
        assert len(house.made) == 40
        loop = asyncio.get_running_loop()
        for sock in queued:
            assert (await loop.sock_recv(sock, 100)).startswith(b"None" if proxy == "none" else b"('192")
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            house.dial()


async def test_draining_waits_for_handshakes_under_way(authority: Authority, settings: Tls) -> None:
    async with served(tls=ServerTls(settings)) as house:
        sock = house.dial()
        draining = asyncio.create_task(house.listener.drain())
        while not house.listener.pending:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=authority.client_context(), server_hostname="localhost"
        )
        assert await reader.readline() == b"None\n"
        await draining
        assert house.listener.pending == 0
        writer.close()


@pytest.mark.parametrize("proxy", ["none", "any"])
async def test_the_next_worker_serves_on_the_same_socket(proxy: Mode) -> None:
    sock = tcp()
    kept = sock.dup()  # as the supervisor does
    async with served(sock, proxy=proxy) as house:
        await house.listener.drain()
        waiting = house.dial()
        async with served(kept) as next_house:
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(waiting, 100) == b"None\n"
            assert len(next_house.made) == 1 and house.made == []
        waiting.close()


async def test_closing_ends_what_has_not_begun_and_leaves_the_rest(
    authority: Authority, settings: Tls
) -> None:
    async with served(tls=ServerTls(settings), timeout=60) as house:
        reader, writer = await house.open(authority.client_context())
        assert await reader.readline() == b"None\n"
        silent = house.dial()
        while not house.listener.pending:
            await asyncio.sleep(0)
        house.listener.close()
        house.listener.close()
        await ended(silent)
        writer.write(b"on\n")
        assert await reader.readline() == b"on\n"
        writer.close()


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    with contextlib.suppress(OSError):
        while True:
            spare.append(os.open("/dev/null", os.O_RDONLY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in spare:
            os.close(number)


async def test_without_free_files_it_rests_says_so_and_goes_on(authority: Authority) -> None:
    async with served(proxy="any") as house:
        sock = house.dial()
        sock.send(V1)
        with no_more_files():
            while len(house.said) < 3:
                await asyncio.sleep(0.005)
        assert len(house.said) < 30, "it spins"
        assert "too many open files" in house.said[0].lower() and "ulimit -n" in house.said[0]
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"('192.0.2.7', 51000)\n"
        sock.close()


async def test_draining_without_free_files_leaves_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async with served(proxy="any") as house:
        sock = house.dial()
        with no_more_files():
            await house.listener.drain()
        await ended(sock)
        await asyncio.sleep(0.05)  # longer than the pause after which it would go on
        assert len(house.said) == 1 and not caplog.records


async def test_without_free_files_the_plain_listener_goes_on_too() -> None:
    async with served() as house:
        sock = house.dial()
        with no_more_files():
            await asyncio.sleep(0.02)
        sock.close()
        assert await ask(house) == b"None"
