"""The policy authenticate, once it is known who asks: who passes, what is renewed, what a dead cookie is."""

from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.model.exchange import Exchange
from policies.authenticate import Authenticate
from tests.policies.made import UNAVAILABLE, Known, build, exchange
from tests.policies.test_authenticate import SESSION, TOKEN, code, judge

BEARER, COOKIE = ("bearer", TOKEN), ("cookie", SESSION)
OWN = b"__Host-postern="


async def settle(asked: Exchange, known: Known, **settings: Any) -> Any:
    renewal = settings.pop("renewal", False)
    made = build(Authenticate, settings, identities=known, clear_cookie=b"Set-Cookie: gone", renewal=renewal)
    verdict = made.on_request(asked)
    return await verdict if isinstance(verdict, Awaitable) else verdict


@pytest.mark.parametrize("later", [False, True])
async def test_who_is_known_passes_with_his_header_block(later: bool) -> None:
    asked = exchange(authorization=b"Bearer " + TOKEN)
    assert await settle(asked, Known({BEARER: "s1"}, later=later)) is None
    assert asked.identity is not None and asked.identity.id == "u1"
    assert (asked.request_add, asked.credential) == (b"X-User-Id: u1\r\n", TOKEN)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_an_unknown_bearer_is_401_also_beside_a_good_cookie(mode: str, later: bool) -> None:
    asked = exchange(authorization=b"Bearer " + TOKEN, cookie=OWN + SESSION)
    verdict = await settle(asked, Known({COOKIE: "s1"}, later=later), mode=mode)
    assert code(verdict) == "invalid_token" and asked.identity is None


@pytest.mark.parametrize("later", [False, True])
async def test_a_dead_cookie_is_as_none_and_cleared(later: bool) -> None:
    asked = exchange(cookie=OWN + SESSION)
    assert code(await settle(asked, Known({}, later=later))) == "credential_missing"
    assert asked.reply_add == b"Set-Cookie: gone\r\nCache-Control: no-store\r\n"
    asked = exchange(cookie=OWN + SESSION)
    assert await settle(asked, Known({}, later=later), mode="optional") is None
    assert asked.identity is None and b"Set-Cookie: gone" in asked.reply_add


@pytest.mark.parametrize("later", [False, True])
async def test_after_a_dead_cookie_the_next_credential_counts(later: bool) -> None:
    asked = exchange(cookie=OWN + SESSION, authorization=b"Bearer " + TOKEN)
    assert await settle(asked, Known({BEARER: "s1"}, later=later), accept=["cookie", "bearer"]) is None
    assert asked.identity is not None


async def test_a_credential_of_one_kind_is_nothing_in_anothers_place() -> None:
    """T30"""
    known = Known({("cookie", TOKEN): "s1"})
    assert code(await settle(exchange(authorization=b"Bearer " + TOKEN), known)) == "invalid_token"


@pytest.mark.parametrize("later", [False, True])
async def test_an_expired_bearer_beside_its_sessions_cookie_is_renewed(later: bool) -> None:
    known = Known({COOKIE: "s1"}, {TOKEN: "s1"}, later=later)
    asked = exchange(authorization=b"Bearer " + TOKEN, cookie=OWN + SESSION)
    assert await settle(asked, known, renewal=True) is None
    assert asked.who is not None and asked.who.kind == "cookie"  # so csrf looks at it
    assert b"X-Access-Token: fresh\r\n" in asked.reply_add and b"no-store" in asked.reply_add
    assert known.renewed == [SESSION]


@pytest.mark.parametrize(
    ("known", "renewal"),
    [
        (Known({COOKIE: "s1"}, {TOKEN: "s1"}), False),
        (Known({COOKIE: "another"}, {TOKEN: "s1"}), True),
        (Known({}, {TOKEN: "s1"}), True),
        (Known({COOKIE: "s1"}), True),
    ],
)
async def test_nothing_else_beside_a_bearer_renews(known: Known, renewal: bool) -> None:
    asked = exchange(authorization=b"Bearer " + TOKEN, cookie=OWN + SESSION)
    assert code(await settle(asked, known, renewal=renewal)) == "invalid_token"
    assert known.renewed == [] and asked.identity is None


async def test_when_it_can_t_be_known_nobody_passes() -> None:
    """T18"""
    for mode in ("required", "optional"):
        for sent in ({"authorization": b"Bearer " + TOKEN}, {"cookie": OWN + SESSION}):
            assert judge(exchange(**sent), mode=mode)[0] is UNAVAILABLE
