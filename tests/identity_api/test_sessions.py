"""GET and DELETE /sessions, and POST /validate-token: what runs where, and whether a token is good."""

import re

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, register
from tests.kit.tokens import made_up, with_bit_flipped

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_where_i_am_signed_in(person: Person) -> None:
    other = person.elsewhere()
    listed = {each["session_id"]: each for each in person.ask("GET", "/sessions").json()["sessions"]}
    assert set(listed) == {person.session, other.session}
    mine, others = listed[person.session], listed[other.session]
    assert mine["current"] is True and others["current"] is False
    assert (mine["address"], others["address"]) == (person.address, other.address)
    assert "Firefox" in mine["agent"] and mine["methods"] == ["pwd"]
    assert ISO.fullmatch(mine["created_at"]) and ISO.fullmatch(mine["last_seen_at"])


def test_an_ended_session_is_not_listed(person: Person) -> None:
    other = person.elsewhere()
    assert other.ask("POST", "/logout").status == 200
    listed = person.ask("GET", "/sessions").json()["sessions"]
    assert [each["session_id"] for each in listed] == [person.session]


def test_ending_one_of_them(person: Person) -> None:
    other = person.elsewhere()
    answer = person.ask("DELETE", f"/sessions/{other.session}").json()
    assert answer["propagated"] == {"edges": 2, "acknowledged": 2}
    assert other.get().code == "invalid_token" and person.get().status == 200


def test_ending_this_one(person: Person) -> None:
    assert person.ask("DELETE", f"/sessions/{person.session}").status == 200
    assert person.get().code == "invalid_token"


@pytest.mark.parametrize("session", ["0" * 22, "x", "%00", "..%2e", "A" * 500])
def test_a_session_that_is_not_there(person: Person, session: str) -> None:
    assert person.ask("DELETE", f"/sessions/{session}").status in (400, 404)


def test_another_user_s_session_is_as_if_it_were_not_there(house: IdentityWorld, person: Person) -> None:
    stranger = register(house)
    unknown = person.ask("DELETE", f"/sessions/{'0' * 22}").problem()
    others = person.ask("DELETE", f"/sessions/{stranger.session}").problem()
    assert {**others, "request_id": ""} == {**unknown, "request_id": ""} and others["status"] == 404
    assert stranger.get().status == 200


def test_a_good_token_is_valid(person: Person) -> None:
    said = person.call("POST", "/validate-token", {"token": person.access}).json()
    assert said["valid"] is True and ISO.fullmatch(said["expires_at"])
    assert person.user_id in str(said["user"]) and person.session in str(said["session"])


def test_a_token_of_an_ended_session_is_not(person: Person) -> None:
    assert person.ask("POST", "/logout").status == 200
    said = person.call("POST", "/validate-token", {"token": person.access}).json()
    assert said == {"valid": False, "code": "invalid_token"}


@pytest.mark.parametrize("token", ["", "x", "psa_", "a.b.c", "made up", "of another kind"])
def test_what_is_no_token_is_not_valid(house: IdentityWorld, token: str) -> None:
    token = {"made up": made_up("psa_", 46), "of another kind": made_up("psk_")}.get(token, token)
    said = house.call("POST", "/validate-token", {"token": token}, source="127.7.7.8").json()
    assert said == {"valid": False, "code": "invalid_token"}


@pytest.mark.parametrize("byte", [0, 4, 20, 24, 29, 30, 45])
def test_nor_is_one_with_a_changed_bit(person: Person, byte: int) -> None:
    """Key-id, session, generation, expiry, MAC."""
    bent = with_bit_flipped(person.access, byte)
    said = person.call("POST", "/validate-token", {"token": bent}).json()
    assert said == {"valid": False, "code": "invalid_token"}
    assert person.world.get("/app/x", b"Authorization: Bearer " + bent.encode()).code == "invalid_token"
    assert person.get().status == 200


def test_a_refresh_token_is_no_token_there(person: Person) -> None:
    said = person.call("POST", "/validate-token", {"token": person.refresh}).json()
    assert said == {"valid": False, "code": "invalid_token"}
