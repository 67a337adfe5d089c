"""The world with identity: the real gateway with its identity service over a database of its own."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.kit import database
from tests.kit.gateway import REPOSITORY, Gateway, run_gateway
from tests.kit.leaks import Ledger
from tests.kit.line import Received
from tests.kit.raw import Answer, exchange, request
from tests.kit.upstream import RecordingUpstream

HOST = b"gateway.test"
ORIGIN = "https://gateway.test"  # the base URL: its cookies are __Host- ones
PREFIX = "/api/auth"
PLENTY = "1000000/minute"

# Passwords are hashed cheaply: what they cost is not what these tests are about.
IDENTITY: dict[str, Any] = {
    "base_url": ORIGIN,
    "password": {"argon2": {"memory": "64KiB", "time": 1}},
    "limits": {"login": PLENTY, "register": PLENTY, "refresh": PLENTY},
    "forward_meta": ["plan", "tier", "note", "roles"],
}
ROUTES = """
upstreams:
  app: {servers: ["URL"], timeouts: {connect: 2s, first_byte: 20s, idle: 20s}}
trusted_proxies: [127.0.0.9/32]
limits: {keepalive: 300s}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
  - {name: other, match: {path: /other/**}, upstream: app}
  - {name: public, match: {path: /public/**}, upstream: app, policies: {authenticate: none}}
  - {name: optional, match: {path: /optional/**}, upstream: app, policies: {authenticate: optional}}
  - {name: forwarding, match: {path: /forwarding/**}, upstream: app,
     policies: {authenticate: {mode: required, forward_credential: true}}}
  - {name: named, match: {path: /named/**}, upstream: app,
     policies: {authenticate: {mode: required, accept: ["header:access-token"]}}}
  - {name: bearers, match: {path: /bearers/**}, upstream: app,
     policies: {authenticate: {mode: required, accept: [bearer]}}}
  - {name: cookies, match: {path: /cookies/**}, upstream: app,
     policies: {authenticate: {mode: required, accept: [cookie]}}}
  - {name: pages, match: {path: /pages/**}, upstream: app,
     policies: {authenticate: {mode: required, on_missing: redirect}}}
  - {name: trusting, match: {path: /trusting/**}, upstream: app,
     policies: {csrf: {trusted_origins: ["https://friend.test"]}}}
  - {name: fresh, match: {path: /fresh/**}, upstream: app, serve_stale: 0s}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: from the gateway}}
"""


@dataclass
class IdentityWorld:
    """The gateway, the upstream behind it, and every secret that went through."""

    gateway: Gateway
    upstream: RecordingUpstream
    url: str  # of the database
    ledger: Ledger = field(default_factory=Ledger)
    prefix: str = PREFIX
    cookie: str = "__Host-postern"  # its name
    admins: list[tuple[str, str]] = field(default_factory=list)  # address and password

    @property
    def port(self) -> int:
        return self.gateway.port

    def send(self, data: bytes, source: str = "127.0.0.1", method: bytes = b"GET") -> Answer:
        """One request on a connection of its own, and its reply."""
        talk = exchange(self.port, data, method=method, most=1, source=source, patience=30.0)
        assert talk.replies, talk
        return talk.replies[0]

    def get(self, target: str, *lines: bytes, source: str = "127.0.0.1") -> Answer:
        return self.ask("GET", target, None, *lines, source=source)

    def ask(self, method: str, target: str, body: Any, *lines: bytes, source: str = "127.0.0.1") -> Answer:
        """One request, its body as JSON; what is secret in it and in the reply is noted."""
        self.ledger.sent(body, lines)
        reply = self.send(json_request(method, target, body, *lines), source, method.encode())
        self.ledger.got(f"{method} {target}", reply)
        return reply

    def call(
        self, method: str, path: str, body: Any = None, *lines: bytes, source: str = "127.0.0.1"
    ) -> Answer:
        """One call of the API."""
        return self.ask(method, self.prefix + path, body, *lines, source=source)

    @property
    def seen(self) -> Received:
        """The last request as the upstream received it."""
        return self.upstream.last

    def pid_of_identity(self) -> int:
        """The identity service's process, as the admin listener tells it."""
        return int(json.loads(self.gateway.ask("/health").body)["parts"]["identity"]["pid"])

    def postern(self, *words: str, text: str = "") -> str:
        """What the command line says, run beside the gateway by its operator."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli.app", *words, "-c", str(self.gateway.routes)],
            cwd=REPOSITORY, env=self.gateway.env, input=text, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def outputs(self) -> dict[str, str]:
        """Everything that the gateway says to others than its clients, and what it keeps."""
        said = {"stdout": self.gateway.output(), "stderr": self.gateway.errors()}
        for page in ("/metrics", "/health", "/ready", "/routes", "/config", "/cluster/status"):
            said[page] = self.gateway.ask(page).body.decode("utf-8", "replace")
        said["the database's log"] = database.log_of(self.url)
        return said


def json_request(method: str, target: str, body: Any, *lines: bytes) -> bytes:
    if body is None:
        return request(target, *lines, method=method.encode(), body=None if method == "GET" else b"")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(target, b"Content-Type: application/json", *lines, method=method.encode(), body=data)


def text_of(routes: str, settings: dict[str, Any]) -> str:
    """routes.yaml: JSON is YAML, so the settings are written as JSON."""
    return f"identity: {json.dumps(merged(IDENTITY, settings))}\n{routes}"


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@contextmanager
def run_identity_gateway(
    routes: str = ROUTES,
    *,
    url: str = "",
    workers: int = 2,
    env: dict[str, str] | None = None,
    check: bool = True,
    **settings: Any,
) -> Iterator[IdentityWorld]:
    """A ready gateway, whose every output is searched for secrets when it ends; `settings` are of identity.

    With `url` it uses that PostgreSQL database, else a SQLite file of its own.
    """
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        master = secrets.token_urlsafe(48)
        given = {"POSTERN_SECRET": master} | ({"DATABASE_URL": url} if url else {}) | (env or {})
        text = text_of(routes.replace("URL", upstream.url), settings)
        gateway = stack.enter_context(run_gateway(text, workers=workers, env=given, check=check))
        own = f"sqlite:{os.path.join(gateway.env['POSTERN_DATA'], 'postern.db')}"
        world = IdentityWorld(gateway, upstream, url or own, prefix=settings.get("prefix", PREFIX))
        wait_linked(world, workers)
        if not settings.get("base_url", ORIGIN).startswith("https:"):
            world.cookie = "postern"
        world.ledger.note("the master secret", master)
        world.ledger.note("the admin's token", gateway.token)
        yield world
        found = leaks(world)
        assert not found, "\n".join(found)


def wait_linked(world: IdentityWorld, workers: int, timeout: float = 20.0) -> None:
    """Until every worker accepts, and speaks with the identity service."""
    deadline = time.monotonic() + timeout
    while True:
        parts = json.loads(world.gateway.ask("/health").body)["parts"]
        if [(each["state"], each["link"]) for each in parts["workers"]] == [("ready", True)] * workers:
            return
        assert time.monotonic() < deadline, (parts, world.gateway.errors())
        time.sleep(0.02)


def leaks(world: IdentityWorld) -> list[str]:
    """T25: whatever secret stands in anything that this gateway said, answered with a refusal, or keeps."""
    found = world.ledger.leaked_problems()
    if world.gateway.process is not None and world.gateway.process.poll() is None:
        for where, text in world.outputs().items():
            found += world.ledger.leaks(where, text)
    for where, text in database.everything(world.url).items():
        found += world.ledger.leaks(f"the database: {where}", text, shapes=False)
    return found
