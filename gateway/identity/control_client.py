"""The command line's end of the control socket: one question a connection, lines of JSON."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

NAME = "control.sock"  # in the data folder
READ_WITHIN = 10.0  # seconds
ACT_WITHIN = 60.0
_LONGEST_PATH = 100  # bytes; a socket's path has at most 108, and 104 on macOS


class ActRefused(Exception):
    """It can't be done; the text tells the person at the terminal why, and what to do."""


def ask(path: str, act: str, given: dict[str, Any], timeout: float = ACT_WITHIN + READ_WITHIN) -> Any:
    """For the command line: the answer of the running service; ActRefused; ConnectionError when none runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        with short(path) as address:
            try:
                sock.connect(address)
            except FileNotFoundError:
                raise ConnectionRefusedError(f"nobody listens on {path}") from None
        sock.sendall(line({"act": act, "given": given}))
        data = b""
        while not data.endswith(b"\n"):
            part = sock.recv(256 * 1024)
            if not part:
                raise ActRefused(
                    "the service closed the connection: see its log, and whether this is its user"
                )
            data += part
    told = msgspec.json.decode(data)
    if not told["ok"]:
        raise ActRefused(told["error"])
    return told["answer"]


def line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


@contextlib.contextmanager
def short(path: str) -> Iterator[str]:
    """A path that fits into a socket's address, however long the real one is."""
    if len(os.fsencode(path)) <= _LONGEST_PATH or sys.platform != "linux":
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
