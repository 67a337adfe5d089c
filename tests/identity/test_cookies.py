"""The session cookie's lines, and renewing it: once when due, the same for all who come meanwhile."""

import asyncio
from typing import Any

import msgspec

from gateway.config.service import Cookie
from gateway.identity.cookies import clear_cookie, found, set_cookie
from gateway.identity.renewing import renew_for_link
from gateway.identity.resolving import resolve
from gateway.identity.secrets import Secrets
from gateway.identity.sessions import OpenedSession
from gateway.identity.tokens import Tokens
from tests.identity.rig import ADDRESS, FIREFOX, SECRET, SETTINGS, Rig, cookie_of, running

HOST = Cookie()
DOMAIN = Cookie(name="__Secure-postern", domain="example.com")
PLAIN = Cookie(name="postern", secure=False)
DUE = HOST.renew_every
GRACE = HOST.renew_grace
NEWER = "a-newer-master-secret-for-tests-0123456789"
SAME = {"Sec-Fetch-Site": "same-origin"}


def test_a_host_cookie_has_no_domain_and_is_kept_from_scripts_and_plain_http() -> None:
    line = set_cookie(HOST, "pss_x", 60.9)
    assert line == "__Host-postern=pss_x; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax"


def test_a_cookie_for_subdomains_names_its_domain() -> None:
    line = set_cookie(DOMAIN, "pss_x", 60)
    assert line == (
        "__Secure-postern=pss_x; Max-Age=60; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"
    )


def test_on_plain_http_the_cookie_is_not_secure() -> None:
    assert set_cookie(PLAIN, "pss_x", 60) == "postern=pss_x; Max-Age=60; Path=/; HttpOnly; SameSite=Lax"


def test_clearing_has_the_same_attributes_so_that_browsers_find_it() -> None:
    for cookie in (HOST, DOMAIN, PLAIN):
        set_line, clear_line = set_cookie(cookie, "", 0), clear_cookie(cookie)
        assert set_line.partition("; Path")[2] == clear_line.partition("; Path")[2]
        assert clear_line.startswith(f"{cookie.name}=; Max-Age=0; ")


def test_only_our_own_cookie_is_found() -> None:
    header = "a=b; __Host-postern=one;x__Host-postern=no; __Host-Postern=no; __Host-postern=two; c"
    assert found(HOST, header) == ["one", "two"]
    assert found(HOST, "") == []


# Renewing, as the link asks for it


async def by_cookie(rig: Rig) -> tuple[OpenedSession, str]:
    opened = await rig.signed_in(cookie=True)
    assert (opened.access_token, opened.refresh_token) == ("", "")
    return opened, cookie_of(opened.set_cookie)


async def renewed(rig: Rig, cookie: str, bearer: bool = False) -> dict[str, Any]:
    return await renew_for_link(rig.context, cookie, bearer, ADDRESS, FIREFOX)


async def resolved(rig: Rig, cookie: str) -> dict[str, Any]:
    return await resolve(rig.context, "cookie", cookie, ADDRESS, FIREFOX, False)


async def test_a_cookie_is_replaced_when_it_is_due_and_not_before(rig: Rig) -> None:
    _, first = await by_cookie(rig)
    assert (await resolved(rig, first))["renew_in"] == DUE
    assert cookie_of((await renewed(rig, first))["set_cookie"]) == first
    await rig.clock.move(DUE)
    assert (await resolved(rig, first))["renew_in"] == 0
    assert cookie_of((await renewed(rig, first))["set_cookie"]) != first


async def test_all_who_come_with_the_old_cookie_get_the_same_new_one(rig: Rig) -> None:
    _, first = await by_cookie(rig)
    await rig.clock.move(DUE)
    answers = await asyncio.gather(*(renewed(rig, first) for _ in range(20)))
    assert len({answer["set_cookie"] for answer in answers}) == 1
    await rig.clock.move(2 * DUE)  # the reply was lost, the laptop slept
    assert (await resolved(rig, first))["outcome"] == "identified"
    again = await renewed(rig, first)
    assert cookie_of(again["set_cookie"]) == cookie_of(answers[0]["set_cookie"])


async def test_the_old_cookie_is_good_until_the_grace_after_the_new_one_was_first_seen(rig: Rig) -> None:
    _, first = await by_cookie(rig)
    await rig.clock.move(DUE)
    second = cookie_of((await renewed(rig, first))["set_cookie"])
    await rig.clock.move(60)
    assert (await resolved(rig, second))["outcome"] == "identified"
    await rig.clock.move(GRACE - 1)
    assert (await resolved(rig, first))["outcome"] == "identified"
    await rig.clock.move(1)
    assert await resolved(rig, first) == {"outcome": "bad", "code": "invalid_token"}
    assert await renewed(rig, first) == {"outcome": "bad"}
    assert (await resolved(rig, second))["outcome"] == "identified"


