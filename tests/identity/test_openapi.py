"""The OpenAPI document: made from the table that is served, so that it says what there is."""

import re
from typing import Any

import msgspec
import pytest

from gateway.identity import openapi
from gateway.identity.openapi import faults_of
from gateway.identity.table import endpoints
from gateway.model.faults import FAULTS
from tests.identity.house import WRONG, signed_in
from tests.identity.rig import SETTINGS, Rig

PLAIN = 'Bearer realm="postern"'

# seed authservice.txt, and the short names
SEED = {
    ("post", "/register"), ("post", "/login"), ("post", "/logout"), ("post", "/validate-token"),
    ("post", "/refresh-token"), ("post", "/revoke-all-tokens"), ("get", "/me"), ("get", "/sessions"),
    ("delete", "/sessions/{session_id}"), ("post", "/validate"), ("post", "/refresh"),
    ("delete", "/sessions"),
}  # fmt: skip


def document() -> dict[str, Any]:
    made: dict[str, Any] = {}
    api, keys = endpoints(SETTINGS)
    openapi.fill(made, SETTINGS, [(SETTINGS.prefix, api), ("", keys)])
    return made


async def test_every_401_of_the_table_carries_a_challenge(rig: Rig) -> None:
    """RFC 9110 section 15.5.2; an error only of what a token lacks (RFC 6750 section 3.1)."""
    ada = await signed_in(rig, "ada")
    wrong = {
        "/login": {"username": "ada", "password": WRONG},
        "/reauth": {"password": WRONG},
        "/password/change": {"current_password": WRONG, "new_password": "four blue parrots whistle"},
    }
    asked = 0
    for endpoint in endpoints(SETTINGS)[0]:
        codes = {fault.code for fault in faults_of(endpoint) if fault.status == 401}
        path = re.sub(r"\{\w+\}", "x", endpoint.path)
        if "credential_missing" in codes:
            missing = await rig.api(endpoint.method, path, wrong.get(path))
            assert (missing.code, missing.headers.getall("WWW-Authenticate")) == (
                "credential_missing", [PLAIN],
            )  # fmt: skip
            bad = await rig.api(endpoint.method, path, wrong.get(path), bearer="psa_x")
            told = [f'{PLAIN}, error="invalid_token"']
            assert (bad.code, bad.headers.getall("WWW-Authenticate")) == ("invalid_token", told)
        if "invalid_credentials" in codes:
            answer = await rig.api(endpoint.method, path, wrong[path], bearer=ada.bearer)
            assert (answer.code, answer.headers.getall("WWW-Authenticate")) == (
                "invalid_credentials", [PLAIN],
            )  # fmt: skip
        asked += bool(codes)
        responses = document()["paths"][SETTINGS.prefix + endpoint.path][endpoint.method.lower()]["responses"]
        assert ("headers" in responses.get("401", {})) == bool(codes)
    assert asked > 25


async def test_it_is_served_and_is_the_documents_own_table(rig: Rig) -> None:
    answer = await rig.api("GET", "/openapi.json")
    assert answer.status == 200
    assert answer.body == msgspec.json.decode(msgspec.json.encode(document()))


def test_every_call_of_the_seed_is_there() -> None:
    there = {(method, path) for path, each in document()["paths"].items() for method in each}
    assert {(method, SETTINGS.prefix + path) for method, path in SEED} <= there


def test_what_it_refers_to_is_there() -> None:
    made = document()
    schemas = made["components"]["schemas"]
    wanted = set(references(made))
    assert wanted and all(each.removeprefix("#/components/schemas/") in schemas for each in wanted)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in references(each)]
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    return []


def test_operations_have_names_of_their_own() -> None:
    names = [each["operationId"] for path in document()["paths"].values() for each in path.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "endpoint",
    [each for group in endpoints(SETTINGS) for each in group],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_each_call_tells_all_its_statuses(endpoint: Any) -> None:
    made = document()["paths"]
    prefix = "" if endpoint.path.startswith("/.well-known") else SETTINGS.prefix
    told = set(made[prefix + endpoint.path][endpoint.method.lower()]["responses"])
    assert told == {str(status) for status in endpoint.answers} | {
        str(fault.status) for fault in faults_of(endpoint)
    }
    assert all(FAULTS[fault.code] == fault for fault in faults_of(endpoint))
