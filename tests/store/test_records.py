"""Roles, audit events, one-time keys, signing keys, facts, and the log of revocations."""

import asyncio

import pytest

from gateway.store import accounts, events, facts, keys, onetime, revocations, roles
from gateway.store.database import Store
from gateway.store.events import Event
from gateway.store.faults import Conflict, Missing
from gateway.store.keys import SigningKey
from gateway.store.onetime import OneTimeKey
from gateway.store.revocations import Revocation
from gateway.store.roles import Role
from tests.store.places import Place, user

# Roles


async def test_the_shipped_roles_are_user_and_admin(store: Store) -> None:
    async with store.reading() as db:
        shipped = {each.name: each.permissions for each in await roles.every(db)}
    assert shipped == {"user": (), "admin": ("postern:admin",)}


async def test_roles_are_made_changed_and_deleted(store: Store, place: Place) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        await roles.insert(db, "writer", ["b", "a", "b"])
        assert await roles.by_name(db, "writer") == Role("writer", ("a", "b"), 7000)
        assert await roles.update(db, "writer", ["c"])
        assert not await roles.update(db, "reader", ["c"])
        assert await roles.by_name(db, "writer") == Role("writer", ("c",), 7000)
        assert await roles.delete(db, "writer")
        assert not await roles.delete(db, "writer")
        assert await roles.by_name(db, "writer") is None


async def test_two_roles_of_one_name_are_a_conflict(store: Store) -> None:
    with pytest.raises(Conflict) as caught:
        async with store.writing() as db:
            await roles.insert(db, "admin", [])
    assert caught.value.field == "name"


async def test_roles_are_granted_and_withdrawn(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("bob"))
        assert await roles.grant(db, ann, "admin", "id-of-bob")
        assert not await roles.grant(db, ann, "admin")
        assert await roles.grant(db, ann, "user")
        assert await roles.grant(db, "id-of-bob", "admin")
        assert await roles.of(db, ann) == (("admin", "user"), ("postern:admin",))
        assert await roles.holders(db, "admin") == ["id-of-ann", "id-of-bob"]
        assert await roles.withdraw(db, ann, "admin")
        assert not await roles.withdraw(db, ann, "admin")
        assert await roles.of(db, ann) == (("user",), ())


@pytest.mark.parametrize(("of", "role"), [("id-of-ann", "unknown"), ("id-of-nobody", "admin")])
async def test_a_role_or_a_user_that_is_not_there_is_missing(
    store: Store, ann: str, of: str, role: str
) -> None:
    with pytest.raises(Missing):
        async with store.writing() as db:
            await roles.grant(db, of, role)


