"""Ways out: logout by scope, revoke-all-tokens, DELETE /sessions, and that they answer when it is done."""

from typing import Any

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person
from tests.kit.raw import Answer


def ended(*people: Person) -> bool:
    """Neither of their tokens opens anything."""
    return all(
        (one.get().code, one.renew().code) == ("invalid_token", "invalid_refresh_token") for one in people
    )


def propagated(answer: Answer) -> None:
    """Both workers have acknowledged."""
    assert answer.json()["propagated"] == {"edges": 2, "acknowledged": 2}


@pytest.mark.parametrize("body", [None, {}, {"scope": "session"}])
def test_logout_ends_this_session(person: Person, body: Any) -> None:
    other = person.elsewhere()
    propagated(person.ask("POST", "/logout", body))
    assert ended(person) and other.get().status == 200


def test_logout_of_the_others(person: Person) -> None:
    others = [person.elsewhere(), person.elsewhere()]
    propagated(person.ask("POST", "/logout", {"scope": "others"}))
    assert ended(*others) and person.get().status == 200


def test_logout_of_all(person: Person) -> None:
    other = person.elsewhere()
    propagated(person.ask("POST", "/logout", {"scope": "all"}))
    assert ended(person, other)


@pytest.mark.parametrize("scope", ["everything", "", None, 1])
def test_an_unknown_scope_ends_nothing(person: Person, scope: Any) -> None:
    assert person.ask("POST", "/logout", {"scope": scope}).status == 422
    assert person.get().status == 200


def test_revoke_all_tokens(person: Person) -> None:
    other = person.elsewhere()
    propagated(person.ask("POST", "/revoke-all-tokens"))
    assert ended(person, other)


def test_delete_sessions_leaves_this_one(person: Person) -> None:
    other = person.elsewhere()
    propagated(person.ask("DELETE", "/sessions"))
    assert ended(other) and person.get().status == 200


def test_what_has_ended_can_t_be_ended_again(person: Person) -> None:
    propagated(person.ask("POST", "/logout"))
    assert person.ask("POST", "/logout").status == 401


def test_nobody_can_t_sign_out(house: IdentityWorld) -> None:
    for method, path in (("POST", "/logout"), ("POST", "/revoke-all-tokens"), ("DELETE", "/sessions")):
        assert house.call(method, path).code == "credential_missing"


def test_a_new_sign_in_works_after_all_of_them(person: Person) -> None:
    propagated(person.ask("POST", "/logout", {"scope": "all"}))
    person.sign_in()
    assert person.get().status == 200
