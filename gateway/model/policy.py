"""The protocol of a policy, built in or your own, and the fixed effects that the chain applies for it."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from gateway.model.clock import boottime
from gateway.model.exchange import Exchange
from gateway.model.identity import BadCredential, Identified
from gateway.model.rates import Limit, Rule
from gateway.model.verdict import Refuse, Reply, Verdict


class Effects(msgspec.Struct, frozen=True):
    """What a policy does to every request of its route alike: merged once at load, free per request.

    Names are lower-case. Blocks are whole header lines, each ended by CRLF.
    """

    request_drop: frozenset[bytes] = frozenset()  # the client's headers of these names stop here
    request_add: bytes = b""  # lines added towards the upstream
    reply_drop: frozenset[bytes] = frozenset()  # the upstream's headers of these names stop here
    reply_add: bytes = b""  # lines added to every reply of the route, refusals too
    reads: frozenset[bytes] = frozenset()  # request headers the policy wants to find in exchange.noted


class Policy(Protocol):
    """One object per route, made at load. Every method is optional; with an attribute `idle` that is true,
    `on_request` is never called; with an attribute `lasting` that is true it is asked again when the identity
    of a request that still runs (WebSocket, event stream) has changed.

    A method that raises refuses the request with 500 policy_crashed: nothing fails open.
    """

    def effects(self) -> Effects:
        """Constant changes, asked for once."""

    def on_request(self, exchange: Exchange) -> Verdict:
        """Judge. Called in the fixed order; None lets the request go on to the next policy."""

    def on_response(self, exchange: Exchange, reply: Reply) -> None:
        """See the reply's head on its way back, in reverse order; refusals too. May change `reply`."""


Resolution = Identified | BadCredential | Refuse


class Identities(Protocol):
    """Who a credential belongs to: the edge's cache, and behind it the identity service."""

    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution | Awaitable[Resolution]:
        """Refuse means that it can't be known just now. Renews a session's cookie when its time has come."""

    async def renew(self, cookie: bytes, exchange: Exchange) -> bool:
        """Put a fresh access token of the cookie's session on the reply; False when that can't be done."""

    def mismatched(self, what: tuple[str, ...], act: str, exchange: Exchange) -> bool | Awaitable[bool]:
        """Tell that the exchange's credential came from another place or program than its session's: once in
        a while, and nobody waits for it. With act `strict` its session has ended when this is True; False
        when that can't be known."""


class Spent(msgspec.Struct, frozen=True):
    """What a rate limit said of one request."""

    allowed: bool
    remaining: int  # units, as far as is known here
    reset: float  # seconds until there are more
    limit: Limit  # of the rule's limits the one that is nearest to its end
    known: bool = True  # False: the count was out of reach, and `on_store_failure` spoke


class Count(Protocol):
    """The shared count of one rule: units for each key, taken in small batches and spent here."""

    def spend(self, key: bytes) -> Spent | Awaitable[Spent]:
        """One unit for this key."""


class Leases(Protocol):
    """The counts of rate limits."""

    def of(self, rule: Rule) -> Count:
        """The count of this rule: the same for equal rules. Asked for once, when a policy is made."""


class Assertions(Protocol):
    """Signed statements of who asks, made by the identity service, kept until shortly before their end."""

    def line(
        self, audience: str, ttl: float, exchange: Exchange
    ) -> bytes | Refuse | Awaitable[bytes | Refuse]:
        """The X-User-Assertion line, with its CRLF, for whom the exchange's credential stands for."""


class Ports(msgspec.Struct, frozen=True):
    """What a policy may know and use of the gateway around it, besides its own settings."""

    identities: Identities
    leases: Leases | None = None  # where nothing is leased (built-in routes): None
    assertions: Assertions | None = None
    clock: Callable[[], float] = boottime  # what `proved_at` and expiries are told by
    route: str = ""  # the route's name
    report: bool = False  # the route only reports: what a policy says counts, and it does nothing to anybody
    service: str = "postern"  # the realm of challenges; not the service's name, which may be a host's
    counted_as: str = "postern"  # the service's name: what the names of rate limits begin with
    tls: bool = False  # the listener itself speaks TLS
    sign_in: str = "/auth/sign-in"  # the sign-in page; empty where none is served
    cookies: tuple[bytes, ...] = (b"__Host-postern", b"__Secure-postern", b"postern")  # names of our cookie
    clear_cookie: bytes = b""  # the Set-Cookie line that ends a dead one
    renewal: bool = False  # an expired bearer beside its session's good cookie is renewed


class Step(NamedTuple):
    """One place in the fixed order. A policy that acts in two places has a name for each: there its `parts`
    are asked for what stands in this one, with the same arguments as its class."""

    policy: type[Any]
    part: str = ""

    def build(self, settings: Any, ports: Ports) -> list[Any]:
        """The objects that judge here."""
        read = msgspec.convert(settings, self.policy.Settings, strict=False)
        if self.part:
            found: list[Any] = self.policy.parts(self.part, read, ports)
            return found
        return [self.policy(read, ports)]


def merge(parts: Sequence[Effects]) -> Effects:
    """The effects of a whole route, from those of its policies in the order in which they run.

    A request goes down through them and a reply up, so each drops also what those before it added.
    """
    request_drop, request_add = _pile((part.request_drop, part.request_add) for part in parts)
    reply_drop, reply_add = _pile((part.reply_drop, part.reply_add) for part in reversed(parts))
    reads = frozenset[bytes]().union(*(part.reads for part in parts))
    return Effects(request_drop, request_add, reply_drop, reply_add, reads)


def _pile(steps: Iterable[tuple[frozenset[bytes], bytes]]) -> tuple[frozenset[bytes], bytes]:
    dropped: frozenset[bytes] = frozenset()
    added: list[bytes] = []
    for drop, add in steps:
        added = [line for line in added if line.partition(b":")[0].lower() not in drop]
        added += [line + b"\r\n" for line in add.split(b"\r\n") if line]
        dropped |= drop
    return dropped, b"".join(added)
