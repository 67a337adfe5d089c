"""The edge's cache of identities over a real link: hits, misses, news, and a link that is late."""

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.edge.identities import Identities
from gateway.link.client import now
from gateway.model import credentials
from gateway.model.exchange import Exchange
from gateway.model.identity import BadCredential, Identified
from gateway.model.policy import Resolution
from gateway.model.verdict import Refuse
from tests.edge.identity_peer import House, house

TOKEN = credentials.new(credentials.ACCESS)
COOKIE = credentials.new(credentials.COOKIE)


def asking(client: str = "192.0.2.7", serve_stale: float = 10.0) -> Exchange:
    return Exchange(client=client.encode(), route=SimpleNamespace(serve_stale=serve_stale))


async def resolve(
    identities: Identities, token: str = TOKEN, kind: str = "bearer", exchange: Exchange | None = None
) -> Resolution:
    found = identities.resolve(kind, token.encode(), exchange or asking())
    return await found if isinstance(found, Awaitable) else found


def at_once(made: House, token: str = TOKEN, kind: str = "bearer", **rest: Any) -> Resolution:
    found = made.identities.resolve(kind, token.encode(), asking(**rest))
    assert isinstance(found, Identified | BadCredential | Refuse)
    return found


def code(found: Resolution) -> str:
    assert isinstance(found, Refuse)
    return found.fault.code


async def test_who_is_known_is_asked_about_once_however_many_wait() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, name="Zoë", roles=["clerk"])
        everyone = await asyncio.gather(*(resolve(made.identities) for _ in range(50)))
        assert {id(found) for found in everyone} == {id(everyone[0])}
        assert made.peer.asked == [("bearer", TOKEN)]
        found = at_once(made)
        assert isinstance(found, Identified)
        assert b"X-User-Name: Zo%C3%AB\r\n" in found.block and b"X-User-Roles: clerk\r\n" in found.block
        assert found.log == b',"user":"u1","session":"s1"'
        assert len(made.peer.asked) == 1


async def test_one_who_goes_away_leaves_the_question_to_the_others() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        made.peer.gate = asyncio.Event()
        first = asyncio.ensure_future(resolve(made.identities))
        second = asyncio.ensure_future(resolve(made.identities))
        await until(lambda: made.peer.asked)
        first.cancel()
        made.peer.gate.set()
        assert isinstance(await second, Identified)
        assert len(made.peer.asked) == 1


async def test_header_names_and_meta_are_those_of_the_configuration() -> None:
    async with house(headers={"user_id": "Remote-User"}, forward_meta=("plan",)) as made:
        made.peer.knows(TOKEN, protected={"plan": "pro", "secret": "x"}, public={"plan": "free", "nick": "z"})
        found = await resolve(made.identities)
        assert isinstance(found, Identified)
        lines = set(found.block.split(b"\r\n"))
        assert lines == {b"Remote-User: u1", b"X-User-Meta-plan: pro", b"X-User-Public-plan: free", b""}


async def test_what_was_refused_is_remembered_and_typos_are_not_even_asked() -> None:
    async with house() as made:
        assert isinstance(await resolve(made.identities), BadCredential)
        assert isinstance(at_once(made), BadCredential)
        assert made.peer.asked == [("bearer", TOKEN)]
        for wrong in (TOKEN[:-1] + ("a" if TOKEN[-1] != "a" else "b"), "psa_", "psa_\x00", "psa_a, psa_b"):
            assert isinstance(at_once(made, wrong), BadCredential)
        assert len(made.peer.asked) == 1


async def test_t30_a_credential_of_one_kind_is_nothing_in_anothers_place() -> None:
    async with house() as made:
        made.peer.knows(COOKIE, "cookie")
        made.peer.gate = asyncio.Event()
        both = [
            asyncio.ensure_future(resolve(made.identities, COOKIE, kind)) for kind in ("cookie", "bearer")
        ]
        await until(lambda: made.peer.asked)
        made.peer.gate.set()
        as_cookie, as_bearer = await asyncio.gather(*both)
        assert isinstance(as_cookie, Identified) and isinstance(as_bearer, BadCredential)
        assert isinstance(at_once(made, COOKIE, "bearer"), BadCredential)
        assert isinstance(at_once(made, COOKIE, "cookie"), Identified)


