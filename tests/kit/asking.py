"""Asking as another proxy does: one question about one request, and the verdict on it."""

from dataclasses import dataclass, field, replace

from tests.kit.gateway import free_port
from tests.kit.identity import ROUTES, IdentityWorld
from tests.kit.raw import Answer, exchange, request

PROXY = "127.0.0.9"  # in trusted_proxies
CLIENT = "192.0.2.7"
LISTENERS = """
forward_auth:
  - {{listen: "127.0.0.1:{verify}"}}
  - {{listen: "127.0.0.1:{denying}", deny_status: 403}}
  - {{listen: "127.0.0.1:{fixed}", route: app}}
  - {{listen: "unix:verify.sock"}}
"""
MORE_ROUTES = """
  - {name: reads, match: {path: /reads, methods: [GET]}, upstream: app, policies: {authenticate: none}}
  - {name: other-host, match: {path: /app/**, host: open.test}, upstream: app, policies: {authenticate: none}}
  - {name: versioned, match: {path: /versioned/**, headers: {X-Api-Version: "2"}}, upstream: app,
     policies: {authenticate: none}}
  - {name: watched, match: {path: /watched/**}, upstream: app, mode: report}
  - {name: slashes, match: {path: /slashes/**}, upstream: app, paths: {encoded_slash: true},
     policies: {authenticate: none}}
  - {name: plain, match: {path: /plain/**}, upstream: app, upgrade: [], policies: {authenticate: none}}
  - {name: shared, match: {path: /shared/**}, upstream: app,
     policies: {cors: {origins: ["https://page.test"], credentials: true}}}
  - {name: acting, match: {path: /acting}, upstream: app,
     policies: {authenticate: none, plugins: [{class: "tests.kit.plugins:Actor", settings: {mark: x}}]}}
  - {name: later, match: {path: /later}, upstream: app,
     policies: {authenticate: none,
                plugins: [{class: "tests.kit.plugins:Actor", settings: {mark: x, later: true}}]}}
  - {name: gone, match: {path: /gone}, answer: {status: 410, body: moved to /new}}
  - {name: moved, match: {path: /moved}, redirect: {to: /app/new, status: 308}}
"""


@dataclass
class Ports:
    """Of the listeners, in their order."""

    verify: int = field(default_factory=free_port)
    denying: int = field(default_factory=free_port)
    fixed: int = field(default_factory=free_port)

    def routes(self) -> str:
        """The standard routes and listeners, with those for other proxies."""
        trusted = "trusted_proxies: [127.0.0.9/32]"
        asked = LISTENERS.format(**vars(self)) + "trusted_proxies: [127.0.0.9/32, unix]"
        assert trusted in ROUTES
        return ROUTES.replace(trusted, asked) + MORE_ROUTES.lstrip("\n")


@dataclass
class Asked:
    """The world, with listeners for other proxies."""

    world: IdentityWorld
    ports: Ports
    port: int  # of the one that is asked

    def on(self, port: int) -> "Asked":
        """Another one of them."""
        return replace(self, port=port)

    def verify(self, target: str, *lines: bytes, source: str = PROXY, **said: str) -> Answer:
        """The verdict on one request; `said` differs from what the proxy says of it by itself."""
        return self.send(request("/verify", *original(target, **said), *lines), source=source)

    def send(self, data: bytes, *, source: str = PROXY, method: bytes = b"GET") -> Answer:
        """One question on a connection of its own."""
        talk = exchange(self.port, data, most=1, source=source, method=method)
        assert talk.replies, talk
        return talk.replies[0]


def original(
    target: str,
    *,
    method: str = "GET",
    host: str = "gateway.test",
    proto: str = "https",
    client: str = CLIENT,
) -> list[bytes]:
    """The headers by which a proxy tells of a request."""
    said = {"Method": method, "Proto": proto, "Host": host, "Uri": target, "For": client}
    return [f"X-Forwarded-{name}: {value}".encode() for name, value in said.items() if value]
