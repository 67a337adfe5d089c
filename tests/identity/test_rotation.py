"""Rotation's five rules, each over a real store with a clock that stands still until it is moved."""

import asyncio
from typing import Any

import msgspec

from gateway.config.service import Tokens
from gateway.identity.sessions import OpenedSession
from gateway.model.credentials import new_id
from gateway.store import events, revocations
from tests.identity.house import Work
from tests.identity.postbox import Postbox
from tests.identity.rig import CURL, SETTINGS, Rig, running

HOUR = 3600.0
GRACE = SETTINGS.tokens.reuse_grace
NEWER_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
ELSEWHERE = "198.51.100.9"


async def ended(rig: Rig, opened: OpenedSession) -> str:
    """Why the session has ended; empty while it lives."""
    session = await rig.session(opened.session.session_id)
    return str(session.ended_why)


async def events_of(rig: Rig, user_id: str) -> list[str]:
    async with rig.context.store.reading() as db:
        return [each.event for each in reversed(await events.page_of(db, user_id))]


async def refreshed(rig: Rig, token: str) -> Any:
    answer = await rig.refresh(token)
    assert answer.status == 200, answer
    return answer.body


# Rule 1


async def test_rule_1_a_token_that_is_none_of_ours_touches_nothing(rig: Rig) -> None:
    opened = await rig.signed_in()
    session = opened.session
    foreign = rig.context.tokens.refresh(session.session_id, bytes(16), session.key_id, 1)
    unknown = rig.context.tokens.refresh(new_id(), session.salt, session.key_id, 1)
    typo = opened.refresh_token[:-1] + ("0" if opened.refresh_token[-1] != "0" else "1")
    for token in (foreign, unknown, typo, "", "psr_", "x" * 5000):
        answer = await rig.refresh(token)
        assert (answer.status, answer.code) == (400, "invalid_refresh_token")
        assert "Set-Cookie" not in answer.headers
    assert await rig.session(session.session_id) == session


async def test_rule_1_a_session_that_is_over_refreshes_no_more(rig: Rig) -> None:
    idle = await rig.signed_in("idle")
    await rig.clock.move(SETTINGS.tokens.idle_ttl)
    assert (await rig.refresh(idle.refresh_token)).code == "invalid_refresh_token"
    assert await ended(rig, idle) == ""


async def test_rule_1_refreshing_does_not_outlive_the_absolute_end(rig: Rig) -> None:
    opened = await rig.signed_in()
    token = opened.refresh_token
    step = SETTINGS.tokens.idle_ttl - HOUR
    left = SETTINGS.tokens.absolute_ttl
    while left > step:
        await rig.clock.move(step)
        left -= step
        token = (await refreshed(rig, token))["refresh_token"]
    body = await refreshed(rig, token)
    assert body["refresh_expires_in"] == int(left)
    await rig.clock.move(left)
    assert (await rig.refresh(body["refresh_token"])).code == "invalid_refresh_token"


# Rule 2


async def test_rule_2_the_current_token_is_exchanged_for_the_next(rig: Rig) -> None:
    opened = await rig.signed_in()
    await rig.clock.move(HOUR)
    body = await refreshed(rig, opened.refresh_token)
    assert body["refresh_token"] != opened.refresh_token and body["access_token"] != opened.access_token
    assert (body["token_type"], body["expires_in"]) == ("Bearer", SETTINGS.tokens.access_ttl)
    assert body["refresh_expires_in"] == SETTINGS.tokens.idle_ttl
    assert body["session_id"] == opened.session.session_id
    session = await rig.session(opened.session.session_id)
    assert (session.generation, session.presented_at, session.rotated_at) == (2, None, rig.clock.now)
    assert await rig.good(body["access_token"])


async def test_rule_2_keeps_the_last_rotations_for_people_to_see(database: str) -> None:
    tokens = Tokens(history=3)
    async with running(database, msgspec.structs.replace(SETTINGS, tokens=tokens)) as rig:
        opened = await rig.signed_in()
        token = opened.refresh_token
        for _ in range(5):
            token = (await refreshed(rig, token))["refresh_token"]
        async with rig.context.store.reading() as db:
            kept = await rig.rows.history(db, opened.session.session_id)
    assert sorted(each.generation for each in kept) == [4, 5, 6]


async def test_rule_2_another_agent_may_use_the_current_token(rig: Rig) -> None:
    opened = await rig.signed_in()
    assert (await rig.refresh(opened.refresh_token, agent=CURL)).status == 200


# Rule 3