@pytest.mark.parametrize(
    ("session", "user", "gone"), [("s1", "", {0}), ("", "u1", {0, 1}), ("", "", {0, 1, 2}), ("s9", "", set())]
)
async def test_news_drop_whom_they_concern(session: str, user: str, gone: set[int]) -> None:
    tokens = [credentials.new(credentials.ACCESS) for _ in range(3)]
    async with house() as made:
        for number, (whose, which) in enumerate((("u1", "s1"), ("u1", "s2"), ("u2", "s3"))):
            made.peer.knows(tokens[number], id=whose, session=which)
            await resolve(made.identities, tokens[number])
        made.peer.known.clear()
        await made.peer.tell("revoked", session, user)
        for number, token in enumerate(tokens):
            found = await resolve(made.identities, token)
            assert isinstance(found, BadCredential if number in gone else Identified)


async def test_t41_an_answer_older_than_the_news_is_asked_for_again() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, roles=["admin"])
        made.peer.gate = asyncio.Event()
        waiting = asyncio.ensure_future(resolve(made.identities))
        await until(lambda: made.peer.asked)  # it has read the old state, and is held back
        made.peer.knows(TOKEN, roles=[])
        await made.peer.tell("changed", user="u1")
        made.peer.gate.set()
        found = await waiting
        assert isinstance(found, Identified) and found.identity.roles == ()
        assert len(made.peer.asked) == 2


async def test_t18_while_the_link_is_down_only_what_is_cached_goes_on_and_only_for_a_while() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        await resolve(made.identities)
        await made.shut()
        link = made.link
        link.last_answer -= 2.0
        assert isinstance(await resolve(made.identities), Identified)
        assert made.identities.stale == 1
        another = credentials.new(credentials.ACCESS)
        assert code(at_once(made, another)) == "identity_unavailable"
        link.lease = now() - 5.0  # as if it had been so for longer: the lease is over
        assert isinstance(await resolve(made.identities), Identified)
        assert (
            code(await resolve(made.identities, exchange=asking(serve_stale=0.0))) == "identity_unavailable"
        )
        link.lease = now() - 10.1
        assert code(await resolve(made.identities)) == "identity_unavailable"
        forever = asking(serve_stale=float("inf"))
        assert isinstance(await resolve(made.identities, exchange=forever), Identified)


async def test_until_expiry_is_not_longer() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, expires_in=0.05)
        await resolve(made.identities)
        await made.shut()
        made.link.last_answer -= 2.0
        made.link.lease = now() - 100.0
        await asyncio.sleep(0.06)
        forever = asking(serve_stale=float("inf"))
        assert code(await resolve(made.identities, exchange=forever)) == "identity_unavailable"


async def test_t18_what_has_expired_is_over_within_the_lease_too() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, expires_in=0.05)
        await resolve(made.identities)
        await made.shut()
        made.link.last_answer -= 2.0
        await asyncio.sleep(0.06)
        assert now() < made.link.lease
        assert code(await resolve(made.identities)) == "identity_unavailable"
        assert made.identities.stale == 0


async def test_after_a_reconnect_nothing_is_known() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        await resolve(made.identities)
        await made.shut()
        made.peer.known.clear()
        await made.open()
        assert len(made.identities) == 0
        assert isinstance(await resolve(made.identities), BadCredential)


async def test_the_news_of_a_former_link_say_nothing_of_the_new_ones_answers() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        for _ in range(3):
            await made.peer.tell("changed", user="u1")
        await made.shut()
        made.peer.n = made.peer.acknowledged = 0  # a service that was started anew counts anew
        await made.open()
        assert isinstance(await resolve(made.identities), Identified)
        assert len(made.peer.asked) == 1


async def test_t41_until_expiry_is_no_longer_than_an_access_token_lives() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, expires_in=30 * 86400.0)
        await resolve(made.identities)
        await made.shut()
        made.link.last_answer -= 2.0
        forever = asking(serve_stale=float("inf"))
        made.link.lease = now() - 890.0
        assert isinstance(await resolve(made.identities, exchange=forever), Identified)
        made.link.lease = now() - 901.0
        assert code(await resolve(made.identities, exchange=forever)) == "identity_unavailable"


async def test_a_silent_link_is_asked_before_the_cache_is_used() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        await resolve(made.identities)
        made.link.last_answer -= 2.0  # as after a freeze
        assert isinstance(await resolve(made.identities), Identified)
        assert now() - made.link.last_answer < 1.5
        assert (made.identities.stale, len(made.peer.asked)) == (0, 1)


