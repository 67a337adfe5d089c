"""The gateway of a house that has identity providers already, and upstreams that want assertions."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jwt

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import make_admin, new_address
from tests.kit.provider import Provider, run_provider
from tests.kit.raw import Answer

ROUTES = """
upstreams:
  app: {servers: ["URL"], timeouts: {connect: 2s, first_byte: 20s, idle: 20s}}
limits: {keepalive: 300s}
issuers:
  corporate: {issuer: "CORPORATE", audience: orders, algorithms: [ES256, RS256], roles: ROLES}
  partners: {issuer: "PARTNERS", audience: [orders, shop], algorithms: ES256, roles: {staff: guest}}
  away: {issuer: "http://127.0.0.1:9/realms/main", audience: orders}
routes:
  - {name: app, match: {path: /app/**}, upstream: app, policies: {assertion: {audience: app}}}
  - {name: theirs, match: {path: /theirs/**}, upstream: app,
     policies: {authenticate: {accept: ["issuer:corporate"]}}}
  - {name: partners, match: {path: /partners/**}, upstream: app,
     policies: {authenticate: {accept: ["issuer:partners"]}}}
  - {name: both, match: {path: /both/**}, upstream: app,
     policies: {authenticate: {accept: [bearer, cookie, "issuer:corporate", "issuer:away"]},
                assertion: {audience: orders, ttl: 2m}}}
  - {name: named, match: {path: /named/**}, upstream: app,
     policies: {authenticate: {accept: ["header:access-token", "issuer:corporate"]}}}
  - {name: optional, match: {path: /optional/**}, upstream: app,
     policies: {authenticate: {mode: optional, accept: [bearer, cookie, "issuer:corporate"]},
                assertion: {audience: app}}}
  - {name: clerks, match: {path: /clerks/**}, upstream: app,
     policies: {authenticate: {accept: [bearer, "issuer:corporate"]},
                require: {permissions: ["orders:read"]}}}
  - {name: fresh, match: {path: /fresh/**}, upstream: app,
     policies: {authenticate: {accept: [bearer, "issuer:corporate"]}, require: {fresh: 5m}}}
  - {name: public, match: {path: /public/**}, upstream: app, policies: {authenticate: none}}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: from the gateway}}
"""
ROLES = "{staff: clerk}"


@dataclass
class Federation:
    """The gateway and its two providers."""

    house: IdentityWorld
    corporate: Provider
    partners: Provider

    def get(self, target: str, token: str, *lines: bytes, source: str = "") -> Answer:
        """With a bearer, from an address of its own: who shows many unknown tokens is slowed."""
        bearer = b"Authorization: Bearer " + token.encode()
        return self.house.get(target, bearer, *lines, source=source or new_address())

    def text(self, roles: str = ROLES) -> str:
        """The routes, with other roles of `corporate`."""
        named = {"CORPORATE": self.corporate.issuer, "PARTNERS": self.partners.issuer, "ROLES": roles}
        return filled(named)

    def asserted(self, audience: str) -> dict[str, Any]:
        """What the last request's assertion says, verified by the upstream: by pyjwt, from the JWKS alone."""
        text = self.house.seen.value(b"x-user-assertion").decode("ascii")
        keys = jwt.PyJWKSet.from_dict(self.house.get("/.well-known/jwks.json").json())
        key = keys[jwt.get_unverified_header(text)["kid"]]
        base_url = "https://gateway.test"
        return dict(jwt.decode(text, key, [key.algorithm_name], audience=audience, issuer=base_url))


def filled(named: dict[str, str]) -> str:
    text = ROUTES
    for name, value in named.items():
        text = text.replace(name, value)
    return text


@contextmanager
def run_federation(url: str = "", **settings: Any) -> Iterator[Federation]:
    with ExitStack() as stack:
        corporate, partners = (stack.enter_context(run_provider()) for _ in range(2))
        named = {"CORPORATE": corporate.issuer, "PARTNERS": partners.issuer, "ROLES": ROLES}
        house = stack.enter_context(run_identity_gateway(filled(named), url=url, **settings))
        role = {"name": "clerk", "permissions": ["orders:read"]}
        assert make_admin(house).ask("POST", "/admin/roles", role).status == 201
        yield Federation(house, corporate, partners)
