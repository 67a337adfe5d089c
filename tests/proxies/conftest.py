"""One Postern for all proxies, set up as their examples say, and each proxy before one recording backend."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.kit.gateway import free_port
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.line import Received
from tests.kit.people import Person, make_admin, new_address, register
from tests.kit.raw import Answer, exchange, request
from tests.proxies import ingress_nginx
from tests.proxies.running import BACKEND, EXAMPLES, SIGN_IN, VERIFY, example, run_proxy

PROXIES = ("nginx", "ingress-nginx", "traefik", "caddy", "envoy")
DENYING = frozenset({"nginx", "ingress-nginx"})  # which know 401 and 403 only
HOST = "gateway.test"
MORE = [
    {"name": "few", "match": {"path": "/api/few"}, "upstream": "app",
     "policies": {"rate_limit": {"limit": "3/hour", "key": "ip"}}},
]  # fmt: skip


@dataclass
class House:
    """Postern, with both kinds of listeners."""

    world: IdentityWorld
    verify: int
    denying: int


@dataclass
class Proxied:
    """The backend as clients reach it: through the proxy."""

    name: str
    port: int
    world: IdentityWorld

    def get(self, target: str, *lines: bytes, source: str = "127.0.0.1") -> Answer:
        return self.send(request(target, *lines), source=source)

    def send(self, data: bytes, *, source: str = "127.0.0.1", method: bytes = b"GET") -> Answer:
        """One request on a connection of its own."""
        talk = exchange(self.port, data, most=1, source=source, method=method)
        assert talk.replies, (self.name, talk)
        return talk.replies[0]

    @property
    def reached(self) -> list[Received]:
        return self.world.upstream.requests

    @property
    def denies(self) -> bool:
        return self.name in DENYING


def routes_of(name: str) -> dict[str, Any]:
    """An example's routes.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((EXAMPLES / name / "routes.yaml").read_text())
    return loaded


@pytest.fixture(scope="session")
def all_proxies() -> Iterator[House]:
    data = routes_of("nginx")
    verify, denying = free_port(), free_port()
    data["forward_auth"] = [
        {"listen": f"127.0.0.1:{verify}"},
        data["forward_auth"][0] | {"listen": f"127.0.0.1:{denying}"},
    ]
    data["upstreams"] = {"app": "URL"}
    data["routes"] += MORE
    for key in ("version", "listen", "identity"):  # the kit's own
        del data[key]
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in data.items())
    with run_identity_gateway(lines, base_url=f"https://{HOST}", forward_meta=[]) as world:
        yield House(world, verify, denying)


@pytest.fixture(scope="module", params=PROXIES)
def proxied_once(request: pytest.FixtureRequest, all_proxies: House) -> Iterator[Proxied]:
    """One after the other; each is started once."""
    name, world = request.param, all_proxies.world
    ports = {
        SIGN_IN: world.port,
        VERIFY: all_proxies.denying if name in DENYING else all_proxies.verify,
        BACKEND: world.upstream.port,
    }
    program = "nginx" if name in DENYING else name
    files = ingress_nginx.files() if name == "ingress-nginx" else example(name)
    with run_proxy(program, files, ports) as port:
        yield Proxied(name, port, world)


@pytest.fixture
def proxied(proxied_once: Proxied) -> Iterator[Proxied]:
    proxied_once.world.upstream.clear()
    yield proxied_once
    assert proxied_once.world.upstream.violations == []


@pytest.fixture
def person(all_proxies: House) -> Person:
    return register(all_proxies.world)


@pytest.fixture
def browser(all_proxies: House) -> Person:
    """Somebody signed in by cookie."""
    return register(all_proxies.world).elsewhere(cookie=True)


@pytest.fixture
def admin(all_proxies: House) -> Person:
    return make_admin(all_proxies.world)


@pytest.fixture
def address() -> str:
    """A client's own."""
    return new_address()
