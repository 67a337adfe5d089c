"""A TCP relay before a server: passes bytes on, slowly, not at all, or cuts them off."""

import os
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


class Relay:
    """Listens on a port of 127.0.0.1 and passes connections on to `target`: a Unix path or (host, port)."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()
        self.delay = 0.0  # seconds before each piece is passed on
        self.port = 0
        self.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def restore(self) -> None:
        """Take connections, and let what is held flow."""
        if self._listener is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(128)
            self._listener, self.port = listener, listener.getsockname()[1]
            self._start(self._accept, listener)
        self._flows.set()

    def hold(self) -> None:
        """Connections stay, nothing passes: a server that has frozen, a cable that was pulled."""
        self._flows.clear()

    def cut(self) -> None:
        """Break every connection and refuse new ones: a server that has stopped."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._flows.set()
        for pair in self._pairs:
            for sock in pair:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            self._start(self._pass, client, server)
            self._start(self._pass, server, client)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(64 * 1024):
                self._flows.wait()
                if self.delay:
                    threading.Event().wait(self.delay)
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def before(url: str) -> tuple[Relay, str]:
    """A relay before the PostgreSQL server of this URL, and the URL through it."""
    parts = urlsplit(url)
    port = parts.port or 5432
    folder = parse_qs(parts.query).get("host", [""])[0] or unquote(parts.hostname or "")
    relay = Relay(os.path.join(folder, f".s.PGSQL.{port}") if folder.startswith("/") else (folder, port))
    user, colon, password = (
        (parts.username or "postgres"),
        ":" if parts.password else "",
        parts.password or "",
    )
    return relay, f"postgresql://{user}{colon}{password}@127.0.0.1:{relay.port}{parts.path}"
