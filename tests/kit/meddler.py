"""Stands in the link between edges and the identity service, and holds back what it is told to hold."""

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.kit.wire import Ended, Source

Message = dict[str, Any]


def link_of(pid: int) -> str:
    """The path of the link's socket that this identity service listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    found = {line[7] for line in lines if line[6] in inodes and len(line) > 7 and "link" in line[7]}
    assert len(found) == 1, found
    return found.pop()


class Meddler:
    """Takes the place of the socket; edges that dial from now on come through here."""

    def __init__(self, path: str) -> None:
        self._path, self._real = path, path + ".real"
        self._holds: Callable[[Message], bool] = lambda message: False
        self._socks: list[socket.socket] = []
        self._news = threading.Condition()
        self.held: list[tuple[socket.socket, bytes]] = []
        os.rename(self._path, self._real)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.replace(self._real, self._path)
        for sock in (self._listener, *self._socks):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @property
    def connections(self) -> int:
        return len(self._socks) // 2

    def hold(self, which: Callable[[Message], bool], *, and_all_after: bool = False) -> None:
        """From now on these frames towards edges stay here; and all that follow one of them, in order."""
        begun = threading.Event()

        def holds(message: Message) -> bool:
            if which(message) and and_all_after:
                begun.set()
            return begun.is_set() or which(message)

        self._holds = holds

    def wait_held(self, count: int = 1, timeout: float = 10.0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.held) >= count, timeout), self.held

    def release(self) -> None:
        """Let all that is held go, after whatever has overtaken it."""
        self._holds = lambda message: False
        with self._news:
            held, self.held = self.held, []
        for sock, frame in held:
            with suppress(OSError):  # the edge may have begun afresh meanwhile
                sock.sendall(frame)

    def _accept(self) -> None:
        while True:
            try:
                edge, _ = self._listener.accept()
            except OSError:
                return
            service = socket.socket(socket.AF_UNIX)
            service.connect(self._real)
            self._socks += [edge, service]
            for source, sink, judged in ((edge, service, False), (service, edge, True)):
                threading.Thread(target=self._pass, args=(source, sink, judged), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, judged: bool) -> None:
        reader = Source(source)
        with suppress(OSError, Ended):
            while True:
                head = reader.exactly(4)
                body = reader.exactly(*struct.unpack(">I", head))
                if judged and self._holds(msgspec.msgpack.decode(body)):
                    with self._news:
                        self.held.append((sink, head + body))
                        self._news.notify_all()
                else:
                    sink.sendall(head + body)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
