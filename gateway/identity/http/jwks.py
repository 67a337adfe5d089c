"""GET /.well-known/jwks.json: the public keys of JWT access tokens (RFC 7517)."""

from typing import Any

from pydantic import BaseModel

from gateway.identity.web import Call, Endpoint, Reply, answer

PATH = "/.well-known/jwks.json"
_KEPT = "public, max-age=30"  # below the time for which a new key is published before it signs


class KeysSaid(BaseModel):
    keys: list[dict[str, Any]]


async def jwks(call: Call) -> Reply:
    return answer(200, call.context.keys.jwks(), (("Cache-Control", _KEPT),))


ROUTES = [Endpoint("GET", PATH, jwks, "Keys of JWT access tokens", answers={200: KeysSaid})]