async def test_a_deleted_role_is_nobodys(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await roles.insert(db, "writer", ["w"])
        await roles.grant(db, ann, "writer")
        await roles.delete(db, "writer")
        assert await roles.of(db, ann) == ((), ())


# Audit


async def test_events_are_kept_and_paged_newest_first(store: Store, place: Place) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        await events.insert(
            db, event="user.locked", user_id="u", actor="a", session_id="s", address="192.0.2.1",
            agent="curl", data='{"x": 1}',
        )  # fmt: skip
        for number in range(4):
            await events.insert(db, event=f"e{number % 2}", user_id=f"u{number}")
    async with store.reading() as db:
        everything = await events.page(db)
        first = await events.page(db, most=2)
        rest = await events.page(db, before=first[-1].id)
        of_kind = await events.page(db, event="e1")
        of_user = await events.page_of(db, "u2")
        assert await events.page_of(db, "u2", event="e1") == []
        assert await events.page_of(db, "u2", before=of_user[0].id) == []
    assert [each.user_id for each in everything] == ["u3", "u2", "u1", "u0", "u"]
    assert first + rest == everything
    assert [each.user_id for each in of_kind] == ["u3", "u1"]
    assert [each.user_id for each in of_user] == ["u2"]
    oldest = everything[-1]
    assert oldest == Event(oldest.id, 7000, "user.locked", "u", "a", "s", "192.0.2.1", "curl", '{"x": 1}')


async def test_old_events_are_purged_a_few_at_a_time(store: Store, place: Place) -> None:
    for at in (1000, 1000, 1000, 2000):
        place.set_clock(at)
        async with store.writing() as db:
            await events.insert(db, event="e")
    async with store.writing() as db:
        assert [await events.purge(db, before=2000, most=2) for _ in range(3)] == [2, 1, 0]
        assert [each.at for each in await events.page(db)] == [2000]


# One-time keys


async def test_a_key_works_once_for_its_purpose_and_in_time(store: Store, place: Place, ann: str) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        await onetime.insert(db, b"\x00\xff", "invite", 8000, ann, '{"role": "user"}')
        assert await onetime.use(db, b"\x00\xff", "reset") is None
        assert await onetime.use(db, b"\x00", "invite") is None
        assert await onetime.use(db, b"\x00\xff", "invite") == OneTimeKey(
            b"\x00\xff", "invite", ann, '{"role": "user"}', 7000, 8000, 7000
        )
        assert await onetime.use(db, b"\x00\xff", "invite") is None
        await onetime.insert(db, b"late", "invite", 7000)
        assert await onetime.use(db, b"late", "invite") is None
        found = await onetime.by_hash(db, b"late", "invite")
    assert found == OneTimeKey(b"late", "invite", None, "{}", 7000, 7000)


async def test_T29_of_twenty_who_use_a_key_at_once_one_gets_it(store: Store) -> None:
    async with store.writing() as db:
        await onetime.insert(db, b"key", "invite", 2**53)

    async def use() -> bool:
        async with store.writing() as db:
            return await onetime.use(db, b"key", "invite") is not None

    assert sum(await asyncio.gather(*(use() for _ in range(20)))) == 1


async def test_keys_are_listed_withdrawn_and_purged(store: Store, place: Place, ann: str) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        for number in range(4):
            await onetime.insert(db, bytes([number]), "invite", 8000 + number)
        await onetime.insert(db, b"r1", "reset", 9000, ann)
        await onetime.insert(db, b"c1", "confirm", 9000, ann)
        await onetime.use(db, b"\x00", "invite")
        good = [each.hash for each in await onetime.good_of(db, "invite")]
        assert good == [b"\x01", b"\x02", b"\x03"]
        assert [each.hash for each in await onetime.good_of(db, "invite", (7000, b"\x01"), 1)] == [b"\x02"]
        assert await onetime.good_of(db, "invite", (7000, b"\x03")) == []
        between = await onetime.good_between(db, "invite", b"\x00", b"\x02")
        assert {each.hash for each in between} == {b"\x01", b"\x02"}
        assert await onetime.delete(db, b"\x01", "invite")
        assert not await onetime.delete(db, b"\x02", "reset")
        assert await onetime.drop_of(db, ann, "reset") == 1
        assert await onetime.drop_all_of(db, ann) == 1
        assert await onetime.purge(db, before=8003) == 2
        assert [each.hash for each in await onetime.good_of(db, "invite")] == [b"\x03"]


# Signing keys and facts


async def test_signing_keys_are_kept_newest_first(store: Store, place: Place) -> None:
    place.set_clock(7000)
    old = SigningKey("psj_k1", "EdDSA", "aa", b"\x00\x01", '{"kty": "OKP"}', 1000, 1500, 6999)
    new = SigningKey("psj_k2", "EdDSA", "aa", b"\x02", "{}", 2000)
    async with store.writing() as db:
        await keys.insert(db, old)
        await keys.insert(db, new)
        assert await keys.live(db, lock=True) == [new, old]
        await keys.retire(db, "psj_k2", 3000, 9000)
        await keys.reseal(db, "psj_k2", "bb", b"\x03")
        assert await keys.purge(db) == 1
        assert await keys.live(db) == [SigningKey("psj_k2", "EdDSA", "bb", b"\x03", "{}", 2000, 3000, 9000)]


async def test_of_two_who_make_a_key_one_waits_and_finds_it(store: Store) -> None:
    async def tend() -> int:
        async with store.writing() as db:
            found = await keys.live(db, lock=True)
            if not found:
                await keys.insert(db, SigningKey(f"k{id(db)}", "EdDSA", "aa", b"", "{}", 1))
            return len(found)

    assert sorted(await asyncio.gather(tend(), tend(), tend())) == [0, 1, 1]


async def test_facts_are_kept_by_name_and_each_store_has_its_own_id(store: Store) -> None:
    async with store.writing() as db:
        assert await facts.get(db, "colour") is None
        await facts.put(db, "colour", "green")
        await facts.put(db, "colour", "blue")
        assert await facts.get(db, "colour") == "blue"
        name = await facts.get(db, facts.STORE_ID)
    assert name is not None and len(name) == 32


# Revocations


async def test_a_revocation_is_read_after_the_last_one_known(store: Store, place: Place) -> None:
    place.set_clock(7000)
    async with store.reading() as db:
        assert await revocations.end(db) == 0
    async with store.writing() as db:
        first = await revocations.write(db, "revoked", session="s1")
        second = await revocations.write(db, "changed", user="u1")
        assert db.revocations == [first, second]
    assert second > first
    async with store.reading() as db:
        assert await revocations.end(db) == second
        assert await revocations.after(db, 0) == [
            Revocation(first, "revoked", "s1", "", 7000),
            Revocation(second, "changed", "", "u1", 7000),
        ]
        assert [each.sequence for each in await revocations.after(db, first)] == [second]
        assert await revocations.after(db, second) == []
        assert [each.sequence for each in await revocations.after(db, second, window=1)] == [second]


async def test_what_is_purged_is_never_numbered_again(store: Store, place: Place) -> None:
    place.set_clock(7000)
    async with store.writing() as db:
        last = [await revocations.write(db, "revoked", session=f"s{each}") for each in range(5)][-1]
    async with store.writing() as db:
        assert [await revocations.purge(db, before=7001, most=3) for _ in range(3)] == [3, 2, 0]
        assert await revocations.after(db, 0) == []
        assert await revocations.write(db, "revoked", session="s9") > last
