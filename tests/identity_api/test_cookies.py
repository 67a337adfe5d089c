"""Cookie mode: the session carried by a cookie, ended with the session, and no other credential."""

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import COOKIE, Person, register
from tests.kit.scripts import answer as scripted
from tests.kit.tokens import made_up, with_bit_flipped

CLEARED = f"{COOKIE}=;"


def test_the_cookie_is_a_host_cookie(house: IdentityWorld) -> None:
    person = register(house)
    answer = person.call(
        "POST", "/login", {"email": person.email, "password": person.password, "cookie": True}
    )
    line = person.take_cookie(answer)
    parts = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)
    assert "access_token" not in answer.json() and "refresh_token" not in answer.json()
    assert answer.json()["user"]["user_id"] == person.user_id


def test_with_bearer_it_brings_both(house: IdentityWorld) -> None:
    person = register(house).elsewhere(cookie=True, bearer=True)
    assert person.cookie and person.access and person.refresh
    assert person.get().status == person.get_by_cookie().status == 200


def test_register_can_give_one(house: IdentityWorld) -> None:
    person = Person(house).register(cookie=True)
    assert person.cookie and not person.access
    assert person.get_by_cookie().status == 200


def test_it_signs_in(house: IdentityWorld, browser: Person) -> None:
    assert browser.get_by_cookie().status == 200
    assert house.seen.value(b"x-user-id").decode() == browser.user_id
    assert browser.ask_by_cookie("GET", "/me").json()["email"] == browser.email


def test_logout_by_cookie_clears_it(house: IdentityWorld, browser: Person) -> None:
    answer = browser.ask_by_cookie("POST", "/logout")
    assert answer.json()["propagated"]["acknowledged"] == 2
    (line,) = [value for value in answer.values(b"set-cookie") if value.startswith(COOKIE.encode())]
    assert line.decode().startswith(CLEARED) and b"Max-Age=0" in line
    assert browser.get_by_cookie().code == "credential_missing"


@pytest.mark.parametrize("how", ["ended", "bent", "made up", "no token"])
def test_a_dead_cookie_is_anonymous_and_goes(house: IdentityWorld, browser: Person, how: str) -> None:
    if how == "ended":
        assert browser.ask_by_cookie("POST", "/logout").status == 200
    elif how == "bent":
        browser.cookie = with_bit_flipped(browser.cookie, 30)
    else:
        browser.cookie = made_up("pss_", 40) if how == "made up" else "psa_x"
    answer = browser.get_by_cookie("/optional/x")
    assert answer.status == 200 and house.seen.values(b"x-user-id") == []
    assert browser.cookie.encode() not in house.seen.raw
    (line,) = answer.values(b"set-cookie")
    assert line.decode().startswith(CLEARED)
    assert browser.get_by_cookie("/app/x").code == "credential_missing"


def test_refresh_by_cookie(browser: Person) -> None:
    """The cookie in place of the refresh token: tokens only when they are asked for."""
    answer = browser.ask_by_cookie("POST", "/refresh", {"bearer": True})
    assert answer.status == 200 and answer.json()["access_token"].startswith("psa_")
    assert answer.json()["session_id"] == browser.session


def test_a_cookie_s_value_is_no_bearer_and_the_other_way_round(house: IdentityWorld, browser: Person) -> None:
    """T30: one purpose each."""
    line = b"Authorization: Bearer " + browser.cookie.encode()
    assert house.get("/app/x", line, source=browser.address).code == "invalid_token"
    bearer = browser.elsewhere()
    bearer.cookie = bearer.access
    assert bearer.get_by_cookie().code == "credential_missing"


def test_a_known_browser_s_cookie_is_for_signing_in_only(house: IdentityWorld) -> None:
    """It stays between the browser and us, opens nothing, and is another one after each sign-in."""
    person = register(house)
    body = {"email": person.email, "password": person.password, "cookie": True}
    answer = person.call("POST", "/login", body)
    (line,) = [value for value in answer.values(b"set-cookie") if value.startswith(b"__Host-postern-device=")]
    device = line.partition(b";")[0]
    assert b"Secure" in line and b"HttpOnly" in line and b"Domain" not in line
    reply = house.get("/optional/x", b"Cookie: a=1; " + device + b"; b=2", source=person.address)
    assert reply.status == 200 and reply.values(b"set-cookie") == []
    assert house.seen.values(b"x-user-id") == [] and house.seen.value(b"cookie") == b"a=1; b=2"
    assert house.get("/app/x", b"Cookie: " + device, source=person.address).code == "credential_missing"
    again = person.call("POST", "/login", body, b"Cookie: " + device)
    assert again.status == 200 and device not in b"".join(again.values(b"set-cookie"))


def test_an_upstream_can_not_set_ours(house: IdentityWorld, browser: Person) -> None:
    """T37: else it could sign its users in as others."""
    lines = [
        f"Set-Cookie: {name}=stolen; Path=/".encode()
        for name in (COOKIE, "postern", "__Secure-postern", f"{COOKIE}-device", "postern-device")
    ]
    house.upstream.reply(scripted(b"ok", *lines, b"Set-Cookie: own=1"), b"/app/x")
    assert browser.get_by_cookie().values(b"set-cookie") == [b"own=1"]
