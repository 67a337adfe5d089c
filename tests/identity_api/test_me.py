"""GET, PATCH and DELETE /me: the profile, what of it is the user's own to change, and the end of it."""

from typing import Any

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_email, new_password


def test_who_i_am(person: Person) -> None:
    me = person.ask("GET", "/me").json()
    assert me["user_id"] == person.user_id and me["email"] == person.email
    assert me["username"] == person.username and me["roles"] == ["user"]
    assert me["confirmed"] is False


def test_nothing_secret_is_in_it(person: Person) -> None:
    text = person.ask("GET", "/me").body.decode()
    assert "password" not in text.replace("password_changed_at", "") and "hash" not in text


def test_names_and_public_meta_are_my_own(house: IdentityWorld, person: Person) -> None:
    change = {"first_name": "Ada", "last_name": "O'Neil", "meta": {"tier": "gold"}}
    assert person.ask("PATCH", "/me", change).status == 200
    me = person.ask("GET", "/me").json()
    assert (me["first_name"], me["last_name"], me["meta"]) == ("Ada", "O'Neil", {"tier": "gold"})


def test_a_change_is_seen_by_the_backend_at_once(house: IdentityWorld, person: Person) -> None:
    assert person.get().status == 200
    assert house.seen.values(b"x-user-public-tier") == []
    assert person.ask("PATCH", "/me", {"meta": {"tier": "gold"}}).status == 200
    assert person.get().status == 200
    assert house.seen.value(b"x-user-public-tier") == b"gold"


@pytest.mark.parametrize(
    "change", [{"first_name": 7}, {"first_name": "x" * 5000}, {"meta": []}, {"meta": {"a": "b" * 70_000}}]
)
def test_what_is_not_right_is_refused(person: Person, change: dict[str, Any]) -> None:
    assert person.ask("PATCH", "/me", change).status in (413, 422)


def test_deleting_it_ends_all_of_it(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere()
    assert person.ask("DELETE", "/me").status == 200
    for gone in (person, other):
        assert gone.get().code == "invalid_token"
        assert gone.renew().code == "invalid_refresh_token"
    again = person.call("POST", "/login", {"email": person.email, "password": person.password})
    assert again.code == "invalid_credentials"


def test_the_address_of_a_deleted_account_is_free(house: IdentityWorld, person: Person) -> None:
    assert person.ask("DELETE", "/me").status == 200
    heir = Person(house, email=person.email).register()
    assert heir.user_id != person.user_id


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PATCH", {"first_name": "x"}), ("DELETE", None)]
)
def test_nobody_has_no_profile(house: IdentityWorld, method: str, body: Any) -> None:
    answer = house.call(method, "/me", body)
    assert answer.status == 401
    assert answer.value(b"www-authenticate").startswith(b"Bearer realm=")
    assert b"error" not in answer.value(b"www-authenticate")


def test_sent_text_is_data(house: IdentityWorld) -> None:
    """T23 in small: nothing expands it."""
    text = "{{7*7}} ${HOME} {env.PATH} %s {0}"
    person = Person(house, email=new_email(), password=new_password()).register(first_name=text)
    assert person.ask("GET", "/me").json()["first_name"] == text
