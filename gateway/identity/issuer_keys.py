"""The public keys of one issuer: fetched over HTTPS, kept for a while, each for one algorithm only."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import jwt
import msgspec

from gateway.config.service import Issuer
from gateway.model.addresses import is_loopback

log = logging.getLogger(__name__)
FRESH_FOR = 600.0  # seconds; then they are fetched anew
GOOD_FOR = 3600.0  # and so long the last good ones go on, if they can't be
UNKNOWN_EVERY = 60.0  # T24: for a kid that is not among them they are fetched once a minute at most
FIRST_PAUSE, LAST_PAUSE = 5.0, 60.0  # after a failure, doubled each time
FETCH_WITHIN = 3.0  # shorter than the link waits for an answer
MOST_WAITING = 32  # questions that wait for any issuer: the others leave room to those about our own tokens
MOST_BYTES = 256 * 1024
MOST_KEYS = 100
_DISCOVERY = "/.well-known/openid-configuration"
_RSA_BITS = range(2048, 8193)
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
_FITTING: dict[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}


class KeysUnavailable(Exception):
    """Whether a token is good can't be known just now."""


class Failed(Exception):
    """Why a fetch gave nothing; the text is for the log, and holds nothing that came from there."""


class Key(msgspec.Struct, frozen=True):
    kid: str  # may be empty
    algorithm: str  # the only one it verifies with
    public: Any


class Fetch(Protocol):
    def __call__(self, issuer: Issuer, /) -> Awaitable[list[Any]]:
        """The keys as its JWKS has them. Raises Failed."""


class Waiting:
    """How many questions wait, whichever issuer is slow: several at once take no more room than one."""

    def __init__(self) -> None:
        self.count = 0


class IssuerKeys:
    """Those of one issuer; several questions share one fetch."""

    def __init__(
        self, name: str, settings: Issuer, fetch: Fetch, clock: Callable[[], float], waiting: Waiting
    ) -> None:
        self.settings = settings
        self._name, self._fetch, self._clock, self._waiting = name, fetch, clock, waiting
        self._keys: tuple[Key, ...] = ()
        self._fetched: float | None = None  # when they were, the last time that it went well
        self._next_try = self._next_for_unknown = float("-inf")
        self._pause = 0.0  # after the last try, if that failed
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> Key | None:
        """The one key for this algorithm and kid (or for the algorithm, where the token names none); None
        when the issuer has no such key. Raises KeysUnavailable."""
        await self.refresh()
        if self._fetched is None or self._clock() - self._fetched > GOOD_FOR:
            raise KeysUnavailable
        if kid and not self._has(kid) and not await self._sought(kid):
            raise KeysUnavailable
        found = [key for key in self._keys if key.algorithm == algorithm and (not kid or key.kid == kid)]
        return found[0] if found and (kid or len(found) == 1) else None

    def _has(self, kid: str) -> bool:
        return any(key.kid == kid for key in self._keys)

    async def _sought(self, kid: str) -> bool:
        """Whether it is known now if the issuer has it; soon after a look it is not looked for again."""
        now, heard = self._clock(), True
        if now >= self._next_for_unknown or self._fetching is not None:
            self._next_for_unknown = max(self._next_for_unknown, now + UNKNOWN_EVERY)
            heard = await self._try()
        return self._has(kid) or (heard and not self._pause)

    async def refresh(self) -> None:
        """Fetch them if that is due; if it fails the old ones stay."""
        now = self._clock()
        if self._fetched is None or now - self._fetched > FRESH_FOR:
            await self._try()

    def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()

    async def _try(self) -> bool:
        """One fetch for all who ask meanwhile; none so soon after one that failed. Whether it was waited
        for."""
        if self._fetching is None:
            if self._clock() < self._next_try:
                return False
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_once())
        if self._waiting.count >= MOST_WAITING:
            return False
        self._waiting.count += 1
        try:
            await asyncio.wait([self._fetching])
        finally:
            self._waiting.count -= 1
        return True

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(FETCH_WITHIN):
                found = await self._fetch(self.settings)
        except Exception as error:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LAST_PAUSE)
            self._next_try = self._clock() + self._pause
            log.warning("the keys of issuer %s can't be fetched: %s", self._name, reason(error))
        else:
            self._keys = usable(found, self.settings.algorithms)
            self._fetched, self._pause = self._clock(), 0.0
            if not self._keys:
                named = ", ".join(self.settings.algorithms)
                log.warning("issuer %s has no key that can be used with %s", self._name, named)
        finally:
            self._fetching = None


