"""The master secret's file in the data folder: made once, at the first start on one machine."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gateway.config.faults import ConfigFault, ConfigFaults
from gateway.config.service import Service

VARIABLE = "POSTERN_SECRET"
FILE = "secret"
_MOST = 64 * 1024  # bytes
_SQLITE = "sqlite:"


class Log(Protocol):
    """What is needed of the service log."""

    def info(self, message: str, **fields: object) -> None: ...

    def warning(self, message: str, **fields: object) -> None: ...


def find_or_make(service: Service, make: Callable[[], str], log: Log) -> list[str]:
    """The secrets of the data folder, one a line, newest first."""
    path = os.path.join(service.data, FILE)
    if not service.database_url.startswith(_SQLITE):
        raise _fault(
            "is not set; with PostgreSQL no secret is made by itself, since every replica needs the same",
            "make one with `postern secret` and give it to every replica",
        )
    known = _read(path, log)
    if known:
        return known
    database = service.database_url.removeprefix(_SQLITE)
    if _has_content(database):
        raise _fault(
            f"is not set and {path} is not there, but the database {database} is: it was made with a secret",
            f"put {path} back from the backup, or set {VARIABLE} to what it was; to begin anew instead, move "
            "the database away",
        )
    try:
        os.makedirs(service.data, mode=0o700, exist_ok=True)
        _write(path, make())
    except OSError as error:
        raise _fault(
            f"is not set, and none can be kept in {path}: {error.strerror}",
            "let the gateway write to its data folder, or make one with `postern secret` and set it",
        ) from None
    log.info(
        f"made the master secret in {path}: keep it with the database's backup, and out of everything else"
    )
    return _read(path, log)


def _read(path: str, log: Log) -> list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        problem = f"is not set, and {path} can't be read: {error.strerror}"
        raise _fault(problem, "let its owner run the gateway; it must be no link") from None
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            log.warning(f"others on this machine may read {path}: chmod 600 it")
        text = file.read(_MOST).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise _fault(
            f"is not set, and {path} is empty",
            "put it back from the backup, or remove it if there is no database yet",
        )
    return lines


def _write(path: str, text: str) -> None:
    """Whole, on the disk, and never over a file that is there."""
    fresh = f"{path}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another gateway was faster: its secret counts
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _has_content(database: str) -> bool:
    try:
        return os.stat(database).st_size > 0
    except OSError:
        return False


def _fault(problem: str, hint: str) -> ConfigFaults:
    return ConfigFaults([ConfigFault("environment", 0, VARIABLE, problem, hint)])
