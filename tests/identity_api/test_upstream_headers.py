"""X-User-*: what the backend is told of who asks, exactly, in every encoding, and of nobody else."""

from typing import Any
from urllib.parse import unquote

import pytest

from tests.kit import database
from tests.kit.identity import IdentityWorld
from tests.kit.line import Received
from tests.kit.people import Person, new_password, register

CLAIMS = (
    b"x-user-id x-user-name x-user-email x-user-email-verified x-user-roles x-user-permissions "
    b"x-user-session x-user-level x-user-methods x-user-kind"
).split()


def told(seen: Received) -> dict[str, str]:
    """Every X-User line, each exactly once."""
    found: dict[str, str] = {}
    for name, value in seen.headers:
        if name.lower().replace(b"_", b"-").startswith(b"x-user"):
            assert name.lower().decode() not in found, seen.headers
            found[name.lower().decode()] = value.decode("ascii")
    return found


def test_all_of_it(house: IdentityWorld, person: Person) -> None:
    assert person.get().status == 200
    assert told(house.seen) == {
        "x-user-id": person.user_id,
        "x-user-name": person.username,
        "x-user-email": person.email,
        "x-user-email-verified": "false",
        "x-user-roles": "user",
        "x-user-permissions": "",
        "x-user-session": person.session,
        "x-user-level": "1",
        "x-user-methods": "pwd",
        "x-user-kind": "user",
    }


def test_on_every_kind_of_route(house: IdentityWorld, person: Person) -> None:
    """Signed-in and optional ones; a public one asks nobody."""
    for target in ("/app/x", "/optional/x", "/forwarding/x", "/bearers/x"):
        assert person.get(target).status == 200
        assert house.seen.value(b"x-user-id").decode() == person.user_id
    assert person.get("/public/x").status == 200
    assert told(house.seen) == {}


def test_nobody_is_told_as_nobody(house: IdentityWorld) -> None:
    assert house.get("/optional/x").status == 200
    assert told(house.seen) == {}


@pytest.mark.parametrize(
    ("name", "header"),
    [("plus+tag@example.test", "plus+tag@example.test"), ("100%@example.test", "100%25@example.test")],
)
def test_addresses_are_percent_encoded_where_they_must(house: IdentityWorld, name: str, header: str) -> None:
    email = f"{new_password()}{name}"
    person = Person(house, email=email).register()
    assert person.get().status == 200
    assert house.seen.value(b"x-user-email").decode().endswith(header)
    assert unquote(house.seen.value(b"x-user-email").decode()) == email


@pytest.mark.parametrize(
    "value",
    ["gold", "grün", "a,b", "100%", "%0d%0aX-User-Id: 1", "line\r\nX-User-Id: 1", "日本", "a b\tc", "\x7f"],
)  # fmt: skip
def test_T22_T45_public_meta_of_any_text_is_one_encoded_line(
    house: IdentityWorld, person: Person, value: str
) -> None:
    answer = person.ask("PATCH", "/me", {"meta": {"note": value}})
    if answer.status == 422:
        return  # then it is not kept, and can't be forwarded
    assert person.get().status == 200
    given = house.seen.value(b"x-user-public-note")
    assert unquote(given.decode("ascii")) == value
    assert told(house.seen)["x-user-id"] == person.user_id


def test_only_keys_that_the_gateway_lists_are_forwarded(house: IdentityWorld, person: Person) -> None:
    assert person.ask("PATCH", "/me", {"meta": {"tier": "gold", "unlisted": "x"}}).status == 200
    assert person.get().status == 200
    meta = {name for name in told(house.seen) if "public" in name or "meta" in name}
    assert meta == {"x-user-public-tier"}


def test_a_value_that_is_no_text_is_forwarded_as_one_or_not_at_all(
    house: IdentityWorld, person: Person
) -> None:
    for value in (7, True, None, ["a", "b"], {"a": 1}):
        if person.ask("PATCH", "/me", {"meta": {"tier": value}}).status == 200:
            assert person.get().status == 200
            assert len(house.seen.values(b"x-user-public-tier")) <= 1


def test_the_same_user_by_every_credential(house: IdentityWorld) -> None:
    person = register(house)
    other = person.elsewhere(cookie=True)
    assert person.get().status == 200
    by_bearer = told(house.seen)
    assert other.get_by_cookie().status == 200
    by_cookie = told(house.seen)
    assert by_bearer.pop("x-user-session") == person.session
    assert by_cookie.pop("x-user-session") == other.session
    assert by_bearer == by_cookie


def test_protected_meta_is_another_header(house: IdentityWorld, admin: Person, person: Person) -> None:
    change: dict[str, Any] = {"protected": {"plan": "pro"}}
    assert admin.ask("PATCH", f"/admin/users/{person.user_id}/meta", change).status == 200
    assert person.ask("PATCH", "/me", {"meta": {"plan": "free"}}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-meta-plan") == b"pro"
    assert house.seen.value(b"x-user-public-plan") == b"free"


def test_the_header_names_are_exactly_those(house: IdentityWorld, person: Person) -> None:
    assert person.get().status == 200
    assert {name for name in house.seen.names() if name.startswith(b"x-user")} == set(CLAIMS)


def test_the_database_is_the_one_meant(house: IdentityWorld, person: Person) -> None:
    """Or else every test would run twice on one of them."""
    found = database.rows(house.url, f"SELECT email FROM users WHERE user_id = '{person.user_id}'")
    assert found == [(person.email,)]
