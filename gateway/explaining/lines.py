"""A request's line in the access log's file: looked for from its end, since it is asked about soon after."""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from gateway.config.snapshot import Snapshot

BLOCK = 1024 * 1024
MOST = 512 * BLOCK  # bytes of one file that are looked through
ROTATED = ".1"  # what log rotation usually calls the file before


def files(snapshot: Snapshot) -> list[str]:
    """The files that this configuration logs to, each followed by the one before it."""
    logs = [snapshot.access_log, *(route.access_log for route in snapshot.routes if route.access_log)]
    named = dict.fromkeys(log.to for log in logs if log.to not in ("stdout", "none"))
    return [path + end for path in named for end in ("", ROTATED)]


def writes_lines(snapshot: Snapshot, route: str = "") -> bool:
    """Whether there are any lines: of this route, or of some."""
    own = [each.access_log or snapshot.access_log for each in snapshot.routes if route in ("", each.name)]
    return any(log.to != "none" for log in own or [snapshot.access_log])


def find(path: str, request_id: str, most: int = MOST) -> dict[str, Any] | None:
    """The last line of this request; None when there is none, or no such file."""
    wanted = b'"request_id":"%b"' % request_id.encode()
    try:
        with open(path, "rb") as file:
            for line in _backwards(file, wanted, most):
                found = _read(line)
                if found is not None and found.get("request_id") == request_id:
                    return found
    except FileNotFoundError:
        return None
    return None


def _backwards(file: BinaryIO, wanted: bytes, most: int) -> Iterator[bytes]:
    """The lines with these bytes in them, the last one first."""
    end = file.seek(0, os.SEEK_END)
    least = max(0, end - most)
    rest = b""  # the beginning of a line, whose start is in the block before
    while end > least:
        start = max(least, end - BLOCK)
        file.seek(start)
        block = file.read(end - start) + rest
        end = start
        if start > least:
            rest, newline, block = block.partition(b"\n")
            if not newline:
                continue
        else:
            rest = b""
        if wanted in block:
            yield from (line for line in reversed(block.split(b"\n")) if wanted in line)


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None
