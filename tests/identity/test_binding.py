"""Binding on the identity service's side: refreshes from elsewhere, new proofs, and what edges tell."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.config.service import Cookie
from gateway.identity.assembly import LinkService
from gateway.identity.sessions import OpenedSession
from gateway.link.questions import Mismatch
from gateway.model.binding import AGAIN, PLACES, Binding
from gateway.model.credentials import ACCESS, new
from gateway.model.seldom import Seldom
from gateway.store import events
from gateway.store.events import Event
from gateway.store.faults import StoreUnavailable
from tests.identity.house import PASSWORD, house, login, news, register
from tests.identity.rig import ADDRESS, CURL, FIREFOX, SETTINGS, Rig, cookie_of, running

UPDATED = FIREFOX.replace("128.0", "141.0")
NEAR, FAR, V6 = "203.0.113.99", "198.51.100.9", "2001:db8::9"
BOTH = Binding("prefix", "family", "step_up")
COOKIE = Cookie(renew_every=900.0)


def bound(act: str, **more: str) -> Binding:
    return msgspec.structs.replace(BOTH, on_mismatch=act, **more)


@pytest.fixture(params=["log", "step_up", "strict"])
async def acting(request: pytest.FixtureRequest, database: str) -> AsyncIterator[tuple[str, Rig]]:
    """A service where refreshes are bound, in each way."""
    settings = msgspec.structs.replace(SETTINGS, bind=bound(request.param))
    async with running(database, settings) as rig:
        yield request.param, rig


async def mismatches(rig: Rig) -> list[dict[str, Any]]:
    return [json.loads(each.data) for each in await told(rig, "session.mismatch")]


async def told(rig: Rig, event: str) -> list[Event]:
    """Oldest first."""
    async with rig.context.store.reading() as db:
        return list(reversed(await events.page(db, event=event)))


async def why_ended(rig: Rig, opened: OpenedSession) -> str:
    return str((await rig.session(opened.session.session_id)).ended_why)


# On refresh


async def test_an_ordinary_mobile_user_stays_signed_in(database: str) -> None:
    """The same /24, or /64, and another version of the browser."""
    async with running(database, msgspec.structs.replace(SETTINGS, bind=bound("strict"))) as rig:
        opened = await rig.signed_in()
        token = opened.refresh_token
        for address, agent in ((NEAR, FIREFOX), ("203.0.113.1", UPDATED), ("::ffff:203.0.113.2", FIREFOX)):
            answer = await rig.refresh(token, address=address, agent=agent)
            assert answer.status == 200, answer
            token = answer.body["refresh_token"]
        assert await mismatches(rig) == []


@pytest.mark.parametrize(
    ("address", "agent", "differs"), [(FAR, FIREFOX, ["address"]), (V6, UPDATED, ["address"])]
)
async def test_a_refresh_from_elsewhere(
    acting: tuple[str, Rig], address: str, agent: str, differs: list[str]
) -> None:
    act, rig = acting
    opened = await rig.signed_in()
    answer = await rig.refresh(opened.refresh_token, address=address, agent=agent)
    assert await mismatches(rig) == [{"differs": differs, "act": act, "on": "refresh"}]
    [event] = await told(rig, "session.mismatch")
    assert (event.session_id, event.address, event.agent) == (opened.session.session_id, address, agent)
    session = await rig.session(opened.session.session_id)
    if act == "log":
        assert answer.status == 200 and session.generation == 2
        return
    assert (answer.status, answer.code) == (401, "binding_changed")
    assert session.generation == 1
    again = await rig.refresh(opened.refresh_token)
    if act == "step_up":
        assert 'error="insufficient_user_authentication"' in answer.headers["WWW-Authenticate"]
        assert session.ended_at is None and again.status == 200
    else:
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert (session.ended_why, again.code) == ("binding", "invalid_refresh_token")
        assert not await rig.good(opened.access_token)
        assert ("revoked", opened.session.session_id, "") in await news(rig)
    assert rig.count("tokens_refreshed_total", "elsewhere") == 1


async def test_another_program_refreshes_by_rule_2_only_as_bound(acting: tuple[str, Rig]) -> None:
    act, rig = acting
    opened = await rig.signed_in()
    answer = await rig.refresh(opened.refresh_token, agent=CURL)
    assert (await mismatches(rig))[0]["differs"] == ["agent"]
    assert answer.status == (200 if act == "log" else 401)


async def test_the_answer_asked_for_again_is_bound_too(acting: tuple[str, Rig]) -> None:
    """Rule 3; what falls under rule 4 is a reuse, wherever it comes from."""
    act, rig = acting
    opened = await rig.signed_in()
    first = await rig.refresh(opened.refresh_token)
    again = await rig.refresh(opened.refresh_token, address=FAR)
    if act == "log":
        assert again.body["refresh_token"] == first.body["refresh_token"]
        assert len(await told(rig, "session.moved")) == 1
    else:
        assert again.code == "binding_changed"
    other = await rig.signed_in("bob")
    third = (await rig.refresh((await rig.refresh(other.refresh_token)).body["refresh_token"])).body
    assert third["refresh_token"]
    assert (await rig.refresh(other.refresh_token, address=FAR)).code == "refresh_token_reused"
    assert await why_ended(rig, other) == "reuse"


async def test_where_nothing_is_bound_no_refresh_is(database: str) -> None:
    async with running(database) as rig:
        opened = await rig.signed_in()
        assert (await rig.refresh(opened.refresh_token, address=V6, agent=CURL)).status == 200
        assert await mismatches(rig) == []


async def test_a_cookie_is_not_renewed_from_elsewhere(acting: tuple[str, Rig]) -> None:
    act, rig = acting
    opened = await rig.open(await rig.user(), cookie=True)
    cookie = cookie_of(opened.set_cookie)
    await rig.clock.move(COOKIE.renew_every)
    service = LinkService(rig.context)
    outcome = {"log": "renewed", "step_up": "elsewhere", "strict": "elsewhere"}[act]
    for bearer in (False, True):
        answer = await service.renew(cookie, bearer, FAR, FIREFOX)
        assert answer["outcome"] == (outcome if act != "strict" or not bearer else "bad")
        assert ("set_cookie" in answer) == (act == "log")
    assert len(await mismatches(rig)) == 1
    session = await rig.session(opened.session.session_id)
    assert session.cookie_generation == (2 if act == "log" else 1)
    assert session.ended_why == ("binding" if act == "strict" else "")
    at_home = await service.renew(cookie, False, NEAR, UPDATED)
    assert at_home["outcome"] == ("bad" if act == "strict" else "renewed")


async def test_a_cookie_that_is_not_due_gives_nothing_away_elsewhere_either(acting: tuple[str, Rig]) -> None:
    act, rig = acting
    opened = await rig.open(await rig.user(), cookie=True)
    answer = await rig.api(
        "POST", "/refresh", {"bearer": True}, cookie=cookie_of(opened.set_cookie), address=FAR,
        headers={"Sec-Fetch-Site": "same-origin"},
    )  # fmt: skip
    if act == "log":
        assert answer.status == 200 and answer.body["access_token"]
    else:
        assert (answer.status, answer.code) == (401, "binding_changed")
        assert "Set-Cookie" not in answer.headers
    assert await why_ended(rig, opened) == ("binding" if act == "strict" else "")


async def test_many_refreshes_from_one_place_are_one_event_in_a_while(database: str) -> None:
    async with running(database, msgspec.structs.replace(SETTINGS, bind=bound("step_up"))) as rig:
        clock = Moved()
        rig.context.mismatches = Seldom(AGAIN, PLACES, 100, clock)
        opened = await rig.signed_in()
        for host in range(1, 6):
            await rig.refresh(opened.refresh_token, address=f"198.51.100.{host}")
        assert len(await mismatches(rig)) == 1
        await rig.refresh(opened.refresh_token, address=FAR, agent=CURL)
        assert len(await mismatches(rig)) == 2
        for net in range(2 * PLACES):
            await rig.refresh(opened.refresh_token, address=f"10.0.{net}.1")
        assert len(await mismatches(rig)) == PLACES
        clock.now += AGAIN
        await rig.refresh(opened.refresh_token, address=FAR)
        assert len(await mismatches(rig)) == PLACES + 1


class Moved:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_side_by_side_from_home_and_from_elsewhere(database: str) -> None:
    """Whichever takes the lock first: what strict has ended stays ended, and nothing else happens to it."""
    async with running(database, msgspec.structs.replace(SETTINGS, bind=bound("strict"))) as rig:
        opened = await rig.signed_in()
        answers = await asyncio.gather(
            *(rig.refresh(opened.refresh_token, address=(FAR if n % 2 else ADDRESS)) for n in range(10))
        )
        codes = {answer.code if answer.status >= 400 else "ok" for answer in answers}
        assert codes <= {"ok", "binding_changed", "invalid_refresh_token"} and "binding_changed" in codes
        assert await why_ended(rig, opened) == "binding"
        assert len(await mismatches(rig)) == 1


# A new proof


async def bound_to(rig: Rig, session_id: str) -> tuple[str, str, str]:
    session = await rig.session(session_id)
    return session.address, session.other_address, session.family


async def test_a_proof_from_elsewhere_binds_anew(database: str) -> None:
    async with house(database, bind=bound("step_up")) as rig:
        given = (await register(rig)).body
        session, bearer = given["session_id"], given["access_token"]

        async def prove(address: str, agent: str = FIREFOX, status: int = 200) -> None:
            body = {"password": PASSWORD if status == 200 else "not this one, surely"}
            answer = await rig.api("POST", "/reauth", body, bearer=bearer, address=address, agent=agent)
            assert answer.status == status, answer

        await prove(ADDRESS)
        assert await told(rig, "session.rebound") == []
        await prove(FAR, status=401)
        assert await bound_to(rig, session) == (ADDRESS, "", "firefox linux")
        assert (await rig.refresh(given["refresh_token"], address=V6)).code == "binding_changed"
        await prove(V6)
        assert await bound_to(rig, session) == (ADDRESS, V6, "firefox linux")
        await prove(FAR, CURL)
        assert await bound_to(rig, session) == (FAR, V6, "curl")
        await prove("2001:db8:9::9", CURL)
        assert await bound_to(rig, session) == (FAR, "2001:db8:9::9", "curl")
        given = await renewed(rig, given, FAR)
        given = await renewed(rig, given, "2001:db8:9::1")
        assert (await rig.refresh(given["refresh_token"], agent=CURL)).code == "binding_changed"
        events = await told(rig, "session.rebound")
        assert [each.address for each in events] == [V6, FAR, "2001:db8:9::9"]
        before = {"address": ADDRESS, "other_address": V6, "agent": FIREFOX}
        assert json.loads(events[1].data) == {"before": before}
        assert [each for each in await news(rig) if each[0] == "changed"] == [("changed", session, "")] * 4


async def renewed(rig: Rig, given: dict[str, Any], address: str) -> dict[str, Any]:
    answer = await rig.refresh(given["refresh_token"], address=address, agent=CURL)
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


async def test_the_place_of_a_unix_socket_gives_way_to_an_address(database: str) -> None:
    async with house(database, bind=bound("step_up")) as rig:
        await register(rig)
        given = (await login(rig, address="unix")).body
        session, bearer = given["session_id"], given["access_token"]
        assert await bound_to(rig, session) == ("unix", "", "firefox linux")
        for address, expected in ((FAR, (FAR, "")), ("unix", (FAR, "unix")), (V6, (FAR, V6))):
            answer = await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer, address=address)
            assert answer.status == 200
            assert (await bound_to(rig, session))[:2] == expected


# What edges tell


def question(opened: OpenedSession, act: str, address: str = FAR, **more: Any) -> Mismatch:
    given: dict[str, Any] = {
        "id": 1, "kind": "bearer", "credential": opened.access_token, "what": ["address"], "act": act,
        "address": address, "agent": FIREFOX, "route": "orders",
    }  # fmt: skip
    return Mismatch(**(given | more))


async def answered(rig: Rig, asked: Mismatch) -> str:
    return str((await LinkService(rig.context).mismatch(asked))["outcome"])


@pytest.mark.parametrize("act", ["log", "step_up", "strict"])
async def test_a_mismatch_is_told_once_and_strict_ends_the_session(rig: Rig, act: str) -> None:
    opened = await rig.signed_in()
    outcomes = [await answered(rig, question(opened, act)) for _ in range(3)]
    assert outcomes == (["noted", "bad", "bad"] if act == "strict" else ["noted"] * 3)
    expected = {"differs": ["address"], "act": act, "on": "request", "route": "orders"}
    assert await mismatches(rig) == [expected]
    [event] = await told(rig, "session.mismatch")
    assert (event.user_id, event.address) == (opened.session.user_id, FAR)
    assert await why_ended(rig, opened) == ("binding" if act == "strict" else "")
    assert await rig.good(opened.access_token) == (act != "strict")


async def test_t42_only_who_shows_the_credential_ends_a_session_and_only_if_it_is_so(rig: Rig) -> None:
    opened, other = await rig.signed_in(), await rig.signed_in("bob")
    lies = [
        question(opened, "strict", credential=opened.session.session_id),
        question(opened, "strict", credential=new(ACCESS)),
        question(opened, "strict", credential=opened.access_token[:-6] + "aaaaaa"),
        question(opened, "strict", credential=opened.refresh_token),
        question(opened, "strict", kind="cookie"),
        question(opened, "strict", kind="api_key"),
        question(opened, "revoke"),
    ]
    assert [await answered(rig, lie) for lie in lies] == ["bad"] * len(lies)
    same = [
        question(opened, "strict", ADDRESS),
        question(opened, "strict", ADDRESS, what=["address", "agent"]),
        question(opened, "strict", what=["agent"]),
        question(opened, "strict", what=[]),
        question(opened, "strict", what=["session"]),
        question(opened, "log", ADDRESS),
    ]
    assert [await answered(rig, lie) for lie in same] == ["same"] * len(same)
    assert await mismatches(rig) == []
    for each in (opened, other):
        assert await why_ended(rig, each) == "" and await rig.good(each.access_token)


async def test_an_edge_whose_cache_is_older_than_a_new_proof_ends_nothing(database: str) -> None:
    async with house(database) as rig:
        given = (await register(rig)).body
        bearer, session = given["access_token"], given["session_id"]
        await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer, address=FAR)
        asked = Mismatch(1, "bearer", bearer, ["address"], "strict", FAR, FIREFOX, "orders")
        assert await answered(rig, asked) == "same"
        assert (await rig.session(session)).ended_at is None


async def test_a_token_that_expires_on_the_way_does_not_save_who_stole_it(rig: Rig) -> None:
    opened = await rig.signed_in()
    await rig.clock.move(SETTINGS.tokens.access_ttl + 1)
    assert await answered(rig, question(opened, "strict")) == "noted"
    assert await why_ended(rig, opened) == "binding"


async def test_by_cookie(rig: Rig) -> None:
    opened = await rig.open(await rig.user(), cookie=True)
    cookie = cookie_of(opened.set_cookie)
    asked = question(opened, "strict", kind="cookie", credential=cookie, agent=CURL, what=["agent"])
    assert await answered(rig, asked) == "noted"
    assert await why_ended(rig, opened) == "binding"


async def test_without_the_database_nothing_is_known_and_it_is_told_later(rig: Rig) -> None:
    opened = await rig.signed_in()
    store = rig.context.store

    def away() -> Any:
        raise StoreUnavailable("the test's")

    for name, act in (("reading", "log"), ("writing", "log"), ("reading", "strict"), ("locking", "strict")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, name, away)
            assert await answered(rig, question(opened, act)) == "unavailable"
    assert await mismatches(rig) == []
    assert await answered(rig, question(opened, "log")) == "noted"
    assert len(await mismatches(rig)) == 1
    assert await why_ended(rig, opened) == ""
