"""POST /register: who gets an account, what it says, and what is no account."""

import unicodedata
from typing import Any

import pytest

from tests.kit.identity import IdentityWorld, json_request
from tests.kit.people import AGENT, Person, new_address, new_email, new_password, register
from tests.kit.raw import Answer

TOKEN_ANSWER = {
    "access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in", "session_id", "user",
}  # fmt: skip


def refused(house: IdentityWorld, status: int, code: str, **body: Any) -> Answer:
    whole = {"email": new_email(), "password": new_password(), **body}
    answer = house.call("POST", "/register", whole, source=new_address())
    assert (answer.status, answer.code) == (status, code), answer
    return answer


def test_it_gives_an_account_and_a_session(house: IdentityWorld) -> None:
    person = register(house, first_name="Ada", last_name="Lovelace", meta={"tier": "gold"})
    assert set(person.given) >= TOKEN_ANSWER
    assert person.given["token_type"] == "Bearer"
    assert 880 <= person.given["expires_in"] <= 900
    assert 29 * 86400 < person.given["refresh_expires_in"] <= 30 * 86400
    user = person.given["user"]
    assert user["email"] == person.email and user["username"] == person.username
    assert (user["confirmed"], user["roles"], user["permissions"]) == (False, ["user"], [])
    assert person.get().status == 200
    assert house.seen.value(b"x-user-id").decode() == person.user_id


def test_its_fields_may_stand_under_user(house: IdentityWorld) -> None:
    """As the seed's clients send them."""
    person = Person(house)
    fields = {"email": person.email, "password": person.password, "first_name": "John", "last_name": "Doe"}
    given = person.take(person.call("POST", "/register", {"user": fields}), 201)
    assert given["user"]["email"] == person.email
    me = person.ask("GET", "/me").json()
    assert (me["first_name"], me["last_name"]) == ("John", "Doe")


def test_no_answer_of_it_may_be_kept(house: IdentityWorld) -> None:
    answer = Person(house).call("POST", "/register", {"email": new_email(), "password": new_password()})
    assert answer.value(b"cache-control") == b"no-store"


@pytest.mark.parametrize("spelling", [str.upper, str.title, lambda email: "Ｕ" + email[1:]])
def test_an_address_is_taken_in_every_spelling(house: IdentityWorld, person: Person, spelling: Any) -> None:
    """Case, and what NFKC makes of full-width letters."""
    answer = refused(house, 409, "email_taken", email=spelling(person.email))
    assert "email" in answer.problem()["detail"].lower() or "address" in answer.problem()["detail"].lower()


def test_a_user_name_is_taken_in_every_case(house: IdentityWorld, person: Person) -> None:
    refused(house, 409, "username_taken", username=person.username.upper())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no-address"), ("email", "a@b@c.test"), ("email", ""), ("email", "a b@example.test"),
        ("email", "a@" + "x" * 300 + ".test"), ("email", "a\r\nb@example.test"), ("email", 7),
        ("email", None),
        ("password", "short"), ("password", "x" * 257), ("password", ""), ("password", 123456789012345),
        ("username", "ab"), ("username", "x" * 21), ("username", "with space"), ("username", "a@b"),
        ("username", "a\nb"), ("username", "админ"), ("username", ["abc"]),
        ("first_name", 5), ("meta", "text"), ("meta", [1]),
    ],
)  # fmt: skip
def test_a_field_that_is_not_right_is_named(house: IdentityWorld, field: str, value: Any) -> None:
    errors = refused(house, 422, "invalid_fields", **{field: value}).problem()["errors"]
    assert list(errors) == [field] and all(isinstance(text, str) for text in errors[field])


def test_all_wrong_fields_are_named_at_once(house: IdentityWorld) -> None:
    errors = refused(house, 422, "invalid_fields", email="no", password="no", username="-").problem()[
        "errors"
    ]
    assert set(errors) == {"email", "password", "username"}


def test_a_missing_field_is_named(house: IdentityWorld) -> None:
    answer = house.call("POST", "/register", {"username": "someone"}, source=new_address())
    assert answer.status == 422 and set(answer.problem()["errors"]) == {"email", "password"}


@pytest.mark.parametrize("password", ["123456789012345", "qwertyuiopasdfghjkl", "passwordpassword"])
def test_a_common_password_is_refused(house: IdentityWorld, password: str) -> None:
    assert set(refused(house, 422, "invalid_fields", password=password).problem()["errors"]) == {"password"}


def test_a_password_equal_to_the_name_or_address_is_refused(house: IdentityWorld) -> None:
    email, name = new_email(), "someone-quite-long"
    refused(house, 422, "invalid_fields", email=email, password=email.upper())
    refused(house, 422, "invalid_fields", username=name, password=name.title())


def test_a_password_of_any_letters_is_one_in_every_composition(house: IdentityWorld) -> None:
    """NFC: keyboards and systems compose differently."""
    composed = unicodedata.normalize("NFC", "pässwörter-sind-schön-" + new_password())
    person = Person(house, password=unicodedata.normalize("NFD", composed))
    assert person.password != composed
    person.register()
    person.password = composed
    person.sign_in()


def test_no_letter_of_a_long_password_is_cut_off(house: IdentityWorld) -> None:
    person = Person(house, password="ä" * 200 + new_password()).register()
    wrong = person.call("POST", "/login", {"email": person.email, "password": person.password[:-1]})
    assert wrong.code == "invalid_credentials"
    person.sign_in()


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"{", b"null", b"\xff\xfe", b'{"email": NaN}'])
def test_what_is_no_json_object_is_400(house: IdentityWorld, body: bytes) -> None:
    answer = house.call("POST", "/register", body, source=new_address())
    assert (answer.status, answer.code) == (400, "bad_json")


def test_a_body_over_64_kib_is_413(house: IdentityWorld) -> None:
    answer = house.call("POST", "/register", {"meta": {"x": "y" * 70_000}}, source=new_address())
    assert answer.status == 413


def test_a_deeply_nested_body_harms_nobody(house: IdentityWorld) -> None:
    answer = house.call("POST", "/register", b'{"meta":' * 6000 + b"1" + b"}" * 6000, source=new_address())
    assert answer.status in (400, 422)


def test_bodies_are_json_only(house: IdentityWorld) -> None:
    data = json_request("POST", "/api/auth/register", b"email=a%40b.test&password=x", AGENT)
    data = data.replace(b"application/json", b"application/x-www-form-urlencoded")
    assert house.send(data, source=new_address()).status == 415


def test_a_name_with_a_doubled_key_is_no_way_round(house: IdentityWorld) -> None:
    """Two parsers could read two keys of one name differently; whichever counts, it is checked."""
    email, password = new_email(), new_password()
    body = f'{{"email": "{email}", "password": "short", "password": "{password}"}}'.encode()
    answer = house.call("POST", "/register", body, source=new_address())
    house.ledger.note("password", password)
    if answer.status == 201:
        right = house.call("POST", "/login", {"email": email, "password": password}, source=new_address())
        assert right.status == 200
    else:
        assert answer.status in (400, 422)
