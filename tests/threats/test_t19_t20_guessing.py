"""T19 and T20: a sign-in tells nobody whether an account exists, and no alias gives another try."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.identity_api.test_login import told
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, new_address, new_email, new_password, register
from tests.kit.postgres import Postgres
from tests.kit.raw import Answer
from tests.kit.tokens import made_up
from tests.processes.supervised import until

ROUNDS = 8
TICKS = 100  # per second, of /proc/PID/stat


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def dear(request: pytest.FixtureRequest) -> Iterator[IdentityWorld]:
    """A gateway where a password costs what can be measured, and addresses must be confirmed."""
    cost = {"argon2": {"memory": "19MiB", "time": 3}}
    url = ""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.make_database()
    with run_identity_gateway(url=url, password=cost, confirmation="required", workers=1) as house:
        yield house


def cpu_of(house: IdentityWorld) -> float:
    """The seconds of processor time that the identity service has used."""
    fields = Path(f"/proc/{house.pid_of_identity()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def queries_of(house: IdentityWorld) -> Counter[str]:
    """How often each query was made."""
    found = Counter[str]()
    for name, value in house.gateway.metrics().items():
        match = re.fullmatch(r'postern_store_query_duration_seconds_count\{query="(.*)"\}', name)
        if match:
            found[match[1]] = int(value)
    return found


def work_of(house: IdentityWorld, ask: Callable[[], Answer]) -> tuple[Answer, Counter[str], float]:
    """The last answer, the queries, and the processor time of some equal calls."""
    ask()
    queries, cpu = queries_of(house), cpu_of(house)
    for _ in range(ROUNDS):
        answer = ask()
    made = queries_of(house)
    made.subtract(queries)
    # what the service does by itself, once a second
    return answer, Counter({name: n for name, n in made.items() if n >= ROUNDS}), cpu_of(house) - cpu


def assert_alike(house: IdentityWorld, known: Callable[[], Answer], unknown: Callable[[], Answer]) -> None:
    one, other = work_of(house, known), work_of(house, unknown)
    assert one[0].status == other[0].status
    assert one[1] == other[1] != Counter(), (one[1], other[1])
    assert one[2] > 0.1 and 0.6 < one[2] / other[2] < 1.7, (one[2], other[2])


@pytest.mark.parametrize("by", ["email", "username"])
def test_T19_login_of_known_and_unknown_does_equal_work(dear: IdentityWorld, by: str) -> None:
    person = Person(dear)
    body = {"email": person.email, "password": person.password, "username": person.username}
    assert person.call("POST", "/register", body).status == 202

    def login(name: Callable[[], str]) -> Answer:
        body = {by: name(), "password": new_password()}
        return dear.call("POST", "/login", body, source=new_address())

    def unknown() -> str:
        return new_email() if by == "email" else new_email().partition("@")[0]

    assert_alike(dear, lambda: login(lambda: getattr(person, by)), lambda: login(unknown))


@pytest.mark.hard
@pytest.mark.parametrize("path", ["/login", "/register"])
def test_T19_no_clock_tells_known_from_unknown(dear: IdentityWorld, path: str) -> None:
    """200 of each, in turn: whoever guesses by the time that one took is right as often as a coin."""
    person = Person(dear)
    body = {"email": person.email, "password": person.password}
    assert person.call("POST", "/register", body).status == 202

    def timed(email: str) -> float:
        began = time.perf_counter()
        dear.call("POST", path, {"email": email, "password": new_password()}, source=new_address())
        return time.perf_counter() - began

    pairs = [(timed(person.email), timed(new_email())) for _ in range(200)]
    known, unknown = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    slower = sum((one > other) + (one == other) / 2 for one in known for other in unknown)
    guessed = slower / (len(known) * len(unknown))
    print(f"figure: {path}: the known one took longer in {guessed:.0%} of all pairs")
    assert 0.38 < guessed < 0.62


def test_T19_register_of_known_and_unknown_does_equal_work_when_confirmation_is_on(
    dear: IdentityWorld,
) -> None:
    taken = new_email()

    def sign_up(email: str) -> Answer:
        body = {"email": email, "password": new_password()}
        return dear.call("POST", "/register", body, source=new_address())

    first, again = sign_up(taken), sign_up(taken)
    assert first.status == again.status == 202
    assert first.body == again.body
    one, other = work_of(dear, lambda: sign_up(taken)), work_of(dear, lambda: sign_up(new_email()))
    assert one[0].body == other[0].body
    assert one[2] > 0.1 and 0.6 < one[2] / other[2] < 1.7, (one[2], other[2])


def test_T19_an_unconfirmed_account_s_sign_in_is_told_apart_only_by_the_right_password(
    dear: IdentityWorld,
) -> None:
    person = Person(dear)
    assert (
        person.call("POST", "/register", {"email": person.email, "password": person.password}).status == 202
    )
    wrong = person.call("POST", "/login", {"email": person.email, "password": new_password()})
    nobody = person.call("POST", "/login", {"email": new_email(), "password": new_password()})
    assert told(wrong) == told(nobody)
    right = person.call("POST", "/login", {"email": person.email, "password": person.password})
    assert right.status in (401, 403) and b"access_token" not in right.body


def test_T19_a_locked_account_looks_like_a_wrong_password(house: IdentityWorld, admin: Person) -> None:
    person = register(house)
    assert admin.ask("POST", f"/admin/users/{person.user_id}/lock", {"why": "test"}).status == 200
    right = person.call("POST", "/login", {"email": person.email, "password": person.password})
    nobody = person.call("POST", "/login", {"email": new_email(), "password": new_password()})
    assert told(right) == told(nobody)


@pytest.fixture(scope="module")
def strict() -> Iterator[IdentityWorld]:
    """The usual number of tries, and a wait that a test can wait for."""
    with run_identity_gateway(lockout_duration="2s", max_login_attempts=5, workers=1) as house:
        yield house


def attempt(person: Person, name: str, password: str, address: str = "") -> Answer:
    by = "email" if "@" in name else "username"
    body = {by: name, "password": password}
    return person.world.call("POST", "/login", body, source=address or person.address)


def test_T20_every_alias_counts_on_one_counter(strict: IdentityWorld) -> None:
    person = register(strict)
    aliases = [
        person.email,
        person.username,
        person.email.upper(),
        person.username.upper(),
        person.email.title(),
    ]
    for name in aliases:
        assert attempt(person, name, new_password()).code == "invalid_credentials"
    for name in aliases:
        locked = attempt(person, name, person.password)
        assert (locked.status, locked.code) == (401, "invalid_credentials"), name


def test_T20_the_right_password_looks_wrong_while_locked_and_right_after_the_wait(
    strict: IdentityWorld,
) -> None:
    person = register(strict)
    wrong = [attempt(person, person.email, new_password()) for _ in range(5)]
    locked = attempt(person, person.email, person.password)
    assert told(locked) == told(wrong[0])
    until(lambda: waited(person))
    assert person.get().status == 200


def waited(person: Person) -> bool:
    """Asks seldom enough: who asks while waiting waits longer."""
    time.sleep(2.1)
    answer = attempt(person, person.email, person.password)
    if answer.status == 200:
        person.take(answer)
    return answer.status == 200


def test_T20_elsewhere_the_owner_comes_in(strict: IdentityWorld) -> None:
    """The lock is for an address: nobody locks another out of his own account."""
    person = register(strict)
    thief = new_address()
    for _ in range(8):
        assert attempt(person, person.email, new_password(), thief).status == 401
    assert attempt(person, person.email, person.password, thief).status == 401
    assert attempt(person, person.email, person.password).status == 200


def test_T20_unknown_names_are_counted_alike(strict: IdentityWorld) -> None:
    """An account made in the middle of it: the wait was there before."""
    person = Person(strict)
    for _ in range(5):
        assert attempt(person, person.email, new_password()).code == "invalid_credentials"
    register_elsewhere = strict.call(
        "POST", "/register", {"email": person.email, "password": person.password}, source=new_address()
    )
    assert register_elsewhere.status == 201
    assert attempt(person, person.email, person.password).code == "invalid_credentials"


def test_T20_a_success_ends_the_count(strict: IdentityWorld) -> None:
    person = register(strict)
    for _ in range(3):
        for _ in range(4):
            assert attempt(person, person.email, new_password()).status == 401
        assert attempt(person, person.username, person.password).status == 200


@pytest.fixture(scope="module")
def limited() -> Iterator[IdentityWorld]:
    limits = {"login": "3/minute", "register": "3/minute", "refresh": "3/minute"}
    with run_identity_gateway(limits=limits, workers=1) as house:
        yield house


@pytest.mark.parametrize("path", ["/login", "/register", "/refresh"])
def test_calls_from_one_address_are_limited(limited: IdentityWorld, path: str) -> None:
    def call(address: str) -> Answer:
        body = {"email": new_email(), "password": new_password()}
        wanted = {"refresh_token": made_up("psr_", 40)} if path == "/refresh" else body
        return limited.call("POST", path, wanted, source=address)

    address = new_address()
    statuses = [call(address).status for _ in range(5)]
    assert 429 not in statuses[:3] and statuses[3:] == [429, 429]
    refused = call(address)
    assert refused.code == "rate_limited" and 1 <= int(refused.value(b"retry-after")) <= 60
    assert call(new_address()).status != 429
