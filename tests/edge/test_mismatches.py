"""What a worker tells of credentials that came from elsewhere: seldom, in the background, or waited for."""

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.edge import mismatches
from gateway.model import credentials
from gateway.model.binding import PLACES
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified
from tests.edge.identity_peer import House, house

TOKEN = credentials.new(credentials.ACCESS)
CURL = b"curl/8.7.1"


async def signed_in(made: House) -> Identified:
    made.peer.knows(TOKEN)
    found = made.identities.resolve("bearer", TOKEN.encode(), asking())
    assert not isinstance(found, Identified)
    known = await found  # type: ignore[misc]
    assert isinstance(known, Identified)
    return known


def asking(who: Identified | None = None, client: str = "192.0.2.7", agent: bytes = CURL) -> Exchange:
    route = SimpleNamespace(serve_stale=10.0, name="orders")
    made = Exchange(client=client.encode(), route=route)
    made.noted, made.who, made.credential = {b"user-agent": agent}, who, TOKEN.encode()
    return made


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_it_is_told_in_the_background_once_for_each_place() -> None:
    async with house() as made:
        who = await signed_in(made)
        tell = made.identities.mismatched
        for host in range(20):
            assert tell(("address",), "log", asking(who, f"198.51.100.{host}")) is True
        assert tell(("address", "agent"), "step_up", asking(who, "198.51.100.1", b"wget/1")) is True
        await until(lambda: len(made.peer.mismatches) == 2)
        first = made.peer.mismatches[0]
        assert (first.kind, first.credential, first.what) == ("bearer", TOKEN, ["address"])
        assert (first.act, first.route) == ("log", "orders")
        assert (first.address, first.agent) == ("198.51.100.0", "curl/8.7.1")
        assert [each.agent for each in made.peer.mismatches] == ["curl/8.7.1", "wget/1"]


async def test_a_session_that_is_everywhere_is_told_of_so_often_only() -> None:
    async with house() as made:
        who = await signed_in(made)
        for net in range(3 * PLACES):
            made.identities.mismatched(("address",), "log", asking(who, f"10.0.{net}.1"))
        await asyncio.sleep(0)  # what is told in the background is sent now
        last = made.identities.mismatched(("address",), "strict", asking(who, "198.51.100.1"))
        assert isinstance(last, Awaitable) and await last  # so all that was sent before has been read
        assert [each.act for each in made.peer.mismatches] == ["log"] * PLACES + ["strict"]


@pytest.mark.parametrize(
    ("outcome", "known"), [("noted", True), ("bad", True), ("same", False), ("unavailable", False)]
)
async def test_strict_waits_for_the_answer_each_time(outcome: str, known: bool) -> None:
    async with house() as made:
        who = await signed_in(made)
        made.peer.says_of_mismatches = outcome
        for _ in range(2):
            told = made.identities.mismatched(("address",), "strict", asking(who, "198.51.100.1"))
            assert isinstance(told, Awaitable)
            assert await told is known
        assert len(made.peer.mismatches) == 2


async def test_without_the_link_strict_knows_nothing_and_the_others_wait_for_nobody() -> None:
    async with house() as made:
        who = await signed_in(made)
        await made.shut()
        for act in ("log", "step_up"):
            assert made.identities.mismatched(("address",), act, asking(who, "198.51.100.1")) is True
        told = made.identities.mismatched(("address",), "strict", asking(who, "198.51.100.1"))
        assert isinstance(told, Awaitable) and await told is False
        await made.open()
        assert made.identities.mismatched(("address",), "log", asking(who, "198.51.100.1")) is True
        await until(lambda: made.peer.mismatches)


async def test_what_could_not_be_told_is_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mismatches, "PAUSE", 0.01)
    async with house() as made:
        who = await signed_in(made)
        made.peer.says_of_mismatches = "unavailable"

        def told_again() -> bool:
            made.identities.mismatched(("address",), "log", asking(who, "198.51.100.1"))
            return len(made.peer.mismatches) > 1

        await until(told_again)
        made.peer.says_of_mismatches = "noted"


async def test_who_is_nobody_came_from_nowhere() -> None:
    async with house() as made:
        assert made.identities.mismatched(("address",), "strict", asking()) is False


async def test_two_who_renew_one_cookie_from_two_places_are_two_questions() -> None:
    """The binding may refuse one of them: neither gets the other's answer."""
    cookie = credentials.new(credentials.COOKIE)
    async with house() as made:
        made.peer.knows(cookie, "cookie", renew_in=0.0)
        asked = [asking(client=f"192.0.2.{host}") for host in (1, 1, 2)]
        found = [made.identities.resolve("cookie", cookie.encode(), each) for each in asked]
        await asyncio.gather(*(each for each in found if isinstance(each, Awaitable)))
        again = [made.identities.resolve("cookie", cookie.encode(), each) for each in asked]
        await asyncio.gather(*(each for each in again if isinstance(each, Awaitable)))
        assert made.peer.renewed == [cookie, cookie]
