"""T25: secrets are sent to every wrong place there is; then everything that was said and kept is searched.

Besides, every gateway of the suite that has an identity service is searched when it ends: tests.kit.identity.
"""

import pytest

from tests.kit.identity import IdentityWorld, leaks
from tests.kit.leaks import Ledger
from tests.kit.people import COOKIE, Person, new_password, register
from tests.kit.raw import Answer, exchange, request
from tests.kit.tokens import made_up


def secrets_of(person: Person, browser: Person) -> dict[str, str]:
    return {
        "access": person.access,
        "refresh": person.refresh,
        "cookie": browser.cookie,
        "password": person.password,
        "made up": made_up("psa_", 46),
    }


def wrong_places(secret: str) -> list[bytes]:
    """Requests that hold it where a client, or a proxy before us, may put it by mistake."""
    text = secret.encode()
    json = b'{"token": "' + text + b'"}'
    places = [
        request("/app/x?access_token=" + secret),
        request("/api/auth/me?token=" + secret),
        request("/app/x", b"Authorization: Basic " + text),
        request("/app/x", b"Authorization: " + text),
        request("/app/x", b"Authorization: Bearer " + text + b" " + text),
        request("/app/x", f"Cookie: {COOKIE}={secret}; {COOKIE}={secret}".encode()),
        request("/api/auth/login", b"Content-Type: application/json", method=b"POST", body=json),
        request("/api/auth/login", b"Content-Type: text/plain", method=b"POST", body=text),
        request("/api/auth/register", b"Content-Type: application/json", method=b"POST", body=json[:-1]),
        request("/api/auth/refresh", b"Content-Type: application/json", method=b"POST", body=json),
        request("/api/auth/logout", b"Authorization: Bearer " + text, method=b"POST", body=json),
        request("/app/x", b"X-Request-Id: " + text),
        request("/app/x", b"Origin: https://" + text),
        request("/app/x", b"Authorization: Bearer " + text)[:-2] + b"X-Bad\x00: 1\r\n\r\n",
        b"GET /app/x?" + text + b" HTTP/1.1\r\nHost: " + text + b":x\r\n\r\n",
    ]
    if secret[:2] != "ps":
        return places
    # What is written down of every request: a token is known there by its shape; a password is not.
    return [
        *places,
        request("/api/auth/sessions/" + secret, method=b"DELETE", body=b""),
        request("/app/" + secret),
        request("/app//" + secret),
        request("/app/%zz/" + secret),
        request("/app/x", b"User-Agent: curl " + text),
    ]


@pytest.mark.parametrize("kind", ["access", "refresh", "cookie", "password", "made up"])
def test_T25_no_secret_is_said_again(house: IdentityWorld, kind: str) -> None:
    person = register(house)
    browser = person.elsewhere(cookie=True)
    secret = secrets_of(person, browser)[kind]
    house.ledger.note(f"the {kind} token of the test", secret)
    for data in wrong_places(secret):
        for answer in exchange(house.port, data, half_close=True, source=person.address).replies:
            house.ledger.got(data.split(b"\r\n")[0].decode("latin-1").replace(secret, "…"), answer)
            assert house.ledger.leaks("a reply", said(answer)) == []
    assert leaks(house) == []


def said(answer: Answer) -> str:
    """The reply, less what the upstream was asked for, and less the id that the client itself chose."""
    own = {b"x-request-id", b"location"}
    return repr([value for name, value in answer.headers if name.lower() not in own]) + answer.body.decode()


def test_T25_the_backend_is_never_given_ours(house: IdentityWorld) -> None:
    person = register(house)
    browser = person.elsewhere(cookie=True)
    for target in ("/app/x", "/public/x", "/optional/x", "/named/x", "/bearers/x", "/cookies/x"):
        for lines in ([person.bearer], [browser.cookie_line], [b"Access-Token: " + person.access.encode()]):
            house.get(target, *lines, source=person.address)
    for seen in house.upstream.requests:
        assert house.ledger.leaks("a request upstream", seen.raw.decode("latin-1")) == [], seen


def test_T25_wrong_passwords_are_not_kept(house: IdentityWorld) -> None:
    """People often type that of another account."""
    person = register(house)
    for _ in range(2):
        wrong = new_password()
        house.ledger.note("a wrong password", wrong)
        assert person.call("POST", "/login", {"email": person.email, "password": wrong}).status == 401
    assert leaks(house) == []


def test_T25_the_search_finds_what_is_there() -> None:
    """Or else it would prove nothing."""
    ledger, token, password = Ledger(), made_up("psr_", 40), new_password()
    ledger.note("token", token)
    ledger.note("password", password)
    assert ledger.leaks("log", f'{{"token":"{token}"}}') == [
        f"log holds a secret: a word like {token[:8]}…", "log holds a secret: token",
    ]  # fmt: skip
    assert ledger.leaks("log", f"…{token[-14:]}") == ["log holds a secret: token"]
    assert ledger.leaks("log", f"password={password}&x") == ["log holds a secret: password"]
    assert ledger.leaks("log", f'{{"request_id":"{"0" * 32}","path":"/app"}}') == []
    unknown = made_up("psk_")
    assert ledger.leaks("log", unknown) == [f"log holds a secret: a word like {unknown[:8]}…"]


def test_T25_the_admin_s_pages_and_the_command_line_hide_them(house: IdentityWorld) -> None:
    said = house.outputs()
    assert "hidden" in said["/config"]
    for words in (("settings",), ("settings", "--json")):
        text = house.postern(*words)
        assert house.ledger.leaks(" ".join(words), text) == []
