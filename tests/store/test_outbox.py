"""The outbox's rows: written with their cause, claimed by one, due again later, thrown away in time."""

import asyncio

import pytest

from gateway.store import outbox
from gateway.store.database import Database, Store
from gateway.store.outbox import Item
from tests.store.places import Place

NOW = 1_800_000_000_000


@pytest.fixture(autouse=True)
def clock(place: Place) -> None:
    place.set_clock(NOW)


@pytest.fixture
async def store(place: Place) -> Store:
    place.set_clock(NOW)
    opened = await place.open()
    place.set_clock(NOW)  # the migration has made the function anew
    return opened


async def put(db: Database, name: str, expires_at: int = NOW + 1000_000) -> None:
    await outbox.put(db, Item(name, "mail", "hello", "k1", b"sealed " + name.encode(), 0, db.now, expires_at))


async def test_what_is_rolled_back_is_never_there(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.writing() as db:
            await put(db, "a")
            1 / 0  # noqa: B018
    async with store.reading() as db:
        assert not await outbox.is_due(db)
        assert await outbox.count(db) == {}


async def test_a_claim_is_one_s_until_it_is_over(place: Place, store: Store) -> None:
    async with store.writing() as db:
        await put(db, "a")
    async with store.writing() as db:
        [item] = await outbox.claim(db, 5000, 10)
        assert (item.id, item.attempts, item.claimed_until) == ("a", 1, NOW + 5000)
        assert item.sealed == b"sealed a"
    async with store.writing() as db:
        assert not await outbox.is_due(db)
        assert await outbox.claim(db, 5000, 10) == []
    place.set_clock(NOW + 5000)  # whoever had it has died
    async with store.writing() as db:
        assert [each.attempts for each in await outbox.claim(db, 5000, 10)] == [2]


async def test_many_who_claim_at_once_never_get_the_same(place: Place, store: Store) -> None:
    other = await place.open()
    place.set_clock(NOW)
    async with store.writing() as db:
        for number in range(30):
            await put(db, f"i{number:02}")

    async def claims(of: Store) -> list[str]:
        async with of.writing() as db:
            return [item.id for item in await outbox.claim(db, 5000, 7)]

    found = await asyncio.gather(*(claims(of) for of in (store, other) * 4))
    got = [name for names in found for name in names]
    assert len(got) == len(set(got))
    while more := await claims(store):  # one who waited for another's rows may have got fewer
        got += more
    assert sorted(got) == [f"i{number:02}" for number in range(30)]


async def test_a_failure_is_due_again_later(place: Place, store: Store) -> None:
    async with store.writing() as db:
        await put(db, "a")
        await outbox.claim(db, 5000, 10)
        await outbox.later(db, "a", NOW + 15_000, "the server is down")
    async with store.writing() as db:
        assert await outbox.claim(db, 5000, 10) == []
        [waiting] = await outbox.waiting(db)
        assert (waiting.failure, waiting.attempts, waiting.due_at) == ("the server is down", 1, NOW + 15_000)
    place.set_clock(NOW + 15_000)
    async with store.writing() as db:
        assert await outbox.is_due(db)
        assert len(await outbox.claim(db, 5000, 10)) == 1
        await outbox.done(db, "a")
        assert await outbox.count(db) == {}


async def test_what_is_over_is_thrown_away_but_not_while_it_is_sent(place: Place, store: Store) -> None:
    async with store.writing() as db:
        await put(db, "a", NOW + 1000)
        await put(db, "b", NOW + 1000)
        await put(db, "c")
        await outbox.later(db, "b", NOW + 900_000, "down")
        assert {item.id for item in await outbox.claim(db, 5000, 10)} == {"a", "c"}
    place.set_clock(NOW + 2000)
    async with store.writing() as db:
        assert await outbox.is_due(db)  # b: to be thrown away, though not due
        assert await outbox.purge(db) == [("mail", "hello", 0)]
    place.set_clock(NOW + 5000)
    async with store.writing() as db:
        assert await outbox.purge(db) == [("mail", "hello", 1)]
        assert [item.id for item in await outbox.claim(db, 5000, 10)] == ["c"]


async def test_what_is_sealed_with_an_older_secret_is_found_and_moved(store: Store) -> None:
    async with store.writing() as db:
        await put(db, "a")
        assert await outbox.key_ids(db) == ["k1"]
        assert await outbox.sealed_otherwise(db, "k1") == []
        [(name, sealed)] = await outbox.sealed_otherwise(db, "k2")
        await outbox.reseal(db, name, "k2", sealed + b" anew")
        assert await outbox.key_ids(db) == ["k2"]
        [item] = await outbox.claim(db, 5000, 1)
        assert item.sealed == b"sealed a anew"
