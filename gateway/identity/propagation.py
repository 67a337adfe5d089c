"""Brings news of revocations to all edges, and knows when each has dropped what it held: DESIGN 6.

The log in the database is the truth. It is read when somebody here has written to it, and every second, each
time a window back, since sequences commit out of order. What is new gets this replica's next number.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from gateway.identity.edge_book import EdgeBook, NoBook, Noted
from gateway.identity.edges import Edge, Edges, EdgeState, Pending
from gateway.link.client import now
from gateway.link.server import Hello

log = logging.getLogger(__name__)

POLL = 1.0
READ_WITHIN = 2.0
READABLE = 2.0  # seconds since the log was last read, after which no lease is renewed
SETTLE = 1.0
WINDOW = 1000  # sequences looked at again
REMEMBERED = 10_000  # sequences; more than any window


class Revocation(Protocol):
    @property
    def sequence(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def user(self) -> str: ...


class RevocationLog(Protocol):
    async def end(self) -> int:
        """The highest sequence there is."""

    async def after(self, sequence: int, window: int) -> Sequence[Revocation]:
        """All with a sequence over `sequence - window`, in their order."""


class Settled(msgspec.Struct, frozen=True):
    """How far news have come: nobody pending means that nobody uses what was revoked."""

    edges: int
    acknowledged: int
    pending: tuple[Pending, ...] = ()


class Propagation:
    """One per identity process."""

    def __init__(
        self,
        revocations: RevocationLog,
        token_ttl: float,
        *,
        book: EdgeBook | None = None,
        observe: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = now,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.n = 0  # of the latest news
        self._revocations, self._clock = revocations, clock
        self._edges = Edges(book or NoBook(), token_ttl, observe, clock=clock, wall=wall)
        self._reading = asyncio.Lock()
        self._numbers: dict[int, int] = {}  # sequence -> number here; 0: from before we began
        self._latest = 0  # sequence
        self._unlearned: set[int] = set()  # promised, but not read yet
        self._read_at: float | None = None
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin at the log's end; whatever reading it raises is raised here."""
        self._edges.recall()
        began = self._clock()
        async with asyncio.timeout(READ_WITHIN):
            self._latest = await self._revocations.end()
            for each in await self._revocations.after(self._latest, WINDOW):
                self._numbers[each.sequence] = 0
                self._latest = max(self._latest, each.sequence)
        self._read_at = began
        self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])

    @property
    def readable(self) -> bool:
        """Whether what is known here is recent enough to vouch for: if not, edges' leases run out."""
        return not self._unlearned and self._read_at is not None and self._clock() - self._read_at < READABLE

    @property
    def token_ttl(self) -> float:
        """How long `until_expiry` can be at most; each edge is told at its welcome."""
        return self._edges.token_ttl

    @token_ttl.setter
    def token_ttl(self, seconds: float) -> None:
        if seconds != self._edges.token_ttl:
            self._edges.token_ttl = seconds
            self._edges.let_go_of_all()

    # For those who revoke

    async def settle(self, sequences: Iterable[int]) -> Settled:
        """Wait up to a second until all edges have dropped what these concern; name those that have not."""
        wanted = set(sequences)
        try:
            async with asyncio.timeout(SETTLE):
                await self._learn(wanted)
                await self._edges.all_acknowledged(self._numbers_of(wanted))
        except TimeoutError:
            pass
        except Exception as error:
            # it was committed: the call has done its work, whatever happens on the way to the edges
            log.error("the log of revocations can't be read: %s", error or type(error).__name__)
        missing = wanted - self._numbers.keys()
        self._unlearned |= missing
        pending = tuple(self._edges.promise(None if missing else self._numbers_of(wanted)))
        return Settled(len(self._edges), len(self._edges) - len(pending), pending)

    def _numbers_of(self, sequences: set[int]) -> set[int]:
        return {self._numbers[each] for each in sequences if each in self._numbers}

    # The log

    async def _learn(self, wanted: set[int]) -> None:
        """Whoever holds the lock reads for all who wait."""
        async with self._reading:
            missing = wanted - self._numbers.keys()
            if missing:
                await self._read(min(self._latest, min(missing) - 1), 0)

    async def look(self) -> None:
        """Read the log, a window back. A doorbell's ring calls this, and the poller."""
        async with asyncio.timeout(READ_WITHIN), self._reading:
            began, awaited = self._clock(), set(self._unlearned)
            await self._read(min([self._latest, *awaited]), WINDOW)
        self._read_at = began
        missing = awaited & self._unlearned
        if missing:
            # what was committed must be there. Whatever it was: an edge that begins afresh holds none of it
            log.error("the log of revocations lacks what was written to it: all edges begin afresh")
            self._unlearned -= missing
            self._edges.let_go_of_all()

    async def _poll(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(POLL)
            try:
                await self.look()
                failing = False
            except Exception as error:  # a store's fault is as good as any other: it is not readable
                if not failing:
                    log.error("the log of revocations can't be read: %s", error or type(error).__name__)
                failing = True
            self._edges.sweep()

    async def _read(self, sequence: int, window: int) -> None:
        for each in await self._revocations.after(sequence, window):
            if each.sequence not in self._numbers:
                self._tell(each)
        for old in list(self._numbers)[: max(0, len(self._numbers) - REMEMBERED)]:
            del self._numbers[old]

    def _tell(self, revocation: Revocation) -> None:
        self.n += 1
        sequence = revocation.sequence
        self._numbers[sequence] = self.n
        self._latest = max(self._latest, sequence)
        promised = sequence in self._unlearned
        self._unlearned.discard(sequence)
        message = {
            "t": "push", "n": self.n, "kind": revocation.kind, "session": revocation.session,
            "user": revocation.user,
        }  # fmt: skip
        self._edges.tell(self.n, message, promised)

    # For the link's server

    def join(
        self, hello: Hello, process: int, push: Callable[[dict[str, Any]], None], drop: Callable[[], None]
    ) -> Edge:
        return self._edges.join(Noted(hello.edge, hello.pid, process, hello.serve_stale), self.n, push, drop)

    # For /cluster/status and metrics

    def edges(self) -> list[EdgeState]:
        return self._edges.states()

    @property
    def edge_count(self) -> int:
        return len(self._edges)

    def percentiles(self) -> tuple[float, float]:
        """p50 and p99 of revocation_propagation_seconds, of the latest thousand."""
        return self._edges.percentile(0.5), self._edges.percentile(0.99)
