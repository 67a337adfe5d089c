"""The request that another proxy asks about, as the headers of its question tell of it."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.model.faults import ORIGINAL_MISSING, ORIGINAL_UNCLEAR, Fault
from gateway.model.headers import (
    DROP,
    LONGEST_REMEMBERED,
    MOST_REMEMBERED,
    NOTED,
    REMEMBERED,
    RequestNames,
    folded,
)
from gateway.model.paths import valid_host

FORGED = 1 << 24  # a bit like those of model.headers: a name by which a client could deceive the backend
WEBSOCKET = (b"sec-websocket-key", b"sec-websocket-version")  # what is left where Upgrade is gone

_TOLD: dict[bytes, int] = {
    b"x-forwarded-method": NOTED | REMEMBERED,
    b"x-forwarded-host": NOTED | REMEMBERED,
    b"x-forwarded-proto": NOTED | REMEMBERED,
    b"x-forwarded-for": NOTED | REMEMBERED,
    b"x-forwarded-port": NOTED | REMEMBERED,  # read by nobody
    b"x-forwarded-uri": NOTED,
    b"x-original-method": NOTED | REMEMBERED,
    b"x-original-uri": NOTED,
    b"x-original-url": NOTED,
    b"upgrade": NOTED,  # the original's: nobody changes the protocol of a question
    **dict.fromkeys(WEBSOCKET, NOTED),
}
# By these a backend may take the request for another one than was judged; grpc-web's is harmless.
_OVERRIDES = frozenset(b"x-rewrite-url x-http-method-override x-http-method x-method-override".split())
_HARMLESS = frozenset({b"x-user-agent"})
_OTHERS = frozenset({b"x-original-method", b"x-original-uri", b"x-original-url"})
_PROTO = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
_absolute = re.compile(rb"(?i:(https?))://([^/?#]+)((?:[/?].*)?)", re.S).fullmatch


class Original(NamedTuple):
    """What is asked about; the host is valid, the target begins with a slash."""

    method: bytes
    proto: bytes  # http or https
    host: bytes
    target: bytes


class Untold(Exception):
    """The proxy does not say clearly what it asks about: then nobody can judge it."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class AskedNames:
    """What becomes of each header of a question: as on every listener, but for the proxy's own words, and
    for what only the proxy could take from the client's request.

    A forged header of a name that the answer has is overwritten when the proxy copies the answer. In another
    spelling it would reach the backend as it came.
    """

    __slots__ = ("_answered", "_forged", "_names", "refuse_underscores", "remembered")

    def __init__(self, names: RequestNames, answered: Iterable[bytes]) -> None:
        self._names = names
        self._answered = frozenset(name.lower() for name in answered)
        self._forged = _OVERRIDES | {folded(name) for name in self._answered} | {b"x-user"}
        self.refuse_underscores = names.refuse_underscores
        self.remembered: dict[bytes, int] = {}

    def judge(self, name: bytes) -> int:
        """Called for a spelling not seen before; the reader looks into `remembered` first."""
        kind = self._judge(name)
        if len(name) <= LONGEST_REMEMBERED and len(self.remembered) < MOST_REMEMBERED:
            self.remembered[name] = kind
        return kind

    def _judge(self, name: bytes) -> int:
        lower = name.lower()
        kind = _TOLD.get(lower)
        if kind is not None:
            return kind
        if lower in self._answered:
            return DROP
        spelling = folded(lower)
        if spelling in self._forged or (spelling.startswith(b"x-user-") and lower not in _HARMLESS):
            return FORGED | NOTED
        return self._names.judge(name)

    def forged(self, noted: Mapping[bytes, bytes]) -> str:
        """Which of these names it was."""
        names = sorted(name for name in noted if self.judge(name) & FORGED)
        return ", ".join(name[:40].decode("ascii", "replace") for name in names[:4])


def told(noted: Mapping[bytes, bytes]) -> Original:
    """What the headers agree on; raises Untold. An empty header says nothing."""
    get = noted.get
    method, host, target = get(b"x-forwarded-method"), get(b"x-forwarded-host"), get(b"x-forwarded-uri")
    proto = _PROTO.get(get(b"x-forwarded-proto", b""))
    if not (method and host and target and proto) or not noted.keys().isdisjoint(_OTHERS):
        return _whole(noted)
    if target[0] != 47 or b" " in target or not valid_host(host):
        return _whole(noted)
    return Original(method, proto, host, target)  # the usual: each is said once


def _whole(noted: Mapping[bytes, bytes]) -> Original:
    get = noted.get
    proto, host, target = _place(noted)
    method = _agreed("method", get(b"x-forwarded-method"), get(b"x-original-method"))
    if not method:
        raise _missing("the method", "X-Forwarded-Method or X-Original-Method")
    if not target:
        raise _missing("the path", "X-Forwarded-Uri, X-Original-URI or X-Original-URL")
    said = get(b"x-forwarded-host", b"").lower()
    host = _agreed("host", said, host)
    if not host:
        raise _missing("the host", "X-Forwarded-Host or X-Original-URL")
    if not valid_host(host):
        raise Untold(ORIGINAL_UNCLEAR, "X-Forwarded-Host or X-Original-URL does not name one host.")
    return Original(method, protocol(noted, proto), host, target)


def protocol(noted: Mapping[bytes, bytes], other: bytes = b"") -> bytes:
    """http or https, as X-Forwarded-Proto says; `other` is what was said elsewhere."""
    said = noted.get(b"x-forwarded-proto", b"").lower()
    known = _PROTO.get(said, b"")
    if said and not known:
        raise Untold(ORIGINAL_UNCLEAR, "X-Forwarded-Proto is neither http nor https.")
    proto = _agreed("protocol", known, other)
    if not proto:
        raise _missing("http or https", "X-Forwarded-Proto or X-Original-URL")
    return proto


def chain(noted: Mapping[bytes, bytes]) -> bytes:
    """The addresses in X-Forwarded-For; without them all clients would be taken for one."""
    said = noted.get(b"x-forwarded-for")
    if not said:
        raise _missing("the client's address", "X-Forwarded-For")
    return said


def _place(noted: Mapping[bytes, bytes]) -> tuple[bytes, bytes, bytes]:
    """Protocol, host and target, as far as the headers for the target say them."""
    proto = host = target = b""
    for name in (b"x-forwarded-uri", b"x-original-uri", b"x-original-url"):
        said = noted.get(name)
        if not said:
            continue
        if said[0] != 47:  # "/"
            whole = _absolute(said)
            if whole is None:
                raise Untold(ORIGINAL_UNCLEAR, f"{name.decode()} is neither a path nor an http URL.")
            proto = _agreed("protocol", proto, whole[1].lower())
            host = _agreed("host", host, whole[2].lower())
            said = whole[3] if whole[3][:1] == b"/" else b"/" + whole[3]
        if b" " in said:  # it came twice, or never was a request's target
            raise Untold(ORIGINAL_UNCLEAR, f"{name.decode()} is not one path.")
        target = _agreed("path", target, said)
    return proto, host, target


def _agreed(what: str, one: bytes | None, other: bytes | None) -> bytes:
    if one and other and one != other:
        raise Untold(
            ORIGINAL_UNCLEAR,
            f"Two headers name a different {what}: let the proxy set one, and clear the other.",
        )
    return one or other or b""


def _missing(what: str, where: str) -> Untold:
    return Untold(ORIGINAL_MISSING, f"The proxy does not say {what} of the request: let it set {where}.")
