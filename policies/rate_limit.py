"""How often somebody may come: counts by address before anybody is known, all others after."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from math import ceil
from typing import ClassVar, NamedTuple

import msgspec

from gateway.model.addresses import prefix
from gateway.model.exchange import Exchange
from gateway.model.faults import RATE_LIMIT_UNAVAILABLE, RATE_LIMITED
from gateway.model.lines import free_name
from gateway.model.policy import Effects, Ports, Spent
from gateway.model.rates import Algorithm, Limit, OnStoreFailure, Rule
from gateway.model.verdict import Outcome, Refuse, Verdict

Key = Callable[[Exchange], bytes]

_PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_BEFORE_AUTH = frozenset({"ip", "route"})  # beside headers: what is known before anybody is
# the IETF's draft-ietf-httpapi-ratelimit-headers, and what its older versions had
_NAMES = frozenset(
    {b"ratelimit", b"ratelimit-policy", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"}
)


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # (how many, in how many seconds), by role: `default`, `role:NAME`
    limits: dict[str, tuple[tuple[int, int], ...]]
    name: str = ""
    key: tuple[str, ...] = ()  # none: the user, or who is none, the address
    algorithm: Algorithm = "sliding_window"
    on_store_failure: OnStoreFailure = "local"

    def __post_init__(self) -> None:
        if "default" not in self.limits or not all(self.limits.values()):
            raise ValueError("every rule needs a default limit, and no list of limits is empty")
        for word in self.key:
            _check_key(word)

    @property
    def by_address(self) -> bool:
        """Whether nobody need be known for it."""
        return len(self.limits) == 1 and "ip" in self.key and all(map(_known_early, self.key))


class Tier(NamedTuple):
    """What counts for one role."""

    role: str
    spend: Callable[[bytes], Spent | Awaitable[Spent]]
    policy: bytes  # the RateLimit-Policy line
    lines: dict[Limit, bytes]  # what each reply is told, less two numbers
    line: bytes  # the only one of these, if there is one
    details: dict[Limit, str]


class RateLimit:
    """One rule of a route, in one of its two places."""

    name: ClassVar[str] = "rate_limit"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        rules: tuple[RuleSettings, ...]

    @classmethod
    def parts(cls, part: str, settings: Settings, ports: Ports) -> "list[RateLimit]":
        """The rules that are judged here, in the order of the file."""
        early = [rule.by_address for rule in settings.rules]
        last = len(early) - 1 - early[::-1].index(False) if False in early else len(early) - 1
        return [
            cls(rule, number + 1, ports, last=number == last)
            for number, rule in enumerate(settings.rules)
            if rule.by_address == (part == "by_address")
        ]

    def __init__(self, rule: RuleSettings, number: int, ports: Ports, *, last: bool) -> None:
        self._shown = rule.name or f"{ports.route}.{number}"
        self._last = last  # of all of the route's, so that it drops no line of another
        self._reads = frozenset(word[7:].lower().encode() for word in rule.key if word.startswith("header:"))
        self._key = _key_of(rule.key or ("user",), ports.route)
        self._local = rule.on_store_failure == "local"
        self._denied = Refuse(RATE_LIMIT_UNAVAILABLE, headers=((b"Retry-After", b"1"),))
        roles = sorted(rule.limits, key=_generous(rule))
        self._tiers = tuple(self._tier(role, rule, ports) for role in roles)
        self._only = self._tiers[0] if len(roles) == 1 else None

    def _tier(self, role: str, rule: RuleSettings, ports: Ports) -> Tier:
        limits = tuple(Limit(amount, seconds) for amount, seconds in rule.limits[role])
        counted_as = f"{ports.counted_as}/{self._shown}"
        assert ports.leases is not None, "a route of users has counts"
        count = ports.leases.of(Rule(counted_as, limits, rule.algorithm, rule.on_store_failure))
        names = {limit: _shown_as(self._shown, limit, limits) for limit in limits}
        policies = ", ".join(f"{names[limit]};q={limit.amount};w={limit.seconds}" for limit in limits)
        policy = f"RateLimit-Policy: {policies}\r\n"
        before = policy if len(rule.limits) > 1 else ""  # else it is the same on all replies: an effect
        lines = {limit: f"{before}RateLimit: {names[limit]};r=%d;t=%d\r\n".encode() for limit in limits}
        return Tier(
            role.removeprefix("role:") if role != "default" else "", count.spend, policy.encode(), lines,
            lines[limits[0]] if len(limits) == 1 else b"",
            {limit: f"{self._shown}: {_said(limit)}." for limit in limits},
        )  # fmt: skip

    def effects(self) -> Effects:
        return Effects(
            reply_drop=_NAMES if self._last else frozenset(),
            reply_add=self._only.policy if self._only is not None else b"",
            reads=self._reads,
        )

    def on_request(self, exchange: Exchange) -> Verdict:
        tier = self._only or self._fitting(exchange)
        spent = tier.spend(self._key(exchange))
        if not isinstance(spent, Spent):
            return self._wait(exchange, tier, spent)
        if spent.allowed and spent.known and tier.line:  # the usual
            exchange.reply_add += tier.line % (spent.remaining, ceil(spent.reset))
            return None
        return self._told(exchange, tier, spent)

    async def _wait(self, exchange: Exchange, tier: Tier, asked: Awaitable[Spent]) -> Outcome:
        return self._told(exchange, tier, await asked)

    def _told(self, exchange: Exchange, tier: Tier, spent: Spent) -> Outcome:
        if not spent.known and not self._local:
            if self._only is None:
                exchange.reply_add += tier.policy
            return None if spent.allowed else self._denied
        seconds = max(1, ceil(spent.reset))
        exchange.reply_add += tier.lines[spent.limit] % (spent.remaining, seconds)
        if spent.allowed:
            return None
        return Refuse(RATE_LIMITED, tier.details[spent.limit], ((b"Retry-After", b"%d" % seconds),))

    def _fitting(self, exchange: Exchange) -> Tier:
        """They stand in their order: of roles the most generous first, then the default, for all others."""
        roles = exchange.who.identity.roles if exchange.who is not None else ()
        for tier in self._tiers:
            if not tier.role or tier.role in roles:
                break
        return tier


def _known_early(word: str) -> bool:
    return word in _BEFORE_AUTH or word.startswith("header:")


def _generous(rule: RuleSettings) -> Callable[[str], tuple[bool, float, float]]:
    """Sorts the roles: by how much they may in the long run, and of equal ones by how much at once. The
    default stands last, or a role could not be given less."""

    def order(role: str) -> tuple[bool, float, float]:
        limits = rule.limits[role]
        in_the_long_run = min(amount / seconds for amount, seconds in limits)
        return role == "default", -in_the_long_run, -min(amount for amount, _ in limits)

    return order


def _shown_as(name: str, limit: Limit, limits: Sequence[Limit]) -> str:
    """Each limit of a rule is a policy of its own to the client."""
    period = _PERIODS.get(limit.seconds, f"{limit.seconds}s")
    return f'"{name}"' if len(limits) == 1 else f'"{name}/{period}"'


def _said(limit: Limit) -> str:
    period = _PERIODS.get(limit.seconds)
    return f"{limit.amount} per {period}" if period else f"{limit.amount} in {limit.seconds} seconds"


# Keys. A part that the request does not have is its address, so that nobody goes uncounted.


def _key_of(words: tuple[str, ...], route: str) -> Key:
    keys = tuple(_single(word, route) for word in words)
    return keys[0] if len(keys) == 1 else lambda exchange: _joined([key(exchange) for key in keys])


def _joined(parts: list[bytes]) -> bytes:
    """With their lengths, so that no two lists become the same."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def _single(word: str, route: str) -> Key:
    if word == "route":
        same = b"r:" + route.encode()
        return lambda exchange: same
    if word.startswith("header:"):
        name = word[7:].lower().encode()
        return lambda exchange: _header(exchange, name)
    return {"ip": _ip, "user": _user, "session": _session, "api_key": _api_key}[word]


