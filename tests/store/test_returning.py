"""Addresses that accounts had before, and browsers that users have signed in from."""

import asyncio

import pytest

from gateway.store import accounts, devices, former_addresses
from gateway.store.database import Store
from gateway.store.faults import Missing
from gateway.store.former_addresses import FormerAddress
from tests.store.places import Place, user

OLD = "old@example.org"


@pytest.fixture
async def bob(store: Store) -> str:
    async with store.writing() as db:
        await accounts.insert(db, user("bob"))
    return "id-of-bob"


async def test_an_address_is_its_old_owner_s_until_its_time_is_over(
    store: Store, place: Place, ann: str
) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        await former_addresses.insert(db, b"\x00\xff", ann, "Old@example.org", OLD, 8000)
        found = await former_addresses.by_hash(db, b"\x00\xff")
        assert found == FormerAddress(
            found.id if found else 0, b"\x00\xff", ann, "Old@example.org", OLD, 7000, 8000
        )
        assert await former_addresses.by_key(db, OLD) == found
        assert await former_addresses.by_hash(db, b"\x00") is None
        assert await former_addresses.by_key(db, "other@example.org") is None
    place.set_clock(8000)
    async with store.writing() as db:
        assert await former_addresses.by_hash(db, b"\x00\xff") is None
        assert await former_addresses.by_key(db, OLD) is None


async def test_taking_one_back_drops_what_the_user_left_later_and_no_other(
    store: Store, place: Place, ann: str, bob: str
) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        for number, of in enumerate((ann, bob, ann, ann)):
            await former_addresses.insert(db, bytes([number]), of, "a", f"a{number}", 2**53)
        second = await former_addresses.by_hash(db, b"\x02")
        assert second is not None and await former_addresses.drop_since(db, second) == 2
        left = [await former_addresses.by_hash(db, bytes([number])) is not None for number in range(4)]
    assert left == [True, True, False, False]


async def test_they_go_with_their_user_and_by_purge(store: Store, place: Place, ann: str, bob: str) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        for number, of in enumerate((ann, bob, bob, bob)):
            await former_addresses.insert(db, bytes([number]), of, "a", f"a{number}", 8000 + number)
        await accounts.delete(db, ann)
        assert await former_addresses.by_hash(db, b"\x00") is None
        assert [await former_addresses.purge(db, 8002, most=1) for _ in range(3)] == [1, 1, 0]
        assert await former_addresses.by_hash(db, b"\x03") is not None
    with pytest.raises(Missing):
        async with store.writing() as db:
            await former_addresses.insert(db, b"x", ann, "a", "a", 9000)


# Browsers


async def test_a_browser_is_known_for_so_many_tries(store: Store, ann: str, bob: str) -> None:
    async with store.writing() as db:
        await devices.put(db, b"k", ann, 5)
        assert [await devices.count_try(db, b"k", of, 3) for of in (bob, "", ann)] == [False, False, True]
        assert [await devices.count_try(db, b"k", ann, 3) for _ in range(2)] == [True, True]
        await devices.used(db, b"k", ann)
        assert [await devices.count_try(db, b"k", ann, 3) for _ in range(4)] == [True, True, True, False]
        assert not await devices.known(db, b"k", ann)
        await devices.put(db, b"k", ann, 5)
        assert await devices.known(db, b"k", ann)


async def test_of_twenty_who_try_at_once_as_many_as_may_are_heard(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await devices.put(db, b"k", ann, 5)

    async def attempt() -> bool:
        async with store.writing() as db:
            return await devices.count_try(db, b"k", ann, 10)

    assert sum(await asyncio.gather(*(attempt() for _ in range(20)))) == 10


async def test_another_cookie_takes_the_place_of_one_for_all_who_know_it(
    store: Store, ann: str, bob: str
) -> None:
    async with store.writing() as db:
        await devices.put(db, b"old", ann, 5)
        await devices.put(db, b"new", bob, 5, b"old")
        assert [await devices.known(db, b"old", of) for of in (ann, bob)] == [False, False]
        assert [await devices.known(db, b"new", of) for of in (ann, bob)] == [True, True]
        await devices.put(db, b"newer", bob, 5, b"new")
        assert [await devices.known(db, b"newer", of) for of in (ann, bob)] == [True, True]
        await devices.put(db, b"own", ann, 5, b"never seen")
        assert await devices.drop_of(db, ann) == 2
        assert [await devices.known(db, each, ann) for each in (b"newer", b"own")] == [False, False]
        assert await devices.known(db, b"newer", bob)


async def test_the_last_used_are_kept_and_the_long_unused_purged(
    store: Store, place: Place, ann: str, bob: str
) -> None:
    for number in range(4):
        place.set_clock(7000 + number)
        async with store.writing() as db:
            await devices.put(db, bytes([number]), ann, 3)
            await devices.put(db, bytes([number]), bob, 9)
    async with store.writing() as db:
        assert [await devices.known(db, bytes([number]), ann) for number in range(4)] == [False] + [True] * 3
        await devices.used(db, b"\x01", ann)  # at 7003
        assert [await devices.purge(db, 7003, most=3) for _ in range(3)] == [3, 1, 0]
        left = [await devices.known(db, bytes([number]), ann) for number in range(4)]
        await accounts.delete(db, bob)
        assert not await devices.known(db, b"\x03", bob)
    assert left == [False, True, False, True]