async def test_an_edge_never_believes_an_old_cookie_beyond_the_grace(rig: Rig) -> None:
    """Whatever an edge was told about a cookie is over when the store would refuse it."""
    _, first = await by_cookie(rig)
    told = await resolved(rig, first)
    cached_until = rig.clock.now + 1000 * told["expires_in"]
    await rig.clock.move(DUE)
    second = cookie_of((await renewed(rig, first))["set_cookie"])
    told = await resolved(rig, first)
    cached_until = max(cached_until, rig.clock.now + 1000 * told["expires_in"])
    await resolved(rig, second)
    assert cached_until <= rig.clock.now + 1000 * GRACE
    await rig.clock.move(GRACE / 2)
    assert (await resolved(rig, first))["expires_in"] == GRACE / 2


async def test_two_renewals_later_a_cookie_is_good_no_more(rig: Rig) -> None:
    _, first = await by_cookie(rig)
    await rig.clock.move(DUE)
    second = cookie_of((await renewed(rig, first))["set_cookie"])
    await rig.clock.move(DUE)
    third = cookie_of((await renewed(rig, second))["set_cookie"])
    outcomes = [(await resolved(rig, each))["outcome"] for each in (first, second, third)]
    assert outcomes == ["bad", "identified", "identified"]


async def test_renewal_with_a_bearer_gives_an_access_token_that_works(rig: Rig) -> None:
    _, cookie = await by_cookie(rig)
    await rig.clock.move(DUE + 100)
    answer = await renewed(rig, cookie, bearer=True)
    assert SETTINGS.tokens.access_ttl - 1 <= answer["expires_in"] <= SETTINGS.tokens.access_ttl
    assert await rig.good(answer["access_token"])
    await rig.clock.move(answer["expires_in"])
    assert not await rig.good(answer["access_token"])


async def test_renewed_access_tokens_are_never_taken_for_the_refresh_tokens_owner(rig: Rig) -> None:
    """A browser renews by its cookie while a refresh's reply is lost: it can be asked for again (rule 3)."""
    opened = await rig.signed_in(cookie=True, bearer=True)
    cookie = cookie_of(opened.set_cookie)
    lost = (await rig.refresh(opened.refresh_token)).body
    at_once = await renewed(rig, cookie, bearer=True)
    await rig.clock.move(2 * DUE)
    later = await renewed(rig, cookie, bearer=True)
    assert await rig.good(later["access_token"])
    assert at_once["access_token"] != lost["access_token"]
    await rig.clock.move(3600)
    again = await rig.refresh(opened.refresh_token)
    assert (again.status, again.body["access_token"]) == (200, lost["access_token"])


async def test_after_access_was_outdated_a_cookie_still_renews_a_bearer(rig: Rig) -> None:
    opened, cookie = await by_cookie(rig)
    async with rig.context.store.writing() as db:
        await rig.rows.outdate_access(db, opened.session.user_id)
    answer = await renewed(rig, cookie, bearer=True)
    assert await rig.good(answer["access_token"])


async def test_what_is_no_good_cookie_is_not_renewed(rig: Rig) -> None:
    opened, cookie = await by_cookie(rig)
    tokens = await rig.signed_in("bob")
    for each in (tokens.access_token, tokens.refresh_token, cookie[:-1], "", "pss_"):
        assert await renewed(rig, each) == {"outcome": "bad"}
    await rig.api("POST", "/logout", cookie=cookie, headers=SAME)
    assert await renewed(rig, cookie) == {"outcome": "bad"}


# Another master secret


def keep(rig: Rig, *secrets: str) -> str:
    """As after a restart with these, the newest first; its key-id."""
    rig.context.secrets = Secrets(secrets)
    rig.context.tokens = Tokens(rig.context.secrets)
    return rig.context.secrets.newest


async def needed(rig: Rig) -> set[str]:
    async with rig.context.store.reading() as db:
        return set(await rig.rows.key_ids(db))


async def test_a_renewed_cookie_is_made_with_the_newest_secret_and_the_old_one_has_its_grace(
    rig: Rig,
) -> None:
    _, first = await by_cookie(rig)
    newest = keep(rig, NEWER, SECRET)
    assert (await resolved(rig, first))["outcome"] == "identified"
    await rig.clock.move(DUE)
    second = cookie_of((await renewed(rig, first))["set_cookie"])
    assert await needed(rig) == {newest}
    await rig.clock.move(DUE)  # the reply was lost
    assert cookie_of((await renewed(rig, first))["set_cookie"]) == second
    assert (await resolved(rig, second))["outcome"] == "identified"
    await rig.clock.move(GRACE - 1)
    assert (await resolved(rig, first))["outcome"] == "identified"
    await rig.clock.move(1)
    assert (await resolved(rig, first))["outcome"] == "bad"
    keep(rig, NEWER)
    assert (await resolved(rig, second))["outcome"] == "identified"


