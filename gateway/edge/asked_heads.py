"""Heads of questions that come again, less what each has of its own: read once, then known by heart."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.edge.memory import Heads
from gateway.model.addresses import parse
from gateway.model.exchange import Exchange
from gateway.model.headers import AUTHORIZATION, OURS, REMEMBERED, TOLD
from gateway.model.originals import AskedNames

_TARGET = b"\r\nX-Forwarded-Uri: "
_AUTHORIZATION = b"\r\nAuthorization: "
_OWN = (b"x-forwarded-uri", b"authorization")
_is_bearer = re.compile(rb"Bearer [\x21-\x7e]+").fullmatch
_is_target = re.compile(rb"/[\x21-\x7e]*").fullmatch


Apart = tuple[bytes, bytes, bytes]  # a head, and what was cut out of it: target and authorization


class Known(NamedTuple):
    """What was read of such a head, and holds whatever the two others are."""

    method: bytes
    version: int
    client: bytes
    secure: bool
    host: bytes
    noted: Mapping[bytes, bytes]
    lines: bytes
    flags: int
    keep: bool
    by_head: bool


class AskedHeads:
    """Bounded, and none that holds a secret, as gateway.edge.memory has them."""

    __slots__ = ("_heads", "_names", "_told")

    def __init__(self, names: AskedNames) -> None:
        self._heads: Heads[Known] = Heads()
        self._names = names
        self._told = bool(names.judge(b"authorization") & TOLD)

    def cut(self, head: bytes) -> Apart | None:
        """None for one that is not worth a look, or has to be looked at closely."""
        heads = self._heads
        if heads.pause:
            heads.pause -= 1
            return None
        before, mark, after = head.partition(_TARGET)
        target, _, after = after.partition(b"\r\n")
        if not mark or not _is_target(target):
            return None
        rest = before + b"\r\n" + after
        before, mark, after = rest.partition(_AUTHORIZATION)
        if not mark:
            return rest, target, b""
        value, _, after = after.partition(b"\r\n")
        return (before + b"\r\n" + after, target, value) if _is_bearer(value) else None

    def fill(self, exchange: Exchange, apart: Apart) -> Known | None:
        """If the head is known."""
        rest, _, authorization = apart
        heads = self._heads
        known = heads.young.get(rest) or heads.again(rest)
        if known is None:
            return None
        heads.misses = 0
        (
            exchange.method, exchange.version, exchange.client, exchange.secure, host, exchange.noted,
            exchange.lines, exchange.flags, _, _,
        ) = known  # fmt: skip
        exchange.host = exchange.forwarded_host = host
        exchange.content_length = 0
        exchange.authorization = authorization
        if self._told and authorization:
            exchange.noted = {**known.noted, b"authorization": authorization}
        return known

    def remember(self, rest: bytes, exchange: Exchange, *, keep: bool, by_head: bool) -> None:
        """If nothing in it is a secret, or of one request only."""
        noted = {name: value for name, value in exchange.noted.items() if name not in _OWN}
        judge = self._names.judge
        if exchange.content_length != 0 or not all(judge(name) & REMEMBERED for name in noted):
            return
        lower = rest.lower()
        if any(b"\r\n%b:" % name in lower for name in (*_OWN, b"cookie")):
            return
        flags = exchange.flags & ~(AUTHORIZATION | OURS)
        if parse(noted[b"x-forwarded-for"]) is None:  # several: how far they are trusted is the peer's, too
            return
        self._heads.add(rest, Known(
            exchange.method, exchange.version, exchange.client, exchange.secure, exchange.host, noted,
            exchange.lines, flags, keep, by_head,
        ))  # fmt: skip
