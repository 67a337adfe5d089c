"""T38: another site can make a browser send its cookie; it changes nothing, opens no socket, tosses none."""

import pytest

from tests.kit.identity import HOST, IdentityWorld
from tests.kit.people import SAME_ORIGIN, Person
from tests.kit.raw import request
from tests.kit.scripts import switch

WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket")


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
