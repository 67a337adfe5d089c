"""The standard world of the tests: one recording upstream, one gateway with a route for each thing tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.kit.gateway import Gateway, run_gateway
from tests.kit.line import Received
from tests.kit.raw import Answer, Client, Talk, exchange, request
from tests.kit.upstream import RecordingUpstream

TRUSTED = "127.0.0.9"  # a client that binds this address is a trusted proxy

ROUTES = """
service: kit
trusted_proxies: [127.0.0.9/32, 10.0.0.0/8]
limits: {header_timeout: 8s, body_idle: 8s, header_bytes: 16KiB, target_bytes: 4KiB, header_count: 60}
upstreams:
  app: {servers: ["URL"], timeouts: {connect: 2s, first_byte: 5s, idle: 5s}}
  fixed-host: {servers: ["URL"], host: inside.test}
  nobody: http://127.0.0.1:1
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
  - {name: public, match: {path: /public/**}, upstream: app}
  - {name: admin, match: {path: /admin/**}, upstream: app, policies: {authenticate: required}}
  - {name: mine, match: {path: "/app/@me/**"}, upstream: app, policies: {authenticate: required}}
  - {name: optional, match: {path: /optional/**}, upstream: app, policies: {authenticate: optional}}
  - {name: api, match: {path: /api/**}, upstream: app, rewrite: {strip_prefix: /api}}
  - {name: renamed, match: {path: "/user/{id}/card"}, upstream: app, rewrite: {path: "/cards/{id}"}}
  - {name: slashes, match: {path: /slashes/**}, upstream: app, paths: {encoded_slash: true}}
  - {name: parameters, match: {path: /parameters/**}, upstream: app, paths: {parameters: true}}
  - {name: doubles, match: {path: /doubles/**}, upstream: app, paths: {double_encoding: true}}
  - {name: empties, match: {path: /empties/**}, upstream: app, paths: {empty_segments: true}}
  - {name: bare, match: {path: /bare/**}, upstream: app, rewrite: {strip_prefix: /bare},
     paths: {empty_segments: true}}
  - {name: plain, match: {path: /plain/**}, upstream: app, upgrade: []}
  - {name: small, match: {path: /small}, upstream: app, policies: {body_limit: 1KiB}}
  - {name: large, match: {path: /large}, upstream: app, policies: {body_limit: 3GiB}}
  - {name: reads, match: {path: /reads, methods: [GET]}, upstream: app}
  - {name: inside, match: {path: /inside}, upstream: fixed-host}
  - {name: dead, match: {path: /dead}, upstream: nobody}
  - {name: forwarding, match: {path: /forwarding}, upstream: app,
     policies: {authenticate: {mode: none, forward_credential: true}}}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: from the gateway}}
  - {name: moved, match: {path: /moved}, redirect: {to: /app/new, status: 308}}
"""


@dataclass
class World:
    """What a test holds: the gateway, its upstream, and short ways to speak with it."""

    gateway: Gateway
    upstream: RecordingUpstream

    @property
    def port(self) -> int:
        return self.gateway.port

    def client(self, source: str = "127.0.0.1") -> Client:
        return Client(self.port, source=source)

    def get(self, target: bytes | str, *lines: bytes, source: str = "127.0.0.1") -> Answer:
        """One GET on a connection of its own."""
        return self.send(request(target, *lines), source=source)

    def send(self, data: bytes, method: bytes = b"GET", source: str = "127.0.0.1") -> Answer:
        """One request on a connection of its own, and its reply."""
        talk = exchange(self.port, data, method=method, most=1, source=source)
        assert talk.replies, talk
        return talk.replies[0]

    def talk(self, data: bytes, method: bytes = b"GET") -> Talk:
        """Everything that comes back for these bytes, after which the client sends no more."""
        return exchange(self.port, data, method=method, half_close=True)

    def refused(self, data: bytes, status: int = 400, code: str = "") -> Answer:
        """These bytes get one reply, the gateway's own; the connection ends; nothing goes upstream."""
        before = len(self.upstream.requests)
        talk = exchange(self.port, data)
        assert talk.statuses == [status] and talk.closed, (data, talk)
        assert talk.only.value(b"connection").lower() == b"close", talk
        if code:
            assert talk.only.code == code, (data, talk.only)
        assert self.reached(before) == [], data
        return talk.only

    def reached(self, before: int = 0) -> list[Received]:
        """What has come upstream since, once the gateway has dealt with all it was sent so far."""
        self.serves()
        return [seen for seen in self.upstream.requests[before:] if seen.path != b"/app/still-serves"]

    def serves(self) -> None:
        """The gateway still answers, and with the right reply."""
        assert self.get("/app/still-serves").status == 200


@contextmanager
def run_world(
    routes: str = ROUTES, *, workers: int = 1, env: dict[str, str] | None = None
) -> Iterator[World]:
    """An upstream, and a gateway whose text names it as URL."""
    with RecordingUpstream() as upstream:
        text = routes.replace("URL", upstream.url)
        with run_gateway(text, workers=workers, env=env) as gateway:
            yield World(gateway, upstream)
