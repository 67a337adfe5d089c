"""The access log tells who called the API, and why a call failed; clients are told nothing of it."""

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person
from tests.kit.raw import Answer


def logged(house: IdentityWorld, reply: Answer) -> dict[str, object]:
    assert reply.values(b"x-postern-told") == []
    return house.gateway.wait_logged(reply.value(b"x-request-id").decode())


def test_who_called_is_in_the_log(house: IdentityWorld, person: Person) -> None:
    line = logged(house, person.ask("GET", "/me"))
    assert line["session"] == person.session and line["user"] and "code" not in line
    upstream = house.get("/app/x", b"Authorization: Bearer " + person.access.encode())
    assert logged(house, upstream)["session"] == person.session


def test_who_signs_in_too(house: IdentityWorld, person: Person) -> None:
    body = {"email": person.email, "password": person.password}
    reply = house.call("POST", "/login", body, source=person.address)
    line = logged(house, reply)
    assert line["session"] == reply.json()["session_id"]


def test_why_a_call_failed_is_in_the_log_and_in_the_counts(house: IdentityWorld, person: Person) -> None:
    body = {"email": person.email, "password": "not the password at all"}
    line = logged(house, house.call("POST", "/login", body, source=person.address))
    assert (line["status"], line["code"]) == (401, "invalid_credentials") and "user" not in line
    refused = person.ask("DELETE", "/sessions/of-nobody")
    line = logged(house, refused)
    assert (line["code"], line["session"]) == ("not_found", person.session)
    assert (
        'postern_refusals_total{code="invalid_credentials",route="identity:api"}'
        in house.gateway.ask("/metrics").body.decode()
    )
