"""T18 under load: the identity service killed and frozen while cached people call, refresh and register."""

import os
import random
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit.identity import ROUTES, IdentityWorld, run_identity_gateway
from tests.kit.people import Person, register, works
from tests.kit.postgres import Postgres
from tests.kit.wire import WireError
from tests.load.servers import Nginx
from tests.load.wrk import Result, Wrk
from tests.processes.supervised import until


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An upstream that answers with who it was told asks."""
    folder = tmp_path_factory.mktemp("who")
    with Nginx(folder, says="$http_x_user_id") as server:
        yield server


@pytest.fixture(scope="module")
def loaded(who: Nginx) -> Iterator[IdentityWorld]:
    routes = ROUTES.replace('"URL"', f'"{who.url}"')
    with run_identity_gateway(routes, serve_stale="1s", check=False) as house:
        yield house


def test_T18_killed_under_load_cached_people_go_on(loaded: IdentityWorld, tmp_path: Path) -> None:
    person = register(loaded)
    with Wrk(loaded.gateway, tmp_path, "/app/x", person.user_id, person.bearer.decode()) as load:
        for _ in range(2):
            killed = loaded.pid_of_identity()
            os.kill(killed, signal.SIGKILL)
            load.flow()
            until(lambda killed=killed: is_back(loaded, killed))  # type: ignore[misc]
            load.flow()
        result = load.end()
    print(f"figure: {result.good} requests while identity was killed twice, {len(refusals(result))} refused")
    assert result.broken == 0
    # after a reconnect nothing that was cached counts; whoever asks in that moment may be told to wait
    assert set(refusals(result)) <= {"503 identity_unavailable"}
    assert len(refusals(result)) < result.good / 100


def refusals(result: Result) -> list[str]:
    """Status and code of each reply that was not the person's own; a body's last line end stands in it."""
    found = re.findall(r'^"(\d{3}) (.*)', "\n".join(result.bad), re.M)
    codes = [re.search(r'"code\\?":\\?"(\w+)', body) for _, body in found]
    return [f"{status} {code[1] if code else ''}" for (status, _), code in zip(found, codes, strict=True)]


def is_back(house: IdentityWorld, killed: int) -> bool:
    health = house.gateway.ask("/health").body
    return house.pid_of_identity() not in (0, killed) and b'"state": "ready"' in health


def test_T18_frozen_under_load_they_go_on_then_wait_then_go_on(loaded: IdentityWorld, tmp_path: Path) -> None:
    until(lambda: works(loaded))
    person = register(loaded)
    with Wrk(loaded.gateway, tmp_path, "/app/x", person.user_id, person.bearer.decode()) as load:
        pid = loaded.pid_of_identity()
        os.kill(pid, signal.SIGSTOP)
        try:
            load.flow()
            until(lambda: person.get().status == 503)
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: person.get().status == 200)
        load.flow()
        result = load.end()
    print(f"figure: {result.good} requests, {len(refusals(result))} refused while identity was frozen")
    assert result.broken == 0 and result.good > 1000
    assert set(refusals(result)) == {"503 identity_unavailable"}


# kill -9 at random moments: what was answered stands


@dataclass
class Life:
    """What one client did and was told, over refreshes, new accounts and logouts."""

    person: Person
    answered: int = 0
    lost: int = 0
    ended: list[Person] = field(default_factory=list)
    kept: list[Person] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


OUTAGE = (502, 503, 504)


def live(life: Life, house: IdentityWorld, steps: int, seed: int, over: threading.Event) -> None:
    """So many steps at least, and on until it is over."""
    dice = random.Random(seed)
    while not over.is_set() or life.answered < steps:
        try:
            step(life, house, dice)
        except (OSError, WireError, AssertionError) as error:
            life.complaints.append(repr(error))
            return


def step(life: Life, house: IdentityWorld, dice: random.Random) -> None:
    choice = dice.random()
    if choice < 0.7:
        answer = life.person.renew()
        if answer.status == 200:
            life.person.take(answer)
            life.answered += 1
        elif answer.status in OUTAGE:
            life.lost += 1  # the old token must go on to work: the next step shows it
            threading.Event().wait(0.02)
        else:
            life.complaints.append(f"a refresh was refused: {answer}")
    elif choice < 0.85:
        life.kept.append(life.person)
        fresh = Person(house)
        body = {"email": fresh.email, "password": fresh.password}
        answer = fresh.call("POST", "/register", body)
        if answer.status == 201:
            fresh.take(answer, 201)
            life.person = fresh
            life.answered += 1
        elif answer.status in OUTAGE:
            life.lost += 1
            life.person = life.kept.pop()
        else:
            life.complaints.append(f"a registration was refused: {answer}")
    else:
        if life.person.ask("POST", "/logout").status in (200, 202):
            life.ended.append(life.person)
            life.answered += 1
        else:
            life.lost += 1  # done or not: nobody was told
        until(lambda: signed_in_again(life, house))


def signed_in_again(life: Life, house: IdentityWorld) -> bool:
    fresh = Person(house, email=life.person.email, password=life.person.password)
    answer = fresh.call("POST", "/login", {"email": fresh.email, "password": fresh.password})
    if answer.status == 200:
        fresh.take(answer)
        life.person = fresh
    return answer.status == 200


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize(("steps", "kills"), [(100, 3), pytest.param(500, 12, marks=pytest.mark.hard)])
def test_T18_kill_9_loses_nothing_that_was_answered(
    postgres_server: Postgres, database: str, steps: int, kills: int
) -> None:
    url = postgres_server.make_database() if database == "postgres" else ""
    with run_identity_gateway(url=url, check=False) as house:
        lives = [Life(register(house)) for _ in range(4)]
        over = threading.Event()
        threads = [
            threading.Thread(target=live, args=(life, house, steps // 4, seed, over))
            for seed, life in enumerate(lives)
        ]
        for thread in threads:
            thread.start()
        try:
            kill_now_and_then(house, kills)
        finally:
            over.set()
            for thread in threads:
                thread.join(120)
        answered, lost = sum(life.answered for life in lives), sum(life.lost for life in lives)
        print(f"figure: {kills} kills, {answered} calls answered, {lost} not")
        assert [complaint for life in lives for complaint in life.complaints] == []
        assert answered >= steps
        until(lambda: works(house))
        for life in lives:
            for person in [*life.kept, life.person]:
                assert person.renew().status == 200, "an answered session is lost"
                person.sign_in()
            for person in life.ended:
                assert person.get().code == "invalid_token", "a session that was ended lives"
                assert person.renew().code == "invalid_refresh_token"


def kill_now_and_then(house: IdentityWorld, kills: int) -> None:
    dice = random.Random(9)
    for _ in range(kills):
        until(lambda: works(house))
        threading.Event().wait(dice.random() * 0.3)
        os.kill(house.pid_of_identity(), signal.SIGKILL)
