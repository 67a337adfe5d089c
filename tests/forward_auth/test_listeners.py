"""The listeners themselves: one socket per worker, what a reload changes, and what needs a restart."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.asking import Ports, original
from tests.kit.gateway import Gateway, run_gateway
from tests.kit.raw import Answer, exchange, request

ROUTES = """
trusted_proxies: [127.0.0.9/32]
upstreams: {app: "http://127.0.0.1:1"}
forward_auth: [FORWARD]
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
"""


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def gateway(ports: Ports) -> Iterator[Gateway]:
    with run_gateway(text(f"{{listen: 127.0.0.1:{ports.verify}, route: app}}"), workers=2) as running:
        yield running


def text(*listeners: str) -> str:
    return ROUTES.replace("FORWARD", ", ".join(listeners))


def ask(port: int, target: str = "/x") -> Answer:
    data = request("/verify", *original(target))
    return exchange(port, data, source="127.0.0.9", most=1).replies[0]


def test_each_worker_has_a_socket_of_its_own(gateway: Gateway, ports: Ports) -> None:
    table = Path("/proc/net/tcp").read_text().splitlines()
    listening = [line for line in table if f":{ports.verify:04X} 00000000" in line]
    assert len(listening) == 2
    assert {ask(ports.verify).status for _ in range(20)} == {200}


def test_a_reload_changes_what_a_listener_does(gateway: Gateway, ports: Ports) -> None:
    listener = f"{{listen: 127.0.0.1:{ports.verify}, deny_status: 403}}"
    assert json.loads(gateway.reload(text(listener)).body)["needs_restart"] == []
    assert ask(ports.verify, "/app/x").status == 200
    answer = ask(ports.verify)
    assert (answer.status, answer.value(b"x-postern-code")) == (403, b"no_route")


def test_another_address_needs_a_restart_and_the_old_one_goes_on(gateway: Gateway, ports: Ports) -> None:
    old = f"{{listen: 127.0.0.1:{ports.verify}, route: app}}"
    new = f"{{listen: 127.0.0.1:{ports.denying}, deny_status: 403}}"
    for listeners in ((new,), (old, new), ()):
        yaml = text(*listeners) if listeners else text().replace("forward_auth: []\n", "")
        assert json.loads(gateway.reload(yaml).body)["needs_restart"] == ["forward_auth"]
        assert ask(ports.verify).status == 200
        with pytest.raises(OSError):
            ask(ports.denying)


def test_while_its_route_is_gone_a_listener_refuses(gateway: Gateway, ports: Ports) -> None:
    """The address needs a restart, so the old listener stays, and the new file has no such route."""
    yaml = text(f"{{listen: 127.0.0.1:{ports.denying}}}").replace("name: app", "name: renamed")
    assert gateway.reload(yaml).status == 200
    for target in ("/x", "/app/x"):
        assert ask(ports.verify, target).code == "no_route"


def test_an_address_that_is_taken_is_named_by_its_key(gateway: Gateway, ports: Ports) -> None:
    taken = text(f"{{listen: 127.0.0.1:{ports.verify}}}")
    with pytest.raises(AssertionError, match="`forward_auth:` in routes.yaml"), run_gateway(taken):
        pass
