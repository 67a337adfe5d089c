"""Units of work: all or nothing, one after the other where they touch the same, with the database's time."""

import asyncio
from typing import Any

import pytest

from gateway.store import accounts, events, facts, revocations, sessions
from gateway.store.database import Database, Store
from gateway.store.faults import Conflict, Missing, NotStorable, StoreFault
from tests.store.places import DAY, Place, session, user

SHORT = 0.1  # seconds in which something that is not held up would long have happened


async def fact(store: Store, name: str) -> str | None:
    async with store.reading() as db:
        return await facts.get(db, name)


async def test_what_a_unit_wrote_is_there_afterwards(store: Store) -> None:
    async with store.writing() as db:
        await facts.put(db, "colour", "green")
    assert await fact(store, "colour") == "green"


async def test_nothing_is_left_of_a_unit_that_raised(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.writing() as db:
            await accounts.insert(db, user())
            await facts.put(db, "colour", "green")
            await revocations.write(db, "revoked", user="id-of-ann")
            raise ZeroDivisionError
    assert await fact(store, "colour") is None
    async with store.reading() as db:
        assert await accounts.count(db) == 0
        assert await revocations.after(db, 0) == []


async def test_nobody_sees_what_is_not_committed(store: Store) -> None:
    async with store.writing() as db:
        await facts.put(db, "colour", "green")
        assert await facts.get(db, "colour") == "green"
        assert await fact(store, "colour") is None


async def test_a_unit_that_is_cancelled_leaves_nothing_and_holds_nothing(store: Store) -> None:
    begun = asyncio.Event()

    async def unit() -> None:
        async with store.writing() as db:
            await facts.put(db, "colour", "green")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(unit())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await fact(store, "colour") is None
    async with store.writing() as db:
        await facts.put(db, "colour", "blue")
    assert await fact(store, "colour") == "blue"


async def test_a_commit_that_is_cancelled_happens_wholly_or_not(store: Store) -> None:
    """Cancelled at each of its steps in turn; afterwards the store works as ever."""

    async def unit(number: int) -> None:
        async with store.writing() as db:
            await facts.put(db, f"a{number}", "1")
            await facts.put(db, f"b{number}", "1")

    for number in range(40):
        task = asyncio.create_task(unit(number))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await fact(store, f"a{number}") == await fact(store, f"b{number}")
    await unit(99)
    assert await fact(store, "b99") == "1"


async def test_two_tasks_that_write_at_once_both_write(store: Store) -> None:
    """Their statements mix on the event loop; their transactions don't."""

    async def count() -> None:
        for _ in range(25):
            async with store.writing() as db:
                await facts.lock(db, "count")
                value = int(await facts.get(db, "count") or 0)
                await asyncio.sleep(0)
                await facts.put(db, "count", str(value + 1))

    async with store.writing() as db:
        await facts.put(db, "count", "0")
    await asyncio.gather(count(), count(), count())
    assert await fact(store, "count") == "75"


async def test_a_second_writer_waits_for_the_first_ones_row(store: Store, ann: str) -> None:
    async def second() -> int:
        async with store.locking() as db:
            found = await sessions.locked(db, "s1")
            assert found is not None
            return found.generation

    async with store.writing() as db:
        await sessions.locked(db, "s1")
        waiting = asyncio.create_task(second())
        done, _ = await asyncio.wait([waiting], timeout=SHORT)
        assert not done
        await rotate(db)
    assert await waiting == 2


async def test_after_a_session_ended_nobody_who_waited_for_its_row_sees_it_alive(
    store: Store, ann: str
) -> None:
    async def refresh() -> int | None:
        async with store.locking() as db:
            found = await sessions.locked(db, "s1")
            assert found is not None
            return found.ended_at

    async with store.writing() as db:
        await sessions.locked(db, "s1")
        waiting = asyncio.create_task(refresh())
        await asyncio.wait([waiting], timeout=SHORT)
        await sessions.end(db, "s1", "revoked")
        ended_at = db.now
    assert await waiting == ended_at


async def rotate(db: Database) -> None:
    await sessions.rotate(
        db, "s1", key_id="k", access_until=1, idle_until=2**53, address="", agent="", history=5
    )


async def test_a_unit_that_only_reads_writes_nothing(store: Store, ann: str) -> None:
    """PostgreSQL would keep it at once, without the rest of the unit."""
    async with store.reading() as db:
        for attempt in (
            facts.put(db, "colour", "green"),
            sessions.locked(db, "s1"),
            sessions.touch(db, [("s1", 5000, 5000)]),
        ):
            with pytest.raises(RuntimeError, match="only reads"):
                await attempt
    assert await fact(store, "colour") is None


# Faults


async def test_a_value_that_another_row_has_is_a_conflict_that_names_the_field(store: Store) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("ann"))
    for field, changed in {
        "email": {"email_key": "ann@example.org"},
        "username": {"username_key": "ann"},
        "user_id": {"user_id": "id-of-ann"},
    }.items():
        values: dict[str, Any] = {name: getattr(user("bob"), name) for name in user("bob").__struct_fields__}
        with pytest.raises(Conflict) as caught:
            async with store.writing() as db:
                await accounts.insert(db, accounts.User(**(values | changed)))
        assert caught.value.field == field
        assert "example.org" not in str(caught.value)


