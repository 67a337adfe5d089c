"""Settings of routes.yaml that change what a running gateway does, each tried once against it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import scripts
from tests.kit.raw import request
from tests.kit.world import World, run_world

ROUTES = """
underscores: refuse
upstreams:
  app: URL
  inside: {servers: ["URL"], host: upstream}
  closing: {servers: ["URL"], timeouts: {stream_idle: 300ms}}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
  - {name: own, match: {path: /own}, upstream: app, access_log: {to: FOLDER/own.log, query: true}}
  - {name: off, match: {path: /off}, upstream: app, access_log: {to: none}}
  - {name: unsampled, match: {path: /unsampled}, upstream: app, access_log: {sample: 0}}
  - {name: inside, match: {path: /inside}, upstream: inside}
  - {name: foo, match: {path: /foo}, upstream: app, upgrade: [foo]}
  - {name: closing, match: {path: /closing}, upstream: closing, upgrade: [foo]}
  - {name: fixed, match: {path: /fixed}, answer: {body: twelve bytes}}
"""
FOO = (b"Connection: Upgrade", b"Upgrade: foo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[World]:
    with run_world(ROUTES.replace("FOLDER", str(folder))) as world:
        yield world


@pytest.fixture
def settings(shared: World) -> World:
    shared.upstream.clear()
    return shared


def logged(world: World, target: str, method: bytes = b"GET") -> dict[str, Any]:
    reply = world.send(request(target, method=method), method)
    return world.gateway.wait_logged(reply.value(b"x-request-id").decode())


def test_underscores_can_be_refused(settings: World) -> None:
    reply = settings.send(request("/app/x", b"Some_Name: 1"))
    assert (reply.status, reply.code) == (400, "refused_header")
    assert settings.reached() == []


def test_a_route_has_its_own_log_with_the_query(settings: World, folder: Path) -> None:
    settings.get("/own?a=%2f&b")
    assert "query" not in logged(settings, "/app/x?secret=1")
    deadline = time.monotonic() + 10
    while not (lines := (folder / "own.log").read_text().splitlines()) and time.monotonic() < deadline:
        time.sleep(0.01)
    (line,) = map(json.loads, lines)
    assert (line["route"], line["path"], line["query"]) == ("own", "/own", "?a=%2f&b")
    assert all(line["route"] != "own" for line in settings.gateway.access_log())


def test_a_route_can_be_left_out_of_the_log(settings: World) -> None:
    for target in ("/off", "/unsampled"):
        assert settings.get(target).status == 200
    logged(settings, "/app/after")  # lines keep their order: the others would be there by now
    assert not {"off", "unsampled"} & {line["route"] for line in settings.gateway.access_log()}


def test_bytes_of_a_body_are_those_that_were_sent(settings: World) -> None:
    assert logged(settings, "/fixed")["bytes_out"] == 12
    assert logged(settings, "/fixed", b"HEAD")["bytes_out"] == 0


def test_the_upstream_can_get_its_own_host(settings: World) -> None:
    settings.get("/inside")
    assert settings.upstream.last.value(b"host") == settings.upstream.url.removeprefix("http://").encode()


def test_the_edge_is_counted(settings: World) -> None:
    settings.get("/app/x")
    settings.get("/nowhere")
    metrics = settings.gateway.metrics()
    assert metrics['postern_refusals_total{code="no_route",route="-"}'] >= 1
    assert metrics['postern_upstream_duration_seconds_count{upstream="app"}'] >= 1
    assert metrics['postern_request_duration_seconds_count{route="app"}'] >= 1
    assert metrics['postern_upstream_connections{state="idle",upstream="app"}'] >= 1
    assert metrics['postern_requests_in_flight{route="app"}'] == 0
    assert metrics["postern_log_lines_dropped_total"] == 0


def test_another_protocol_than_websocket_can_be_offered(settings: World) -> None:
    settings.upstream.reply(scripts.switch(protocol=b"foo"))
    with settings.client() as client:
        assert client.send(request("/foo", *FOO)).head().status == 101
        client.send(b"ping")
        assert client.source.exactly(4) == b"ping"
        counted = settings.gateway.metrics()
        assert counted['postern_requests_in_flight{route="foo"}'] == 1


def test_a_silent_stream_ends_after_stream_idle(settings: World) -> None:
    settings.upstream.reply(scripts.switch(protocol=b"foo"))
    with settings.client() as client:
        assert client.send(request("/closing", *FOO)).head().status == 101
        assert client.ends()
    settings.upstream.reply(scripts.answer())
