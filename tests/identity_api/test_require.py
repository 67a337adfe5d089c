"""require, through the gateway: roles, permissions, meta, a confirmed address, levels and fresh proofs."""

from collections.abc import Iterator

import pytest

from tests.kit import scripts
from tests.kit.identity import ROUTES as USUAL
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, make_admin, register
from tests.kit.postgres import Postgres
from tests.kit.raw import Client, request

# `fresh: 1ms` is what nobody is, `1h` what everybody here is.
REQUIRED = {
    "clerks": "{roles: [clerk, boss]}",
    "orders": '{permissions: ["orders:read", "orders:write"]}',
    "pro": "{meta: {plan: pro, seats: 5, trial: false}}",
    "confirmed": "{confirmed: true}",
    "second": "{level: 2, fresh: 1h}",
    "now": "{fresh: 1ms}",
    "lately": "{fresh: 1h}",
}
ROUTES = (
    USUAL.partition("routes:")[0]
    + "routes:\n"
    + "".join(
        f"  - {{name: {name}, match: {{path: /{name}/**}}, upstream: app, policies: {{require: {what}}}}}\n"
        for name, what in REQUIRED.items()
    )
    + """
  - {name: maybe, match: {path: /maybe/**}, upstream: app,
     policies: {authenticate: optional, require: {roles: [clerk]}}}
  - {name: reported, match: {path: /reported/**}, upstream: app, mode: report,
     policies: {require: {roles: [clerk]}}}
  - {name: free, match: {path: /free/**}, upstream: app}
"""
)


@pytest.fixture(scope="module")
def sqlite_required() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES) as world:
        yield world


@pytest.fixture(scope="module")
def postgres_required(postgres_server: Postgres) -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES, url=postgres_server.make_database()) as world:
        yield world


@pytest.fixture(params=["sqlite", "postgres"])
def required(request: pytest.FixtureRequest) -> IdentityWorld:
    world: IdentityWorld = request.getfixturevalue(f"{request.param}_required")
    world.upstream.reply(scripts.answer())
    return world


@pytest.fixture
def admin(required: IdentityWorld) -> Person:
    return make_admin(required)


def role(admin: Person, name: str, *permissions: str) -> str:
    body = {"permissions": list(permissions)}
    if admin.ask("POST", "/admin/roles", {"name": name, **body}).status == 409:
        assert admin.ask("PUT", f"/admin/roles/{name}", body).status == 200
    return name


def give(admin: Person, person: Person, *roles: str) -> None:
    answer = admin.ask("PUT", f"/admin/users/{person.user_id}/roles", {"roles": ["user", *roles]})
    assert answer.json()["propagated"] == {"edges": 2, "acknowledged": 2}


def everywhere(person: Person, route: str) -> int | str:
    """On whichever worker takes it: status, or code of refusal."""
    answers = [person.get(f"/{route}/x") for _ in range(6)]
    [said] = {answer.status if answer.status == 200 else answer.code for answer in answers}
    return said


def test_any_of_the_roles(required: IdentityWorld, admin: Person) -> None:
    person = register(required)
    answer = person.get("/clerks/x")
    assert (answer.status, answer.code) == (403, "insufficient_scope")
    assert "clerk, boss" in answer.problem()["detail"]
    assert answer.value(b"www-authenticate") == b'Bearer realm="postern", error="insufficient_scope"'
    for name in ("clerk", "boss"):
        give(admin, person, role(admin, name))
        assert everywhere(person, "clerks") == 200
    give(admin, person, role(admin, "clerks"))
    assert everywhere(person, "clerks") == "insufficient_scope"


