"""Identities of other issuers at the edge: believed for a while, asked anew, over with their token."""

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.config.snapshot import Identity as Settings
from gateway.edge import identities as identities_module
from gateway.edge import states, streams
from gateway.edge.guessers import ALLOWED
from gateway.link.client import now
from gateway.model import credentials, faults
from gateway.model.exchange import Exchange
from gateway.model.identity import BadCredential, Identified
from gateway.model.policy import Resolution
from gateway.model.verdict import Refuse
from tests.edge.identity_peer import House, house

TOKEN = credentials.new(credentials.ACCESS)
THEIRS = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln"
CORPORATE: dict[str, Any] = {"id": "corporate:u1", "session": "", "issuer": "corporate"}


class Clock:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.moved = 0.0
        for module in (identities_module, streams):
            patch.setattr(module, "boottime", lambda: now() + self.moved)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def asking(client: str = "192.0.2.7") -> Exchange:
    route = SimpleNamespace(serve_stale=10.0, lasting=(), report=False)
    return Exchange(client=client.encode(), route=route)


async def resolve(made: House, token: str = THEIRS, kind: str = "external", **asker: str) -> Resolution:
    found = made.identities.resolve(kind, token.encode(), asking(**asker))
    return await found if isinstance(found, Awaitable) else found


def heard_just_now(made: House, clock: Clock) -> None:
    """The link vouches for what is cached at the moved time as well."""
    made.link.last_answer = made.link.lease = now() + clock.moved + 2.0


async def test_it_is_kept_and_asked_anew_when_a_while_is_over(clock: Clock) -> None:
    async with house() as made:
        made.peer.knows(THEIRS, "external", 600.0, renew_in=300.0, **CORPORATE)
        first = await resolve(made)
        assert isinstance(first, Identified) and first.kind == "external"
        assert b"X-User-Id: corporate:u1\r\n" in first.block
        clock.moved = 299.0
        heard_just_now(made, clock)
        assert await resolve(made) is first and len(made.peer.asked) == 1
        clock.moved = 300.0
        heard_just_now(made, clock)
        made.peer.known.clear()  # its key was withdrawn
        assert isinstance(await resolve(made), BadCredential)
        assert len(made.peer.asked) == 2 and made.peer.renewed == []


async def test_T17_T30_one_kind_is_nothing_in_anothers_place() -> None:
    async with house() as made:
        made.peer.knows(THEIRS, "external", **CORPORATE)
        assert isinstance(await resolve(made), Identified)
        for kind in ("bearer", "cookie", "api_key"):
            assert isinstance(await resolve(made, kind=kind), BadCredential)
        assert isinstance(await resolve(made), Identified)


async def test_T18_what_can_t_be_known_now_is_not_remembered_as_bad() -> None:
    async with house() as made:
        made.peer.known["external", THEIRS] = {"outcome": "unavailable"}
        found = await resolve(made)
        assert isinstance(found, Refuse) and found.fault is faults.IDENTITY_UNAVAILABLE
        made.peer.knows(THEIRS, "external", **CORPORATE)
        assert isinstance(await resolve(made), Identified)


async def test_expired_tokens_are_no_guesses() -> None:
    """A house behind one address comes back in the morning with yesterday's tokens."""
    async with house() as made:
        for number in range(2 * ALLOWED):
            token = f"{THEIRS}{number}"
            made.peer.known["external", token] = {"outcome": "bad", "code": "token_expired"}
            assert isinstance(await resolve(made, token), BadCredential)
        for number in range(2 * ALLOWED):
            found = await resolve(made, f"{THEIRS}x{number}", client="198.51.100.9")
        assert isinstance(found, Refuse) and found.fault is faults.GUESSING


async def test_other_settings_of_issuers_count_at_once() -> None:
    async with house() as made:
        made.peer.knows(THEIRS, "external", **CORPORATE)
        await resolve(made)
        made.identities.use(Settings(issuers="another digest"))
        await resolve(made)
        assert len(made.peer.asked) == 2


class Tunnelled:
    """A client's connection in a tunnel, as far as streams know it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.phase, self.tunnel, self.closed = exchange, states.TUNNEL, self, False

    def close(self) -> None:
        self.closed = True


async def test_T28_a_stream_ends_with_its_token_and_not_before(clock: Clock) -> None:
    async with house() as made:
        made.peer.knows(THEIRS, "external", 600.0, renew_in=300.0, **CORPORATE)
        exchange = asking()
        found = await resolve(made)
        assert isinstance(found, Identified)
        exchange.who, exchange.credential = found, THEIRS.encode()
        down = Tunnelled(exchange)
        made.streams.add(cast(Any, down))
        for moved, closed in ((599.0, False), (600.5, True)):
            clock.moved = moved
            heard_just_now(made, clock)
            made.streams.sweep()
            assert down.closed is closed
        assert exchange.failed is faults.SESSION_ENDED and not made.streams


async def test_a_stream_of_a_session_goes_on_after_its_token(clock: Clock) -> None:
    async with house() as made:
        made.peer.knows(TOKEN, "bearer", 600.0)
        exchange = asking()
        found = await resolve(made, TOKEN, "bearer")
        assert isinstance(found, Identified)
        exchange.who, exchange.credential = found, TOKEN.encode()
        down = Tunnelled(exchange)
        made.streams.add(cast(Any, down))
        clock.moved = 5000.0
        heard_just_now(made, clock)
        made.streams.sweep()
        assert not down.closed