async def test_a_unit_that_failed_can_not_go_on(store: Store) -> None:
    """In PostgreSQL it could not; so it can't in SQLite."""
    async with store.writing() as db:
        await accounts.insert(db, user("ann"))
    with pytest.raises(StoreFault):
        async with store.writing() as db:
            await facts.put(db, "colour", "green")
            with pytest.raises(Conflict):
                await accounts.insert(db, user("ann"))
            with pytest.raises(StoreFault):
                await facts.put(db, "colour", "blue")
    assert await fact(store, "colour") is None


async def test_a_session_of_nobody_is_missing_its_user(store: Store) -> None:
    with pytest.raises(Missing):
        async with store.writing() as db:
            await sessions.insert(db, session(of="nobody"))


async def test_text_that_is_no_text_is_told_as_such(store: Store) -> None:
    with pytest.raises(NotStorable):
        async with store.writing() as db:
            await events.insert(db, event="\ud800")


async def test_a_number_over_64_bits_is_told_as_such(store: Store) -> None:
    with pytest.raises(NotStorable):
        async with store.reading() as db:
            await events.page(db, before=2**64)


# The time


async def test_now_is_the_databases_and_moves_with_its_clock(store: Store, place: Place, ann: str) -> None:
    for at in (1_800_000_000_123, 1_800_000_000_123 + DAY, 1_700_000_000_000):
        place.set_clock(at)
        async with store.writing() as db:
            assert db.now == at
        async with store.locking() as db:
            await sessions.locked(db, "s1")
            assert db.now == at
        async with store.reading() as db:
            await sessions.with_user(db, "s1")
            assert db.now == at
        async with store.reading() as db:
            await sessions.with_user(db, "unknown")
            assert db.now == at
        async with store.reading() as db:
            await facts.get(db, "colour")
            assert db.now == at


async def test_the_time_under_a_row_lock_is_that_after_waiting_for_it(store: Store, ann: str) -> None:
    async def second() -> int:
        async with store.locking() as db:
            await sessions.locked(db, "s1")
            return db.now

    async with store.writing() as db:
        await sessions.locked(db, "s1")
        waiting = asyncio.create_task(second())
        await asyncio.wait([waiting], timeout=SHORT)
        async with store.reading() as other:
            released = await other.time()
    assert await waiting >= released > db.now


async def test_the_time_is_not_guessed_before_the_database_was_asked(store: Store) -> None:
    async with store.reading() as db:
        with pytest.raises(RuntimeError, match="await db.time"):
            _ = db.now
        assert await db.time() == db.now


async def test_each_query_is_counted_with_its_time(store: Store, ann: str) -> None:
    async with store.reading() as db:
        await sessions.with_user(db, "s1")
        await sessions.with_user(db, "s1")
    [sample] = [each for each in store.samples() if each.labels == ("session_with_user",)]
    assert sample.name == "store_query_duration_seconds"
    assert sum(sample.counts) == 2
    assert sample.total > 0
