"""The service log: one JSON line per event on stderr, or a readable line when stderr is a terminal."""

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import msgspec

Level = Literal["info", "warning", "error"]

_COLOURS: dict[str, str] = {"info": "32", "warning": "33", "error": "31"}


class ServiceLog:
    """Writes whole lines with one write each, so that lines of several processes don't mix."""

    def __init__(self, fd: int = 2, readable: bool | None = None, quiet: bool = False) -> None:
        self._fd = fd
        self._quiet = quiet  # only what a person has to act on
        self._readable = os.isatty(fd) if readable is None else readable
        self._colour = "NO_COLOR" not in os.environ
        self.config = ""  # hash of the configuration in force

    def info(self, message: str, **fields: object) -> None:
        if not self._quiet:
            self._write("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self._write("warning", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write("error", message, fields)

    def _write(self, level: Level, message: str, fields: dict[str, object]) -> None:
        form = self._readable_line if self._readable else self._json
        with suppress(OSError):  # nobody reads the log any more: no reason to stop serving
            os.write(self._fd, form(level, message, fields))

    def _json(self, level: Level, message: str, fields: dict[str, object]) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"time": now, "level": level, "message": message, "config": self.config, **fields}
        return msgspec.json.encode(record, enc_hook=str) + b"\n"

    def _readable_line(self, level: Level, message: str, fields: dict[str, object]) -> bytes:
        word = f"{level:<7}"
        if self._colour:
            word = f"\x1b[{_COLOURS[level]}m{word}\x1b[0m"
        lists = {name: value for name, value in fields.items() if isinstance(value, list | tuple)}
        rest = "".join(f"  {name}={value}" for name, value in fields.items() if name not in lists)
        rest += "".join(f"\n    {each}" for value in lists.values() for each in value)
        return f"{time.strftime('%H:%M:%S')} {word} {message}{rest}\n".encode("utf-8", "replace")
