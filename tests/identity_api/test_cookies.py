"""Cookie mode: the session carried by a cookie, guarded against other sites, ended with the session."""

import pytest

from tests.kit.identity import HOST, IdentityWorld
from tests.kit.people import COOKIE, SAME_ORIGIN, Person, register
from tests.kit.raw import request
from tests.kit.scripts import answer as scripted
from tests.kit.scripts import switch
from tests.kit.tokens import made_up, with_bit_flipped

WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket")
CLEARED = f"{COOKIE}=;"


@pytest.fixture
def browser(house: IdentityWorld) -> Person:
    """Somebody signed in by cookie."""
    return register(house).elsewhere(cookie=True)


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


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Sec-Fetch-Site: same-origin",), 200),
        ((b"Sec-Fetch-Site: none",), 200),
        ((b"Sec-Fetch-Site: cross-site",), 403),
        ((b"Sec-Fetch-Site: same-site",), 403),
        ((b"Sec-Fetch-Site: same-origin, cross-site",), 403),
        ((b"Sec-Fetch-Site: cross-site", b"Origin: http://" + HOST), 403),
        ((b"Origin: http://" + HOST,), 200),
        ((b"Origin: http://evil.test",), 403),
        ((b"Origin: http://" + HOST + b".evil.test",), 403),
        ((b"Origin: http://" + HOST + b":81",), 403),
        ((b"Origin: null",), 403),
        ((), 403),
    ],
)
def test_T38_a_change_by_cookie_must_come_from_here(
    house: IdentityWorld, browser: Person, lines: tuple[bytes, ...], status: int
) -> None:
    data = request("/app/x", browser.cookie_line, *lines, method=b"POST", body=b"x")
    answer = house.send(data, source=browser.address)
    assert answer.status == status
    assert len(house.upstream.requests) == (status == 200)
    if status == 403:
        assert answer.code == "cross_site"


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_T38_a_read_may_come_from_anywhere_but_not_an_upgrade(
    house: IdentityWorld, browser: Person, site: bytes
) -> None:
    assert browser.get_by_cookie("/app/x", b"Sec-Fetch-Site: " + site).status == 200
    house.upstream.reply(switch(), b"/app/ws")
    upgrade = request("/app/ws", browser.cookie_line, *WEBSOCKET, b"Sec-Fetch-Site: " + site)
    assert house.send(upgrade, source=browser.address).code == "cross_site"
    own = request("/app/ws", browser.cookie_line, *WEBSOCKET, SAME_ORIGIN)
    assert house.send(own, source=browser.address).status == 101


def test_T38_a_trusted_origin_may(house: IdentityWorld, browser: Person) -> None:
    for origin, status in ((b"https://friend.test", 200), (b"https://friend.test.evil.test", 403)):
        lines = (browser.cookie_line, b"Sec-Fetch-Site: cross-site", b"Origin: " + origin)
        assert house.send(request("/trusting/x", *lines, method=b"POST", body=b"x")).status == status


def test_T38_a_bearer_needs_none_of_that(house: IdentityWorld, person: Person) -> None:
    data = request("/app/x", person.bearer, b"Sec-Fetch-Site: cross-site", method=b"POST", body=b"x")
    assert house.send(data).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/logout"), ("POST", "/revoke-all-tokens"), ("DELETE", "/sessions"), ("PATCH", "/me"),
        ("DELETE", "/me"),
    ],
)  # fmt: skip
def test_T38_nor_may_another_site_call_the_api_with_it(
    house: IdentityWorld, browser: Person, method: str, path: str
) -> None:
    body = {"first_name": "x"} if method == "PATCH" else None
    for lines in ((b"Sec-Fetch-Site: cross-site",), (b"Origin: https://evil.test",), ()):
        answer = browser.call(method, path, body, browser.cookie_line, *lines)
        assert answer.status == 403, (lines, answer)
    assert browser.get_by_cookie().status == 200


def test_T38_nor_refresh_with_it(browser: Person) -> None:
    answer = browser.call("POST", "/refresh", {}, browser.cookie_line, b"Sec-Fetch-Site: cross-site")
    assert answer.status == 403


def test_T38_a_tossed_cookie_of_another_name_is_none(house: IdentityWorld, browser: Person) -> None:
    """A sibling domain can set `postern`, never `__Host-postern`."""
    for name in (b"postern", b"__Secure-postern", b"__host-postern", b"__Host-Postern"):
        line = b"Cookie: " + name + b"=" + browser.cookie.encode()
        assert house.get("/app/x", line).code == "credential_missing"


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


def test_an_upstream_can_not_set_ours(house: IdentityWorld, browser: Person) -> None:
    """T37: else it could sign its users in as others."""
    lines = [
        f"Set-Cookie: {name}=stolen; Path=/".encode() for name in (COOKIE, "postern", "__Secure-postern")
    ]
    house.upstream.reply(scripted(b"ok", *lines, b"Set-Cookie: own=1"), b"/app/x")
    assert browser.get_by_cookie().values(b"set-cookie") == [b"own=1"]
