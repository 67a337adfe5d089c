"""POST /login: who comes in, and that every refusal looks the same."""

from typing import Any

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_address, new_email, new_password


def told(answer: Any) -> tuple[int, list[tuple[bytes, bytes]], dict[str, Any]]:
    """All that a refusal says, less what is of the single request."""
    own = {b"date", b"x-request-id", b"traceparent", b"content-length"}
    headers = sorted((name.lower(), value) for name, value in answer.headers if name.lower() not in own)
    problem = answer.problem()
    del problem["request_id"]
    return answer.status, headers, problem


@pytest.mark.parametrize("by", ["email", "username", "EMAIL", "USERNAME"])
def test_by_address_or_by_name_in_any_case(house: IdentityWorld, person: Person, by: str) -> None:
    value = getattr(person, by.lower())
    answer = person.call(
        "POST", "/login",
        {by.lower(): value.upper() if by.isupper() else value, "password": person.password},
    )  # fmt: skip
    before = person.session
    given = person.take(answer)
    assert given["user"]["user_id"] == person.user_id and person.session != before
    assert person.get().status == 200


def test_each_sign_in_is_a_session_of_its_own(person: Person) -> None:
    other = person.elsewhere()
    assert other.session != person.session
    assert other.get().status == person.get().status == 200


def test_wrong_unknown_and_locked_look_the_same(house: IdentityWorld, person: Person) -> None:
    wrong = {"email": person.email, "password": new_password()}
    unknown = {"email": new_email(), "password": new_password()}
    nobody = {"username": "nobody-at-all", "password": new_password()}
    refusals = [house.call("POST", "/login", body, source=new_address()) for body in (wrong, unknown, nobody)]
    assert told(refusals[0]) == told(refusals[1]) == told(refusals[2])
    assert (refusals[0].status, refusals[0].code) == (401, "invalid_credentials")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"email": "a@example.test"}, {"password": "x"}, {"email": None, "password": "x" * 20},
        {"email": ["a@example.test"], "password": "x" * 20}, {"email": {"$ne": ""}, "password": {"$ne": ""}},
        {"email": "a@example.test", "password": 5},
        {"email": "a@example.test", "username": "abc", "password": "x" * 20},
    ],
)  # fmt: skip
def test_fields_that_are_not_right(house: IdentityWorld, body: dict[str, Any]) -> None:
    answer = house.call("POST", "/login", body, source=new_address())
    assert (answer.status, answer.code) == (422, "invalid_fields")


def test_an_unknown_field_is_refused(house: IdentityWorld, person: Person) -> None:
    body = {"email": person.email, "password": person.password, "roles": ["admin"]}
    answer = person.call("POST", "/login", body)
    assert answer.status == 422 and list(answer.problem()["errors"]) == ["roles"]


@pytest.mark.parametrize("name", ["' OR '1'='1", "a\x00b", "x" * 10_000, "%", "_" * 12, "\ud800", "a@b@c"])
def test_no_text_of_a_name_does_harm(house: IdentityWorld, name: str) -> None:
    body = {"email": name, "password": new_password()}
    answer = house.call("POST", "/login", body, source=new_address())
    assert answer.status in (400, 401, 422)


def test_an_address_and_a_user_name_of_another_don_t_mix(house: IdentityWorld, person: Person) -> None:
    """`@` stands in no user name, so one's name is never another's address."""
    body = {"username": person.email, "password": person.password}
    answer = person.call("POST", "/login", body)
    assert answer.status in (200, 401, 422)
    if answer.status == 200:
        assert answer.json()["user"]["user_id"] == person.user_id
