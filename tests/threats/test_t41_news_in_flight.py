"""T41: an answer that was read before a revoke and comes after it is never believed, whatever delays it."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import scripts
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.meddler import Meddler, Message, link_of
from tests.kit.people import Person, register, works
from tests.kit.raw import Answer, Client, request
from tests.processes.supervised import until

REVOKES: dict[str, Callable[[Person], Answer]] = {
    "its session": lambda person: person.ask("POST", "/logout"),
    "all sessions": lambda person: person.elsewhere().ask("POST", "/revoke-all-tokens"),
    "the account": lambda person: person.elsewhere().ask("DELETE", "/me"),
}


@pytest.fixture(scope="module")
def meddled() -> Iterator[tuple[IdentityWorld, Meddler]]:
    """A gateway all of whose workers speak with their identity service through us."""
    with (
        run_identity_gateway(serve_stale="1s", check=False) as house,
        Meddler(link_of(house.pid_of_identity())) as meddler,
    ):
        os.kill(house.pid_of_identity(), signal.SIGKILL)
        until(lambda: meddler.connections >= 2)
        until(lambda: works(house) and register(house).ask("POST", "/logout").status == 200)
        yield house, meddler


def answers(message: Message) -> bool:
    return bool(message["t"] == "resolved")


@pytest.mark.parametrize("how", REVOKES)
def test_T41_an_answer_older_than_a_revoke_is_not_believed(
    meddled: tuple[IdentityWorld, Meddler], how: str
) -> None:
    house, meddler = meddled
    house.upstream.clear()
    person = register(house)
    with ThreadPoolExecutor(1) as pool:
        meddler.hold(answers)
        asking = pool.submit(person.get)
        meddler.wait_held()  # who it is has been read, and is on its way
        assert REVOKES[how](person).status == 200
        meddler.release()
        assert asking.result(20).status == 401
    assert house.upstream.requests == []
    assert person.get().status == 401


def test_T41_nor_for_many_that_wait_for_the_same_answer(meddled: tuple[IdentityWorld, Meddler]) -> None:
    house, meddler = meddled
    house.upstream.clear()
    person = register(house)
    with ThreadPoolExecutor(8) as pool:
        meddler.hold(answers)
        asking = [pool.submit(person.get) for _ in range(8)]
        meddler.wait_held()
        assert person.ask("POST", "/logout").status == 200
        meddler.release()
        assert {each.result(20).status for each in asking} <= {401, 503}
    assert house.upstream.requests == []


def test_T41_an_answer_that_nothing_concerns_is_believed(meddled: tuple[IdentityWorld, Meddler]) -> None:
    """News about others are no reason to ask again."""
    house, meddler = meddled
    person, other = register(house), register(house)
    with ThreadPoolExecutor(1) as pool:
        meddler.hold(answers)
        asking = pool.submit(person.get)
        meddler.wait_held()
        assert other.ask("POST", "/logout").status == 200
        assert len(meddler.held) == 1
        meddler.release()
        assert asking.result(20).status == 200


def test_T41_an_edge_that_missed_news_notices_by_what_follows(
    meddled: tuple[IdentityWorld, Meddler],
) -> None:
    """A pong tells how much news there is: who has not had all of it drops all, and begins afresh."""
    house, meddler = meddled
    person = register(house)
    assert person.get().status == 200
    meddler.hold(lambda message: bool(message["t"] == "push"))
    try:
        assert person.ask("POST", "/logout").status in (200, 202)
        until(lambda: person.get().status == 401)
    finally:
        meddler.release()
    until(lambda: works(house))


def test_T41_a_push_that_is_held_up_is_waited_for_then_named(meddled: tuple[IdentityWorld, Meddler]) -> None:
    """202: the edge has not said that it knows; and its lease is not prolonged until it has."""
    house, meddler = meddled
    person = register(house)
    assert person.get().status == 200
    meddler.hold(lambda message: bool(message["t"] == "push"), and_all_after=True)
    try:
        answer = person.ask("POST", "/logout")
        assert answer.status == 202
        assert len(answer.json(202)["pending"]) >= 1
        until(lambda: person.get().status != 200)  # at the latest at safe_at
    finally:
        meddler.release()
    until(lambda: person.get().status == 401)
    until(lambda: works(house))


def test_streams_that_nobody_vouches_for_any_more_are_closed(meddled: tuple[IdentityWorld, Meddler]) -> None:
    """The link stays away beyond serve_stale: they end within a second of that."""
    house, meddler = meddled
    house.upstream.clear()
    house.upstream.reply(scripts.switch(), b"/app/ws")
    person = register(house)
    with Client(house.port, source=person.address) as client:
        lines = (person.bearer, b"Connection: Upgrade", b"Upgrade: websocket")
        assert client.send(request("/app/ws", *lines)).head().status == 101
        meddler.hold(lambda message: True)
        try:
            client.rest()  # ends
        finally:
            meddler.release()
    until(lambda: works(house))
