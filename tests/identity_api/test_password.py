"""POST /password/change and /reauth: a new password ends all else; a proof makes fresh."""

from typing import Any

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_password


def change(person: Person, **body: Any) -> Any:
    whole = {"current_password": person.password, "new_password": new_password(), **body}
    return person.ask("POST", "/password/change", whole), whole["new_password"]


def test_a_new_password_ends_every_session_and_opens_a_new_one(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere()
    old = Person(
        house, **{name: getattr(person, name) for name in ("email", "password", "access", "refresh")}
    )
    answer, fresh = change(person)
    assert answer.json()["propagated"] == {"edges": 2, "acknowledged": 2}
    person.take(answer)
    assert person.get().status == 200
    for gone in (old, other):
        assert gone.get().code == "invalid_token" and gone.renew().code == "invalid_refresh_token"
    wrong = person.call("POST", "/login", {"email": person.email, "password": person.password})
    assert wrong.code == "invalid_credentials"
    person.password = fresh
    person.sign_in()


def test_it_wants_the_current_one(person: Person) -> None:
    answer, fresh = change(person, current_password=new_password())
    assert answer.status in (401, 403) and answer.code == "invalid_credentials"
    assert person.get().status == 200
    wrong = person.call("POST", "/login", {"email": person.email, "password": fresh})
    assert wrong.code == "invalid_credentials"


@pytest.mark.parametrize("new", ["short", "x" * 257, "123456789012345", 5, None])
def test_the_new_one_must_be_good(person: Person, new: Any) -> None:
    answer, _ = change(person, new_password=new)
    assert answer.status == 422 and list(answer.problem()["errors"]) == ["new_password"]
    assert person.get().status == 200


def test_nobody_changes_none(house: IdentityWorld) -> None:
    body = {"current_password": new_password(), "new_password": new_password()}
    assert house.call("POST", "/password/change", body).code == "credential_missing"


def test_a_proof_is_taken(person: Person) -> None:
    assert person.ask("POST", "/reauth", {"password": person.password}).status == 200
    assert person.get().status == 200


def test_a_wrong_proof_is_not(person: Person) -> None:
    answer = person.ask("POST", "/reauth", {"password": new_password()})
    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert person.get().status == 200


def test_guessing_by_reauth_or_change_is_counted_like_sign_in(person: Person) -> None:
    """T20: a stolen access token is no way round the lockout."""
    for _ in range(3):
        assert person.ask("POST", "/reauth", {"password": new_password()}).status == 401
        assert change(person, current_password=new_password())[0].status == 401
    right = person.ask("POST", "/reauth", {"password": person.password})
    assert (right.status, right.code) == (401, "invalid_credentials")
