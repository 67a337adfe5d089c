"""Every path name of the older system, and the short ones: each is a call of ours."""

from typing import Any

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_email, new_password


def test_the_seed_s_way_from_register_to_the_end(house: IdentityWorld) -> None:
    """Each endpoint of authservice.txt, in its words, with its bodies."""
    person = Person(house)
    fields = {"email": person.email, "password": person.password, "first_name": "John", "last_name": "Doe"}
    assert person.call("POST", "/register", {"user": fields}).status == 201
    person.take(person.call("POST", "/login", {"email": person.email, "password": person.password}))
    assert person.call("POST", "/validate-token", {"token": person.access}).json()["valid"] is True
    person.take(person.call("POST", "/refresh-token", {"refresh_token": person.refresh}))
    assert person.ask("GET", "/me").json()["email"] == person.email
    other = person.elsewhere()
    assert len(person.ask("GET", "/sessions").json()["sessions"]) == 3
    assert person.ask("DELETE", f"/sessions/{other.session}").status == 200
    assert person.ask("POST", "/revoke-all-tokens").status == 200
    person.sign_in()
    assert person.ask("POST", "/logout").status == 200
    assert person.ask("GET", "/me").status == 401


@pytest.mark.parametrize(
    ("name", "short"), [("/refresh-token", "/refresh"), ("/validate-token", "/validate")]
)
def test_short_names(person: Person, name: str, short: str) -> None:
    body = {"refresh_token": person.refresh} if "refresh" in name else {"token": person.access}
    assert person.call("POST", name, body).json() == person.call("POST", short, body).json()


@pytest.mark.parametrize("path", ["/register", "/login", "/refresh", "/logout", "/password/change"])
def test_a_wrong_method_is_405(house: IdentityWorld, path: str) -> None:
    answer = house.call("GET", path)
    assert answer.status == 405 and b"POST" in answer.value(b"allow")


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/me/x", "/admin", "/admin/nowhere"])
def test_what_is_not_there_is_404(house: IdentityWorld, path: str) -> None:
    answer = house.call("GET", path)
    assert answer.status == 404 and answer.problem()["request_id"]


@pytest.mark.parametrize("path", ["/%6De", "/ME", "/me;x", "//me", "/./me", "/x/../me", "/me%2f"])
def test_a_path_has_one_spelling(house: IdentityWorld, person: Person, path: str) -> None:
    """Nothing is served that was not asked for in its own words; what is canonical is."""
    answer = person.ask("GET", path)
    assert answer.status in (200, 400, 404)
    if path == "/%6De":
        assert answer.status == 200
    else:
        assert answer.status in (400, 404)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/register", {"email": new_email(), "password": new_password()}),
        ("POST", "/login", {"email": new_email(), "password": new_password()}),
        ("GET", "/me", None), ("GET", "/sessions", None), ("POST", "/validate", {"token": "x"}),
        ("GET", "/nowhere", None), ("GET", "/openapi.json", None),
    ],
)  # fmt: skip
def test_no_answer_may_be_kept_by_anybody(house: IdentityWorld, method: str, path: str, body: Any) -> None:
    assert b"no-store" in b",".join(house.call(method, path, body).values(b"cache-control"))


@pytest.mark.parametrize("name", [b"User-Agent", b"Content-Type", b"Accept", b"X-Forwarded-For", b"Cookie"])
def test_a_header_that_comes_twice_is_no_crash(house: IdentityWorld, person: Person, name: bytes) -> None:
    """What a client sends is no news for the operator: no traceback, nothing of it in the log."""
    line = name + b": a=1"
    answer = house.call("GET", "/me", None, person.bearer, line, line, source=person.address)
    assert answer.status in (200, 400)
    assert "Traceback" not in house.gateway.errors()
    assert person.ask("GET", "/me").status == 200