async def test_who_guesses_is_slowed_and_nobody_else() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        for _ in range(30):
            guess = credentials.new(credentials.ACCESS)
            await resolve(made.identities, guess, exchange=asking("2001:db8::7"))
        asked = len(made.peer.asked)
        guess = credentials.new(credentials.ACCESS)
        found = at_once(made, guess, client="2001:db8::1:1")
        assert code(found) == "too_many_unknown_credentials" and isinstance(found, Refuse)
        assert dict(found.headers)[b"Retry-After"] == b"10"
        assert len(made.peer.asked) == asked
        assert isinstance(await resolve(made.identities, exchange=asking("2001:db8:0:1::7")), Identified)
        assert isinstance(at_once(made, client="2001:db8::7"), Identified)  # what is cached is no guess


async def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    async with house(cache=100) as made:
        tokens = [credentials.new(credentials.ACCESS) for _ in range(400)]
        for number, token in enumerate(tokens):
            made.peer.knows(token, id=f"u{number}", session=f"s{number}")
        for token in tokens:
            await resolve(made.identities, token)
            assert isinstance(at_once(made, tokens[0]), Identified)
            assert len(made.identities) <= 100
        assert made.peer.asked.count(("bearer", tokens[0])) == 1


async def test_a_cache_of_none_keeps_none() -> None:
    async with house(cache=0) as made:
        made.peer.knows(TOKEN)
        for _ in range(3):
            assert isinstance(await resolve(made.identities), Identified)
        assert (len(made.peer.asked), len(made.identities)) == (3, 0)


async def test_a_cookie_is_renewed_when_its_time_has_come_once_for_all() -> None:
    async with house() as made:
        made.peer.knows(COOKIE, "cookie", renew_in=0.0)
        await resolve(made.identities, COOKIE, "cookie")
        all_of_them = [asking() for _ in range(20)]
        await asyncio.gather(*(resolve(made.identities, COOKIE, "cookie", each) for each in all_of_them))
        assert made.peer.renewed == [COOKIE]
        for each in all_of_them:
            assert each.reply_add == (b"Set-Cookie: postern=next; HttpOnly\r\nCache-Control: no-store\r\n")
        later = asking()
        assert isinstance(await resolve(made.identities, COOKIE, "cookie", later), Identified)
        assert (later.reply_add, made.peer.renewed) == (b"", [COOKIE])


async def test_a_fresh_bearer_comes_on_the_reply() -> None:
    async with house() as made:
        made.peer.knows(COOKIE, "cookie")
        asked = asking()
        assert await made.identities.renew(COOKIE.encode(), asked)
        assert asked.reply_add == (
            b"X-Access-Token: psa_fresh\r\nX-Access-Token-Expires-In: 900\r\nCache-Control: no-store\r\n"
        )
        assert not await made.identities.renew(b"unknown", asking())


async def test_the_supervisor_is_told_of_the_link() -> None:
    async with house() as made:
        assert made.told == [{"t": "link", "up": True}]
        await made.shut()
        assert made.told[1:] == [{"t": "link", "up": False}]
        await made.open()
        assert made.told[2:] == [{"t": "link", "up": True}]


async def test_what_was_used_is_touched() -> None:
    async with house() as made:
        made.peer.knows(TOKEN)
        await resolve(made.identities)
        assert made.identities.touched() == ["s1"]
        assert made.identities.touched() == []
        at_once(made)
        assert made.identities.touched() == ["s1"]


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_due_cookie_stays_good_for_other_proxies_and_is_not_renewed() -> None:
    """Its successor would never reach the browser. The next request to the gateway itself renews it."""
    async with house() as made:
        made.peer.knows(COOKIE, "cookie", renew_in=0.0)
        asking_for_another = asking()
        asking_for_another.forward_auth = True
        for _ in range(3):
            found = await resolve(made.identities, COOKIE, "cookie", asking_for_another)
            assert isinstance(found, Identified) and found.identity.id == "u1"
        assert await made.identities.renew(COOKIE.encode(), asking_for_another) is False
        assert asking_for_another.reply_add == b"" and made.peer.asked == [("cookie", COOKIE)]
        assert "s1" in made.identities.touched()
        own = asking()
        assert isinstance(await resolve(made.identities, COOKIE, "cookie", own), Identified)
        assert b"Set-Cookie: " in own.reply_add
