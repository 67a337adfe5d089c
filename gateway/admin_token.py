"""The admin's token: from the environment, or made once and kept in the data folder."""

import os
import secrets
from contextlib import suppress

from gateway.service_log import ServiceLog

VARIABLE = "POSTERN_ADMIN_TOKEN"
FILE = "admin-token"


def data_folder() -> str:
    return os.environ.get("POSTERN_DATA") or "data"


def find(data: str) -> str:
    """The token of the gateway with this data folder; empty when there is none, or it may not be read."""
    return os.environ.get(VARIABLE, "").strip() or _read(os.path.join(data, FILE))


def make(data: str, log: ServiceLog) -> str:
    """The token; made now, and kept for `postern reload`, if there is none."""
    known = find(data)
    if known:
        return known
    path = os.path.join(data, FILE)
    token = secrets.token_urlsafe(32)
    try:
        os.makedirs(data, mode=0o700, exist_ok=True)
        _write(path, token)
    except OSError as error:
        log.warning(
            f"the admin's token can't be kept in {path}: set {VARIABLE}, or nobody can use `postern reload`",
            error=error.strerror,
        )
        return token
    return _read(path) or token


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="ascii") as file:
            return file.read(1000).strip()
    except (OSError, ValueError):
        return ""


def _write(path: str, token: str) -> None:
    """Whole or not at all, and never over a file that is there."""
    fresh = f"{path}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        with suppress(FileExistsError):  # another gateway was faster: its token counts
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
