"""Another address through the gateway: the backend is told the new one, and the old one takes it all back."""

from tests.kit.identity import IdentityWorld
from tests.kit.mailbox import key_mailed
from tests.kit.people import Person, new_email, new_password


def changed(person: Person) -> str:
    """Its old address; the new one takes its place."""
    old, new = person.email, new_email()
    assert person.ask("POST", "/email/change", {"email": new}).json(202) == {}
    key = key_mailed(person.world, new, "email")
    said = person.ask("POST", "/email/change/confirm", {"key": key}).json(200)
    assert said["propagated"] == {"edges": 2, "acknowledged": 2}
    person.email = new
    return old


def test_every_edge_tells_the_new_address_and_one_refresh_gives_tokens(
    house: IdentityWorld, person: Person
) -> None:
    browser = person.elsewhere(cookie=True)
    assert person.get().status == browser.get_by_cookie().status == 200
    assert house.seen.value(b"x-user-email-verified") == b"false"
    changed(person)
    assert person.get().code == "invalid_token"
    person.renewed()
    for _ in range(4):  # whichever worker it comes to
        assert person.get().status == browser.get_by_cookie().status == 200
        assert house.seen.value(b"x-user-email").decode() == person.email
        assert house.seen.value(b"x-user-email-verified") == b"true"


def test_the_old_address_takes_the_account_back_at_every_edge(house: IdentityWorld, person: Person) -> None:
    old = changed(person)
    browser = person.renewed().elsewhere(cookie=True)
    assert person.get().status == browser.get_by_cookie().status == 200
    said = house.call("POST", "/email/change/undo", {"key": key_mailed(house, old, "undo")}).json(200)
    assert said["propagated"] == {"edges": 2, "acknowledged": 2}
    for _ in range(4):
        assert person.get().code == "invalid_token"
        assert browser.get_by_cookie().code == "credential_missing"
    body = {"email": old, "password": person.password}
    assert person.call("POST", "/login", body).code == "invalid_credentials"
    body = {"key": key_mailed(house, old, "reset"), "new_password": new_password()}
    assert house.call("POST", "/password/reset", body).status == 200
    person.email, person.password = old, body["new_password"]
    assert person.sign_in().get().status == 200
    assert house.seen.value(b"x-user-email").decode() == old
