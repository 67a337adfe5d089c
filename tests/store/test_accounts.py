"""Users: kept whole, found by either name, changed under their lock, gone with all that is theirs."""

import asyncio

import msgspec
import pytest

from gateway.store import accounts, onetime, roles, sessions
from gateway.store.accounts import User
from gateway.store.database import Store
from gateway.store.faults import Conflict
from tests.store.places import Place, session, user

# Each column has a value of its own, so that none can stand in another's place.
FULL = User(
    user_id="u-1", email="Ann@Example.org", email_key="ann@example.org", password_changed_at=11,
    created_at=12_000, username="Ann", username_key="ann", meta='{"a": 1}', password_hash="hash",
    successful_login_attempts=13, confirmed=True, first_name="Änn", last_name="O'Hara",
    protected='{"b": 2}', locked_at=14, locked_why="why", last_login_at=15, last_login_address="192.0.2.7",
    email_proved_at=16,
)  # fmt: skip


async def test_a_user_is_read_as_it_was_written(store: Store) -> None:
    async with store.writing() as db:
        written = await accounts.insert(db, FULL)
        await sessions.insert(db, msgspec.structs.replace(session(), user_id="u-1"))
    assert written == msgspec.structs.replace(FULL, id=written.id)
    async with store.reading() as db:
        held = await sessions.with_user(db, "s1")
        assert held is not None
        found = [await accounts.by_id(db, "u-1"), *await accounts.page(db), held.user]
    async with store.locking() as db:
        found.append(await accounts.locked(db, "u-1"))
    assert found == [written] * 4
    assert all(each is not None and each.confirmed is True for each in found)


async def test_a_user_is_found_by_address_and_by_name(store: Store) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("ann"))
        await accounts.insert(db, user("bob"))
    async with store.reading() as db:
        for key in ("bob@example.org", "bob"):
            found = await accounts.by_identifier(db, key)
            assert found is not None and found.user_id == "id-of-bob"
        assert await accounts.by_identifier(db, "bo") is None
        assert await accounts.by_id(db, "bob") is None


async def test_many_users_may_have_no_name(store: Store) -> None:
    async with store.writing() as db:
        for name in ("ann", "bob"):
            nameless = msgspec.structs.replace(user(name), username=None, username_key=None)
            await accounts.insert(db, nameless)
    async with store.reading() as db:
        assert await accounts.count(db) == 2


async def test_what_is_saved_of_a_user_is_what_its_owner_may_change(store: Store) -> None:
    async with store.writing() as db:
        before = await accounts.insert(db, user("ann"))
        await accounts.save(
            db,
            msgspec.structs.replace(
                before, username="Anna", username_key="anna", meta='{"x": 1}', email="a@example.net",
                email_key="a@example.net", confirmed=True, first_name="A", last_name="N",
                protected='{"tier": "pro"}', email_proved_at=5, password_hash="not this", locked_at=7,
                successful_login_attempts=9, created_at=1,
            ),
        )  # fmt: skip
        after = await accounts.by_id(db, "id-of-ann")
    assert after == msgspec.structs.replace(
        before, username="Anna", username_key="anna", meta='{"x": 1}', email="a@example.net",
        email_key="a@example.net", confirmed=True, first_name="A", last_name="N",
        protected='{"tier": "pro"}', email_proved_at=5,
    )  # fmt: skip


async def test_a_user_can_not_take_anothers_address(store: Store) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("ann"))
        bob = await accounts.insert(db, user("bob"))
    with pytest.raises(Conflict) as caught:
        async with store.writing() as db:
            await accounts.save(db, msgspec.structs.replace(bob, email_key="ann@example.org"))
    assert caught.value.field == "email"


async def test_a_password_is_replaced_and_the_time_kept(store: Store, place: Place, ann: str) -> None:
    place.set_clock(9000)
    async with store.writing() as db:
        await accounts.set_password(db, ann, "new")
        found = await accounts.by_id(db, ann)
    assert found is not None
    assert (found.password_hash, found.password_changed_at) == ("new", 9000)