async def test_tokens_beside_a_cookie_stay_good_when_it_moves_to_another_secret(rig: Rig) -> None:
    opened = await rig.signed_in(cookie=True, bearer=True)
    newest = keep(rig, NEWER, SECRET)
    await rig.clock.move(DUE)
    await renewed(rig, cookie_of(opened.set_cookie))
    assert await needed(rig) == {newest}
    assert (await rig.refresh(opened.refresh_token)).status == 200


async def test_an_answer_that_may_be_asked_for_again_stays_the_same_to_the_byte(rig: Rig) -> None:
    opened = await rig.signed_in(cookie=True, bearer=True)
    lost = (await rig.refresh(opened.refresh_token)).body
    newest = keep(rig, NEWER, SECRET)
    await rig.clock.move(DUE)
    cookie = cookie_of((await renewed(rig, cookie_of(opened.set_cookie)))["set_cookie"])
    again = (await rig.refresh(opened.refresh_token)).body
    assert (again["refresh_token"], again["access_token"]) == (lost["refresh_token"], lost["access_token"])
    assert newest not in await needed(rig)
    assert (await rig.refresh(again["refresh_token"])).status == 200  # which moves it, too
    assert await needed(rig) == {newest}
    assert (await resolved(rig, cookie))["outcome"] == "identified"


# Refreshing by cookie


async def test_refresh_by_cookie_gives_no_token_unless_asked(rig: Rig) -> None:
    opened, cookie = await by_cookie(rig)
    answer = await rig.api("POST", "/refresh", cookie=cookie, headers=SAME)
    assert answer.status == 200 and not {"access_token", "refresh_token"} & answer.body.keys()
    assert answer.body["session_id"] == opened.session.session_id
    assert cookie_of(answer.headers["Set-Cookie"]) == cookie
    answer = await rig.api("POST", "/refresh", {"bearer": True}, cookie=cookie, headers=SAME)
    assert "refresh_token" not in answer.body
    assert await rig.good(answer.body["access_token"])


async def test_who_uses_nothing_but_the_api_is_no_idler(rig: Rig) -> None:
    """No edge looks at who makes our own calls, so no edge tells of them."""
    idle = SETTINGS.tokens.idle_ttl
    opened, cookie = await by_cookie(rig)
    for method, path in (("GET", "/me"), ("POST", "/refresh")):
        await rig.clock.move(idle - 1)
        answer = await rig.api(method, path, cookie=cookie, headers=SAME)
        assert answer.status == 200, (path, answer)
        cookie = cookie_of(answer.headers.get("Set-Cookie", "")) or cookie
        session = await rig.session(opened.session.session_id)
        assert (session.last_seen_at, session.idle_until) == (rig.clock.now, rig.clock.now + 1000 * idle)
    await rig.clock.move(59)
    assert (await rig.api("GET", "/me", cookie=cookie)).status == 200
    assert (await rig.session(opened.session.session_id)).last_seen_at == rig.clock.now - 59_000


async def test_refresh_by_cookie_wants_to_know_the_page(rig: Rig) -> None:
    _, cookie = await by_cookie(rig)
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        answer = await rig.api("POST", "/refresh", cookie=cookie, headers=headers)
        assert (answer.status, answer.code) == (403, "origin_refused")


async def test_a_bad_cookie_at_refresh_is_400_and_not_cleared(rig: Rig) -> None:
    answer = await rig.api("POST", "/refresh", cookie="pss_x", headers=SAME)
    assert (answer.status, answer.code) == (400, "invalid_refresh_token")
    assert "Set-Cookie" not in answer.headers


async def test_an_expired_bearer_may_be_replaced_by_the_cookie_of_its_session(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, cookie=Cookie(renewal=True))
    async with running(database, settings) as rig:
        mine = await rig.signed_in(cookie=True, bearer=True)
        other = await rig.signed_in("bob", cookie=True, bearer=True)
        await rig.clock.move(SETTINGS.tokens.access_ttl)
        bearer, cookie = mine.access_token, cookie_of(mine.set_cookie)
        assert (await rig.api("GET", "/sessions", bearer=bearer)).status == 401
        assert (await rig.api("GET", "/sessions", bearer=bearer, cookie=cookie)).status == 200
        foreign = cookie_of(other.set_cookie)
        assert (await rig.api("GET", "/sessions", bearer=bearer, cookie=foreign)).status == 401
        assert (await rig.api("GET", "/sessions", bearer="psa_x", cookie=cookie)).status == 401
