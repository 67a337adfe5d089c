"""Binding: whether a client comes from where its session was signed in, and is the same program."""

from functools import lru_cache
from typing import Literal, Protocol

import msgspec

from gateway.model.addresses import parse, prefix
from gateway.model.agents import family

AGENT = 300  # characters of a user-agent that are kept of a sign-in: what comes later is not compared
# A mismatch is told once in this time for each place, and for so many places of one session at most.
AGAIN, PLACES, SESSIONS = 600.0, 10, 10_000
_REMEMBERED = 4096

# What differs: "address", "agent", both, or nothing.
What = tuple[str, ...]


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is compared, and what happens when it is not the same."""

    address: Literal["off", "exact", "prefix"] = "off"
    agent: Literal["off", "exact", "family"] = "off"
    on_mismatch: Literal["log", "step_up", "strict"] = "log"

    def __post_init__(self) -> None:
        if self.address == "off" and self.agent == "off":
            raise ValueError("bind compares nothing: say address: prefix, or agent: family")


class Place(Protocol):
    """From where a session was signed in: a session's row, or an identity."""

    @property
    def address(self) -> str: ...
    @property
    def other_address(self) -> str:
        """Of the other family (v4, v6), from where the same person proved themselves too; or empty."""

    @property
    def agent(self) -> str: ...


# However one compares, what is equal by this is the same.
EXACT = Binding("exact", "exact")


def differing(binding: Binding, place: Place, address: str, agent: str) -> What:
    """What of a client's address and agent is not that of the place."""
    what: What = ()
    if binding.address != "off":
        same = _same_host if binding.address == "exact" else _same_network
        if not (same(place.address, address) or same(place.other_address, address)):
            what = ("address",)
    if binding.agent != "off":
        one, other = place.agent[:AGENT], agent[:AGENT]
        if one != other and (binding.agent == "exact" or _family(one) != _family(other)):
            what = (*what, "agent")
    return what


def place_of(address: str, agent: str) -> str:
    """As one that is told of: its network, and the family of the program."""
    return f"{_network(address)} {_family(agent[:AGENT])}"


def version(address: str) -> int:
    """4 or 6; 0 for what is no IP address, such as the peer of a Unix socket."""
    known = _known(address)
    return 0 if known is None else 6 if ":" in known else 4


def _same_host(one: str, other: str) -> bool:
    """An address that nobody knows is nobody's: not even another unknown one's."""
    return one != "" and (one == other or (_known(one) or one) == (_known(other) or other))


def _same_network(one: str, other: str) -> bool:
    return one != "" and (one == other or _network(one) == _network(other))


@lru_cache(_REMEMBERED)
def _network(address: str) -> str:
    """What is no IP address, such as the peer of a Unix socket, is a network of its own."""
    return prefix(_known(address) or address, 24, 64)


def _known(address: str) -> str | None:
    """In its usual spelling: an IPv4 address that is written as an IPv6 one is IPv4."""
    return parse(address.encode("utf-8", "replace"))


_family = lru_cache(_REMEMBERED)(family)
