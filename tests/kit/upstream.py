"""A server that records the exact bytes of every request it receives and answers as it is told."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.kit.line import Gone, Line, Received
from tests.kit.scripts import Script, answer
from tests.kit.wire import TOKEN, Ended, Headers, WireError, body_length, chunk, parse_head, trailers, values


class RecordingUpstream:
    """One thread per connection, so that a script may simply wait.

    A request that RFC 9112 does not allow goes into `violations`: what the gateway sends is always valid.
    One that is cut off is none, but it never becomes `complete`.
    """

    def __init__(
        self,
        *,
        unix: str = "",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        greeting: bytes = b"",
        keep: int = 4 * 1024 * 1024,
        receive_buffer: int = 0,
    ) -> None:
        self.unix, self.tls, self.greeting, self.keep = unix, tls, greeting, keep
        self._listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if unix:
            self._listener.bind(unix)
        else:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", port))
        self._listener.listen(1024)
        self.port: int = 0 if unix else self._listener.getsockname()[1]
        self._news = threading.Condition()
        self._requests: list[Received] = []
        self._lines: list[Line] = []
        self._threads: list[threading.Thread] = []
        self.violations: list[str] = []
        self.pause = 0.0  # seconds between two reads of a body: a slow server
        self.connections = 0  # accepted so far
        self.clear()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """As an upstream's server is written in routes.yaml."""
        if self.unix:
            return f"unix:{self.unix}"
        return f"{'https' if self.tls else 'http'}://{'localhost' if self.tls else '127.0.0.1'}:{self.port}"

    # what was received

    @property
    def requests(self) -> list[Received]:
        """Every request whose head has come, in order."""
        with self._news:
            return list(self._requests)

    def on(self, path: bytes) -> list[Received]:
        """The requests for one path, without its query."""
        return [request for request in self.requests if request.path == path]

    @property
    def last(self) -> Received:
        return self.requests[-1]

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> list[Received]:
        """The requests, once `count` of them are complete."""
        with self._news:
            complete = self._news.wait_for(lambda: sum(r.complete for r in self._requests) >= count, timeout)
            assert complete, f"{self._requests} instead of {count}; violations: {self.violations}"
            return list(self._requests)

    def wait_head(self, count: int = 1, timeout: float = 10.0) -> list[Received]:
        """The requests, once the heads of `count` of them have come."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._requests) >= count, timeout), self._requests
            return list(self._requests)

    def wait_closed(self, number: int, timeout: float = 10.0) -> bool:
        """Whether the connection of that number has ended; waits for it."""
        with self._news:
            line = next((line for line in self._lines if line.number == number), None)
        return line is None or line.closed.wait(timeout)

    def open_lines(self) -> list[Line]:
        """The connections that are open now; lets a test close idle ones."""
        with self._news:
            return [line for line in self._lines if not line.closed.is_set()]

    # what it answers

    def reply(self, script: Script, path: bytes | None = None, *, at_head: bool = False) -> None:
        """Answer so, everywhere or at one path; at_head: before the body has come."""
        self._scripts[path] = (script, at_head)

    def clear(self) -> None:
        """Forget what was received and told; connections stay."""
        with self._news:
            self._requests.clear()
            self.violations.clear()
            self._scripts: dict[bytes | None, tuple[Script, bool]] = {None: (answer(), False)}

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for line in self.open_lines():
            line.close()
        deadline = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # the server

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if not self.unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._news:
                number, self.connections = self.connections, self.connections + 1
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._lines = [line for line in self._lines if not line.closed.is_set()]
                thread = threading.Thread(target=self._serve, args=(number, sock), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, number: int, sock: socket.socket) -> None:
        if self.tls is not None:
            sock.settimeout(10)
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except OSError:
                return sock.close()
            sock.settimeout(None)
        line = Line(number, sock, self.keep)
        with self._news:
            self._lines.append(line)
        try:
            if self.greeting:
                line.send(self.greeting)
            while not line.closed.is_set():
                self._one(line)
        except (Gone, Ended, OSError):
            pass
        except WireError as error:
            self._violation(f"{error}; connection {number}; {bytes(line.source.taken[-300:])!r}")
        finally:
            line.close()

    def _violation(self, what: str) -> None:
        with self._news:
            self.violations.append(what)
            self._news.notify_all()

    def _one(self, line: Line) -> None:
        line.source.taken.clear()
        start, headers = parse_head(line.source.until(b"\r\n\r\n"))
        check(start, headers)
        request = Received(line.number, start, headers, bytes(line.source.taken))
        with self._news:
            self._requests.append(request)
            script, at_head = self._scripts.get(request.path) or self._scripts[None]
            self._news.notify_all()
        if at_head:
            script(line, request)
            if line.closed.is_set():
                return
        self._body(line, request)
        with self._news:
            request.raw = bytes(line.source.taken)
            request.complete = True
            self._news.notify_all()
        if not at_head:
            script(line, request)

    def _body(self, line: Line, request: Received) -> None:
        body, length = bytearray(), body_length(request.headers)
        if length is None:
            while part := chunk(line.source):
                request.body_bytes += len(part)
                body += part[: max(0, self.keep - len(body))]
                time.sleep(self.pause)
            request.trailers = trailers(line.source)
        left = length or 0
        while left > 0:
            part = line.source.some(min(left, 256 * 1024))
            left -= len(part)
            time.sleep(self.pause)
            request.body_bytes += len(part)
            body += part[: max(0, self.keep - len(body))]
        request.body = bytes(body)


def check(start: bytes, headers: Headers) -> None:
    """The rest of what a request must be, beside the grammar of its fields."""
    parts = start.split(b" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or parts[2] != b"HTTP/1.1" or not parts[1]:
        raise WireError(f"not a request line: {start!r}")
    if any(not 0x21 <= byte <= 0x7E for byte in parts[1]) or b"#" in parts[1]:
        raise WireError(f"not a target: {parts[1]!r}")
    if len(values(headers, b"host")) != 1:
        raise WireError(f"not exactly one Host: {headers}")
