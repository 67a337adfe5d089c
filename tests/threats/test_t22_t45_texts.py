"""T22, T23, T35 and T45: what people write is data: no header, log line, template or claim comes of it."""

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_email, new_password, register
from tests.kit.raw import request
from tests.processes.supervised import until

NASTY = [
    "a\r\nX-User-Id: 1", "a\nb", "a\x00b", "a\x7fb", "a\u2028b", "😀", "%0d%0a", "%250d", "a,b", "a;b", "=",
    "\\", '"}\n{"level":"error"', "\x1b[31m", "\u202etxt.exe", "\ud83d", "x" * 3000,
]  # fmt: skip
EXPANDED = [
    "{{7*7}}",
    "${HOME}",
    "{env.PATH}",
    "$(id)",
    "%(message)s",
    "{0.__class__}",
    "${jndi:ldap://x}",
    "%n",
]


@pytest.mark.parametrize("text", NASTY)
def test_T22_names_and_meta_of_any_text_stay_one_value(
    house: IdentityWorld, person: Person, text: str
) -> None:
    body = json.dumps({"first_name": text, "meta": {"tier": text}}).encode()
    answer = person.ask("PATCH", "/me", body)
    assert answer.status in (200, 400, 422), answer
    assert person.get().status == 200
    assert house.seen.value(b"x-user-id").decode() == person.user_id
    if answer.status == 200:
        me = person.ask("GET", "/me").json()
        assert me["first_name"] == text and me["meta"] == {"tier": text}
        values = house.seen.values(b"x-user-public-tier")
        assert [unquote(value.decode("ascii"), errors="surrogatepass") for value in values] == [text]


@pytest.mark.parametrize(
    "agent", [b"a\tb", b"\xff\xfe", "😀".encode(), b'"}{"x":"', b"x" * 3000, b"\\", b"%s%n", b"\x80" * 100]
)
def test_T22_an_agent_of_any_bytes_is_one_log_line_and_one_session(
    house: IdentityWorld, agent: bytes
) -> None:
    person = Person(house)
    line = b"User-Agent: " + agent
    body = {"email": person.email, "password": person.password}
    answer = house.call("POST", "/register", body, line, source=person.address)
    person.take(answer, 201)
    request_id = answer.value(b"x-request-id").decode()
    assert house.gateway.wait_logged(request_id)["status"] == 201
    assert house.get("/app/x", person.bearer, line, source=person.address).status == 200
    assert len(person.ask("GET", "/sessions").json()["sessions"]) == 1
    assert len(person.ask("GET", "/events").json()["events"]) >= 1


def test_T22_every_line_of_every_log_is_json_by_itself(house: IdentityWorld) -> None:
    for text in NASTY[:12]:
        data = json.dumps({"email": text, "password": text}).encode()
        house.call("POST", "/login", data, b"User-Agent: " + text.encode("utf-8", "replace").translate(
            None, b"\r\n\x00\x7f\x1b"
        ))  # fmt: skip
    until(lambda: house.gateway.output().endswith("\n"))
    for line in house.gateway.output().removesuffix("\n").split("\n"):
        assert isinstance(json.loads(line), dict)
    for line in filter(None, house.gateway.errors().split("\n")):
        assert isinstance(json.loads(line), dict), line


@pytest.mark.parametrize("name", [b"X-User-Id\r\nX-Forged: 1", b"X\x00Y", b"X Y"])
def test_T22_no_header_of_ours_can_be_split(house: IdentityWorld, person: Person, name: bytes) -> None:
    data = request("/app/x", person.bearer, name + b": 1")
    answer = house.send(data)
    assert answer.status in (200, 400)
    for seen in house.upstream.requests:
        assert seen.value(b"x-user-id").decode() == person.user_id


@pytest.mark.parametrize("text", EXPANDED)
def test_T23_nothing_expands_what_people_write(house: IdentityWorld, text: str) -> None:
    person = Person(house).register(first_name=text, meta={"tier": text})
    assert person.ask("GET", "/me").json()["first_name"] == text
    assert person.get("/app/x", b"X-Text: " + text.encode()).status == 200
    assert house.seen.value(b"x-text").decode() == text
    assert unquote(house.seen.value(b"x-user-public-tier").decode()) == text


