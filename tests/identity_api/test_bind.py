"""bind, through the gateway: a client that moves, a browser that is updated, a token that was stolen."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit import database
from tests.kit.identity import ROUTES as USUAL
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import SAME_ORIGIN, Person, register
from tests.kit.postgres import Postgres
from tests.kit.raw import Answer
from tests.kit.world import TRUSTED

HOME, NEAR, FAR = "192.0.2.7", "192.0.2.200", "198.51.100.9"
V6, NEAR_V6, FAR_V6 = "2001:db8:1::7", "2001:db8:1::ffff", "2001:db8:2::7"
PHONE = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s Mobile Safari/537.36"
)
OLD, UPDATED = PHONE % "126.0.0.0", PHONE % "139.0.0.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
BOTH = {"address": "prefix", "agent": "family"}
BOUND = {
    "log": {**BOTH, "on_mismatch": "log"},
    "stepping": {**BOTH, "on_mismatch": "step_up"},
    "strict": {**BOTH, "on_mismatch": "strict"},
    "exact": {"address": "exact", "agent": "off", "on_mismatch": "step_up"},
    "agent": {"address": "off", "agent": "exact", "on_mismatch": "step_up"},
    "unbound": "none",
}
# Refreshes are judged by the defaults; `mode: report` shows what would be.
ROUTES = USUAL.partition("routes:")[0] + (
    "defaults: {policies: {bind: {address: prefix, agent: family, on_mismatch: step_up}}}\nroutes:\n"
    + "".join(
        f"  - {{name: {name}, match: {{path: /{name}/**}}, upstream: app,\n"
        f"     policies: {{bind: {json.dumps(bind)}}}}}\n"
        for name, bind in BOUND.items()
    )
    + "  - {name: reported, match: {path: /reported/**}, upstream: app, mode: report,\n"
    "     policies: {bind: {on_mismatch: strict}}}\n"
    "  - {name: public, match: {path: /public/**}, upstream: app, policies: {authenticate: none}}\n"
    "  - {name: optional, match: {path: /optional/**}, upstream: app, policies: {authenticate: optional}}\n"
)


@pytest.fixture(scope="module")
def sqlite_bound() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES) as world:
        yield world


@pytest.fixture(scope="module")
def postgres_bound(postgres_server: Postgres) -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES, url=postgres_server.make_database()) as world:
        yield world


@pytest.fixture(params=["sqlite", "postgres"])
def bound(request: pytest.FixtureRequest) -> IdentityWorld:
    world: IdentityWorld = request.getfixturevalue(f"{request.param}_bound")
    world.upstream.clear()
    return world


class Phone:
    """Somebody's, with an address that moves and a browser that is updated: as a trusted proxy tells it."""

    def __init__(self, world: IdentityWorld, address: str = HOME, agent: str = OLD, **how: Any) -> None:
        self.world, self.address, self.agent = world, address, agent
        self.owner = register(world)
        login = {"email": self.owner.email, "password": self.owner.password, **how}
        self.owner.take(self.call("POST", "/login", login))

    def at(self, address: str = HOME, agent: str = OLD) -> "Phone":
        self.address, self.agent = address, agent
        return self

    @property
    def lines(self) -> tuple[bytes, ...]:
        agent = (f"User-Agent: {self.agent}".encode(),) if self.agent else ()
        return (f"X-Forwarded-For: {self.address}".encode(), *agent)

    @property
    def credential(self) -> bytes:
        return self.owner.bearer if self.owner.access else self.owner.cookie_line

    def call(self, method: str, path: str, body: Any = None, *lines: bytes) -> Answer:
        return self.world.call(method, path, body, *self.lines, *lines, source=TRUSTED)

    def get(self, route: str, *lines: bytes) -> Answer:
        return self.world.get(f"/{route}/x", self.credential, *self.lines, *lines, source=TRUSTED)

    def everywhere(self, route: str) -> set[int | str]:
        """What comes of it on whichever worker takes it: status, or code of refusal."""
        answers = [self.get(route) for _ in range(8)]
        return {answer.status if answer.status == 200 else answer.code for answer in answers}

    def refresh(self) -> Answer:
        return self.call("POST", "/refresh", {"refresh_token": self.owner.refresh})

    def reauth(self) -> Answer:
        body = {"password": self.owner.password}
        return self.call("POST", "/reauth", body, self.credential, SAME_ORIGIN)

    def told(self, event: str = "session.mismatch", at_least: int = 0) -> list[dict[str, Any]]:
        """The owner's events, oldest first; waited for, since what is only logged waits for nobody."""
        elsewhere = self.owner.elsewhere()

        def found() -> list[dict[str, Any]]:
            newest_first = elsewhere.ask("GET", "/events?limit=200").json()["events"]
            return [each for each in reversed(newest_first) if each["event"] == event]

        return until(found, lambda events: len(events) >= at_least)


