"""The edges that may still use what they were told: what each has to acknowledge, and when it can't any more.

An edge stays here after its connection has ended, until nothing it holds can be used: its last lease and its
longest `serve_stale` are over, its process is gone, it said good-bye, or it came back and began afresh.
"""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from gateway.identity.edge_book import EdgeBook, Noted
from gateway.link.client import LEASE, now
from gateway.link.frames import Message

MEASURED = 1000  # how many news the percentiles look back
SWEEP = 0.05  # seconds between looks whether a process that left is gone


class Pending(msgspec.Struct, frozen=True):
    """An edge that has not acknowledged, and from when on it can't use what was revoked."""

    edge: str
    safe_at_ms: int


class EdgeState(msgspec.Struct, frozen=True):
    """For /cluster/status."""

    name: str
    pid: int
    since_ms: int
    connected: bool
    lag: float  # seconds since the oldest news that it has not acknowledged


class Edge:
    """One edge, as gateway.link.server sees it (Membership)."""

    __slots__ = (
        "_edges", "afresh", "connected", "drop", "heard", "name", "owed", "pid", "process", "promised",
        "push", "replaces", "said", "since_ms", "stale",
    )  # fmt: skip

    def __init__(self, edges: "Edges", noted: Noted, name: str) -> None:
        self._edges = edges
        self.name = name
        self.said, self.pid, self.process = noted.name, noted.pid, noted.process
        self.stale = edges.token_ttl if noted.stale < 0 else noted.stale
        self.heard = edges.clock()  # when the latest heartbeat that was answered came
        self.since_ms = int(edges.wall() * 1000)
        self.connected = False
        self.owed: dict[int, float] = {}  # number of news -> when it was told
        self.promised: set[int] = set()  # of these: for which its safe moment was named
        self.push: Callable[[Message], None] | None = None
        self.drop: Callable[[], None] | None = None
        self.afresh = -1  # the number in its welcome: acknowledged when it holds nothing from before
        self.replaces: list[Edge] = []  # its own former connections

    @property
    def safe(self) -> float:
        """When nothing it holds can be used any more, unless another heartbeat is answered."""
        return self.heard + LEASE + self.stale

    def beat(self) -> bool:
        """A safe moment that was named is kept: until it has acknowledged, it gets no longer lease."""
        if self.promised or not self.connected:
            return False
        self.heard = self._edges.clock()
        return True

    def acknowledge(self, n: int) -> None:
        if n == self.afresh:
            self._forget_former()
        self._edges.acknowledged(self, n)

    def is_of(self, noted: Noted) -> bool:
        """Whether it is the same process's."""
        return (self.said, self.pid, self.process) == (noted.name, noted.pid, noted.process)

    def let_go(self) -> None:
        """Its connection counts no more, even before it has ended."""
        drop = self.drop
        self.connected, self.push, self.drop = False, None, None
        if drop is not None:
            drop()

    def leave(self, *, clean: bool) -> None:
        self.connected, self.push, self.drop = False, None, None
        if clean:
            self._forget_former()
            self._edges.forget(self)
        self._edges.sweep()

    def _forget_former(self) -> None:
        former, self.replaces = self.replaces, []
        for edge in former:
            self._edges.forget(edge)


class _Told(msgspec.Struct):
    at: float
    owing: int
    done: asyncio.Event


