"""`mode: report`: policies are judged, logged and counted, and nothing is refused."""

from collections.abc import Iterator

import pytest

from tests.kit.raw import chunked, request
from tests.kit.world import World, run_world

ROUTES = """
limits: {body_bytes: 1KiB}
upstreams: {app: URL}
defaults: {policies: {authenticate: required, body_limit: 10B}}
routes:
  - {name: report, match: {path: /report}, upstream: app, mode: report}
  - {name: enforce, match: {path: /enforce}, upstream: app}
  - {name: larger, match: {path: /larger}, upstream: app, mode: report, policies: {body_limit: 2KiB}}
"""
MISSING = {"policy": "authenticate", "code": "credential_missing"}
TOO_LARGE = {"policy": "body_limit", "code": "body_too_large"}
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def reporting() -> Iterator[World]:
    with run_world(ROUTES) as world:
        yield world


def sized(target: str, size: int) -> bytes:
    return request(target, method=b"POST", body=b"x" * size)


def in_chunks(target: str, size: int) -> bytes:
    return request(target, CHUNKED, method=b"POST") + chunked(b"x" * (size - 1), b"x")


@pytest.mark.parametrize("made", [sized, in_chunks])
@pytest.mark.parametrize(
    ("target", "size", "status", "verdicts"),
    [
        ("/report", 10, 200, [MISSING]),
        ("/report", 11, 200, [MISSING, TOO_LARGE]),
        ("/report", 1024, 200, [MISSING, TOO_LARGE]),
        ("/report", 1025, 413, [MISSING, TOO_LARGE]),  # limits.body_bytes is no policy
        ("/larger", 2048, 200, [MISSING]),
        ("/enforce", 11, 401, [MISSING]),
    ],
)
def test_what_would_be_refused_is_logged(
    reporting: World, made: type, target: str, size: int, status: int, verdicts: list[dict[str, str]]
) -> None:
    if made is in_chunks and status == 413:
        verdicts = [MISSING]  # the body is cut off before the policy's limit is compared with what came
    reply = reporting.send(made(target, size), b"POST")
    assert reply.status == status
    logged = reporting.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert logged["verdicts"] == verdicts
    assert logged.get("code") == {413: "body_too_large", 401: "credential_missing"}.get(status)


def test_what_would_be_refused_is_counted(reporting: World) -> None:
    name = 'postern_auth_total{result="credential_missing",route="%s"}'
    before = reporting.gateway.metrics()
    for target in ("/report", "/enforce"):
        reporting.get(target)
    after = reporting.gateway.metrics()
    for route in ("report", "enforce"):
        assert after[name % route] == before.get(name % route, 0) + 1
    refused = 'postern_refusals_total{code="credential_missing",route="report"}'
    assert refused not in after
