"""PostgreSQL's own: losing it and finding it again, what it refuses, how few ways to it a unit takes."""

import asyncio

import pytest

from gateway.store import accounts, events, facts, postgres, sessions
from gateway.store.database import Store
from gateway.store.faults import NotStorable, StoreFault, StoreOutdated, StoreUnavailable
from tests.kit.postgres import Postgres
from tests.store.places import Place, session, user

OTHERS = "SELECT {} FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


@pytest.fixture
def new_place(postgres_server: Postgres, template: str) -> Place:
    return Place(postgres_server.make_database(template), postgres_server)


async def put(store: Store, value: str) -> None:
    async with store.writing() as db:
        await facts.put(db, "colour", value)


async def test_a_connection_that_broke_is_told_and_replaced(store: Store, place: Place) -> None:
    with pytest.raises(StoreUnavailable):
        async with store.writing() as db:
            await facts.put(db, "colour", "green")
            place.sql(OTHERS.format("pg_terminate_backend(pid)"))
            await facts.put(db, "colour", "blue")
    await put(store, "red")
    async with store.reading() as db:
        assert await facts.get(db, "colour") == "red"


async def test_a_connection_that_breaks_at_the_commit_is_told(store: Store, place: Place) -> None:
    with pytest.raises(StoreUnavailable):
        async with store.writing() as db:
            await facts.put(db, "colour", "green")
            place.sql(OTHERS.format("pg_terminate_backend(pid)"))
    await put(store, "red")


async def test_a_server_that_is_not_there_is_told(postgres_server: Postgres) -> None:
    for url in (
        "postgresql://postgres@/x?host=/nonexistent",
        postgres_server.url("no_such_database"),
        "postgresql://postgres@127.0.0.1:1/x",
        "postgresql://postgres@host:port/x",
    ):
        with pytest.raises(StoreFault):
            await Store.open(url)
    with pytest.raises(StoreUnavailable):
        await Store.open("postgresql://postgres:hush@127.0.0.1:1/x")


async def test_no_fault_tells_the_password(postgres_server: Postgres) -> None:
    """T25"""
    for url in ("postgresql://me:hush@127.0.0.1:1/x", "postgresql://me:hush@host:port/x"):
        with pytest.raises(StoreFault) as caught:
            await Store.open(url)
        assert "hush" not in str(caught.value)


async def test_no_fault_tells_a_value(store: Store, ann: str) -> None:
    """T25: PostgreSQL puts the row's values into its messages."""
    with pytest.raises(StoreFault) as caught:
        async with store.writing() as db:
            await accounts.insert(db, user("ann"))
    assert "ann" not in f"{caught.value!r} {caught.value}"
    assert caught.value.__suppress_context__


async def test_a_zero_in_text_is_told_as_not_storable(store: Store) -> None:
    with pytest.raises(NotStorable):
        async with store.writing() as db:
            await events.insert(db, event="a\0b")
    with pytest.raises(NotStorable):
        async with store.reading() as db:
            await accounts.by_identifier(db, "a\0b")


async def test_tables_that_are_gone_are_told_as_outdated(store: Store, place: Place) -> None:
    place.sql("DROP TABLE facts")
    with pytest.raises(StoreOutdated, match="postern migrate"):
        await put(store, "green")


async def test_a_lock_that_is_held_too_long_is_told(
    place: Place, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres._SETTINGS, "lock_timeout", "100ms")
    store = await place.open()
    async with store.writing() as db:
        await sessions.locked(db, "s1")
        with pytest.raises(StoreUnavailable):
            async with store.locking() as other:
                await sessions.locked(other, "s1")


async def test_a_deadlock_is_told_to_one_and_the_other_goes_on(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await sessions.insert(db, session("s2"))
    met = asyncio.Barrier(2)

    async def lock_both(first: str, second: str) -> bool:
        try:
            async with store.writing() as db:
                await sessions.locked(db, first)
                await met.wait()
                await sessions.locked(db, second)
        except StoreUnavailable:
            return False
        return True

    assert sorted(await asyncio.gather(lock_both("s1", "s2"), lock_both("s2", "s1"))) == [False, True]


async def test_more_units_than_connections_wait_for_each_other(store: Store, ann: str) -> None:
    async def read() -> str | None:
        async with store.reading() as db:
            found = await sessions.by_id(db, "s1")
            await asyncio.sleep(0)
            return found.session_id if found else None

    assert await asyncio.gather(*(read() for _ in range(60))) == ["s1"] * 60


async def test_a_unit_leaves_its_connection_as_it_was(store: Store, place: Place) -> None:
    for _ in range(3):
        await put(store, "green")
        with pytest.raises(ZeroDivisionError):
            async with store.writing() as db:
                await facts.put(db, "colour", "blue")
                raise ZeroDivisionError
    assert place.sql(OTHERS.format("DISTINCT state")) == "idle"
    assert place.sql(OTHERS.format("count(*)")) == "1"
