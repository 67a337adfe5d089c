"""Requests that last, and the session behind them: ended with it, kept while it is good."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.edge import states
from gateway.edge.streams import AT_ONCE, Streams
from gateway.link import server
from gateway.link.client import now
from gateway.model import credentials, faults
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified
from gateway.model.verdict import Refuse
from tests.edge.identity_peer import House, house

TOKEN = credentials.new(credentials.ACCESS)


class Tunnelled:
    """A client's connection in a tunnel, as far as streams know it: whether it was closed."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.phase = states.TUNNEL
        self.tunnel = self
        self.closed = False

    def close(self) -> None:
        self.closed = True


async def open_stream(made: House, **route: Any) -> Tunnelled:
    down = await let_in(made, **route)
    made.streams.add(cast(Any, down))
    return down


async def let_in(made: House, lasting: tuple[Any, ...] = (), serve_stale: float = 10.0) -> Tunnelled:
    """A request that goes up; nobody knows yet whether it will last."""
    route = SimpleNamespace(serve_stale=serve_stale, lasting=lasting, report=False)
    exchange = Exchange(client=b"192.0.2.7", route=route)
    found = made.identities.resolve("bearer", TOKEN.encode(), exchange)
    found = await found if isinstance(found, Awaitable) else found
    assert isinstance(found, Identified)
    exchange.who, exchange.credential = found, TOKEN.encode()
    return Tunnelled(exchange)


@asynccontextmanager
async def streaming(**rest: Any) -> AsyncIterator[tuple[House, Tunnelled]]:
    async with house() as made:
        made.peer.knows(TOKEN, roles=["clerk"])
        yield made, await open_stream(made, **rest)


async def test_t28_it_has_ended_before_the_news_of_its_end_are_acknowledged() -> None:
    async with streaming() as (made, down):
        await made.peer.tell("revoked", session="another")
        assert not down.closed
        await made.peer.tell("revoked", session="s1")
        assert down.closed and down.exchange.failed is faults.SESSION_ENDED and not made.streams


async def test_T28_what_was_let_in_before_a_revoke_does_not_begin_to_last_after_it() -> None:
    async with streaming() as (made, _):
        down = await let_in(made)
        await made.peer.tell("revoked", session="another")
        assert made.streams.flows(cast(Any, down))
        await made.peer.tell("revoked", session="s1")
        made.streams.add(cast(Any, down))
        await asyncio.sleep(0)
        assert down.closed and not made.streams


async def test_T28_nor_does_any_more_of_it_go_through() -> None:
    async with streaming() as (made, _):
        down = await let_in(made)
        await made.peer.tell("revoked", user="u1")
        assert not made.streams.flows(cast(Any, down)) and down.closed


@pytest.mark.parametrize("reconnect", [False, True])
async def test_T28_what_has_changed_meanwhile_is_judged_once_it_lasts(reconnect: bool) -> None:
    async with streaming() as (made, first):
        down = await let_in(made)
        if reconnect:
            await made.shut()
            await made.open()
        else:
            await made.peer.tell("changed", user="u1")
        assert made.streams.flows(cast(Any, down)) and not down.closed
        made.peer.known.clear()
        made.streams.add(cast(Any, down))
        made.streams.sweep()
        async with asyncio.timeout(5):
            while not down.closed:
                await asyncio.sleep(0.001)


async def test_a_users_end_is_that_of_all_his_streams() -> None:
    async with streaming() as (made, down):
        other = await open_stream(made)
        await made.peer.tell("revoked", user="u1")
        assert down.closed and other.closed


async def test_who_has_changed_stays_as_somebody_else_or_goes() -> None:
    def needs_clerk(exchange: Exchange) -> Refuse | None:
        assert exchange.identity is not None
        return None if "clerk" in exchange.identity.roles else Refuse(faults.INSUFFICIENT_SCOPE)

    async with streaming(lasting=(needs_clerk,)) as (made, down):
        made.peer.knows(TOKEN, roles=["clerk", "lead"])
        await made.peer.tell("changed", user="u1")
        assert not down.closed and down.exchange.identity is not None
        assert down.exchange.identity.roles == ("clerk", "lead")
        made.peer.knows(TOKEN, roles=["lead"])
        await made.peer.tell("changed", user="u1")
        assert down.closed


async def test_a_change_that_leaves_no_session_ends_it() -> None:
    async with streaming() as (made, down):
        made.peer.known.clear()
        await made.peer.tell("changed", user="u1")
        assert down.closed


async def test_T18_a_change_that_nobody_can_judge_ends_it() -> None:
    """The service answers, but its database does not: who is told nothing of a change keeps no old rights."""
    async with streaming() as (made, down):
        made.peer.known["bearer", TOKEN] = {"outcome": "unavailable"}
        await made.peer.tell("changed", user="u1")
        assert down.closed and not made.streams


async def test_T18_of_many_each_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the service would be asked at once."""
    monkeypatch.setattr(server, "AT_ONCE", AT_ONCE)
    monkeypatch.setattr(server, "WAITING", 0)
    async with streaming() as (made, first):
        others = [await open_stream(made) for _ in range(3 * AT_ONCE)]
        await made.peer.tell("changed", user="u1")
        assert not any(down.closed for down in [first, *others])
        made.peer.known.clear()
        await made.peer.tell("changed", user="u1")
        assert all(down.closed for down in [first, *others])


async def test_after_a_reconnect_it_is_asked_about_again() -> None:
    async with streaming() as (made, down):
        await made.shut()
        await made.open()
        await until_asked(made, 2)
        assert not down.closed
        await made.shut()
        made.peer.known.clear()
        await made.open()
        async with asyncio.timeout(5):
            while not down.closed:
                await asyncio.sleep(0.001)


async def test_while_nobody_vouches_for_it_it_lives_as_long_as_what_is_cached() -> None:
    async with streaming() as (made, down):
        await made.shut()
        made.streams.sweep()
        assert not down.closed
        made.link.lease = now() - 9.0
        made.streams.sweep()
        assert not down.closed
        made.link.lease = now() - 10.1
        made.streams.sweep()
        assert down.closed


async def test_t41_not_a_byte_goes_through_after_a_freeze_beyond_all_leases() -> None:
    async with streaming() as (made, down):
        assert made.streams.flows(cast(Any, down))
        made.link.last_answer -= 5.0
        made.link.lease = now() - 9.0
        assert made.streams.flows(cast(Any, down)) and not down.closed
        made.link.lease = now() - 10.1
        assert not made.streams.flows(cast(Any, down)) and down.closed


async def test_an_access_tokens_own_end_does_not_end_it() -> None:
    async with house() as made:
        made.peer.knows(TOKEN, expires_in=0.0)
        down = await open_stream(made)
        made.streams.sweep()
        assert not down.closed


async def test_a_plain_request_that_is_over_is_not_remembered() -> None:
    async with streaming() as (made, down):
        made.streams.discard(down.exchange)
        await made.peer.tell("revoked", session="s1")
        assert not down.closed


async def test_the_anonymous_are_none() -> None:
    streams = Streams(cast(Any, None))
    streams.add(cast(Any, Tunnelled(Exchange(client=b"192.0.2.7"))))
    assert len(streams) == 0


async def until_asked(made: House, times: int) -> None:
    async with asyncio.timeout(5):
        while len(made.peer.asked) < times:
            await asyncio.sleep(0.001)
