"""Sessions: kept whole, rotated, presented, ended; and the one query for a credential."""

import asyncio

import msgspec
import pytest

from gateway.store import accounts, roles, sessions
from gateway.store.database import Store
from gateway.store.sessions import Rotation, Session
from tests.store.places import DAY, Place, session, user

FULL = Session(
    session_id="s-full", user_id="id-of-ann", salt=bytes(range(16)), key_id="aabbccdd", generation=101,
    min_generation=102, rotated_at=103, access_until=104, cookie_generation=105, cookie_rotated_at=106,
    family="curl", address="2001:db8::1", agent="curl/8", proved_at=107, created_at=108, last_seen_at=109,
    idle_until=110, absolute_until=111, presented_at=112, cookie_presented_at=113, methods="pwd,otp",
    level=2, ended_at=114, ended_why="because", cookie_mode=1,
    other_address="192.0.2.7",
)  # fmt: skip


async def get(store: Store, name: str = "s1") -> Session:
    async with store.reading() as db:
        found = await sessions.by_id(db, name)
    assert found is not None
    return found


async def test_a_session_is_read_as_it_was_written(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await sessions.insert(db, FULL)
        held = await sessions.with_user(db, "s-full")
        assert held is not None
        assert [await sessions.locked(db, "s-full"), held.session] == [FULL, FULL]
    assert await get(store, "s-full") == FULL


async def test_a_session_can_be_bound_to_another_place(store: Store, ann: str) -> None:
    before = await get(store)
    async with store.writing() as db:
        await sessions.rebind(
            db, "s1", address="192.0.2.9", other_address="2001:db8::9", agent="curl/9", family="curl"
        )
    new = {"address": "192.0.2.9", "other_address": "2001:db8::9", "agent": "curl/9", "family": "curl"}
    assert await get(store) == msgspec.structs.replace(before, **new)


# The one query


async def test_a_credentials_session_comes_with_user_roles_and_all_permissions(
    store: Store, ann: str
) -> None:
    async with store.writing() as db:
        await roles.insert(db, "writer", ["posts:write", "posts:read"])
        await roles.insert(db, "reader", ["posts:read"])
        for role in ("writer", "user", "reader"):
            await roles.grant(db, ann, role)
    async with store.reading() as db:
        held = await sessions.with_user(db, "s1")
        user_row = await accounts.by_id(db, ann)
    assert held is not None
    assert held.session == await get(store)
    assert held.user == user_row
    assert held.roles == ("reader", "user", "writer")
    assert held.permissions == ("posts:read", "posts:write")


async def test_a_user_without_roles_has_none(store: Store, ann: str) -> None:
    async with store.reading() as db:
        held = await sessions.with_user(db, "s1")
        assert held is not None and (held.roles, held.permissions) == ((), ())
        assert await sessions.with_user(db, "s2") is None


async def test_a_credential_costs_one_query(store: Store, ann: str) -> None:
    before = {each.labels[0]: sum(each.counts) for each in store.samples()}
    async with store.reading() as db:
        await sessions.with_user(db, "s1")
    after = {each.labels[0]: sum(each.counts) for each in store.samples()}
    assert {name: count - before.get(name, 0) for name, count in after.items()} == {
        name: int(name == "session_with_user") for name in after
    }


# Rotation


async def rotate(store: Store, history: int = 5, name: str = "s1") -> Session:
    async with store.locking() as db:
        await sessions.locked(db, name)
        return await sessions.rotate(
            db, name, key_id="new-key", access_until=db.now + 900, idle_until=db.now + DAY,
            address="192.0.2.2", agent="Firefox 2", history=history,
        )  # fmt: skip


async def test_rotating_gives_the_next_generation_not_presented_yet(
    store: Store, place: Place, ann: str
) -> None:
    before = await get(store)
    async with store.writing() as db:
        assert await sessions.mark_presented(db, "s1", 1)
    place.set_clock(50_000)
    after = await rotate(store)
    assert after == await get(store)
    assert after == msgspec.structs.replace(
        before, generation=2, presented_at=None, rotated_at=50_000, last_seen_at=50_000, key_id="new-key",
        access_until=50_900, idle_until=50_000 + DAY,
    )  # fmt: skip


async def test_the_last_rotations_are_kept_and_no_more(store: Store, place: Place, ann: str) -> None:
    place.set_clock(50_000)
    for _ in range(7):
        await rotate(store, history=3)
    async with store.reading() as db:
        kept = await sessions.history(db, "s1")
    assert kept == [Rotation(each, 50_000, "192.0.2.2", "Firefox 2") for each in (8, 7, 6)]


async def test_without_history_none_is_kept(store: Store, ann: str) -> None:
    await rotate(store, history=0)
    async with store.reading() as db:
        assert await sessions.history(db, "s1") == []


async def test_fifty_at_once_rotate_one_after_the_other(store: Store, ann: str) -> None:
    """As a refresh does: whoever has the lock and finds its generation current moves it, once."""

    async def refresh() -> int:
        async with store.locking() as db:
            found = await sessions.locked(db, "s1")
            assert found is not None
            if found.generation == 1:
                await sessions.rotate(
                    db, "s1", key_id="k", access_until=1, idle_until=2**53, address="", agent="", history=5
                )
            return found.generation

    assert sorted(await asyncio.gather(*(refresh() for _ in range(50)))) == [1] + [2] * 49


async def test_rotating_a_session_that_is_gone_is_a_mistake(store: Store, ann: str) -> None:
    with pytest.raises(LookupError):
        await rotate(store, name="s2")


async def test_a_generation_is_presented_once_and_only_while_current(
    store: Store, place: Place, ann: str
) -> None:
    place.set_clock(50_000)
    async with store.writing() as db:
        assert not await sessions.mark_presented(db, "s1", 2)
        assert await sessions.mark_presented(db, "s1", 1)
        assert not await sessions.mark_presented(db, "s1", 1)
    assert (await get(store)).presented_at == 50_000


async def test_the_cookie_moves_by_itself(store: Store, place: Place, ann: str) -> None:
    before = await get(store)
    place.set_clock(50_000)
    async with store.writing() as db:
        assert await sessions.mark_cookie_presented(db, "s1", 1)
        assert not await sessions.mark_cookie_presented(db, "s1", 1)
        after = await sessions.renew_cookie(db, "s1", key_id="new-key", idle_until=90_000)
        assert not await sessions.mark_cookie_presented(db, "s1", 1)
    assert after == await get(store)
    assert after == msgspec.structs.replace(
        before, cookie_generation=2, cookie_rotated_at=50_000, last_seen_at=50_000, key_id="new-key",
        idle_until=90_000,
    )  # fmt: skip


async def test_freshness_begins_anew(store: Store, place: Place, ann: str) -> None:
    place.set_clock(50_000)
    async with store.writing() as db:
        await sessions.prove(db, "s1")
    assert (await get(store)).proved_at == 50_000


async def test_access_tokens_of_a_user_are_outdated_and_a_refresh_reaches_over(
    store: Store, ann: str
) -> None:
    async with store.writing() as db:
        await sessions.insert(db, session("s2"))
        await sessions.end(db, "s2", "gone")
        [outdated] = await sessions.outdate_access(db, ann)
    assert (outdated.session_id, outdated.generation, outdated.min_generation) == ("s1", 1, 2)
    assert (await rotate(store)).generation == 2


# The end


async def test_a_session_ends_once(store: Store, place: Place, ann: str) -> None:
    place.set_clock(50_000)
    async with store.writing() as db:
        assert await sessions.end(db, "s1", "logout")
        assert not await sessions.end(db, "s1", "reuse")
        assert not await sessions.end(db, "s2", "logout")
    ended = await get(store)
    assert (ended.ended_at, ended.ended_why) == (50_000, "logout")


async def test_all_of_a_users_sessions_end_but_one(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await accounts.insert(db, user("bob"))
        for name in ("s2", "s3", "s4"):
            await sessions.insert(db, session(name))
        await sessions.insert(db, session("b1", of="bob"))
        await sessions.end(db, "s4", "before")
        ended = await sessions.end_all_of(db, ann, "password", keep="s2")
        assert sorted(each.session_id for each in ended) == ["s1", "s3"]
        assert all(each.ended_why == "password" for each in ended)
        assert [each.session_id for each in await sessions.live_of(db, ann)] == ["s2"]
        assert len(await sessions.live_of(db, "id-of-bob")) == 1
        assert [each.session_id for each in await sessions.end_all_of(db, ann, "all")] == ["s2"]


async def test_beyond_the_most_those_seen_longest_ago_end(store: Store, place: Place, ann: str) -> None:
    place.set_clock(50_000)
    async with store.writing() as db:
        for name, seen in (("a", 4000), ("b", 2000), ("c", 3000), ("new", 1)):
            await sessions.insert(db, msgspec.structs.replace(session(name), last_seen_at=seen))
        await sessions.insert(db, msgspec.structs.replace(session("idle"), idle_until=49_999))
        assert await sessions.end_beyond(db, ann, "new", 4, "crowded") == []
        ended = await sessions.end_beyond(db, ann, "new", 2, "crowded")
        assert sorted(each.session_id for each in ended) == ["b", "s1"]
        assert {(each.ended_at, each.ended_why) for each in ended} == {(50_000, "crowded")}
        assert [each.session_id for each in await sessions.live_of(db, ann)] == ["a", "c", "new"]


async def test_the_live_ones_are_those_whose_time_is_not_over(store: Store, place: Place, ann: str) -> None:
    place.set_clock(50_000)
    async with store.writing() as db:
        await sessions.insert(db, session("idle", idle_until=50_000))
        await sessions.insert(db, session("recent", idle_until=50_001))
        await sessions.insert(db, msgspec.structs.replace(session("old"), absolute_until=50_000))
        await sessions.insert(db, msgspec.structs.replace(session("young"), absolute_until=50_001))
        await sessions.touch(db, [("young", 40_000, 0)])
        live = [each.session_id for each in await sessions.live_of(db, ann)]
        assert live == ["young", "recent", "s1"]
        assert [each.session_id for each in await sessions.page(db)] == ["recent", "s1", "young"]
        assert [each.session_id for each in await sessions.page(db, after="recent", most=1)] == ["s1"]
        assert await sessions.count_live(db) == 3


async def test_the_secrets_that_live_sessions_need_are_known(store: Store, place: Place, ann: str) -> None:
    async with store.writing() as db:
        for name, key_id in (("s2", "k2"), ("s3", "k3"), ("s4", "k2")):
            await sessions.insert(db, msgspec.structs.replace(session(name), key_id=key_id))
        await sessions.end(db, "s3", "gone")
        assert await sessions.key_ids(db) == {"00aa00bb", "k2"}


async def test_being_seen_is_never_moved_back(store: Store, ann: str) -> None:
    async with store.writing() as db:
        await sessions.insert(db, session("s2", idle_until=5000))
        await sessions.insert(db, session("s3", idle_until=5000))
        await sessions.end(db, "s3", "gone")
        await sessions.touch(db, [("s2", 3000, 6000), ("s3", 3000, 6000), ("nobody", 3000, 6000)])
        await sessions.touch(db, [("s2", 2000, 9000)])
        await sessions.touch(db, [("s2", 4000, 1)])
    touched, ended = await get(store, "s2"), await get(store, "s3")
    assert (touched.last_seen_at, touched.idle_until) == (4000, 6000)
    assert (ended.last_seen_at, ended.idle_until) == (1000, 5000)


async def test_what_ended_long_ago_is_purged_step_by_step(store: Store, place: Place, ann: str) -> None:
    place.set_clock(5000)
    async with store.writing() as db:
        for name in ("a-ended", "c-ended-late", "d-live"):
            await sessions.insert(db, session(name))
        await sessions.insert(db, session("b-idle", idle_until=4999))
        await sessions.insert(db, msgspec.structs.replace(session("e-old"), absolute_until=4999))
    await rotate(store, name="a-ended")
    await rotate(store, name="d-live")
    place.set_clock(4000)
    async with store.writing() as db:
        await sessions.end(db, "a-ended", "x")
    place.set_clock(90_000)
    async with store.writing() as db:
        await sessions.end(db, "c-ended-late", "x")

    steps, start = [], ""
    while True:
        async with store.writing() as db:
            purged = await sessions.purge(db, before=5000, start=start, most=2)
        steps.append(purged.sessions)
        start = purged.next
        if not start:
            break
    assert steps == [2, 0, 1, 0]
    async with store.reading() as db:
        left = [name for name in ["a-ended", "b-idle", "c-ended-late", "d-live", "e-old", "s1"]
                if await sessions.by_id(db, name)]  # fmt: skip
        assert left == ["c-ended-late", "d-live", "s1"]
        assert await sessions.history(db, "a-ended") == []
        assert len(await sessions.history(db, "d-live")) == 1


async def test_old_rotations_of_live_sessions_are_purged(store: Store, place: Place, ann: str) -> None:
    for at in (1000, 9000):
        place.set_clock(at)
        await rotate(store)
    async with store.writing() as db:
        await sessions.purge(db, before=5000)
        assert [each.at for each in await sessions.history(db, "s1")] == [9000]