async def test_rule_3_fifty_parallel_refreshes_give_fifty_equal_answers(rig: Rig) -> None:
    opened = await rig.signed_in()
    answers = await asyncio.gather(*(rig.refresh(opened.refresh_token) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.body == answers[0].body for answer in answers)
    assert (await rig.session(opened.session.session_id)).generation == 2
    assert rig.count("tokens_refreshed_total", "rotated") == 1
    assert rig.count("tokens_refreshed_total", "repeated") == 49


async def test_rule_3_parallel_answers_are_equal_while_the_clock_goes_on(rig: Rig) -> None:
    opened = await rig.signed_in()
    first = await refreshed(rig, opened.refresh_token)
    await rig.clock.move(1.7)
    assert await refreshed(rig, opened.refresh_token) == first


async def test_rule_3_a_lost_reply_is_given_again_after_an_hour(rig: Rig) -> None:
    opened = await rig.signed_in()
    lost = await refreshed(rig, opened.refresh_token)
    await rig.clock.move(HOUR)
    again = await refreshed(rig, opened.refresh_token)
    assert (again["refresh_token"], again["access_token"]) == (lost["refresh_token"], lost["access_token"])
    assert again["expires_in"] == 0  # told truly: the client refreshes once more
    newest = await refreshed(rig, again["refresh_token"])
    assert await rig.good(newest["access_token"])


async def test_rule_3_the_grace_begins_when_the_successor_is_first_seen(rig: Rig) -> None:
    opened = await rig.signed_in()
    next_one = await refreshed(rig, opened.refresh_token)
    await rig.clock.move(60)
    assert await rig.good(next_one["access_token"])
    await rig.clock.move(GRACE - 1)
    assert await rig.good(next_one["access_token"])  # seen again: the grace does not begin anew
    assert (await refreshed(rig, opened.refresh_token))["refresh_token"] == next_one["refresh_token"]
    await rig.clock.move(1)
    assert (await rig.refresh(opened.refresh_token)).code == "refresh_token_reused"


async def test_rule_3_a_repetition_from_another_address_is_noted(rig: Rig) -> None:
    opened = await rig.signed_in()
    await refreshed(rig, opened.refresh_token)
    await refreshed(rig, opened.refresh_token)
    user = opened.session.user_id
    assert await events_of(rig, user) == []
    assert (await rig.refresh(opened.refresh_token, address=ELSEWHERE)).status == 200
    assert await events_of(rig, user) == ["session.moved"]


async def test_rule_3_a_repetition_by_another_kind_of_agent_is_reuse(rig: Rig) -> None:
    opened = await rig.signed_in()
    await refreshed(rig, opened.refresh_token)
    assert (await rig.refresh(opened.refresh_token, agent=NEWER_FIREFOX)).status == 200
    assert (await rig.refresh(opened.refresh_token, agent=CURL)).code == "refresh_token_reused"
    assert await ended(rig, opened) == "reuse"


# Rule 4


async def test_rule_4_an_older_token_ends_the_session_although_the_call_fails(rig: Rig) -> None:
    opened = await rig.signed_in()
    other = await rig.open(await user_of(rig, opened))
    second = await refreshed(rig, opened.refresh_token)
    third = await refreshed(rig, second["refresh_token"])
    answer = await rig.refresh(opened.refresh_token)
    assert (answer.status, answer.code) == (400, "refresh_token_reused")
    assert await ended(rig, opened) == "reuse"
    assert not await rig.good(third["access_token"])
    assert (await rig.refresh(third["refresh_token"])).code == "invalid_refresh_token"
    assert await events_of(rig, opened.session.user_id) == ["token.reused"]
    async with rig.context.store.reading() as db:
        told = await revocations.after(db, 0, 0)
    assert [(each.kind, each.session) for each in told] == [("revoked", opened.session.session_id)]
    assert await rig.good(other.access_token)


async def test_rule_4_the_owner_is_written_to_in_the_transaction_that_ends_the_session(rig: Rig) -> None:
    box, opened = Postbox(rig), await rig.signed_in()
    second = (await rig.refresh(opened.refresh_token)).body["refresh_token"]
    await rig.refresh(second)
    assert await box.letters() == []
    for _ in range(2):
        await rig.refresh(opened.refresh_token, address="198.51.100.1", agent=CURL)
    [letter] = await box.letters()
    assert (letter["name"], letter["to"], letter["user_name"]) == ("reused", "ada@example.test", "ada")
    assert letter["values"]["link"] == "/auth/sessions" and "198.51.100.1" in letter["values"]["place"]


async def test_rule_4_the_predecessor_after_the_grace_is_reuse(rig: Rig) -> None:
    opened = await rig.signed_in()
    second = await refreshed(rig, opened.refresh_token)
    assert await rig.good(second["access_token"])
    await rig.clock.move(GRACE)
    assert (await rig.refresh(opened.refresh_token)).code == "refresh_token_reused"
    assert not await rig.good(second["access_token"])


async def test_rule_4_without_a_grace_the_predecessor_is_reuse_at_once(database: str) -> None:
    tokens = Tokens(reuse_grace=0.0)
    async with running(database, msgspec.structs.replace(SETTINGS, tokens=tokens)) as rig:
        opened = await rig.signed_in()
        second = await refreshed(rig, opened.refresh_token)
        assert (await rig.refresh(opened.refresh_token)).status == 200  # the lost reply is another matter
        assert await rig.good(second["access_token"])
        assert (await rig.refresh(opened.refresh_token)).code == "refresh_token_reused"


async def test_many_reuses_of_one_user_wait_for_each_other_in_no_ring(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, tokens=Tokens(on_reuse="user"))
    async with running(database, settings) as rig:
        user = await rig.user()
        opened = [await rig.open(user) for _ in range(6)]
        for each in opened:
            second = await refreshed(rig, each.refresh_token)
            await refreshed(rig, second["refresh_token"])
        answers = await asyncio.gather(*(rig.refresh(each.refresh_token) for each in opened))
        codes = sorted(answer.code for answer in answers)
        assert codes == ["invalid_refresh_token"] * 5 + ["refresh_token_reused"]


async def test_rule_4_ends_all_of_the_users_sessions_where_that_is_set(database: str) -> None:
    tokens = Tokens(on_reuse="user")
    async with running(database, msgspec.structs.replace(SETTINGS, tokens=tokens)) as rig:
        opened = await rig.signed_in()
        other, stranger = await rig.open(await user_of(rig, opened)), await rig.signed_in("bob")
        second = await refreshed(rig, opened.refresh_token)
        await refreshed(rig, second["refresh_token"])
        assert (await rig.refresh(opened.refresh_token)).code == "refresh_token_reused"
        assert (await ended(rig, opened), await ended(rig, other)) == ("reuse", "reuse")
        assert await rig.good(stranger.access_token)


async def test_rule_4_many_thieves_at_once_end_it_once(rig: Rig) -> None:
    opened = await rig.signed_in()
    second = await refreshed(rig, opened.refresh_token)
    await refreshed(rig, second["refresh_token"])
    answers = await asyncio.gather(*(rig.refresh(opened.refresh_token) for _ in range(10)))
    codes = sorted(answer.code for answer in answers)
    assert codes == ["invalid_refresh_token"] * 9 + ["refresh_token_reused"]
    assert rig.count("sessions_ended_total", "reuse") == 1


# Rule 5


async def test_rule_5_a_token_from_the_future_ends_the_session_without_alarm(rig: Rig) -> None:
    opened = await rig.signed_in()
    session = opened.session
    ahead = rig.context.tokens.refresh(session.session_id, session.salt, session.key_id, 3)
    answer = await rig.refresh(ahead)
    assert (answer.status, answer.code) == (400, "invalid_refresh_token")
    assert await ended(rig, opened) == "ahead"
    assert not await rig.good(opened.access_token)
    assert await events_of(rig, session.user_id) == []


# What it costs


async def test_a_refresh_is_four_queries_and_one_that_repeats_three(rig: Rig) -> None:
    opened = await rig.signed_in()
    work = Work(rig)
    for queries in (4, 3):
        answer, _, asked = await work.of(lambda: rig.refresh(opened.refresh_token))
        assert (answer.status, asked) == (200, queries)


# What else is said of rotation


async def test_access_tokens_below_the_least_generation_die_and_one_refresh_gives_new_ones(rig: Rig) -> None:
    opened = await rig.signed_in()
    async with rig.context.store.writing() as db:
        await rig.rows.outdate_access(db, opened.session.user_id)
    assert not await rig.good(opened.access_token)
    body = await refreshed(rig, opened.refresh_token)
    assert await rig.good(body["access_token"])


async def test_a_generations_predecessor_goes_on_until_it_expires(rig: Rig) -> None:
    opened = await rig.signed_in()
    body = await refreshed(rig, opened.refresh_token)
    assert await rig.good(opened.access_token) and await rig.good(body["access_token"])
    await rig.clock.move(SETTINGS.tokens.access_ttl)
    assert not await rig.good(opened.access_token)


async def test_the_use_of_an_older_access_token_is_no_sight_of_the_current_one(rig: Rig) -> None:
    opened = await rig.signed_in()
    await refreshed(rig, opened.refresh_token)
    assert await rig.good(opened.access_token)
    await rig.clock.move(HOUR)
    assert (await rig.refresh(opened.refresh_token)).status == 200


async def test_a_locked_user_refreshes_nothing(rig: Rig) -> None:
    opened = await rig.signed_in()
    async with rig.context.store.writing() as db:
        await rig.accounts.lock(db, opened.session.user_id, "test")
    assert (await rig.refresh(opened.refresh_token)).code == "invalid_refresh_token"
    assert not await rig.good(opened.access_token)


async def user_of(rig: Rig, opened: OpenedSession) -> Any:
    async with rig.context.store.reading() as db:
        return await rig.accounts.by_id(db, opened.session.user_id)