async def test_rehashing_never_brings_back_a_password_that_was_replaced(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await accounts.set_password(db, ann, "old")
        assert await accounts.rehash(db, ann, "old", "old, stronger")
        assert not await accounts.rehash(db, ann, "old", "late")
        found = await accounts.by_id(db, ann)
    assert found is not None and found.password_hash == "old, stronger"


async def test_a_sign_in_is_counted_with_its_time_and_place(store: Store, place: Place, ann: str) -> None:
    place.set_clock(9000)
    async with store.writing() as db:
        await accounts.signed_in(db, ann, "192.0.2.9")
        await accounts.signed_in(db, ann, "192.0.2.10")
        found = await accounts.by_id(db, ann)
    assert found is not None
    assert found.successful_login_attempts == 2
    assert (found.last_login_at, found.last_login_address) == (9000, "192.0.2.10")


async def test_a_user_is_locked_once_and_unlocked_once(store: Store, place: Place, ann: str) -> None:
    place.set_clock(9000)
    async with store.writing() as db:
        assert await accounts.lock(db, ann, "spam")
        assert not await accounts.lock(db, ann, "again")
        locked = await accounts.by_id(db, ann)
        assert await accounts.unlock(db, ann)
        assert not await accounts.unlock(db, ann)
        unlocked = await accounts.by_id(db, ann)
    assert locked is not None and (locked.locked_at, locked.locked_why) == (9000, "spam")
    assert unlocked is not None and (unlocked.locked_at, unlocked.locked_why) == (None, "")


async def test_a_user_goes_with_all_that_is_the_users(store: Store, place: Place, ann: str) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("bob"))
        await sessions.insert(db, session("s2", of="bob"))
        for name in ("s1", "s2"):
            await sessions.rotate(
                db, name, key_id="k", access_until=1, idle_until=2**53, address="", agent="", history=5
            )
        await roles.grant(db, ann, "user")
        await onetime.insert(db, b"h", "confirm", 2**53, ann)
    async with store.writing() as db:
        assert await accounts.delete(db, ann)
        assert not await accounts.delete(db, ann)
    async with store.reading() as db:
        assert await accounts.by_id(db, ann) is None
        assert await sessions.by_id(db, "s1") is None
        assert await sessions.history(db, "s1") == []
        assert await roles.holders(db, "user") == []
        assert await onetime.by_hash(db, b"h", "confirm") is None
        assert len(await sessions.history(db, "s2")) == 1


async def test_users_are_searched_and_paged(store: Store) -> None:
    names = ["ann", "anna", "bob", "b_b", "b%b"]
    async with store.writing() as db:
        for name in names:
            await accounts.insert(db, user(name))
    async with store.reading() as db:

        async def found(search: str) -> list[str | None]:
            return [each.username_key for each in await accounts.page(db, search)]

        assert await found("") == names
        assert await found("ann") == ["ann", "anna"]
        assert await found("a@example") == ["anna"]
        assert await found("_") == ["b_b"]
        assert await found("%") == ["b%b"]
        first = await accounts.page(db, most=2)
        rest = await accounts.page(db, after=first[-1].id, most=10)
    assert [each.username_key for each in first + rest] == names


async def test_of_two_who_register_one_address_one_gets_it(store: Store) -> None:
    async def register() -> bool:
        try:
            async with store.writing() as db:
                await accounts.insert(db, user("ann"))
        except Conflict:
            return False
        return True

    assert sorted(await asyncio.gather(*(register() for _ in range(5)))) == [False] * 4 + [True]


def test_neither_address_nor_password_stands_in_a_traceback() -> None:
    text = repr(FULL) + repr(session())
    assert "example" not in text.lower()
    assert "hash" not in text
    assert "0123456789abcdef" not in text