def _ip(exchange: Exchange) -> bytes:
    client = exchange.client
    return prefix(client.decode("ascii", "replace"), 32, 64).encode() if b":" in client else client


def _user(exchange: Exchange) -> bytes:
    who = exchange.who
    return b"u:" + who.identity.id.encode() if who is not None else _ip(exchange)


def _session(exchange: Exchange) -> bytes:
    session = exchange.who.identity.session if exchange.who is not None else ""
    return b"s:" + session.encode() if session else _ip(exchange)


def _api_key(exchange: Exchange) -> bytes:
    key = exchange.who.identity.api_key if exchange.who is not None else ""
    return b"k:" + key.encode() if key else _ip(exchange)


def _header(exchange: Exchange, name: bytes) -> bytes:
    """As a digest: it may be long, or a secret."""
    value = exchange.noted.get(name)
    return b"h:" + blake2b(value, digest_size=16).hexdigest().encode() if value else _ip(exchange)


def _check_key(word: str) -> None:
    if word.startswith("header:"):
        if free_name(word[7:]) in (b"authorization", b"cookie"):
            raise ValueError(f"{word!r}: count by user, session or api_key")
    elif word not in ("ip", "user", "session", "api_key", "route"):
        raise ValueError(f"{word!r} is no key: ip, user, session, api_key, route or header:NAME")