MASS: dict[str, Any] = {
    "roles": ["admin"], "role": "admin", "permissions": ["postern:admin"], "confirmed": True, "id": 1,
    "user_id": "00000000-0000-4000-8000-000000000000", "protected": {"plan": "pro"}, "level": 2,
    "locked_at": None, "email_proved_at": 1, "password_hash": "x", "confirm_id": "x", "session_id": "x",
    "password_reset_key": "x", "successful_login_attempts": 99, "inserted_at": "2000-01-01T00:00:00",
    "created_at": 1, "methods": ["otp"], "is_admin": True, "kind": "service",
    "__proto__": {"roles": ["admin"]}, "absolute_until": 0,
}  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
def test_T35_nobody_makes_himself_more_by_registering(house: IdentityWorld, nested: bool) -> None:
    person = Person(house)
    meta = {"protected": {"plan": "pro"}, "public": {"tier": "gold"}, "tier": "own"}
    body = {**MASS, "email": person.email, "password": person.password, "meta": meta}
    person.take(person.call("POST", "/register", {"user": body, **MASS} if nested else body), 201)
    assert_plain(house, person)
    assert person.ask("GET", "/me").json()["meta"] == {"tier": "own"}


@pytest.mark.parametrize("key", MASS)
def test_T35_nor_by_his_profile(house: IdentityWorld, person: Person, key: str) -> None:
    answer = person.ask("PATCH", "/me", {key: MASS[key], "first_name": "Ada"})
    assert answer.status == 200, answer  # unknown fields are ignored there
    assert person.ask("GET", "/me").json()["first_name"] == "Ada"
    assert_plain(house, person)


@pytest.mark.parametrize("key", ["email", "password", "username"])
def test_T35_nor_what_has_a_call_of_its_own(house: IdentityWorld, person: Person, key: str) -> None:
    new = {"email": new_email(), "password": new_password(), "username": "someone-else"}[key]
    answer = person.ask("PATCH", "/me", {key: new})
    assert answer.status in (200, 422)
    assert person.ask("GET", "/me").json()["email"] == person.email
    person.sign_in()


def assert_plain(house: IdentityWorld, person: Person) -> None:
    me = person.ask("GET", "/me").json()
    assert (me["roles"], me["permissions"], me["confirmed"]) == (["user"], [], False)
    assert me["user_id"] == person.user_id != MASS["user_id"]
    assert person.get().status == 200
    seen = house.seen
    assert (seen.value(b"x-user-roles"), seen.value(b"x-user-permissions")) == (b"user", b"")
    assert (seen.value(b"x-user-level"), seen.value(b"x-user-kind")) == (b"1", b"user")
    assert seen.value(b"x-user-email-verified") == b"false"
    assert not [name for name in seen.names() if name.startswith(b"x-user-meta")]
    assert person.ask("GET", "/admin/users").code == "insufficient_scope"


@pytest.mark.parametrize(
    "meta",
    [
        {"plan": "pro"}, {"roles": "admin"}, {"plan": "pro\r\nX-User-Meta-Plan: pro"}, {"plan": "%0d%0a"},
        {"Plan": "pro"}, {"protected": {"plan": "pro"}}, {"public": {"plan": "pro"}}, {"plan,roles": "admin"},
    ],
)  # fmt: skip
def test_T45_public_meta_never_looks_like_a_protected_claim(
    house: IdentityWorld, person: Person, meta: dict[str, Any]
) -> None:
    answer = person.ask("PATCH", "/me", {"meta": meta})
    assert answer.status in (200, 422)
    assert person.get().status == 200
    seen = house.seen
    assert not [name for name in seen.names() if name.startswith(b"x-user-meta")]
    assert seen.value(b"x-user-roles") == b"user"
    for value in seen.values(b"x-user-public-plan"):
        assert unquote(value.decode()) == meta.get("plan")


def test_T45_a_comma_in_a_role_is_not_two_roles(house: IdentityWorld, admin: Person) -> None:
    person = register(house)
    name = "a,admin"
    made = admin.ask("POST", "/admin/roles", {"name": name, "permissions": ["x,postern:admin"]})
    assert made.status in (201, 422)
    if made.status == 201:
        assert admin.ask("PUT", f"/admin/users/{person.user_id}/roles", {"roles": [name]}).status == 200
        assert person.get().status == 200
        assert house.seen.value(b"x-user-roles") == b"a%2Cadmin"
        assert house.seen.value(b"x-user-permissions") == b"x%2Cpostern:admin"
    assert person.ask("GET", "/admin/users").code == "insufficient_scope"


def test_T45_a_user_named_like_another_s_id_is_nobody_else(house: IdentityWorld, person: Person) -> None:
    twin = Person(house, username=person.user_id[:20])
    body = {"email": twin.email, "password": twin.password, "username": twin.username}
    answer = twin.call("POST", "/register", body)
    if answer.status == 201:
        twin.take(answer, 201)
        assert twin.get().status == 200
        assert house.seen.value(b"x-user-id").decode() == twin.user_id != person.user_id
