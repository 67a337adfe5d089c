"""The examples themselves: complete, alike, and shut when Postern is away."""

import re

import pytest

from gateway.config.compile import load
from gateway.model.identity import header_names
from tests.kit.gateway import free_port
from tests.kit.raw import exchange, request
from tests.kit.upstream import RecordingUpstream
from tests.proxies import ingress_nginx
from tests.proxies.conftest import DENYING, PROXIES, routes_of
from tests.proxies.running import BACKEND, EXAMPLES, SIGN_IN, VERIFY, example, run_proxy

OVERRIDES = ("X-Original-Method", "X-Original-URI", "X-Original-URL", "Forwarded")


@pytest.mark.parametrize("name", PROXIES)
def test_the_configuration_of_postern_is_right_and_the_same(name: str) -> None:
    """So that one gateway serves the tests of all."""
    load(str(EXAMPLES / name / "routes.yaml"), environ={})
    data, first = routes_of(name), routes_of("nginx")
    assert data["routes"] == first["routes"] and data.keys() == first.keys()
    [listener] = data["forward_auth"]
    assert re.fullmatch(r"(127\.0\.0\.1|0\.0\.0\.0):4002", listener.pop("listen"))
    assert listener == ({"deny_status": 403} if name in DENYING else {})


@pytest.mark.parametrize("name", PROXIES)
def test_every_identity_header_is_overwritten_and_every_forged_original_cleared(name: str) -> None:
    text = "\n".join(example(name).values()).lower()
    by_pattern = {"traefik": "(?i)^x[-_]user", "envoy": "prefix: x-user-"}.get(name)
    names = header_names() if by_pattern is None else []
    for each in (*names, "Authorization", "Cookie", by_pattern or ""):
        assert each.lower() in text, each
    removed = {"caddy": ["-X-Original-*"], "envoy": ["prefix: x-original-"]}.get(name, OVERRIDES)
    for each in removed:
        assert each.lower() in text, each


@pytest.mark.parametrize("name", PROXIES)
def test_without_postern_nothing_passes(name: str) -> None:
    program = "nginx" if name in DENYING else name
    files = ingress_nginx.files() if name == "ingress-nginx" else example(name)
    with RecordingUpstream() as backend:
        ports = {SIGN_IN: free_port(), VERIFY: free_port(), BACKEND: backend.port}
        with run_proxy(program, files, ports) as port:
            for target in ("/api/x", "/public/x", "/api/auth/me"):
                talk = exchange(port, request(target, b"Authorization: Bearer psa_x"), most=1)
                assert talk.statuses[0] >= 500, (name, talk)
        assert backend.requests == []


@pytest.mark.parametrize("name", PROXIES)
def test_an_example_says_how_it_is_run(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text()
    assert "docs/plug-in.md" in text
    for file in example(name):
        assert file in text, file