def reason(error: Exception) -> str:
    """Why a fetch failed. Other exceptions than ours may hold what came from there, or a file's place."""
    if isinstance(error, TimeoutError):
        return f"it took longer than {FETCH_WITHIN:g} s"
    return str(error) if isinstance(error, Failed) else type(error).__name__


def usable(found: Sequence[Any], algorithms: Sequence[str]) -> tuple[Key, ...]:
    """Those that sign with one of these algorithms."""
    keys = (_key(jwk, algorithms) for jwk in found[:MOST_KEYS] if isinstance(jwk, dict))
    return tuple(key for key in keys if key is not None)


def _key(jwk: dict[str, Any], algorithms: Sequence[str]) -> Key | None:
    """A key names its algorithm, or has the first of the file that fits its kind: never a second one."""
    kind, kid, own = jwk.get("kty"), jwk.get("kid", ""), jwk.get("alg")
    fitting = _FITTING.get((str(kind), "" if kind == "RSA" else str(jwk.get("crv"))), ())
    allowed = [each for each in algorithms if each in fitting and own in (None, each)]
    if not allowed or not isinstance(kid, str) or not _is_for_signatures(jwk):
        return None
    public = {name: jwk[name] for name in _PUBLIC if name in jwk}  # whatever else is in it
    try:
        key = jwt.PyJWK(public, allowed[0]).key
    except Exception:  # it comes from elsewhere, and what libraries raise of it is their affair
        return None
    return Key(kid, allowed[0], key) if kind != "RSA" or key.key_size in _RSA_BITS else None


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


async def fetch(issuer: Issuer) -> list[Any]:
    """Its JWKS: from where the settings say, or else its discovery document (OpenID Connect Discovery)."""
    async with _client(ssl.create_default_context(cafile=issuer.ca) if issuer.ca else True) as client:
        place = issuer.jwks_uri or await _discovered(client, issuer.issuer)
        keys = (await _document(client, place)).get("keys")
    if not isinstance(keys, list):
        raise Failed("its JWKS has no list of keys")
    return keys


def _client(trust: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit=2),  # True: what the system trusts
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "postern"},
    )


async def _discovered(client: aiohttp.ClientSession, issuer: str) -> str:
    document = await _document(client, issuer.rstrip("/") + _DISCOVERY)
    if document.get("issuer") != issuer:
        raise Failed("its openid-configuration is of another issuer")
    place = document.get("jwks_uri")
    if not isinstance(place, str) or not _is_safe(place, issuer):
        raise Failed("its openid-configuration names no https jwks_uri")
    return place


def _is_safe(place: str, issuer: str) -> bool:
    """A plain address is good where the issuer has one itself, which only this machine's may."""
    if place.startswith("https://"):
        return True
    plain = place.startswith("http://") and issuer.startswith("http://")
    try:
        return plain and is_loopback(urlsplit(place).hostname or "")
    except ValueError:
        return False


async def _document(client: aiohttp.ClientSession, place: str) -> dict[str, Any]:
    """A JSON object of bounded size, from nowhere but there."""
    async with client.get(place, allow_redirects=False) as response:
        if response.status != 200:
            raise Failed(f"it answered {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Failed("it answered compressed")
        data = bytearray()
        async for part in response.content.iter_chunked(16 * 1024):
            data += part
            if len(data) > MOST_BYTES:
                raise Failed("its answer is too large")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Failed("its answer is no JSON object")
    return document