def until(
    look: Callable[[], list[dict[str, Any]]], enough: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10.0
    while not enough(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


# What an ordinary mobile user meets


@pytest.mark.parametrize("route", ["log", "stepping", "strict"])
@pytest.mark.parametrize("cookie", [False, True])
def test_an_ordinary_mobile_user_stays_signed_in(bound: IdentityWorld, route: str, cookie: bool) -> None:
    """Another address of the provider's /24, the /64 of a home, an update of the browser, all at once."""
    phone = Phone(bound, cookie=cookie)
    for address, agent in ((NEAR, OLD), (HOME, UPDATED), ("192.0.2.1", UPDATED), (HOME, OLD)):
        assert phone.at(address, agent).everywhere(route) == {200}
    at_home = Phone(bound, V6, cookie=cookie)
    for address, agent in ((NEAR_V6, OLD), (V6, UPDATED)):
        assert at_home.at(address, agent).everywhere(route) == {200}
    if not cookie:
        phone.owner.take(phone.at(NEAR, UPDATED).refresh())
        assert phone.everywhere(route) == {200}
    assert phone.told() == at_home.told() == []


@pytest.mark.parametrize(
    ("address", "agent", "differs"),
    [
        (FAR, OLD, ["address"]),
        (V6, OLD, ["address"]),
        (HOME, IPHONE, ["agent"]),
        (FAR, IPHONE, ["address", "agent"]),
        (HOME, "", ["agent"]),
    ],
)
def test_another_network_or_program_steps_up(
    bound: IdentityWorld, address: str, agent: str, differs: list[str]
) -> None:
    phone = Phone(bound)
    assert phone.everywhere("stepping") == {200}
    sent = len(bound.upstream.requests)
    assert phone.at(address, agent).everywhere("stepping") == {"binding_changed"}
    answer = phone.get("stepping")
    assert answer.status == 401 and "POST /reauth" in answer.problem()["detail"]
    challenge = answer.value(b"www-authenticate")
    assert challenge == b'Bearer realm="postern", error="insufficient_user_authentication"'
    assert len(bound.upstream.requests) == sent
    assert phone.at().everywhere("stepping") == {200}  # nothing has happened to who is at home
    [event] = phone.told(at_least=1)
    assert event["data"] == {"act": "step_up", "differs": differs, "on": "request", "route": "stepping"}
    assert (event["session_id"], event["address"]) == (phone.owner.session, address)


def test_a_client_with_both_v4_and_v6_is_bound_to_both_after_a_proof_from_there(bound: IdentityWorld) -> None:
    phone = Phone(bound)
    assert phone.at(V6).everywhere("stepping") == {"binding_changed"}
    said = phone.reauth().json()
    assert said["propagated"] == {"edges": 2, "acknowledged": 2}
    for address in (V6, HOME, NEAR_V6, NEAR):
        assert phone.at(address).everywhere("stepping") == {200}
    assert phone.at(FAR_V6).everywhere("stepping") == {"binding_changed"}
    assert phone.at(FAR).everywhere("stepping") == {"binding_changed"}
    assert phone.reauth().status == 200
    for address, expected in ((FAR, 200), (V6, 200), (HOME, "binding_changed")):
        assert phone.at(address).everywhere("stepping") == {expected}
    assert [event["address"] for event in phone.told("session.rebound", at_least=2)] == [V6, FAR]


def test_a_proof_by_another_program_binds_to_that(bound: IdentityWorld) -> None:
    phone = Phone(bound, cookie=True)
    assert phone.at(HOME, IPHONE).everywhere("stepping") == {"binding_changed"}
    assert phone.reauth().status == 200
    assert phone.everywhere("stepping") == {200}
    assert phone.at(HOME, OLD).everywhere("stepping") == {"binding_changed"}


# Each way to compare, each way to act


def test_exact_means_the_very_same(bound: IdentityWorld) -> None:
    phone = Phone(bound)
    cases = [
        ("exact", HOME, IPHONE, 200),
        ("exact", f"::ffff:{HOME}", OLD, 200),
        ("exact", NEAR, OLD, "binding_changed"),
        ("agent", FAR, OLD, 200),
        ("agent", HOME, UPDATED, "binding_changed"),
    ]
    for route, address, agent, expected in cases:
        assert phone.at(address, agent).everywhere(route) == {expected}, (route, address, agent)


def test_log_lets_through_and_tells_once(bound: IdentityWorld) -> None:
    phone = Phone(bound).at(FAR, IPHONE)
    for _ in range(3):
        assert phone.everywhere("log") == {200}
    [event] = phone.told(at_least=1)
    assert event["data"] == {"act": "log", "differs": ["address", "agent"], "on": "request", "route": "log"}
    assert event["agent"] == IPHONE


@pytest.mark.parametrize("cookie", [False, True])
def test_strict_ends_the_session_everywhere(bound: IdentityWorld, cookie: bool) -> None:
    phone = Phone(bound, cookie=cookie)
    other = phone.owner.elsewhere()
    assert phone.everywhere("strict") == {200}
    answer = phone.at(FAR).get("strict")
    assert (answer.status, answer.code) == (401, "binding_changed")
    assert answer.value(b"www-authenticate") == b'Bearer realm="postern", error="invalid_token"'
    gone = "credential_missing" if cookie else "invalid_token"
    for route in ("strict", "unbound"):
        assert phone.at().everywhere(route) == {gone}
    if not cookie:
        assert phone.refresh().code == "invalid_refresh_token"
    live = other.ask("GET", "/sessions").json()["sessions"]
    assert phone.owner.session not in [each["session_id"] for each in live]
    assert other.get("/unbound/x").status == 200
    [event] = phone.told(at_least=1)
    assert event["data"]["act"] == "strict" and event["address"] == FAR


def test_where_a_route_reports_strict_is_only_written_down(bound: IdentityWorld) -> None:
    phone = Phone(bound).at(FAR)
    assert phone.everywhere("reported") == {200}
    assert phone.at().everywhere("strict") == {200}
    [event] = phone.told(at_least=1)
    assert event["data"]["act"] == "log"
    said = '"verdicts":[{"policy":"bind","code":"binding_changed"}]'
    until_said(bound, said, '"why":"another address than at sign-in"')


def until_said(world: IdentityWorld, *words: str) -> None:
    deadline = time.monotonic() + 10.0
    while not any(all(word in line for word in words) for line in world.gateway.output().splitlines()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_where_nothing_is_bound_or_nobody_known_it_says_nothing(bound: IdentityWorld) -> None:
    phone = Phone(bound).at(FAR_V6, IPHONE)
    assert phone.everywhere("unbound") == phone.everywhere("public") == {200}
    assert bound.get("/optional/x", *phone.lines, source=TRUSTED).status == 200
    assert phone.everywhere("optional") == {"binding_changed"}


def test_a_websocket_is_bound_when_it_begins(bound: IdentityWorld) -> None:
    phone = Phone(bound)
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
               b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    assert phone.at(FAR).get("stepping", *upgrade).code == "binding_changed"


# On refresh


@pytest.mark.parametrize(("address", "agent"), [(FAR, OLD), (V6, OLD), (HOME, IPHONE)])
def test_a_refresh_from_elsewhere_is_refused_and_moves_nothing(
    bound: IdentityWorld, address: str, agent: str
) -> None:
    phone = Phone(bound)
    answer = phone.at(address, agent).refresh()
    assert (answer.status, answer.code) == (401, "binding_changed")
    assert b'error="insufficient_user_authentication"' in answer.value(b"www-authenticate")
    assert phone.owner.access.encode() not in answer.body
    [event] = phone.told(at_least=1)
    assert event["data"]["on"] == "refresh" and event["data"]["act"] == "step_up"
    phone.owner.take(phone.at(NEAR, UPDATED).refresh())
    assert phone.everywhere("stepping") == {200}


def test_a_refresh_by_cookie_is_judged_alike(bound: IdentityWorld) -> None:
    phone = Phone(bound, cookie=True)
    body = {"bearer": True}
    refused = phone.at(FAR).call("POST", "/refresh", body, phone.credential, SAME_ORIGIN)
    assert refused.code == "binding_changed"
    given = phone.at(NEAR).call("POST", "/refresh", body, phone.credential, SAME_ORIGIN).json()
    assert given["access_token"]


def test_after_a_proof_from_there_the_refresh_is_good(bound: IdentityWorld) -> None:
    phone = Phone(bound).at(FAR)
    assert phone.refresh().code == "binding_changed"
    assert phone.reauth().status == 200
    phone.owner.take(phone.refresh())
    assert phone.everywhere("stepping") == {200}


def test_a_person_without_a_proxy_is_bound_to_where_they_are(bound: IdentityWorld) -> None:
    """What a client says of itself in X-Forwarded-For moves nobody."""
    person = register(bound)
    thief = Person(bound, access=person.access)
    forged = f"X-Forwarded-For: {person.address}".encode()
    assert person.get("/stepping/x").status == 200
    assert thief.get("/stepping/x").code == "binding_changed"
    assert thief.get("/stepping/x", forged).code == "binding_changed"


def test_the_cookie_that_is_due_is_renewed_at_home_only(postgres_bound: IdentityWorld) -> None:
    """On a route that binds nothing, where the request itself passes; PostgreSQL's clock can be moved."""
    away, at_home = Phone(postgres_bound, cookie=True), Phone(postgres_bound, cookie=True)
    database.move_clock(postgres_bound.url, 16 * 60.0)
    try:
        answers = [away.at(FAR).get("unbound") for _ in range(12)]
        assert {answer.status for answer in answers} == {200}
        assert not any(answer.values(b"set-cookie") for answer in answers)
        [event] = away.told(at_least=1)
        assert event["data"] == {"act": "step_up", "differs": ["address"], "on": "refresh"}
        answers = [at_home.at(NEAR, UPDATED).get("unbound") for _ in range(12)]
        assert any(answer.values(b"set-cookie") for answer in answers)
        assert at_home.told() == []
    finally:
        database.move_clock(postgres_bound.url, 0)
