"""Sends what the outbox holds: at once when it can, with growing pauses when it can't, for a day."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import msgspec

from gateway.identity.secrets import NotOpened, Secrets, sealed_with
from gateway.store import outbox as rows
from gateway.store.faults import StoreFault
from gateway.store.outbox import Item

if TYPE_CHECKING:
    from gateway.identity.counters import Counters
    from gateway.store.database import Database, Store

log = logging.getLogger(__name__)
KEPT = 24 * 3600_000  # milliseconds
LOOKED_AT = 1.0  # seconds: a ring that came before its cause was committed is made good by this
RUNG = 0.02  # seconds from a ring to looking, in which the cause is committed
SEND_WITHIN = 60.0
CLAIMED = 120_000  # milliseconds: longer than a sending may take, or another would send it too
AT_ONCE = 8
REFUSALS = 3
PAUSES = (5, 15, 60, 300, 900, 1800, 3600)  # seconds after the first failure, the second, …
NOTHING = "none"  # a kind that is thrown away: the same work where there is nobody to write to
_PURPOSE = "outbox"


class NotNow(Exception):
    """It could not be sent; it is tried again. The text is for people: no address, nothing secret."""


class Refused(NotNow):
    """It was refused for good; tried a few times all the same, in case the one who refuses is mended."""


class Never(Exception):
    """It can't be sent, and trying again would not help."""


class Carrier(Protocol):
    """Sends things of one kind."""

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        """Raises NotNow or Never. `id` is the same at each attempt."""


class Outbox:
    """One per process; any number of processes may look after the same store."""

    def __init__(self, store: "Store", secrets: Secrets, counters: "Counters") -> None:
        self.carriers: dict[str, Carrier] = {}
        self._store, self._secrets, self._counters = store, secrets, counters
        self._rung = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._boottime: Callable[[], float] = asyncio.get_running_loop().time

    async def put(
        self, db: "Database", kind: str, label: str, content: Mapping[str, Any], kept: int = KEPT
    ) -> None:
        """In the transaction of its cause: sent if that is committed, and only then."""
        name = str(uuid4())
        sealed = self._secrets.seal(msgspec.json.encode(content), _PURPOSE, name)
        item = Item(name, kind, label, sealed_with(sealed), sealed, 0, db.now, db.now + kept)
        await rows.put(db, item)
        self.ring()

    def ring(self) -> None:
        """Something was put, and will have been committed in a moment."""
        asyncio.get_running_loop().call_later(RUNG, self._rung.set)

    async def run(self) -> None:
        """Until it is cancelled. What is being sent then is claimed, and sent again by whoever comes next."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOKED_AT):
                        await self._rung.wait()
                self._rung.clear()
                try:
                    await self._send_due()
                except StoreFault:
                    log.warning("the outbox can't be read; it is tried again")
                    await asyncio.sleep(LOOKED_AT)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _send_due(self) -> None:
        while (room := AT_ONCE - len(self._running)) > 0:
            async with self._store.reading() as db:
                if not await rows.is_due(db):
                    return
            async with self._store.writing() as db:
                gone = await rows.purge(db)
                claimed = await rows.claim(db, CLAIMED, room)
            for kind, label, attempts in gone:
                log.error("given up", extra={"kind": kind, "label": label, "attempts": attempts})
                self._count(kind, "expired")
            for item in claimed:
                task = asyncio.create_task(self._send(item))
                self._running.add(task)
                task.add_done_callback(self._sent)
            if not claimed:
                return

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._rung.set()  # there is room for another

    async def _send(self, item: Item) -> None:
        began = self._boottime()
        failure = ""
        try:
            content = msgspec.json.decode(self._secrets.open(item.sealed, _PURPOSE, item.id))
            await self._carry(item, content)
        except NotNow as fault:
            failure = str(fault)
            if isinstance(fault, Refused) and item.attempts >= REFUSALS:
                self._throw_away(item, failure)
                failure = ""
        except TimeoutError:
            failure = "it took too long"
        except (Never, NotOpened, msgspec.DecodeError) as fault:
            self._throw_away(item, str(fault))
        except Exception as fault:  # the class tells enough, and no text of it goes out
            log.error("sending crashed", extra={"kind": item.kind, "label": item.label})
            failure = type(fault).__name__
        else:
            self._count(item.kind, "sent")
        await self._settle(item, failure, began)

    async def _carry(self, item: Item, content: dict[str, Any]) -> None:
        if item.kind == NOTHING:
            return
        carrier = self.carriers.get(item.kind)
        if carrier is None:
            raise NotNow(f"nothing sends a {item.kind} here")
        async with asyncio.timeout(SEND_WITHIN):
            await carrier.send(item.id, item.label, content)

    async def _settle(self, item: Item, failure: str, began: float) -> None:
        """Until this is written it stays claimed: a crash in between means that it is sent twice, never
        lost."""
        while True:
            try:
                async with self._store.writing() as db:
                    if failure:
                        pause = PAUSES[min(item.attempts, len(PAUSES)) - 1] * 1000
                        await rows.later(db, item.id, db.now + pause, failure)
                    else:
                        await rows.done(db, item.id)
            except StoreFault:
                if self._boottime() - began > CLAIMED / 1000:
                    return  # somebody else's by now
                await asyncio.sleep(LOOKED_AT)
            else:
                break
        if failure:
            log.warning(
                "could not be sent; it is tried again",
                extra={"kind": item.kind, "label": item.label, "attempts": item.attempts, "why": failure},
            )
            self._count(item.kind, "failed")

    def _throw_away(self, item: Item, why: str) -> None:
        log.error(
            "it can't be sent and is thrown away",
            extra={"kind": item.kind, "label": item.label, "why": why},
        )
        self._count(item.kind, "refused")

    def _count(self, kind: str, result: str) -> None:
        if kind == "mail":
            self._counters.count("mails_total", result)
        elif kind == "webhook":
            self._counters.count("webhooks_total", result)

    async def rewrap(self) -> int:
        """Seal all with the newest secret; how many were moved."""
        moved = 0
        async with self._store.writing() as db:
            for name, sealed in await rows.sealed_otherwise(db, self._secrets.newest):
                anew = self._secrets.rewrap(sealed, _PURPOSE, name)
                await rows.reseal(db, name, sealed_with(anew), anew)
                moved += 1
        return moved
