"""Which pages of other origins may call a route from a browser, and what they may read of its replies."""

import re
from math import inf
from typing import ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import ORIGIN_REFUSED
from gateway.model.lines import token
from gateway.model.policy import Effects, Ports
from gateway.model.verdict import Answer, HeaderLines, Refuse, Reply, Verdict

_ANSWERS = frozenset(
    b"access-control-allow-origin access-control-allow-credentials access-control-allow-methods "
    b"access-control-allow-headers access-control-expose-headers access-control-max-age "
    b"access-control-allow-private-network".split()
)
_HOST = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]"
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://(\*\.)?({_HOST})(:[0-9]{{1,5}})?")
_LABELS = "(?:[a-z0-9_-]+\\.)+"  # what "*." stands for: one label or more
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: *, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_MOST_NAMES = 2048  # bytes of Access-Control-Request-Headers that are echoed
_LONGEST_ORIGIN = 300


class Cors:
    name: ClassVar[str] = "cors"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        origins: tuple[str, ...]
        credentials: bool = False
        max_age: float = 600.0  # seconds
        methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        headers: tuple[str, ...] = ()  # empty: whatever the page asks for
        expose: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            if not self.origins:
                raise ValueError("name at least one origin, or leave cors out")
            for origin in self.origins:
                _check_origin(origin)
            if "*" in self.origins and len(self.origins) > 1:
                raise ValueError('"*" is every origin; name no other beside it')
            if "*" in self.origins and self.credentials:
                raise ValueError('"*" with credentials lets every page act as its visitor; name the origins')
            if not 0 <= self.max_age < inf:
                raise ValueError("max_age can't be negative or endless")
            for method in self.methods:
                token(method, "method")
            for name in (*self.headers, *self.expose):
                token(name)

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._rest = _rest(settings)
        self._any = "*" in settings.origins
        named = [origin.encode() for origin in settings.origins if "*" not in origin]
        self._blocks = {origin: self._block(origin) for origin in named}
        self._wildcards = _wildcards(settings.origins)
        self._echo = not settings.headers
        self._preflight = _preflight(settings)
        self._effects = Effects(
            reply_drop=_ANSWERS,
            reply_add=self._block(b"*") if self._any else b"Vary: Origin\r\n",
            reads=frozenset({b"origin", b"access-control-request-method", b"access-control-request-headers"}),
        )
        self._refuse = Refuse(ORIGIN_REFUSED, "No page of this origin may call this route.")

    def effects(self) -> Effects:
        return self._effects

    def on_request(self, exchange: Exchange) -> Verdict:
        noted = exchange.noted
        origin = noted.get(b"origin")
        if origin is None:
            return None
        preflight = exchange.method == b"OPTIONS" and b"access-control-request-method" in noted
        if not self._any:
            block = self._blocks.get(origin) or self._block_of_wildcard(origin)
            if block is None:
                return self._refuse if preflight else None
            exchange.reply_add += block  # refusals carry it too, so that a page can read them
        return self._answer(exchange) if preflight else None

    def _block(self, origin: bytes) -> bytes:
        return b"Access-Control-Allow-Origin: " + origin + b"\r\n" + self._rest

    def _block_of_wildcard(self, origin: bytes) -> bytes | None:
        wildcards = self._wildcards
        if wildcards is None or len(origin) > _LONGEST_ORIGIN or not wildcards.fullmatch(origin):
            return None
        return self._block(origin)

    def _answer(self, exchange: Exchange) -> Verdict:
        headers = list(self._preflight)
        asked = exchange.noted.get(b"access-control-request-headers")
        if self._echo and asked and len(asked) <= _MOST_NAMES and _NAMES.fullmatch(asked):
            headers.append((b"Access-Control-Allow-Headers", asked))
        return Answer(Reply(204, headers))


def _check_origin(origin: str) -> None:
    if origin == "*":
        return
    if origin == "null":
        raise ValueError('"null" is the origin of any sandboxed page; it says nothing, so name origins')
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise ValueError(f"{origin!r} is not an origin: scheme://host or scheme://host:port, in lower case")
    wildcard, host, port = match.groups()
    if wildcard and "." not in host:
        raise ValueError(f"{origin!r} lets in every site of a whole top level; name a domain after the *")
    scheme = origin.partition(":")[0]
    if (scheme, port) in (("https", ":443"), ("http", ":80")):
        raise ValueError(f"{origin!r}: browsers leave out {port}, so it would never match; leave it out too")


def _rest(settings: Cors.Settings) -> bytes:
    """What follows the line with the origin."""
    rest = b"Access-Control-Allow-Credentials: true\r\n" if settings.credentials else b""
    if settings.expose:
        rest += b"Access-Control-Expose-Headers: " + ", ".join(settings.expose).encode() + b"\r\n"
    return rest


def _wildcards(origins: tuple[str, ...]) -> re.Pattern[bytes] | None:
    patterns = [re.escape(origin).replace(r"\*\.", _LABELS) for origin in origins if "*." in origin]
    return re.compile("|".join(patterns).encode()) if patterns else None


def _preflight(settings: Cors.Settings) -> HeaderLines:
    headers = [
        (b"Access-Control-Allow-Methods", ", ".join(settings.methods).encode()),
        (b"Access-Control-Max-Age", b"%d" % settings.max_age),
        (b"Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    if settings.headers:
        headers.append((b"Access-Control-Allow-Headers", ", ".join(settings.headers).encode()))
    return tuple(headers)