def test_all_of_the_permissions(required: IdentityWorld, admin: Person) -> None:
    person = register(required)
    challenge = person.get("/orders/x").value(b"www-authenticate")
    assert challenge.endswith(b'error="insufficient_scope", scope="orders:read orders:write"')
    reader, writer = role(admin, "reader", "orders:read"), role(admin, "writer", "orders:write", "stock:*")
    keeper = role(admin, "keeper", "orders:*")
    for roles, expected in (
        ((reader,), "insufficient_scope"),
        ((writer,), "insufficient_scope"),
        ((reader, writer), 200),
        ((keeper,), 200),
    ):
        give(admin, person, *roles)
        assert everywhere(person, "orders") == expected, roles
    role(admin, "keeper", "orders:delete")  # the same role, without the wildcard
    assert everywhere(person, "orders") == "insufficient_scope"


def test_t45_the_protected_meta_counts_and_never_the_public(required: IdentityWorld, admin: Person) -> None:
    person = register(required)
    wanted = {"plan": "pro", "seats": 5, "trial": False}
    assert person.ask("PATCH", "/me", {"meta": {**wanted, "protected": wanted}}).status == 200
    assert everywhere(person, "pro") == "insufficient_scope"
    path = f"/admin/users/{person.user_id}/meta"
    for protected, expected in (
        (wanted, 200),
        ({"seats": 6}, "insufficient_scope"),
        ({"seats": "5", "trial": "false"}, 200),
        ({"plan": "free"}, "insufficient_scope"),
        ({"plan": "pro", "trial": None}, "insufficient_scope"),
    ):
        assert admin.ask("PATCH", path, {"protected": protected}).status == 200
        assert everywhere(person, "pro") == expected, protected


def test_a_confirmed_address(required: IdentityWorld) -> None:
    person = register(required)
    answer = person.get("/confirmed/x")
    assert (answer.status, answer.code) == (403, "insufficient_scope")
    assert "Confirm" in answer.problem()["detail"]
    required.postern("users", "confirm", person.email)
    assert everywhere(person, "confirmed") == 200


def test_level_and_freshness_ask_for_another_proof(required: IdentityWorld) -> None:
    person = register(required)
    for route, wanted in (("second", b'acr_values="2", max_age="3600"'), ("now", b'max_age="0"')):
        answer = person.get(f"/{route}/x")
        assert (answer.status, answer.code) == (401, "insufficient_user_authentication")
        challenge = b'Bearer realm="postern", error="insufficient_user_authentication", '
        assert answer.value(b"www-authenticate") == challenge + wanted
    assert everywhere(person, "lately") == 200
    assert person.ask("POST", "/reauth", {"password": person.password}).status == 200
    assert everywhere(person, "lately") == 200


def test_who_is_nobody_is_asked_for_a_credential(required: IdentityWorld, admin: Person) -> None:
    answer = required.get("/maybe/x")
    assert (answer.status, answer.code) == (401, "credential_missing")
    assert answer.value(b"www-authenticate") == b'Bearer realm="postern"'
    person = register(required)
    assert everywhere(person, "maybe") == "insufficient_scope"
    give(admin, person, role(admin, "clerk"))
    assert everywhere(person, "maybe") == 200


def test_where_a_route_reports_it_is_written_down(required: IdentityWorld) -> None:
    assert everywhere(register(required), "reported") == 200


def test_t28_a_stream_ends_with_the_right_to_it(required: IdentityWorld, admin: Person) -> None:
    """Before the call that takes it has answered; one whose route requires nothing goes on."""
    required.upstream.reply(scripts.switch())
    person = register(required)
    give(admin, person, role(admin, "clerk"))
    with (
        Client(required.port, source=person.address) as clerks,
        Client(required.port, source=person.address) as free,
    ):
        for client, route in ((clerks, "clerks"), (free, "free")):
            lines = (person.bearer, b"Connection: Upgrade", b"Upgrade: websocket")
            assert client.send(request(f"/{route}/socket", *lines)).head().status == 101
        give(admin, person)
        clerks.sock.settimeout(1.0)
        clerks.rest()  # ends: it was closed before the push was acknowledged
        assert free.send(b"still here").source.exactly(10) == b"still here"
