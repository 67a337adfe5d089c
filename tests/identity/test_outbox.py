"""Sending: at once, again after failures, by one process at a time, never lost, nothing of it readable."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.identity import outbox as module
from gateway.identity import secrets
from gateway.identity.counters import Counters
from gateway.identity.outbox import KEPT, NOTHING, PAUSES, Never, NotNow, Outbox
from gateway.identity.secrets import Secrets
from gateway.store import outbox as rows
from gateway.store.database import Store
from tests.identity.rig import Clock

MASTER_TEXT = secrets.make()
MASTER = Secrets([MASTER_TEXT])


class Recorder:
    """A carrier that does what it is told; and tells when two carry the same at the same time."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.attempts: list[str] = []
        self.carrying: set[str] = set()
        self.faults: list[Exception] = []
        self.gate: asyncio.Event | None = None

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        assert id not in self.carrying, "two send the same"
        self.carrying.add(id)
        self.attempts.append(id)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if self.faults:
                raise self.faults.pop(0)
        finally:
            self.carrying.discard(id)
        self.sent.append((id, label, content))


@pytest.fixture
async def clock(database: str) -> Clock:
    made = Clock(database)
    await made.set()
    return made


@pytest.fixture
async def store(database: str, clock: Clock) -> AsyncIterator[Store]:
    opened = await Store.open(database, "auto", clock)
    yield opened
    await opened.close()


class Running:
    """Any number of processes over one store, with one carrier, so that it sees them all."""

    def __init__(self, store: Store) -> None:
        self.store, self.carrier = store, Recorder()
        self.outboxes: list[Outbox] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> Outbox:
        made = Outbox(self.store, MASTER, Counters())
        made.carriers["mail"] = self.carrier
        self.outboxes.append(made)
        self._tasks.append(asyncio.create_task(made.run()))
        return made

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def put(self, *labels: str, kind: str = "mail") -> None:
        async with self.store.writing() as db:
            for label in labels:
                await self.outboxes[0].put(db, kind, label, {"to": f"{label}@example.org"})

    async def count(self) -> dict[str, int]:
        async with self.store.reading() as db:
            return await rows.count(db)

    async def until(self, what: Any) -> None:
        async with asyncio.timeout(20):
            while not await what() if asyncio.iscoroutinefunction(what) else not what():
                await asyncio.sleep(0.01)

    async def empty(self) -> bool:
        return not await self.count()

    def counted(self) -> dict[str, float]:
        return {each.labels[0]: each.value for box in self.outboxes for each in box._counters.samples()}


