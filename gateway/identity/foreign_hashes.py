"""Hashes of other systems: bcrypt, and PBKDF2 and scrypt as Django and Werkzeug write them.

They are compared at sign-in only, and become argon2id then. What would cost too much to compare is known as
none of these, so a row in a table can't keep a thread busy for minutes.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable

import msgspec

MOST_BCRYPT = 14  # its cost: 2^14 rounds, about a second
MOST_ROUNDS = 3_000_000  # of PBKDF2
MOST_SCRYPT = 128 * 1024 * 1024  # bytes
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_BCRYPT_READS = 72  # bytes of a password: bcrypt itself knows no more
_DIGESTS = ("sha1", "sha256", "sha512")


class Bcrypt:
    """Needs the extra `bcrypt`."""

    def knows(self, kept: str) -> bool:
        found = _BCRYPT.fullmatch(kept)
        return found is not None and 4 <= int(found[1]) <= MOST_BCRYPT

    def compare(self, kept: str, password: bytes) -> bool:
        import bcrypt  # noqa: PLC0415 - an extra

        if b"\0" in password:
            return False
        try:
            return bcrypt.checkpw(password[:_BCRYPT_READS], kept.encode())
        except ValueError:
            return False


class Derived(msgspec.Struct, frozen=True):
    """A hash taken apart: how it is made of a password, and what has to come out."""

    derive: Callable[[bytes], bytes]
    wanted: bytes


class KeyDerivation:
    """pbkdf2_sha256$ROUNDS$SALT$BASE64 and scrypt$… (Django), pbkdf2:sha256:ROUNDS$SALT$HEX and
    scrypt:N:r:p$SALT$HEX (Werkzeug)."""

    def knows(self, kept: str) -> bool:
        return read(kept) is not None

    def compare(self, kept: str, password: bytes) -> bool:
        found = read(kept)
        if found is None:
            return False
        try:
            return hmac.compare_digest(found.derive(password), found.wanted)
        except (ValueError, MemoryError, OverflowError):
            return False


def read(kept: str) -> Derived | None:
    """None for what is no such hash, or would cost too much."""
    try:
        return _django(kept.split("$")) or _werkzeug(kept.split("$"))
    except (ValueError, binascii.Error):
        return None


def _django(parts: list[str]) -> Derived | None:
    if len(parts) == 4 and parts[0].startswith("pbkdf2_"):
        return _pbkdf2(parts[0][7:], int(parts[1]), parts[2], _base64(parts[3]))
    if len(parts) == 6 and parts[0] == "scrypt":
        _, cost, salt, blocks, lanes, hashed = parts
        return _scrypt(int(cost), int(blocks), int(lanes), salt, _base64(hashed))
    return None


def _werkzeug(parts: list[str]) -> Derived | None:
    if len(parts) != 3:
        return None
    method, salt, hashed = parts
    kind, *numbers = method.split(":")
    if kind == "pbkdf2" and len(numbers) == 2:
        return _pbkdf2(numbers[0], int(numbers[1]), salt, bytes.fromhex(hashed))
    if kind == "scrypt" and len(numbers) == 3:
        cost, blocks, lanes = map(int, numbers)
        return _scrypt(cost, blocks, lanes, salt, bytes.fromhex(hashed))
    return None


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _pbkdf2(digest: str, rounds: int, salt: str, wanted: bytes) -> Derived | None:
    if digest not in _DIGESTS or not 1 <= rounds <= MOST_ROUNDS or not 16 <= len(wanted) <= 64:
        return None
    return Derived(
        lambda password: hashlib.pbkdf2_hmac(digest, password, salt.encode(), rounds, len(wanted)), wanted
    )


def _scrypt(cost: int, blocks: int, lanes: int, salt: str, wanted: bytes) -> Derived | None:
    memory = 128 * cost * blocks
    fits = min(cost, blocks, lanes) >= 1 and memory <= MOST_SCRYPT and lanes <= 16
    if not fits or cost & (cost - 1) or not 16 <= len(wanted) <= 128:
        return None
    return Derived(
        lambda password: hashlib.scrypt(
            password, salt=salt.encode(), n=cost, r=blocks, p=lanes,
            maxmem=memory + 1024 * 1024 * (1 + lanes), dklen=len(wanted),
        ),
        wanted,
    )  # fmt: skip


SCHEMES = (Bcrypt(), KeyDerivation())


def usable(kept: str) -> bool:
    """Whether somebody could sign in by this hash."""
    return any(scheme.knows(kept) for scheme in SCHEMES) or kept.startswith("$argon2id$")
