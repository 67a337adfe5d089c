"""Passwords: which may be set, and their argon2id hashes, made and compared in few threads."""

import asyncio
import binascii
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Protocol, TypeVar

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import ARGON2_VERSION

from gateway.config.service import Service
from gateway.identity import password_rules

_Result = TypeVar("_Result")
_HASH, _SALT = 32, 16  # bytes
_WAITING = 32  # for each thread: a second of work with the default parameters
_COME_AGAIN = 2  # seconds


class Matches(msgspec.Struct, frozen=True):
    """The password is right."""

    needs_rehash: bool  # its hash is not what we would make today


class Wrong(msgspec.Struct, frozen=True):
    """Wrong password, no password, or no such user: the same work was done."""


class Busy(msgspec.Struct, frozen=True):
    """Too many are waiting already: answer 503 with Retry-After."""

    retry_after: int = _COME_AGAIN


class Scheme(Protocol):
    """A kind of hash that can be compared; imported ones (bcrypt, pbkdf2, scrypt) are such, beside ours."""

    def knows(self, kept: str) -> bool: ...

    def compare(self, kept: str, password: bytes) -> bool:
        """Runs in a thread; must not raise on a hash that it knows."""


class Argon2id:
    """Ours: RFC 9106 by argon2-cffi."""

    def __init__(self, memory: int, time: int, lanes: int) -> None:
        """`memory`: bytes."""
        kib = memory // 1024
        self._hasher = PasswordHasher(time, kib, lanes, _HASH, _SALT, type=Type.ID)
        salt, hashed = (_unpadded(secrets.token_bytes(size)) for size in (_SALT, _HASH))
        # Costs what a user's costs to compare, and no password fits.
        self.dummy = f"$argon2id$v={ARGON2_VERSION}$m={kib},t={time},p={lanes}${salt}${hashed}"

    def knows(self, kept: str) -> bool:
        return kept.startswith("$argon2id$")

    def compare(self, kept: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            return False

    def hash(self, password: bytes) -> str:
        return self._hasher.hash(password)

    def outdated(self, kept: str) -> bool:
        return not self.knows(kept) or self._hasher.check_needs_rehash(kept)


class Passwords:
    """Hashes and compares, at most `cores` at once."""

    def __init__(
        self, service: Service, cores: int = 0, waiting: int = _WAITING, others: Sequence[Scheme] = ()
    ) -> None:
        cores = cores or _cores()
        self._threads = ThreadPoolExecutor(cores, "password")
        self._most = cores * (1 + waiting)
        self._lock = Lock()  # of `_under_way`, which threads count down
        self._under_way = 0
        self._others = others
        self.calls = 0  # hashes made or compared: what tests compare for known and unknown users
        self.use(service)

    def use(self, service: Service) -> None:
        """The settings from now on."""
        kept = service.password
        self._argon2 = Argon2id(kept.memory, kept.time, kept.lanes)
        self._schemes: tuple[Scheme, ...] = (self._argon2, *self._others)
        self._rules = password_rules.Rules(kept.min, service.site)

    def refused(self, password: str, username: str = "", email: str = "") -> list[str]:
        """What is wrong with it as a new password, for the person; empty when it may be set."""
        return self._rules.refused(password, username, email)

    async def hash(self, password: str) -> str | Busy:
        """Of a password that may be set."""
        return await self._work(lambda: self._argon2.hash(_bytes(password)))

    async def verify(self, password: str, kept: str | None) -> Matches | Wrong | Busy:
        """`kept`: the user's hash; None or empty without a user, or one without a password."""
        scheme = next((each for each in self._schemes if kept and each.knows(kept)), None)
        if scheme is None or not kept:
            scheme, kept = self._argon2, self._argon2.dummy
        compare, against = scheme.compare, kept
        right = await self._work(lambda: compare(against, _bytes(password)))
        if isinstance(right, Busy):
            return right
        return Matches(self._argon2.outdated(kept)) if right else Wrong()

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _work(self, job: Callable[[], _Result]) -> _Result | Busy:
        """Bounded by the parameters' own cost and the queue; a caller that goes away leaves its place only
        when the thread is free again."""
        with self._lock:
            if self._under_way >= self._most:
                return Busy()
            self._under_way += 1
        self.calls += 1
        done = self._threads.submit(job)
        done.add_done_callback(self._left)
        return await asyncio.wrap_future(done)

    def _left(self, _: Future[_Result]) -> None:
        with self._lock:
            self._under_way -= 1


def _bytes(password: str) -> bytes:
    return password_rules.normal(password).encode("utf-8", "surrogatepass")


def _unpadded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def _cores() -> int:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
