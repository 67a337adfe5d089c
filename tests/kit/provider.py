"""An identity provider for tests: it signs whatever it is told to, and answers as badly as it is told to."""

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

REALM = "/realms/main"
DISCOVERY = REALM + "/.well-known/openid-configuration"
KEYS = REALM + "/keys"
_CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SigningKey:
    """A key pair of the provider's."""

    def __init__(self, kid: str, algorithm: str, private: Any) -> None:
        self.kid, self.algorithm, self.private = kid, algorithm, private

    def jwk(self, **more: Any) -> dict[str, Any]:
        """As the JWKS has it; a member that is None is left out."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        own = json.loads(kind.to_jwk(self.private.public_key()))
        own.pop("key_ops", None)
        own |= {"kid": self.kid, "use": "sig", "alg": self.algorithm, **more}
        return {name: value for name, value in own.items() if value is not None}

    def sign(self, message: bytes, algorithm: str = "") -> bytes:
        return jwt.get_algorithm_by_name(algorithm or self.algorithm).sign(message, self.private)


def new_key(kid: str, algorithm: str = "ES256") -> SigningKey:
    if algorithm in _CURVES:
        return SigningKey(kid, algorithm, ec.generate_private_key(_CURVES[algorithm]))
    if algorithm == "EdDSA":
        return SigningKey(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(kid, algorithm, rsa_key(2048))


@cache
def rsa_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """They take long to make, so tests share them."""
    return rsa.generate_private_key(65537, bits)


class Provider:
    """Its settings are for tests to change at any time."""

    def __init__(self, url: str, server: "Server") -> None:
        self.url, self.server = url, server
        self.issuer = url + REALM
        self.key = new_key("first")
        self.published: list[Any] = [self.key.jwk()]
        self.discovery: dict[str, Any] = {"issuer": self.issuer, "jwks_uri": url + KEYS}
        self.mode = "good"
        self.asked: list[str] = []  # paths

    def rotate(self, kid: str, algorithm: str = "ES256") -> None:
        """It signs with another key from now on; the one before stays in the JWKS."""
        self.key = new_key(kid, algorithm)
        self.published = [*self.published, self.key.jwk()]

    def token(self, key: SigningKey | None = None, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """An access token for `orders` of a user; a claim or header that is None is left out."""
        key = key or self.key
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": "orders", "sub": "u-1", "iat": now, "exp": now + 600}
        given = {"typ": "at+jwt", "alg": key.algorithm, "kid": key.kid} | (head or {})
        return signed(key, _kept(given), _kept(usual | claims))

    def fetches(self) -> int:
        """How often its JWKS was asked for."""
        return self.asked.count(KEYS)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.mode == "slow":
            await asyncio.sleep(60)
        found = {DISCOVERY: self.discovery, KEYS: {"keys": self.published}}.get(request.path)
        if self.mode == "redirecting" and request.path == KEYS:
            raise web.HTTPFound(self.url + "/elsewhere")
        if self.mode == "broken" or found is None and request.path != "/elsewhere":
            return web.Response(status=500)
        bodies = {
            "garbage": b"<html>",
            "a list": b"[]",
            "deep": b"[" * 100_000,
            "huge": b'{"keys": []}' + b" " * 300_000,
        }
        body = bodies.get(self.mode) or json.dumps(found or {"keys": self.published}).encode()
        response = web.Response(body=body, content_type="application/json")
        if self.mode == "compressed":
            response.enable_compression(web.ContentCoding.gzip)
            response.headers["Content-Encoding"] = "gzip"
        return response


def _kept(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def signed(key: SigningKey, head: Any, claims: Any, algorithm: str = "") -> str:
    """A JWS of these, which may be nonsense; bytes go in as they are."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (head, claims)]
    told = ".".join(map(encoded, parts))
    return f"{told}.{encoded(key.sign(told.encode(), algorithm))}"


class Server:
    """The provider's, in a thread with a loop of its own: it goes down and comes back at one port."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.provider: Provider | None = None

    def start(self) -> None:
        self._do(self._start())

    def stop(self) -> None:
        self._do(self._stop())

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self.port or self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert self.provider is not None
        return await self.provider.answer(request)


@contextmanager
def run_provider(tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    server = Server(tls)
    try:
        server.start()
        server.provider = Provider(f"{'https' if tls else 'http'}://127.0.0.1:{server.port}", server)
        yield server.provider
    finally:
        server.end()