class Edges:
    """All of this replica's edges."""

    def __init__(
        self,
        book: EdgeBook,
        token_ttl: float,
        observe: Callable[[float], None],
        *,
        clock: Callable[[], float] = now,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock, self.wall, self.token_ttl = clock, wall, token_ttl
        self._book, self._observe = book, observe
        self._edges: list[Edge] = []
        self._told: dict[int, _Told] = {}  # news that somebody has not acknowledged
        self._durations: deque[float] = deque(maxlen=MEASURED)

    def __len__(self) -> int:
        return len(self._edges)

    def recall(self) -> None:
        """Those that were told something before this service was started anew: until they come back they may
        use it, counted from now."""
        self._edges = [Edge(self, noted, noted.name) for noted in self._book.read()]
        self.sweep()

    # Coming and going

    def join(self, noted: Noted, n: int, push: Callable[[Message], None], drop: Callable[[], None]) -> Edge:
        """It holds nothing yet. What it held before, over another connection, counts until it acknowledges
        its welcome."""
        self.sweep()
        edge = Edge(self, noted, self._free_name(noted))
        edge.replaces = [former for former in self._edges if former.is_of(noted)]
        for former in edge.replaces:
            former.let_go()
        edge.connected, edge.push, edge.drop, edge.afresh = True, push, drop, n
        self._edges.append(edge)
        self._note()
        return edge

    def let_go_of_all(self) -> None:
        """Each dials again, and begins afresh."""
        for edge in self._edges:
            edge.let_go()

    def _free_name(self, noted: Noted) -> str:
        taken = {edge.name for edge in self._edges if edge.connected and not edge.is_of(noted)}
        name = noted.name
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        return free

    def forget(self, edge: Edge) -> None:
        if edge not in self._edges:
            return
        self._edges.remove(edge)
        self._note()
        for n in list(edge.owed):
            self.acknowledged(edge, n)

    def sweep(self) -> None:
        """Forget those that can use nothing any more."""
        time_now = self.clock()
        for edge in [edge for edge in self._edges if not edge.connected]:
            if time_now >= edge.safe or _is_gone(edge.process):
                self.forget(edge)

    def _note(self) -> None:
        self._book.write([Noted(edge.said, edge.pid, edge.process, edge.stale) for edge in self._edges])

    # News

    def tell(self, n: int, message: Message, promised: bool) -> None:
        """News for all; `promised`: a safe moment was named for it before it was known here."""
        if not self._edges:
            return
        at = self.clock()
        self._told[n] = _Told(at, len(self._edges), asyncio.Event())
        for edge in list(self._edges):
            edge.owed[n] = at
            if promised:
                edge.promised.add(n)
            if edge.push is not None:
                edge.push(message)

    def acknowledged(self, edge: Edge, n: int) -> None:
        """Only what that edge was told counts, once."""
        if edge.owed.pop(n, None) is None:
            return
        edge.promised.discard(n)
        told = self._told[n]
        told.owing -= 1
        if told.owing == 0:
            del self._told[n]
            told.done.set()
            duration = self.clock() - told.at
            self._durations.append(duration)
            self._observe(duration)

    async def all_acknowledged(self, numbers: Iterable[int]) -> None:
        for n in numbers:
            while (told := self._told.get(n)) is not None:
                try:
                    async with asyncio.timeout(SWEEP):
                        await told.done.wait()
                except TimeoutError:
                    self.sweep()

    def promise(self, numbers: set[int] | None) -> list[Pending]:
        """Those that owe one of these (None: whatever it is, all), each with its moment; from here on no
        answered heartbeat moves it."""
        self.sweep()
        pending = []
        for edge in self._edges:
            owed = numbers & edge.owed.keys() if numbers is not None else set()
            if owed or numbers is None:
                edge.promised |= owed
                pending.append(Pending(edge.name, self._moment(edge.safe)))
        return pending

    def _moment(self, at: float) -> int:
        return math.ceil((self.wall() + at - self.clock()) * 1000)

    # What is seen of it

    def states(self) -> list[EdgeState]:
        time_now = self.clock()
        return [
            EdgeState(
                edge.name, edge.pid, edge.since_ms, edge.connected,
                time_now - min(edge.owed.values()) if edge.owed else 0.0,
            )
            for edge in self._edges
        ]  # fmt: skip

    def percentile(self, share: float) -> float:
        """Of the seconds from knowing news to the last acknowledgement."""
        ordered = sorted(self._durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _is_gone(process: int) -> bool:
    """Whether a process that was seen here has ended, and all it held with it."""
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
