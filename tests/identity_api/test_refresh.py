"""POST /refresh: a new pair for the old one, the same answer to the same question, and the end of thieves."""

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import AGENT, Person
from tests.kit.tokens import made_up, with_bit_flipped

PHONE = b"User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile Safari/604.1"


def test_it_gives_a_new_pair_of_the_same_session(person: Person) -> None:
    before = person.access, person.refresh, person.session
    person.renewed()
    assert person.access != before[0] and person.refresh != before[1] and person.session == before[2]
    assert person.get().status == 200


def test_the_old_access_token_dies_with_its_generation_or_its_time(person: Person) -> None:
    """min_generation is for changes: a refresh by itself kills no request on its way."""
    old = person.bearer
    person.renewed()
    assert person.world.get("/app/x", old, source=person.address).status == 200


def test_the_same_question_gets_the_same_answer(person: Person) -> None:
    first, again = person.renew(), person.renew()
    assert first.json()["refresh_token"] == again.json()["refresh_token"]
    assert first.json()["access_token"] == again.json()["access_token"]


def test_within_the_grace_also_after_the_new_one_was_used(person: Person) -> None:
    old = person.refresh
    person.renewed()
    assert person.get().status == 200
    again = person.renew(old).json()
    assert (again["refresh_token"], again["access_token"]) == (person.refresh, person.access)


def test_the_generation_before_the_last_ends_the_session(person: Person) -> None:
    oldest = person.refresh
    person.renewed().renewed()
    assert person.renew(oldest).code == "refresh_token_reused"
    assert person.get().code == "invalid_token"
    assert person.renew().code == "invalid_refresh_token"


def test_another_session_of_the_user_outlives_that(person: Person) -> None:
    other, oldest = person.elsewhere(), person.refresh
    person.renewed().renewed()
    assert person.renew(oldest).code == "refresh_token_reused"
    assert other.get().status == 200
    assert other.renew().status == 200


def test_from_another_kind_of_agent_the_predecessor_is_a_thief_s(person: Person) -> None:
    old = person.refresh
    person.renewed()
    stolen = person.world.call("POST", "/refresh", {"refresh_token": old}, PHONE, source=person.address)
    assert stolen.code == "refresh_token_reused"
    assert person.get().code == "invalid_token"


def test_from_another_address_it_is_an_event(person: Person) -> None:
    old = person.refresh
    person.renewed()
    elsewhere = person.world.call("POST", "/refresh", {"refresh_token": old}, AGENT, source="127.99.98.97")
    assert elsewhere.json()["refresh_token"] == person.refresh
    assert any(event["address"] == "127.99.98.97" for event in events(person))


def events(person: Person) -> list[dict[str, str]]:
    said = person.ask("GET", "/events").json()
    return list(said["events"])


@pytest.mark.parametrize("token", ["", "x", "psr_", "psr_" + "0" * 60, "psr_\u0000", "a.b.c", " "])
def test_what_is_no_refresh_token(house: IdentityWorld, token: str) -> None:
    answer = house.call("POST", "/refresh", {"refresh_token": token}, source="127.7.7.7")
    assert answer.status in (400, 422)


def test_a_made_up_token_opens_nothing(house: IdentityWorld, person: Person) -> None:
    answer = person.renew(made_up("psr_", 40))
    assert (answer.status, answer.code) == (400, "invalid_refresh_token")


@pytest.mark.parametrize("byte", [0, 4, 19, 20, 23, 24, 39])
def test_no_changed_bit_passes(person: Person, byte: int) -> None:
    """Key-id, session, generation, MAC: and the session does not end by what is not proved."""
    assert person.renew(with_bit_flipped(person.refresh, byte)).code == "invalid_refresh_token"
    assert person.get().status == 200
    assert person.renew().status == 200


def test_it_wants_a_token(house: IdentityWorld) -> None:
    assert house.call("POST", "/refresh", {}, source="127.7.7.7").status in (400, 401, 422)


def test_an_access_token_beside_it_is_not_asked(person: Person) -> None:
    """Its owner comes because that one has expired."""
    bad = b"Authorization: Bearer psa_not_any_more"
    answer = person.call("POST", "/refresh", {"refresh_token": person.refresh}, bad)
    assert answer.status == 200


def test_it_keeps_who_and_how(person: Person) -> None:
    before = person.given["user"]
    person.renewed()
    assert person.given["user"] == before
