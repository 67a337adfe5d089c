"""A listener on a real socket, served in the test's own loop, and clients of it."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from gateway.edge.listeners import Listener
from gateway.edge.proxy_protocol import Mode, Source
from gateway.edge.tls import ServerTls
from gateway.model.addresses import TrustedProxies

HERE = TrustedProxies(["127.0.0.1", "unix"])
NOBODY = TrustedProxies([])
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack(
    ">BBH4s4sHH", 0x21, 0x11, 12, b"\xc0\x00\x02\x07", b"\xc6\x33\x64\x01", 51000, 443
)
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


class Mirror(asyncio.Protocol):
    """Says who it thinks the client is, then repeats what it is told."""

    def __init__(self, source: Source | None, made: "list[Mirror]") -> None:
        self.source = source
        made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(f"{self.source}\n".encode())

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class House:
    """A listener, its socket's address, and what it has made and said."""

    def __init__(
        self, sock: socket.socket, tls: ServerTls | None, proxy: Mode, trusted: TrustedProxies, timeout: float
    ) -> None:
        self.address = sock.getsockname()
        self.made: list[Mirror] = []
        self.said: list[str] = []
        self.listener = Listener(
            asyncio.get_running_loop(), sock, lambda source: Mirror(source, self.made), tls, proxy, trusted,
            timeout=timeout, pause=0.02, log=self.said.append,
        )  # fmt: skip

    def dial(self) -> socket.socket:
        """Connected once the kernel has queued it, accepted or not."""
        sock = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        sock.connect(self.address)
        sock.setblocking(False)
        return sock

    async def open(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "localhost" if tls else None
        return await asyncio.open_connection(sock=self.dial(), ssl=tls, server_hostname=name)


def tcp() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock


def unix(folder: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "s"))
    sock.listen(64)
    return sock


@contextlib.asynccontextmanager
async def served(
    sock: socket.socket | None = None,
    tls: ServerTls | None = None,
    proxy: Mode = "none",
    trusted: TrustedProxies = HERE,
    timeout: float = 0.5,
) -> AsyncIterator[House]:
    house = House(sock or tcp(), tls, proxy, trusted, timeout)
    await house.listener.start()
    async with asyncio.timeout(20):
        yield house
    house.listener.close()
    for mirror in house.made:
        if hasattr(mirror, "transport"):
            mirror.transport.abort()


async def ask(house: House, head: bytes = b"", tls: ssl.SSLContext | None = None) -> bytes:
    """Who the gateway takes us for, if it also repeats our words."""
    reader, writer = await house.open(tls)
    writer.write(head + b"hello\n")
    said = await reader.readline()
    assert await reader.readline() == b"hello\n"
    writer.close()
    return said.strip()


async def ask_in_one_packet(house: House, head: bytes, tls: ssl.SSLContext) -> bytes:
    """Like ask, but the first packet is `head` and the ClientHello."""
    loop, sock = asyncio.get_running_loop(), house.dial()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            end.do_handshake()
            said = end.read()
            break
        except ssl.SSLWantReadError:
            await loop.sock_sendall(sock, head + outgoing.read())
            head = b""
            incoming.write(await loop.sock_recv(sock, 65536))
    sock.close()
    return said.strip()


async def closed(sock: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset is an error."""
    loop, got = asyncio.get_running_loop(), b""
    while piece := await loop.sock_recv(sock, 65536):
        got += piece
    sock.close()
    return got


async def ended(sock: socket.socket) -> None:
    """Until the other side closes or resets, without a word."""
    with contextlib.suppress(ConnectionResetError):
        assert await closed(sock) == b""
