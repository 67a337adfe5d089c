"""The ways of choosing one server among several usable ones; made anew whenever the usable set changes."""

import math
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Generic, Literal, Protocol, TypeVar
from zlib import crc32

from gateway.model.exchange import Exchange

Balance = Literal["round_robin", "least_requests", "hash_user", "hash_ip"]

RING = 1024  # turns in one round of the weighted order, at most (but at least one per server)
SCANNED = 8  # up to so many servers the least busy one is found by looking at all
BUCKETS = 1 << 14  # keys are gathered into so many buckets, and a bucket moves as a whole


class Candidate(Protocol):
    """What a balancer must know of a server."""

    key: bytes
    weight: int
    active: int


C = TypeVar("C", bound=Candidate)
C_co = TypeVar("C_co", covariant=True)


class Balancer(Protocol[C_co]):
    def pick(self, exchange: Exchange) -> C_co:
        """The server for a new request."""

    def order(self, exchange: Exchange) -> Sequence[C_co]:
        """All servers, the best for this request first: for the second attempt and later ones."""


def load(server: Candidate) -> float:
    return server.active / server.weight


def ring(servers: Sequence[C]) -> tuple[C, ...]:
    """Every server as often as it weighs, its turns spread evenly over the round."""
    divisor = math.gcd(*(server.weight for server in servers))
    scale = min(1 / divisor, RING / sum(server.weight for server in servers))
    turns: list[tuple[float, int]] = []
    for index, server in enumerate(servers):
        count = max(1, round(server.weight * scale))
        phase = (index + 0.5) / len(servers)
        turns += [((turn + phase) / count, index) for turn in range(count)]
    return tuple(servers[index] for _, index in sorted(turns))


class RoundRobin(Generic[C]):
    """Smooth and weighted: each in turn, the heavy ones more often but not in a row."""

    __slots__ = ("_ring", "_servers", "_turn")

    def __init__(self, servers: Sequence[C], random: Random) -> None:
        self._servers = tuple(servers)
        self._ring = ring(self._servers)
        # Workers that start together begin at different servers.
        self._turn = random.randrange(len(self._ring))

    def pick(self, exchange: Exchange) -> C:
        turn = self._turn
        server = self._ring[turn]
        turn += 1
        self._turn = turn if turn < len(self._ring) else 0
        return server

    def order(self, exchange: Exchange) -> list[C]:
        self._turn = (self._turn + 1) % len(self._ring)
        return _in_turn(self._servers, self._turn)


class LeastRequests(Generic[C]):
    """The least busy for its weight; among equally busy ones, in weighted turn."""

    __slots__ = ("_random", "_ring", "_servers", "_turn")

    def __init__(self, servers: Sequence[C], random: Random) -> None:
        self._servers = tuple(servers)
        self._ring = ring(self._servers)
        self._turn = random.randrange(len(self._ring))
        self._random = random.random

    def pick(self, exchange: Exchange) -> C:
        if len(self._servers) > SCANNED:
            return self._better_of_two()
        turns, turn = self._ring, self._turn
        server = turns[turn]
        if server.active:
            least = min([each.active / each.weight for each in self._servers])
            while server.active / server.weight > least:
                turn = turn + 1 if turn + 1 < len(turns) else 0
                server = turns[turn]
        self._turn = turn + 1 if turn + 1 < len(turns) else 0
        return server

    def order(self, exchange: Exchange) -> list[C]:
        self._turn = (self._turn + 1) % len(self._ring)
        return sorted(_in_turn(self._servers, self._turn), key=load)

    def _better_of_two(self) -> C:
        turns, size = self._ring, len(self._ring)
        one, other = turns[int(self._random() * size)], turns[int(self._random() * size)]
        return other if other.active / other.weight < one.active / one.weight else one


class Hashed(Generic[C]):
    """The same key finds the same server, in every worker; when one leaves, only its keys move.

    Weighted rendezvous hashing per bucket of keys; what a bucket found is remembered.
    """

    __slots__ = ("_by_user", "_found", "_servers")

    def __init__(self, servers: Sequence[C], by_user: bool) -> None:
        self._servers = tuple(servers)
        self._by_user = by_user
        self._found: list[C | None] = [None] * BUCKETS

    def pick(self, exchange: Exchange) -> C:
        bucket = self._bucket(exchange)
        server = self._found[bucket]
        if server is None:
            server = self._found[bucket] = max(self._servers, key=lambda each: attraction(bucket, each))
        return server

    def order(self, exchange: Exchange) -> list[C]:
        bucket = self._bucket(exchange)
        return sorted(self._servers, key=lambda each: attraction(bucket, each), reverse=True)

    def _bucket(self, exchange: Exchange) -> int:
        identity = exchange.identity if self._by_user else None
        if identity is None:  # the anonymous are told apart by their address
            return crc32(exchange.client) % BUCKETS
        return crc32(identity.id.encode()) % BUCKETS


def attraction(bucket: int, server: Candidate) -> float:
    digest = blake2b(server.key, digest_size=8, salt=bucket.to_bytes(8, "big")).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -server.weight / math.log(min(uniform, 1 - 2**-53))


def _in_turn(servers: tuple[C, ...], turn: int) -> list[C]:
    start = turn % len(servers)
    return [*servers[start:], *servers[:start]]


def balancer(balance: Balance, servers: Sequence[C], random: Random) -> Balancer[C]:
    if balance == "round_robin":
        return RoundRobin(servers, random)
    if balance == "least_requests":
        return LeastRequests(servers, random)
    return Hashed(servers, by_user=balance == "hash_user")
