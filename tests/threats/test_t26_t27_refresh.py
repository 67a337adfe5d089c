"""T26 and T27: parallel refreshes have one successor; an older token ends the session; a revoke wins."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial

import asyncpg  # type: ignore[import-untyped]
import pytest

from tests.kit import database
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, register
from tests.kit.postgres import Postgres
from tests.kit.raw import Answer
from tests.processes.supervised import until

HOUR = 3600.0
PARALLEL = 50


@pytest.fixture(scope="module")
def clockwork(postgres_server: Postgres) -> Iterator[IdentityWorld]:
    """A gateway whose database's clock can be moved."""
    with run_identity_gateway(url=postgres_server.make_database()) as house:
        yield house


@pytest.fixture
def later(clockwork: IdentityWorld) -> Iterator[Callable[[float], None]]:
    """Moves the clock on by so many seconds; it goes right again after the test."""
    ahead = 0.0

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        database.move_clock(clockwork.url, ahead)

    yield move
    database.move_clock(clockwork.url, 0)


def at_once(count: int, ask: Callable[[], Answer]) -> list[Answer]:
    barrier = threading.Barrier(count)

    def one(_: int) -> Answer:
        barrier.wait(30)
        return ask()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_T26_fifty_parallel_refreshes_have_one_successor(house: IdentityWorld) -> None:
    person = register(house)
    answers = [answer.json() for answer in at_once(PARALLEL, person.renew)]
    pairs = {(answer["refresh_token"], answer["access_token"]) for answer in answers}
    assert len(pairs) == 1
    person.refresh, person.access = pairs.pop()
    assert person.get().status == 200
    assert person.renew().status == 200


def test_T26_parallel_refreshes_of_two_generations_end_well_or_as_reuse(house: IdentityWorld) -> None:
    """Predecessor and current at once, from one client: nobody is logged out, and there is no fork."""
    person = register(house)
    before = person.refresh
    person.renewed()
    now = person.refresh
    turn = iter([before, now] * 10)
    answers = at_once(20, lambda: person.renew(next(turn)))
    good = {answer.json()["refresh_token"] for answer in answers if answer.status == 200}
    assert {answer.status for answer in answers} <= {200, 400}
    if any(answer.status == 400 for answer in answers):
        # the current one was used before some of the predecessor's came: those are two generations old then
        assert all(person.renew(token).status == 400 for token in good)
    else:
        assert good <= {now, max(good - {now}, default=now)} and len(good) <= 2


def test_T26_parallel_reuse_ends_the_session_once_and_for_all(house: IdentityWorld) -> None:
    person = register(house)
    oldest = person.refresh
    person.renewed().renewed()
    answers = at_once(10, lambda: person.renew(oldest))
    assert {answer.status for answer in answers} == {400}
    assert {answer.code for answer in answers} <= {"refresh_token_reused", "invalid_refresh_token"}
    assert "refresh_token_reused" in {answer.code for answer in answers}
    assert person.get().code == "invalid_token" and person.renew().code == "invalid_refresh_token"


def test_T26_a_lost_reply_can_be_asked_for_again_after_an_hour(
    clockwork: IdentityWorld, later: Callable[[float], None]
) -> None:
    person = register(clockwork)
    lost = person.renew().json()
    later(HOUR)
    again = person.renew().json()
    assert again["refresh_token"] == lost["refresh_token"]
    person.take(person.renew())
    later(HOUR)
    person.renewed()
    assert person.get().status == 200


def test_T26_the_predecessor_of_a_used_successor_ends_the_session_after_the_grace(
    clockwork: IdentityWorld, later: Callable[[float], None]
) -> None:
    person = register(clockwork)
    old = person.refresh
    person.renewed()
    assert person.get().status == 200  # now it was presented
    later(29)
    assert person.renew(old).status == 200
    later(2)
    assert person.renew(old).code == "refresh_token_reused"
    assert person.get().code == "invalid_token"
    assert person.renew().code == "invalid_refresh_token"


def test_T26_a_frozen_clock_forks_nothing(clockwork: IdentityWorld) -> None:
    database.execute(
        clockwork.url,
        "CREATE OR REPLACE FUNCTION postern_now() RETURNS bigint LANGUAGE sql VOLATILE AS "
        "$$ SELECT (extract(epoch FROM timestamptz '2030-01-01') * 1000)::bigint $$",
    )
    try:
        person = register(clockwork)
        tokens = [person.refresh]
        for _ in range(4):
            tokens.append(person.renewed().refresh)
            assert len({each["refresh_token"] for each in (person.renew(tokens[-2]).json(),)}) == 1
        assert len(set(tokens)) == 5
        assert person.renew(tokens[0]).code == "refresh_token_reused"
    finally:
        database.move_clock(clockwork.url, 0)


def test_T26_idle_and_absolute_ends(clockwork: IdentityWorld, later: Callable[[float], None]) -> None:
    """30 days unused; 90 days in all, however busy."""
    idle, busy = register(clockwork), register(clockwork)
    for _ in range(3):
        later(29 * 24 * HOUR)
        busy.renewed()
    assert idle.renew().code == "invalid_refresh_token"
    assert idle.get().code == "invalid_token"
    later(4 * 24 * HOUR)
    assert busy.renew().code == "invalid_refresh_token"


