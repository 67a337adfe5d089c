"""Made exchanges and ports, so that a policy can be judged without a gateway."""

from collections.abc import Awaitable
from typing import Any

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import IDENTITY_UNAVAILABLE
from gateway.model.identity import BadCredential, Identified, Identity
from gateway.model.policy import Ports, Resolution, Spent
from gateway.model.rates import Rule
from gateway.model.verdict import Refuse

UNAVAILABLE = Refuse(IDENTITY_UNAVAILABLE)


class Nobody:
    """Identities while the identity service is away: remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution:
        self.asked.append(credential)
        return UNAVAILABLE

    async def renew(self, cookie: bytes, exchange: Exchange) -> bool:
        return False

    async def mismatched(self, what: tuple[str, ...], act: str, exchange: Exchange) -> bool:
        return False


class Known:
    """Identities that knows some: (kind, credential) -> session; `expired` are bearers that only expired."""

    def __init__(
        self,
        known: dict[tuple[str, bytes], str],
        expired: dict[bytes, str] | None = None,
        *,
        later: bool = False,
    ) -> None:
        self.known, self.expired, self.later = known, expired or {}, later
        self.renewed: list[bytes] = []

    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution | Awaitable[Resolution]:
        session = self.known.get((kind, credential))
        found: Resolution = BadCredential(self.expired.get(credential, ""))
        if session is not None:
            found = who(kind, session=session)
        return _later(found) if self.later else found

    async def renew(self, cookie: bytes, exchange: Exchange) -> bool:
        self.renewed.append(cookie)
        exchange.answer_with(b"X-Access-Token: fresh")
        return True

    async def mismatched(self, what: tuple[str, ...], act: str, exchange: Exchange) -> bool:
        return True


class Unsigned:
    """Assertions while the identity service is away."""

    def line(self, audience: str, ttl: float, exchange: Exchange) -> bytes | Refuse:
        return UNAVAILABLE


class Plenty:
    """Leases, and the count of each rule, of which there is always more."""

    def of(self, rule: Rule) -> "Plenty":
        self.limit = rule.limits[0]
        return self

    def spend(self, key: bytes) -> Spent:
        return Spent(True, 9, 1.0, self.limit)


async def _later(found: Resolution) -> Resolution:
    return found


def who(kind: str = "bearer", **fields: Any) -> Identified:
    identity = Identity(**({"id": "u1", "session": "s1"} | fields))
    return Identified(identity, kind, b"X-User-Id: " + identity.id.encode() + b"\r\n")


def exchange(method: bytes = b"GET", path: bytes = b"/orders", **rest: Any) -> Exchange:
    made = Exchange()
    made.method, made.path, made.host, made.client = method, path, b"shop.example.com", b"192.0.2.7"
    made.noted = {}
    for name, value in rest.items():
        setattr(made, name, value)
    return made


def ports(**rest: Any) -> Ports:
    usual: dict[str, Any] = {"identities": Nobody(), "assertions": Unsigned(), "leases": Plenty()}
    return Ports(**(usual | rest))


def build(policy: type[Any], settings: dict[str, Any], **rest: Any) -> Any:
    """A policy as the edge makes it: from the plain map of the snapshot."""
    return policy(msgspec.convert(settings, policy.Settings), ports(**rest))


def header(block: bytes, name: bytes) -> bytes | None:
    """The value of a header in a block of lines; a second one of its name is an error of the test."""
    lines = [line.partition(b": ") for line in block.split(b"\r\n") if line]
    values = [value for key, _, value in lines if key.lower() == name]
    assert len(values) < 2, values
    return values[0] if values else None
