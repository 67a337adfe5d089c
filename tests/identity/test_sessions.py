"""Sessions: opened by a sign-in, listed, ended; and T27: a revoke and a refresh take the same lock."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.config.service import Tokens
from gateway.identity import sessions
from gateway.identity.rotation import refresh
from gateway.identity.web import Asker, Refused
from gateway.model.credentials import new_id
from gateway.store import events, revocations
from tests.identity.rig import ADDRESS, CURL, FIREFOX, SETTINGS, Rig, cookie_of, running

SAME = {"Sec-Fetch-Site": "same-origin"}
ALL_KNOW = {"propagated": {"edges": 0, "acknowledged": 0}}
ASKER = Asker(ADDRESS, FIREFOX)


async def news(rig: Rig) -> list[tuple[str, str, str]]:
    async with rig.context.store.reading() as db:
        return [(each.kind, each.session, each.user) for each in await revocations.after(db, 0, 0)]


# Opening


async def test_a_token_answer_has_all_that_a_client_needs(rig: Rig) -> None:
    user = await rig.user()
    opened = await rig.open(user)
    told = sessions.token_answer(opened, user, ("user",), ("orders:read",), rig.clock.now)
    assert told["access_token"].startswith("psa_") and told["refresh_token"].startswith("psr_")
    assert (told["token_type"], told["expires_in"], told["refresh_expires_in"]) == ("Bearer", 900, 2_592_000)
    assert told["session_id"] == opened.session.session_id
    assert told["user"]["user_id"] == user.user_id
    assert (told["user"]["roles"], told["user"]["permissions"]) == (["user"], ["orders:read"])


async def test_nothing_of_a_sessions_tokens_is_stored(rig: Rig) -> None:
    """What a stolen database holds does not make tokens: the master secret is needed."""
    opened = await rig.signed_in()
    row = msgspec.json.encode(await rig.session(opened.session.session_id)).decode()
    assert opened.access_token not in row and opened.refresh_token not in row
    assert opened.refresh_token not in repr(opened)


async def test_no_session_is_opened_for_whom_was_locked_or_changed_meanwhile(rig: Rig) -> None:
    """A lock, or another password, that came while argon2 was at work wins."""
    locked, changed, deleted = await rig.user("locked"), await rig.user("changed"), await rig.user("deleted")
    await rig.clock.move(1)
    async with rig.context.store.writing() as db:
        await rig.accounts.lock(db, locked.user_id, "test")
        await rig.accounts.set_password(db, changed.user_id, "$argon2id$other")
        await rig.accounts.delete(db, deleted.user_id)
    for user in (locked, changed, deleted):
        with pytest.raises(Refused) as refused:
            await rig.open(user)
        assert refused.value.fault.code == "invalid_credentials"


async def test_T41_an_end_asked_for_again_is_told_again(rig: Rig) -> None:
    """After a 202 people ask until it is 200: that must not come from there being nothing left to tell."""
    user = await rig.user()
    this, other = await rig.open(user), await rig.open(user)
    for _ in range(2):
        assert (await rig.api("DELETE", "/sessions", bearer=this.access_token)).status == 200
    assert await news(rig) == [("revoked", other.session.session_id, ""), ("changed", "", user.user_id)]


async def test_very_many_sessions_are_one_piece_of_news(rig: Rig) -> None:
    user = await rig.user()
    this = await rig.open(user)
    async with rig.context.store.writing() as db:
        for _ in range(sessions.NAMED + 1):
            await rig.rows.insert(db, msgspec.structs.replace(this.session, session_id=new_id()))
    assert (await rig.api("DELETE", "/sessions", bearer=this.access_token)).status == 200
    assert await news(rig) == [("changed", "", user.user_id)]


async def test_T28_a_sign_in_that_waited_for_a_lock_of_the_account_opens_nothing(rig: Rig) -> None:
    user = await rig.user()
    async with rig.context.store.writing() as db:
        await rig.accounts.lock(db, user.user_id, "test")
        signing_in = asyncio.create_task(rig.open(user))
        await proved_and_waiting(rig, signing_in)
        await sessions.end_all(rig.context, db, user.user_id, "locked")
    with pytest.raises(Refused) as refused:
        await signing_in
    assert refused.value.fault.code == "invalid_credentials"


async def test_T38_no_page_of_another_site_gets_a_cookie_set(rig: Rig) -> None:
    user = await rig.user()
    foreign = msgspec.structs.replace(ASKER, origin="foreign")
    with pytest.raises(Refused) as refused:
        async with rig.context.store.writing() as db:
            await sessions.open_session(rig.context, db, user, foreign, cookie=True)
    assert refused.value.fault.code == "origin_refused"


async def test_a_session_without_an_absolute_end_goes_on_as_long_as_it_is_used(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, tokens=Tokens(absolute_ttl=0.0))
    async with running(database, settings) as rig:
        opened = await rig.signed_in()
        token = opened.refresh_token
        for _ in range(5):
            await rig.clock.move(SETTINGS.tokens.idle_ttl - 1)
            token = (await rig.refresh(token)).body["refresh_token"]
        assert (await rig.refresh(token)).status == 200


# At most so many


async def crowd(rig: Rig, opened: Any, how_many: int) -> list[str]:
    """As if the user had signed in so many times more, a second apart; their ids, last used first."""
    base = opened.session
    made = [
        msgspec.structs.replace(base, session_id=new_id(), last_seen_at=base.last_seen_at - 1000 * each)
        for each in range(1, how_many + 1)
    ]
    async with rig.context.store.writing() as db:
        for session in made:
            await rig.rows.insert(db, session)
    return [session.session_id for session in made]


async def test_of_too_many_sessions_those_used_longest_ago_end(rig: Rig) -> None:
    user = await rig.user()
    first = await rig.open(user)
    stranger = await rig.signed_in("bob")
    others = await crowd(rig, first, sessions.MOST - 2)
    await rig.open(user)
    assert await news(rig) == []
    last = await rig.open(user)
    assert await news(rig) == [("revoked", others[-1], "")]
    gone = await rig.session(others[-1])
    assert (gone.ended_why, gone.ended_at) == ("crowded", rig.clock.now)
    for each in (first, last, stranger):
        assert await rig.good(each.access_token)
    assert (await rig.session(others[-2])).ended_at is None
    assert rig.count("sessions_ended_total", "crowded") == 1
    async with rig.context.store.reading() as db:
        (event,) = await events.page_of(db, user.user_id)
    told = (event.event, event.session_id, event.address, msgspec.json.decode(event.data))
    assert told == ("session.revoked", others[-1], ADDRESS, {"why": "crowded", "sessions": 1})


async def test_a_session_that_is_over_takes_nobodys_place(rig: Rig) -> None:
    user = await rig.user()
    first = await rig.open(user)
    others = await crowd(rig, first, sessions.MOST - 1)
    async with rig.context.store.writing() as db:
        await rig.rows.end(db, others[0], "test")
    await rig.open(user)
    assert await news(rig) == []


async def test_what_an_older_version_let_gather_ends_as_one_piece_of_news(rig: Rig) -> None:
    user = await rig.user()
    first = await rig.open(user)
    others = await crowd(rig, first, sessions.MOST + sessions.NAMED)
    opened = await rig.open(user)
    assert await news(rig) == [("changed", "", user.user_id)]
    live = (await rig.api("GET", "/sessions", bearer=opened.access_token)).body["sessions"]
    assert len(live) == sessions.MOST
    alive = {each["session_id"] for each in live}
    assert alive == {opened.session.session_id, first.session.session_id, *others[: sessions.MOST - 2]}


async def test_two_sign_ins_at_once_leave_no_more_than_there_may_be(rig: Rig) -> None:
    user = await rig.user()
    first = await rig.open(user)
    await crowd(rig, first, sessions.MOST - 2)
    await asyncio.gather(*(rig.open(user) for _ in range(4)))
    async with rig.context.store.reading() as db:
        assert len(await rig.rows.live_of(db, user.user_id, sessions.MOST * 2)) == sessions.MOST
    assert len(await news(rig)) == 3


# Listing


async def test_a_user_sees_where_they_are_signed_in(rig: Rig) -> None:
    user = await rig.user()
    first = await rig.open(user)
    await rig.clock.move(60)
    second = await rig.open(user, agent=CURL)
    await rig.signed_in("bob")
    answer = await rig.api("GET", "/sessions", bearer=second.access_token)
    assert answer.status == 200
    told = {each["session_id"]: each for each in answer.body["sessions"]}
    assert told.keys() == {first.session.session_id, second.session.session_id}
    current = told[second.session.session_id]
    assert (current["current"], current["agent"], current["address"]) == (True, CURL, ADDRESS)
    assert (current["methods"], current["level"]) == (["pwd"], 1)
    assert current["created_at"] == "2027-01-15T08:01:00.000Z"
    assert told[first.session.session_id]["current"] is False


# Ending


async def test_logout_ends_this_session(rig: Rig) -> None:
    opened = await rig.signed_in()
    other = await rig.signed_in("bob")
    answer = await rig.api("POST", "/logout", bearer=opened.access_token)
    assert (answer.status, answer.body) == (200, ALL_KNOW)
    assert not await rig.good(opened.access_token)
    assert (await rig.refresh(opened.refresh_token)).code == "invalid_refresh_token"
    assert (await rig.api("POST", "/logout", bearer=opened.access_token)).status == 401
    assert await rig.good(other.access_token)
    assert await news(rig) == [("revoked", opened.session.session_id, "")]
    assert rig.count("sessions_ended_total", "logout") == 1
    assert rig.count("revocations_total", "yes") == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "survivors"),
    [
        ("POST", "/logout", {"scope": "session"}, "others"),
        ("POST", "/logout", {"scope": "others"}, "this"),
        ("POST", "/logout", {"scope": "all"}, "none"),
        ("POST", "/revoke-all-tokens", None, "none"),
        ("DELETE", "/sessions", None, "this"),
    ],
)
async def test_what_each_call_ends(rig: Rig, method: str, path: str, body: Any, survivors: str) -> None:
    user = await rig.user()
    this, others = await rig.open(user), [await rig.open(user), await rig.open(user)]
    stranger = await rig.signed_in("bob")
    answer = await rig.api(method, path, body, bearer=this.access_token)
    assert (answer.status, answer.body) == (200, ALL_KNOW)
    assert await rig.good(this.access_token) is (survivors == "this")
    for other in others:
        assert await rig.good(other.access_token) is (survivors == "others")
    assert await rig.good(stranger.access_token)
    told = {session for _, session, _ in await news(rig) if session}
    whole = {user for _, _, user in await news(rig) if user}
    if survivors == "none":
        assert whole == {user.user_id}
    else:
        expected = others if survivors == "this" else [this]
        assert (told, whole) == ({each.session.session_id for each in expected}, set())


async def test_one_session_of_ones_own_can_be_ended(rig: Rig) -> None:
    user = await rig.user()
    this, other = await rig.open(user), await rig.open(user)
    path = f"/sessions/{other.session.session_id}"
    assert (await rig.api("DELETE", path, bearer=this.access_token)).status == 200
    assert not await rig.good(other.access_token) and await rig.good(this.access_token)
    assert (await rig.api("DELETE", path, bearer=this.access_token)).code == "not_found"


async def test_anothers_session_is_not_there(rig: Rig) -> None:
    mine, other = await rig.signed_in(), await rig.signed_in("bob")
    for session_id in (other.session.session_id, new_id(), "nonsense", "%20", "x" * 300):
        answer = await rig.api("DELETE", f"/sessions/{session_id}", bearer=mine.access_token)
        assert (answer.status, answer.code) == (404, "not_found")
    assert await rig.good(other.access_token)


async def test_signing_out_by_cookie_takes_it_out_of_the_browser(rig: Rig) -> None:
    opened = await rig.signed_in(cookie=True)
    cookie = cookie_of(opened.set_cookie)
    assert (await rig.api("POST", "/logout", cookie=cookie)).code == "origin_refused"
    answer = await rig.api("POST", "/logout", cookie=cookie, headers=SAME)
    assert answer.status == 200
    assert answer.headers["Set-Cookie"].startswith("__Host-postern=; Max-Age=0; ")
    dead = await rig.api("GET", "/sessions", cookie=cookie)
    assert (dead.status, dead.code) == (401, "invalid_token")
    assert dead.headers["Set-Cookie"].startswith("__Host-postern=; Max-Age=0; ")


async def test_a_bad_bearer_beside_a_good_cookie_is_401(rig: Rig) -> None:
    opened = await rig.signed_in(cookie=True)
    cookie = cookie_of(opened.set_cookie)
    answer = await rig.api("GET", "/sessions", cookie=cookie, bearer="psa_x")
    assert (answer.status, answer.code) == (401, "invalid_token")


# T27


async def test_T27_a_refresh_that_waited_for_a_revoke_fails(rig: Rig) -> None:
    opened = await rig.signed_in()
    async with rig.context.store.writing() as db:
        held = await rig.rows.locked(db, opened.session.session_id)
        assert held is not None
        waiting = asyncio.create_task(refresh(rig.context, opened.refresh_token, ASKER))
        await proved_and_waiting(rig, waiting)
        await sessions.end(rig.context, db, held, "test")
    with pytest.raises(Refused) as refused:
        await waiting
    assert refused.value.fault.code == "invalid_refresh_token"
    assert (await rig.session(opened.session.session_id)).generation == 1


async def test_T27_a_revoke_that_waited_for_a_refresh_ends_its_new_tokens(rig: Rig) -> None:
    opened = await rig.signed_in()
    async with rig.context.store.writing() as db:
        await rig.rows.locked(db, opened.session.session_id)
        refreshing = asyncio.create_task(refresh(rig.context, opened.refresh_token, ASKER))
        await proved_and_waiting(rig, refreshing)
        revoking = asyncio.create_task(rig.api("POST", "/logout", bearer=opened.access_token))
        await proved_and_waiting(rig, revoking)
    done = await refreshing
    assert (await revoking).status == 200
    assert not await rig.good(done.opened.access_token)
    assert (await rig.refresh(done.opened.refresh_token)).code == "invalid_refresh_token"


@pytest.mark.parametrize("which", ["all others", "one"])
async def test_T27_a_call_that_was_let_in_before_a_revoke_does_nothing_after_it(rig: Rig, which: str) -> None:
    user = await rig.user()
    opened, other = await rig.open(user), await rig.open(user)
    path = "/sessions" if which == "all others" else f"/sessions/{other.session.session_id}"
    async with rig.context.store.writing() as db:
        held = await rig.rows.locked(db, opened.session.session_id)
        assert held is not None
        late = asyncio.create_task(rig.api("DELETE", path, bearer=opened.access_token))
        await proved_and_waiting(rig, late)
        await sessions.end(rig.context, db, held, "test")
    assert (await late).code == "invalid_token"
    assert await rig.good(other.access_token)


async def test_T27_any_mixture_of_refreshes_and_a_revoke_leaves_nothing(rig: Rig) -> None:
    for _ in range(5):
        opened = await rig.signed_in(new_id().lower())
        calls = [rig.refresh(opened.refresh_token) for _ in range(6)]
        calls.insert(3, rig.api("POST", "/revoke-all-tokens", bearer=opened.access_token))
        answers = await asyncio.gather(*calls)
        assert answers[3].status == 200
        for answer in answers:
            if "access_token" in answer.body:
                assert not await rig.good(answer.body["access_token"])
                assert (await rig.refresh(answer.body["refresh_token"])).status == 400


async def proved_and_waiting(rig: Rig, task: "asyncio.Task[Any]") -> None:
    """Until the task stands still before the lock that this test holds."""
    for _ in range(200):
        await asyncio.sleep(0)
    await asyncio.wait([task], timeout=0.2)
    assert not task.done()