def test_an_access_token_ends_and_says_so(clockwork: IdentityWorld, later: Callable[[float], None]) -> None:
    person = register(clockwork)
    later(901)
    assert person.get().code == "invalid_token"
    said = person.call("POST", "/validate", {"token": person.access}).json()
    assert said == {"valid": False, "code": "token_expired"}
    assert person.renewed().get().status == 200


def test_a_proof_is_fresh_for_a_quarter_of_an_hour(
    clockwork: IdentityWorld, later: Callable[[float], None]
) -> None:
    person = register(clockwork)
    later(16 * 60)
    person.renewed()
    stale = person.ask("DELETE", "/me")
    assert (stale.status, stale.code) == (401, "insufficient_user_authentication")
    assert b"max_age=900" in stale.value(b"www-authenticate")
    assert person.ask("POST", "/reauth", {"password": person.password}).status == 200
    assert person.ask("DELETE", "/me").status == 200


def test_a_cookie_is_renewed_every_quarter_of_an_hour(
    clockwork: IdentityWorld, later: Callable[[float], None]
) -> None:
    """The old one is good until half a minute after the new one was first seen; then it is nobody's."""
    browser = register(clockwork).elsewhere(cookie=True)
    later(16 * 60)
    old = browser.cookie
    answers = [browser.get_by_cookie() for _ in range(8)]
    assert {answer.status for answer in answers} == {200}
    renewing = [answer for answer in answers if browser.take_cookie(answer)]
    assert renewing and browser.cookie != old
    assert renewing[0].value(b"cache-control") == b"no-store"
    assert browser.get_by_cookie().status == 200
    later(31)
    # asked of the identity service itself: edges count by their own clock, which nobody moves
    assert browser.ask_by_cookie("GET", "/me").status == 200
    browser.cookie = old
    assert browser.ask_by_cookie("GET", "/me").status == 401


# T27: two calls that want one row, held up by a third until both are there


@contextmanager
def held(url: str, session: str) -> Iterator[Callable[[], None]]:
    """The session's row is locked until the given function is called; SQLite locks the whole file."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield lambda: connection.rollback()
        return
    let_go, locked = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT 1 FROM sessions WHERE session_id = $1 FOR UPDATE", session)
                locked.set()
                await asyncio.to_thread(let_go.wait, 20)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    assert locked.wait(10)
    try:
        yield let_go.set
    finally:
        let_go.set()
        thread.join(20)


def waiting(url: str) -> int:
    """Those that wait for a lock in this database."""
    here = "datname = current_database() AND wait_event_type = 'Lock'"
    return int(database.rows(url, f"SELECT count(*) FROM pg_stat_activity WHERE {here}")[0][0])


def in_order(person: Person, first: Callable[[], Answer], then: Callable[[], Answer]) -> list[Answer]:
    """Both calls wait for the row in this order, then run."""
    url = person.world.url
    with held(url, person.session) as let_go, ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        if not url.startswith("sqlite:"):
            until(lambda: waiting(url) == 1)
        other = pool.submit(then)
        if not url.startswith("sqlite:"):
            until(lambda: waiting(url) == 2)
        let_go()
        return [one.result(30), other.result(30)]


@pytest.mark.parametrize("how", ["logout", "another device", "all"])
@pytest.mark.parametrize("order", ["refresh first", "revoke first"])
def test_T27_after_a_revoke_nothing_of_the_session_works(house: IdentityWorld, order: str, how: str) -> None:
    person = register(house)
    other = person.elsewhere()
    revokes: dict[str, Callable[[], Answer]] = {
        "logout": lambda: person.ask("POST", "/logout"),
        "another device": lambda: other.ask("DELETE", f"/sessions/{person.session}"),
        "all": lambda: other.ask("POST", "/revoke-all-tokens"),
    }
    steps = [person.renew, revokes[how]]
    answers = in_order(person, *(steps if order == "refresh first" else steps[::-1]))
    refreshed, revoked = answers if order == "refresh first" else answers[::-1]
    assert revoked.status == 200, revoked
    tokens = [(person.access, person.refresh)]
    if refreshed.status == 200:
        tokens.append((refreshed.json()["access_token"], refreshed.json()["refresh_token"]))
    elif order == "revoke first":
        assert refreshed.code == "invalid_refresh_token"
    for person.access, person.refresh in tokens:
        assert person.get().code == "invalid_token"
        assert person.renew().code == "invalid_refresh_token"


def test_T27_many_at_once_without_any_order(house: IdentityWorld) -> None:
    for _ in range(5):
        person = register(house)
        asks = iter([person.renew, partial(person.ask, "POST", "/logout"), person.renew] * 3)
        answers = at_once(9, partial(lambda turn: next(turn)(), asks))
        assert any(answer.status == 200 and b"propagated" in answer.body for answer in answers)
        for answer in answers:
            if answer.status == 200 and b"refresh_token" in answer.body:
                person.take(answer)
                assert person.get().code == "invalid_token"
                assert person.renew().code == "invalid_refresh_token"
