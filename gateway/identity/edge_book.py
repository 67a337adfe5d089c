"""Which edges were told something: kept beside the link's socket, so that a restart does not forget them.

An edge whose identity service died uses what it has cached for a while. The next service must count it until
it comes back. The file lives and dies with the supervisor's folder, as the edges do.
"""

import logging
import os
import socket
from pathlib import Path
from typing import Protocol

import msgspec

log = logging.getLogger(__name__)


class Noted(msgspec.Struct, frozen=True):
    name: str
    pid: int
    process: int  # as the kernel told it; 0: not visible from here
    stale: float  # the longest `serve_stale` of its routes; -1: until_expiry


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Noted]).decode


class EdgeBook(Protocol):
    def read(self) -> list[Noted]: ...
    def write(self, edges: list[Noted]) -> None: ...


class NoBook:
    """For a service whose edges do not outlive it."""

    def read(self) -> list[Noted]:
        return []

    def write(self, edges: list[Noted]) -> None:
        return None


class FileBook:
    """One small file, replaced whole; seldom written: when an edge comes or is forgotten."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Noted]:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError):
            log.warning(
                "%s can't be read: whatever edges there were count for as long as they may", self._path
            )
            return [Noted("unknown", 0, 0, -1.0)]

    def write(self, edges: list[Noted]) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_encode(edges))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning(
                "%s can't be written (%s): a restart will forget these edges", self._path, error.strerror
            )


def book_beside(sock: socket.socket) -> FileBook:
    """Beside the link's bound socket."""
    return FileBook(Path(sock.getsockname() + ".edges"))
