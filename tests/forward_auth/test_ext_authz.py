"""Envoy's way of asking: the question is the original itself, behind a prefix of its path."""

import pytest

from tests.kit.asking import Asked
from tests.kit.people import Person
from tests.kit.raw import Answer, request

SAID = (b"X-Forwarded-Proto: https", b"X-Forwarded-For: 192.0.2.7")


def ask(
    asked: Asked, target: str, *lines: bytes, method: bytes = b"GET", host: bytes = b"gateway.test"
) -> Answer:
    data = request("/ext-authz" + target, *SAID, *lines, method=method, host=host)
    return asked.send(data, method=method)


def test_method_path_query_and_host_are_the_question_s_own(asked: Asked, person: Person) -> None:
    assert ask(asked, "/app/x?y", person.bearer).value(b"x-user-id").decode() == person.user_id
    assert ask(asked, "/app/x").code == "credential_missing"
    assert ask(asked, "/app/x", host=b"open.test").status == 200
    assert ask(asked, "/reads", method=b"POST").status == 405
    assert ask(asked, "/").code == "no_route"
    answer = ask(asked, "/app/x?y", b"Accept: text/html", host=b"shop.test")
    assert answer.value(b"location") == b"https://shop.test/auth/sign-in?return_to=/app/x%3Fy"


def test_T06_what_the_client_says_of_another_request_is_nothing(asked: Asked) -> None:
    lines = (
        b"X-Forwarded-Method: HEAD", b"X-Forwarded-Uri: /public/x", b"X-Forwarded-Host: open.test",
        b"X-Original-URL: https://open.test/public/x", b"X-Original-URI: /public/x",
    )  # fmt: skip
    for _ in range(3):  # also from a head that has come before
        assert ask(asked, "/app/x", *lines).code == "credential_missing"
        assert ask(asked, "/app/x", lines[1]).code == "credential_missing"


@pytest.mark.parametrize(
    "target",
    ["/app/../public/x", "//public/x", "/public/..;/app", "/public/%2e%2e/app", "/public/x?y#z", "/a%2fb"],
)
def test_T06_the_path_after_the_prefix_is_as_strict_as_any(asked: Asked, target: str) -> None:
    assert ask(asked, target).code == "ambiguous_path"


def test_what_its_own_line_does_not_say_has_to_be_said(asked: Asked) -> None:
    for lines, wanted in ((SAID[:1], "X-Forwarded-For"), (SAID[1:], "X-Forwarded-Proto")):
        answer = asked.send(request("/ext-authz/public/x", *lines))
        assert answer.code == "original_missing" and wanted in answer.problem()["detail"]


def test_a_target_may_be_as_long_as_on_any_listener(asked: Asked) -> None:
    """The prefix does not count: limits.target_bytes is 8 KiB."""
    assert ask(asked, "/public/" + "x" * (8192 - 8)).status == 200
    assert ask(asked, "/public/" + "x" * 8192).status == 414
