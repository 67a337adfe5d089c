"""The OpenAPI document against what runs: schemathesis asks each call what fits it, and what does not."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.kit.identity import PREFIX, IdentityWorld
from tests.kit.people import Person, make_admin, register

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
# What the edge refuses before the identity service sees it, on any path whatever: not the document's affair.
OF_THE_EDGE = {"ambiguous_path", "bad_request", "target_too_long", "headers_too_large", "no_route"}
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
SOME, MANY = 2, 40


@dataclass
class Credential:
    """Somebody signed in; another takes the place of who signed out, or was locked, by a call tried here."""

    house: IdentityWorld
    role: str
    person: Person | None = None
    granting: Person | None = None  # who makes admins; tries nothing

    def lines(self) -> dict[str, str]:
        if self.role == "nobody":
            return {}
        if self.person is None:
            self.person = register(self.house)
            if self.role == "admin":  # a new one each time: a hundred wrong guesses would lock an account
                self.make_admin(self.person.user_id)
        return {"Authorization": f"Bearer {self.person.access}"}

    def make_admin(self, user_id: str) -> None:
        for _ in range(2):
            self.granting = self.granting or make_admin(self.house)
            body = {"roles": ["admin"]}
            if self.granting.ask("PUT", f"/admin/users/{user_id}/roles", body).status == 200:
                return
            self.granting = None  # signed in too long ago
        raise AssertionError("nobody can make admins any more")

    def used(self, method: str, status: int) -> None:
        if method != "GET" and status < 300 or status == 401:
            self.person = None


@pytest.fixture
def document(house: IdentityWorld) -> dict[str, Any]:
    said: dict[str, Any] = house.call("GET", "/openapi.json").json()
    return said


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield method, path, operation


def test_the_document_is_of_openapi_3_1_and_names_every_call(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    paths = {(method, path.removeprefix(PREFIX)) for method, path, _ in operations(document)}
    assert paths >= {
        ("post", "/register"), ("post", "/login"), ("post", "/logout"), ("post", "/refresh-token"),
        ("post", "/validate-token"), ("post", "/revoke-all-tokens"), ("get", "/me"), ("patch", "/me"),
        ("delete", "/me"), ("get", "/sessions"), ("delete", "/sessions"),
        ("delete", "/sessions/{session_id}"), ("post", "/password/change"), ("post", "/reauth"),
        ("get", "/events"), ("get", "/admin/users"),
    }  # fmt: skip


def test_no_example_or_text_of_it_is_a_secret(house: IdentityWorld, document: dict[str, Any]) -> None:
    assert house.ledger.leaks("the document", json.dumps(document)) == []


def test_every_call_says_what_it_answers(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        assert any(status.startswith("2") for status in operation["responses"]), (method, path)


@pytest.mark.parametrize("examples", [SOME, pytest.param(MANY, marks=pytest.mark.hard)])
def test_no_500_and_no_undocumented_answer(
    sqlite_house: IdentityWorld, postgres_house: IdentityWorld, examples: int
) -> None:
    """Each case is asked of both databases, by all: making the cases is what costs."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{sqlite_house.port}{PREFIX}/openapi.json")
    roles = ("nobody", "user", "admin") if examples == MANY else ("nobody", "admin")
    credentials = [Credential(house, role) for house in (sqlite_house, postgres_house) for role in roles]
    found: list[str] = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        for mode in MODES:
            try:
                ask(operation, mode, credentials, examples)
            except Unsatisfiable:
                # a call without parameters and body: nothing can be wrong with it
                assert mode is schemathesis.GenerationMode.NEGATIVE and method_of(operation) == "get"
            except Exception as error:
                found.append(f"{operation.label}, {mode}: {error}"[:2000])
    assert not found, "\n\n".join(found)


def ask(operation: Any, mode: Any, credentials: list[Credential], examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case: Any) -> None:
        for credential in credentials:
            url = f"http://127.0.0.1:{credential.house.port}"
            response = case.call(base_url=url, headers=credential.lines(), timeout=20)
            credential.used(case.method, response.status_code)
            if code_of(response) not in OF_THE_EDGE:
                case.validate_response(response, checks=CHECKS)

    try_it()


def test_the_check_finds_what_is_not_documented(house: IdentityWorld, document: dict[str, Any]) -> None:
    """Or else it would prove nothing."""
    me = document["paths"][f"{PREFIX}/me"]["get"]
    me["responses"] = {status: said for status, said in me["responses"].items() if status != "401"}
    document["paths"] = {f"{PREFIX}/me": {"get": me}}
    (result,) = schemathesis.openapi.from_dict(document).get_all_operations()
    assert isinstance(result, Ok)
    with pytest.raises(FailureGroup) as found:
        ask(result.ok(), MODES[0], [Credential(house, "nobody")], 1)
    assert "Undocumented status code" in str(found.value.exceptions[0])


def method_of(operation: Any) -> str:
    return str(operation.method).lower()


def code_of(response: Any) -> str:
    try:
        said = json.loads(response.content)
    except ValueError:
        return ""
    return str(said.get("code", "")) if isinstance(said, dict) else ""
