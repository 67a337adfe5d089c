"""The OpenAPI document: made from the table that is served, so that it says what there is."""

from typing import Any

import msgspec
import pytest

from gateway.identity import openapi
from gateway.identity.openapi import faults_of
from gateway.identity.table import endpoints
from gateway.model.faults import FAULTS
from tests.identity.rig import SETTINGS, Rig

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
