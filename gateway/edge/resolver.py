"""Looks the host names of an upstream up at start and again and again; every address becomes a server."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from gateway.config.snapshot import Server
from gateway.edge.servers import Found, Group, resolvable

Lookup = Callable[[str, int], Awaitable[Sequence[Found]]]
Told = Callable[[Group, Server, str], None]
Sleep = Callable[[float], Awaitable[None]]

PATIENCE = 5.0  # seconds for one look-up; the system's resolver gives up by itself some time later
SOON = 1.0  # after a failure: as soon as this, then slower, up to the usual interval


async def system_lookup(host: str, port: int) -> list[Found]:
    """Ask the system's resolver, in a thread. IPv6 is left out where this machine has none."""
    answers = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_ADDRCONFIG
    )
    return [(int(family), address) for family, _, _, _, address in answers]


class Resolver:
    """Owns one task per host name of a group. `told` hears of the first failure after each success."""

    __slots__ = ("_group", "_lookup", "_patience", "_random", "_running", "_sleep", "_tasks", "_told")

    def __init__(
        self,
        group: Group,
        told: Told,
        lookup: Lookup = system_lookup,
        sleep: Sleep = asyncio.sleep,
        random: Random | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._group = group
        self._patience = patience
        self._told = told
        self._lookup = lookup
        self._sleep = sleep
        self._random = random or Random()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: dict[Server, asyncio.Future[Sequence[Found]]] = {}

    def start(self) -> None:
        for record in self._group.upstream.servers:
            if resolvable(record):
                self._tasks.append(asyncio.create_task(self._keep(record), name=f"dns {record.name}"))

    def close(self) -> None:
        """Stop. From now on nothing changes in the group."""
        for task in self._tasks:
            task.cancel()
        for running in self._running.values():
            running.cancel()
        self._tasks.clear()
        self._running.clear()

    async def _keep(self, record: Server) -> None:
        interval = self._group.upstream.dns
        failures = 0
        while True:
            fault = await self._look_up(record)
            if fault and not failures:
                self._told(self._group, record, fault)
            failures = failures + 1 if fault else 0
            pause = min(interval, SOON * 2.0 ** min(failures - 1, 16)) if failures else interval
            # Spread, so that workers and replicas don't ask all at once.
            await self._sleep(pause * self._random.uniform(0.9, 1.1))

    async def _look_up(self, record: Server) -> str:
        """One look-up, told to the group; what went wrong, or nothing."""
        fault, found = "", None
        try:
            found = await self._ask(record) or None
            if found is None:
                fault = f"{record.host} has no address"
        except TimeoutError:
            fault = f"{record.host} was not resolved in {self._patience:g} s"
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a host name"
            fault = f"{record.host} can't be resolved: {reason or error}"
        self._group.resolved(record, found)
        return fault

    async def _ask(self, record: Server) -> Sequence[Found]:
        # A thread that hangs can't be stopped. The next round waits for the same one: threads don't pile up.
        running = self._running.get(record)
        if running is None:
            running = self._running[record] = asyncio.ensure_future(self._lookup(record.host, record.port))
        await asyncio.wait((running,), timeout=self._patience)
        if not running.done():
            raise TimeoutError
        del self._running[record]
        return running.result()
