"""A raw client: sends the bytes it is given, reads replies strictly, sees how the connection ends."""

import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.kit.wire import Ended, Headers, Source, WireError, body_length, chunk, parse_head, trailers, values

NO_PORT: int = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 0)  # Linux
PATIENCE = 10.0  # seconds until a test that waits for bytes gives up


@dataclass
class Answer:
    """One reply as it came."""

    status: int
    line: bytes
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list["Answer"] = field(default_factory=list)  # the 1xx before it
    whole: bool = True  # False when the connection ended before the body did

    def values(self, name: bytes) -> list[bytes]:
        return values(self.headers, name)

    def value(self, name: bytes) -> bytes:
        """The one value of a field that must be there exactly once."""
        found = self.values(name)
        assert len(found) == 1, (name, self)
        return found[0]

    def problem(self) -> dict[str, Any]:
        assert self.value(b"content-type").partition(b";")[0] == b"application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        return problem

    def json(self, status: int = 200) -> Any:
        """The body of an answer that must have this status."""
        assert self.status == status, self
        assert self.value(b"content-type").partition(b";")[0] == b"application/json", self
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of the gateway's own error."""
        return str(self.problem()["code"])


@dataclass
class Talk:
    """What one connection gave back."""

    replies: list[Answer]
    closed: bool  # the server ended the connection
    reset: bool = False
    leftover: bytes = b""  # bytes after the last whole reply

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]

    @property
    def only(self) -> Answer:
        assert len(self.replies) == 1 and not self.leftover, self
        return self.replies[0]


class Client:
    """One connection to the gateway."""

    def __init__(
        self,
        port: int,
        *,
        source: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        unix: str = "",
        patience: float = PATIENCE,
        receive_buffer: int = 0,
    ) -> None:
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.sock.settimeout(patience)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if unix:
            self.sock.connect(unix)
        else:
            if source != "127.0.0.1":
                # no port yet: it is chosen at connect, where ports of ended connections can be used again
                if NO_PORT:
                    self.sock.setsockopt(socket.IPPROTO_IP, NO_PORT, 1)
                self.sock.bind((source, 0))
            self.sock.connect(("127.0.0.1", port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.source = Source(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, *pieces: bytes, pause: float = 0.0) -> Self:
        """Send each piece by itself; a server that has closed meanwhile is seen by the next read."""
        for index, piece in enumerate(pieces):
            if pause and index:
                time.sleep(pause)
            try:
                self.sock.sendall(piece)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                break
        return self

    def half_close(self) -> Self:
        with suppress(OSError):  # the server may be quicker
            self.sock.shutdown(socket.SHUT_WR)
        return self

    def abort(self) -> None:
        """End with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def head(self) -> Answer:
        """The next head alone, 1xx too."""
        line, headers = parse_head(self.source.until(b"\r\n\r\n"))
        version, _, rest = line.partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not re.fullmatch(rb"[1-9][0-9]{2}( .*)?", rest):
            raise WireError(f"not a status line: {line!r}")
        return Answer(int(rest[:3]), line, headers)

    def reply(self, method: bytes = b"GET") -> Answer:
        """The next whole reply, with the 1xx before it."""
        interim = []
        while (answer := self.head()).status < 200 and answer.status != 101:
            interim.append(answer)
        answer.interim = interim
        self._body(answer, method)
        return answer

    def _body(self, answer: Answer, method: bytes) -> None:
        length = body_length(answer.headers)
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return
        body = bytearray()
        try:
            if length is None:
                while part := chunk(self.source):
                    body += part
                answer.trailers = trailers(self.source)
            elif length >= 0:
                body += self.source.exactly(length)
            else:
                body += self.rest()
                answer.whole = not self.source.reset
        except Ended:
            body += self.source.take(len(self.source.ahead))
            answer.whole = False
        answer.body = bytes(body)

    def rest(self) -> bytes:
        """All bytes until the server ends the connection."""
        while self.source.fill():
            pass
        return self.source.take(len(self.source.ahead))

    def ends(self) -> bool:
        """Whether the server ends the connection now, without another byte."""
        return not self.rest()

    def is_open(self) -> bool:
        """Whether the connection is open and silent at this moment."""
        self.sock.setblocking(False)
        try:
            self.source.fill()
        except (BlockingIOError, ssl.SSLWantReadError):
            return not self.source.ahead
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def talk(self, method: bytes = b"GET", most: int = 0) -> Talk:
        """Replies until the server ends the connection, or `most` of them have come."""
        replies: list[Answer] = []
        closed, leftover = False, b""
        while not most or len(replies) < most:
            try:
                replies.append(self.reply(method))
            except Ended as ended:
                closed, leftover = True, ended.got
                break
            except WireError:
                leftover, closed = self.rest(), True
                break
        return Talk(
            replies, closed or self.source.ended, self.source.reset, leftover or bytes(self.source.ahead)
        )


def exchange(
    port: int,
    data: bytes | Iterable[bytes],
    *,
    method: bytes = b"GET",
    half_close: bool = False,
    most: int = 0,
    pause: float = 0.0,
    source: str = "127.0.0.1",
    patience: float = PATIENCE,
) -> Talk:
    """Send bytes over a new connection and read replies: `most` of them, or all until the server closes.

    With half_close the client says that it will send no more, so that a server that keeps the
    connection alive ends it after its last reply.
    """
    with Client(port, source=source, patience=patience) as client:
        client.send(*([data] if isinstance(data, bytes) else data), pause=pause)
        if half_close:
            client.half_close()
        return client.talk(method, most)


def request(
    target: bytes | str = b"/",
    *lines: bytes,
    method: bytes = b"GET",
    body: bytes | None = None,
    host: bytes | None = b"gateway.test",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """The bytes of a request; `lines` are header lines as they are, a body brings its Content-Length."""
    target = target.encode() if isinstance(target, str) else target
    head = [method + b" " + target + b" " + version]
    if host is not None:
        head.append(b"Host: " + host)
    head += lines
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")


def get(port: int, target: bytes | str = b"/", *lines: bytes, source: str = "127.0.0.1") -> Answer:
    """One GET on a connection of its own."""
    return exchange(port, request(target, *lines), most=1, source=source).replies[0]


def chunked(*parts: bytes, trailer: bytes = b"") -> bytes:
    """A chunked body with one chunk per part; `trailer` is whole lines."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return chunks + b"0\r\n" + trailer + b"\r\n"