@pytest.fixture
async def house(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(module, "LOOKED_AT", 0.02)
    made = Running(store)
    yield made
    await made.stop()


async def test_what_is_put_is_sent_and_gone(house: Running) -> None:
    house.start()
    await house.put("a", "b")
    await house.until(house.empty)
    assert sorted(label for _, label, _ in house.carrier.sent) == ["a", "b"]
    assert house.carrier.sent[0][2]["to"].endswith("@example.org")
    assert house.counted() == {"sent": 2}


async def test_nothing_of_a_cause_that_was_rolled_back_is_sent(house: Running) -> None:
    box = house.start()
    with pytest.raises(ZeroDivisionError):
        async with house.store.writing() as db:
            await box.put(db, "mail", "lost", {})
            1 / 0  # noqa: B018
    await house.put("a")
    await house.until(house.empty)
    assert [label for _, label, _ in house.carrier.sent] == ["a"]


async def test_a_failure_is_tried_again_after_growing_pauses_and_given_up_after_a_day(
    house: Running, clock: Clock
) -> None:
    house.start()
    house.carrier.faults = [NotNow("the server is down")] * 100
    await house.put("a")
    for attempt, pause in enumerate((*PAUSES, PAUSES[-1]), 1):
        await house.until(lambda wanted=attempt: len(house.carrier.attempts) == wanted)
        await house.until(lambda: not house.carrier.carrying)

        async def settled() -> bool:
            async with house.store.reading() as db:
                [waiting] = await rows.waiting(db)
            return waiting.failure == "the server is down" and waiting.due_at == clock.now + pause * 1000  # noqa: B023

        await house.until(settled)
        await clock.move(pause - 0.001)
        async with house.store.reading() as db:
            assert not await rows.is_due(db)
        if attempt > len(PAUSES):  # the next attempt hangs, and dies with its process
            house.carrier.faults.clear()
            house.carrier.gate = asyncio.Event()
        await clock.move(0.001)
    assert len(set(house.carrier.attempts)) == 1
    await house.until(lambda: bool(house.carrier.carrying))
    await house.stop()
    house.carrier.gate = None
    await clock.move(KEPT / 1000)
    house.start()
    await house.until(house.empty)
    assert house.carrier.sent == []
    assert house.counted()["expired"] == 1


async def test_what_can_t_be_sent_is_thrown_away(house: Running) -> None:
    house.start()
    house.carrier.faults = [Never("no such address")]
    await house.put("a")
    await house.until(house.empty)
    assert house.carrier.sent == []
    assert house.counted() == {"refused": 1}


async def test_a_crashing_carrier_loses_nothing(house: Running, clock: Clock) -> None:
    house.start()
    house.carrier.faults = [KeyError("ann@example.org")]
    await house.put("a")
    await house.until(lambda: len(house.carrier.attempts) == 1)

    async def told() -> bool:
        async with house.store.reading() as db:
            return [each.failure for each in await rows.waiting(db)] == ["KeyError"]

    await house.until(told)  # the class, and nothing of its text
    await clock.move(PAUSES[0])
    await house.until(house.empty)
    assert len(house.carrier.sent) == 1


async def test_two_processes_never_send_the_same(house: Running) -> None:
    for _ in range(3):
        house.start()
    await house.put(*(f"m{number}" for number in range(40)))
    await house.until(house.empty)
    assert sorted(house.carrier.attempts) == sorted({each for each, _, _ in house.carrier.sent})
    assert len(house.carrier.sent) == 40


async def test_what_a_dead_process_had_claimed_is_sent_by_another(house: Running, clock: Clock) -> None:
    house.start()
    house.carrier.gate = asyncio.Event()
    await house.put("a")
    await house.until(lambda: bool(house.carrier.carrying))
    await house.stop()  # in the middle of it
    assert await house.count() == {"mail": 1}
    house.carrier.gate = None
    house.start()
    await clock.move(module.CLAIMED / 1000)
    await house.until(house.empty)
    assert len(house.carrier.sent) == 1
    assert len(house.carrier.attempts) == 2


async def test_what_goes_to_nobody_is_thrown_away(house: Running) -> None:
    house.start()
    await house.put("x", kind=NOTHING)
    await house.until(house.empty)
    assert house.carrier.attempts == []


async def test_nothing_of_it_can_be_read_in_the_store_nor_moved_to_another_row(house: Running) -> None:
    box = Outbox(house.store, MASTER, Counters())
    house.outboxes.append(box)
    await house.put("a", "b")
    async with house.store.writing() as db:
        first, second = await rows.claim(db, 1, 2)
        assert b"example.org" not in first.sealed + second.sealed
        await rows.reseal(db, second.id, first.key_id, first.sealed)
        await rows.later(db, first.id, 0, "")
        await rows.later(db, second.id, 0, "")
    house.start()
    await house.until(house.empty)
    assert [label for _, label, _ in house.carrier.sent] == [first.label]


async def test_rewrap_moves_what_waits_to_the_newest_secret(house: Running) -> None:
    box = Outbox(house.store, MASTER, Counters())
    house.outboxes.append(box)
    await house.put("a", "b")
    newer = Secrets([secrets.make(), MASTER_TEXT])
    moved = Outbox(house.store, newer, Counters())
    assert await moved.rewrap() == 2
    assert await moved.rewrap() == 0
    async with house.store.reading() as db:
        assert await rows.key_ids(db) == [newer.newest]
