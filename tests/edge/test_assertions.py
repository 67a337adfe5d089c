"""The edge's assertions over a real link: asked once, kept with the identity, never older than the news."""

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace

import pytest

from gateway.edge import assertions
from gateway.edge.assertions import LEFT_AT_LEAST, Assertions
from gateway.link.client import now
from gateway.model import credentials
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified
from gateway.model.verdict import Refuse
from tests.edge.identity_peer import House, house

TOKEN = credentials.new(credentials.ACCESS)
LINE = b"X-User-Assertion: e30.e30.c2ln\r\n"


async def let_in(made: House, token: str = TOKEN, kind: str = "bearer") -> Exchange:
    if (kind, token) not in made.peer.known:
        made.peer.knows(token, kind)
    exchange = Exchange(client=b"192.0.2.7", route=SimpleNamespace(serve_stale=10.0))
    found = made.identities.resolve(kind, token.encode(), exchange)
    found = await found if isinstance(found, Awaitable) else found
    assert isinstance(found, Identified)
    exchange.who, exchange.credential = found, token.encode()
    return exchange


def at_once(made: House, exchange: Exchange, audience: str = "orders", ttl: float = 60.0) -> bytes | Refuse:
    found = made.newsroom.assertions.line(audience, ttl, exchange)
    assert isinstance(found, bytes | Refuse)
    return found


async def line(
    made: House, exchange: Exchange, audience: str = "orders", ttl: float = 60.0
) -> bytes | Refuse:
    found = made.newsroom.assertions.line(audience, ttl, exchange)
    return await found if isinstance(found, Awaitable) else found


def code(found: bytes | Refuse) -> str:
    assert isinstance(found, Refuse)
    return found.fault.code


async def test_it_is_asked_with_the_credential_once_however_many_wait() -> None:
    async with house() as made:
        exchange = await let_in(made)
        lines = await asyncio.gather(*(line(made, exchange) for _ in range(50)))
        assert set(lines) == {LINE}
        [asked] = made.peer.asserted
        assert (asked.kind, asked.credential, asked.audience, asked.ttl) == ("bearer", TOKEN, "orders", 60.0)
        assert at_once(made, await let_in(made)) == LINE and len(made.peer.asserted) == 1


async def test_each_audience_and_each_length_has_its_own() -> None:
    async with house() as made:
        exchange = await let_in(made)
        for audience, ttl in (("orders", 60.0), ("shop", 60.0), ("orders", 30.0)):
            await line(made, exchange, audience, ttl)
            assert (made.peer.asserted[-1].audience, made.peer.asserted[-1].ttl) == (audience, ttl)
        assert len(made.peer.asserted) == 3
        cookie = credentials.new(credentials.COOKIE)
        await line(made, await let_in(made, cookie, "cookie"))
        assert (made.peer.asserted[-1].kind, made.peer.asserted[-1].credential) == ("cookie", cookie)


@pytest.mark.parametrize("ttl", [5.0, 60.0, 300.0])
async def test_it_is_kept_until_shortly_before_its_end(ttl: float, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = 0.0
    monkeypatch.setattr(assertions, "boottime", lambda: now() + moved)
    async with house() as made:
        made.peer.assertions |= {"expires_in": ttl}
        exchange = await let_in(made)
        await line(made, exchange, ttl=ttl)
        left = min(LEFT_AT_LEAST, ttl / 4)
        moved = ttl - left - 0.5
        assert at_once(made, exchange, ttl=ttl) == LINE and len(made.peer.asserted) == 1
        moved = ttl - left
        assert await line(made, exchange, ttl=ttl) == LINE
        assert len(made.peer.asserted) == 2


async def test_one_that_ends_sooner_than_asked_is_asked_for_sooner() -> None:
    """As that of a credential which is about to expire."""
    async with house() as made:
        made.peer.assertions |= {"expires_in": 5.0}
        exchange = await let_in(made)
        assert await line(made, exchange) == LINE
        assert await line(made, exchange) == LINE
        assert len(made.peer.asserted) == 2


async def test_one_who_goes_away_leaves_the_question_to_the_others() -> None:
    async with house() as made:
        exchange = await let_in(made)
        made.peer.gate = asyncio.Event()
        first, second = (asyncio.ensure_future(line(made, exchange)) for _ in range(2))
        await until(lambda: made.peer.asserted)
        first.cancel()
        made.peer.gate.set()
        assert await second == LINE and len(made.peer.asserted) == 1


@pytest.mark.parametrize("news", ["revoked", "changed"])
async def test_T28_it_is_gone_with_the_identity(news: str) -> None:
    async with house() as made:
        await line(made, await let_in(made))
        await made.peer.tell(news, user="u1")
        made.peer.assertions |= {"assertion": "e30.other.c2ln"}
        assert await line(made, await let_in(made)) == b"X-User-Assertion: e30.other.c2ln\r\n"
        assert len(made.peer.asserted) == 2


async def test_T41_an_answer_from_before_a_revoke_is_not_used_after_it() -> None:
    async with house() as made:
        exchange = await let_in(made)
        made.peer.gate = asyncio.Event()
        waiting = asyncio.ensure_future(line(made, exchange))
        await until(lambda: made.peer.asserted)
        await made.peer.tell("revoked", session="s1")
        made.peer.assertions = {"outcome": "bad"}
        made.peer.gate.set()
        found = await waiting
        assert code(found) == "invalid_token"
        assert (
            isinstance(found, Refuse) and b'error="invalid_token"' in dict(found.headers)[b"WWW-Authenticate"]
        )
        assert len(made.peer.asserted) == 2  # the first answer was older than the news


async def test_T41_nor_is_one_from_before_a_change() -> None:
    async with house() as made:
        exchange = await let_in(made)
        made.peer.gate = asyncio.Event()
        waiting = asyncio.ensure_future(line(made, exchange))
        await until(lambda: made.peer.asserted)
        await made.peer.tell("changed", user="u1")
        made.peer.gate.set()
        assert code(await waiting) == "identity_unavailable"  # its claims are older: it is to be asked anew
        assert await line(made, await let_in(made)) == LINE


@pytest.mark.parametrize("answer", [{"outcome": "unavailable"}, {}, {"outcome": "identified"}])
async def test_T18_no_assertion_no_request(answer: dict[str, str]) -> None:
    async with house() as made:
        exchange = await let_in(made)
        made.peer.assertions = dict(answer)
        assert code(await line(made, exchange)) == "identity_unavailable"
        assert exchange.who is not None and exchange.who.assertions is None


async def test_T18_while_the_link_is_down_what_is_kept_goes_on() -> None:
    async with house() as made:
        exchange, other = await let_in(made), await let_in(made, credentials.new(credentials.ACCESS))
        await line(made, exchange)
        await made.shut()
        assert at_once(made, exchange) == LINE
        found = at_once(made, other)
        assert code(found) == "identity_unavailable"
        assert isinstance(found, Refuse) and dict(found.headers)[b"Retry-After"]


async def test_without_a_cache_each_request_asks() -> None:
    async with house(cache=0) as made:
        assert isinstance(made.newsroom.assertions, Assertions)
        for number in (1, 2):
            assert await line(made, await let_in(made)) == LINE
            assert len(made.peer.asserted) == number


async def until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)
