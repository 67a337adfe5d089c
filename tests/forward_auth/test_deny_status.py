"""For a proxy that knows two refusals only: all but 401 become the one, and headers say what they were."""

import pytest

from tests.kit.asking import Asked, original
from tests.kit.people import Person
from tests.kit.raw import Answer, request


def ask(asked: Asked, target: str, *lines: bytes, **said: str) -> Answer:
    return asked.on(asked.ports.denying).verify(target, *lines, **said)


@pytest.mark.parametrize(
    ("target", "said", "lines", "was", "code"),
    [
        ("/nowhere", {}, (), "404", "no_route"),
        ("/reads", {"method": "PUT"}, (), "405", "method_not_allowed"),
        ("/a//b", {}, (), "400", "ambiguous_path"),
        ("/public/x", {"host": ""}, (), "400", "original_missing"),
        ("/public/x", {}, (b"X_User_Id: x",), "400", "forged_header"),
        ("/api/auth/me", {}, (), "403", "not_by_forward_auth"),
        ("/answered", {}, (), "403", "not_by_forward_auth"),
        ("/gone", {}, (), "410", ""),
    ],
)
def test_all_but_401_are_403(
    asked: Asked, target: str, said: dict[str, str], lines: tuple[bytes, ...], was: str, code: str
) -> None:
    answer = ask(asked, target, *lines, **said)
    assert answer.status == 403
    assert answer.value(b"x-postern-status").decode() == was
    assert answer.value(b"x-postern-code").decode() == code


def test_401_stays_and_so_does_200(asked: Asked, person: Person) -> None:
    answer = ask(asked, "/app/x")
    assert answer.status == 401 and answer.value(b"www-authenticate")
    assert answer.value(b"x-postern-code") == b"credential_missing"
    passed = ask(asked, "/app/x", person.bearer)
    assert passed.status == 200 and passed.values(b"x-postern-status") == []


def test_a_redirect_to_sign_in_is_a_401_with_its_location(asked: Asked) -> None:
    answer = ask(asked, "/app/x", b"Accept: text/html")
    assert answer.status == 401
    assert answer.value(b"location") == b"https://gateway.test/auth/sign-in?return_to=/app/x"
    assert answer.value(b"x-postern-status") == b"302"


def test_any_other_redirect_is_403_with_its_location(asked: Asked) -> None:
    answer = ask(asked, "/moved")
    assert (answer.status, answer.value(b"location")) == (403, b"https://gateway.test/app/new")


def test_what_is_no_request_is_refused_likewise(asked: Asked) -> None:
    bad = request("/verify", *original("/public/x"), b"Content-Length: 1", b"Content-Length: 2")
    answer = asked.on(asked.ports.denying).send(bad)
    assert (answer.status, answer.value(b"x-postern-status")) == (403, b"400")
    answer = ask(asked, "/public/x", source="127.0.0.1")
    assert (answer.status, answer.value(b"x-postern-code")) == (403, b"proxy_not_trusted")
