"""Whether a request that a cookie authenticates was meant by its user: other sites can send those, too."""

import re
from typing import ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import CROSS_SITE
from gateway.model.policy import Ports
from gateway.model.verdict import Refuse, Verdict

_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})  # none: the user's own doing, a bookmark or the address bar
_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class Csrf:
    name: ClassVar[str] = "csrf"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        trusted_origins: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            for origin in self.trusted_origins:
                if not _ORIGIN.fullmatch(origin):
                    raise ValueError(f"{origin!r} is not an origin: write one like https://app.example.com")

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._trusted = frozenset(origin.encode() for origin in settings.trusted_origins)

    def on_request(self, exchange: Exchange) -> Verdict:
        who = exchange.who
        if who is None or who.kind != "cookie" or (exchange.method in _SAFE and not exchange.upgrade):
            return None
        return None if self._meant(exchange) else Refuse(CROSS_SITE)

    def _meant(self, exchange: Exchange) -> bool:
        origin = exchange.header(b"origin")
        if origin is not None and origin in self._trusted:
            return True
        site = exchange.header(b"sec-fetch-site")
        if site is not None:
            return site in _OWN
        if origin is None:
            return False
        scheme = b"https://" if exchange.secure else b"http://"
        return origin == scheme + without_usual_port(exchange.forwarded_host.lower(), exchange.secure)


def without_usual_port(host: bytes, secure: bool) -> bytes:
    """As it stands in an Origin, which names no default port (RFC 6454 section 6.1)."""
    return host.removesuffix(b":443" if secure else b":80")
