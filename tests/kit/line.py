"""One connection to a recording upstream, and one request as it was received on it."""

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.kit.wire import Ended, Headers, Source, values


class Gone(Exception):
    """The peer has left, or the script has closed the connection."""


@dataclass
class Received:
    """One request, exactly as it came. It is listed as soon as its head has come."""

    connection: int
    line: bytes
    headers: Headers
    raw: bytes = b""  # head and body as they came, up to the upstream's `keep`
    body: bytes = b""  # decoded when chunked, up to `keep`
    body_bytes: int = 0
    trailers: Headers = field(default_factory=list)
    complete: bool = False

    @property
    def method(self) -> bytes:
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def values(self, name: bytes) -> list[bytes]:
        return values(self.headers, name)

    def value(self, name: bytes) -> bytes:
        """The one value of a field that must be there exactly once."""
        found = self.values(name)
        assert len(found) == 1, (name, self.headers)
        return found[0]

    def names(self) -> list[bytes]:
        """All field names in lower case, in order."""
        return [name.lower() for name, _ in self.headers]


class Line:
    """The server's end of a connection."""

    def __init__(self, number: int, sock: socket.socket, keep: int) -> None:
        self.number, self.sock = number, sock
        self.source = Source(sock, keep)
        self.closed = threading.Event()

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def echo(self) -> None:
        """Send back what comes, until the peer ends."""
        while True:
            try:
                self.send(self.source.some(64 * 1024))
            except Ended:
                return self.close()

    def wait_gone(self) -> None:
        """Until the peer leaves."""
        with suppress(OSError):
            while self.source.fill():
                pass
        self.close()

    def say_no_more(self) -> None:
        """Half-close: what comes is still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()

    def reset(self) -> None:
        """End with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed.set()
        self.sock.close()
