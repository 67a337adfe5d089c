"""Bring your own identity provider: whose an external JWT is, verified by its issuer's keys."""

import logging
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from jwt.api_jws import PyJWS

from gateway.config.service import Issuer, Service
from gateway.identity.issuer_keys import Fetch, IssuerKeys, KeysUnavailable, Waiting, fetch
from gateway.identity.signing import decoded
from gateway.model.identity import Identity
from gateway.store import roles
from gateway.store.database import Store
from gateway.store.faults import StoreUnavailable

log = logging.getLogger(__name__)
LEEWAY = 30.0  # seconds that an issuer's clock may be ahead: for nbf, iat and auth_time, never for exp
TELL_EVERY = 60.0
LOOK_AGAIN = 300.0  # seconds for which an edge believes an answer: a key may be withdrawn meanwhile
LONGEST = 8192  # as the edge has it
_LONGEST_ID = 255
_LONGEST_TIME = 1e11
_NEVER = float("inf")  # since the last proof, where the issuer tells nothing of one
_BAD = {"outcome": "bad", "code": "invalid_token"}
_EXPIRED = {"outcome": "bad", "code": "token_expired"}
_UNAVAILABLE = {"outcome": "unavailable"}
_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")
Tell = Callable[[str, str], None]  # an issuer's name, and why a token of theirs is bad
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
_OF_ACCESS_TOKENS = ("scope", "scp", "token_use")


class Head(msgspec.Struct, frozen=True):
    """All of a JOSE header that is looked at. A kid is looked up among the issuer's keys and is nothing else;
    jku, jwk, x5u and x5c are nothing at all (T24)."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: Any = msgspec.UNSET


class Token(msgspec.Struct, frozen=True):
    """Read, not yet believed."""

    text: str
    head: Head
    claims: dict[str, Any]


class Bad(Exception):
    """The token is not good here; the text says why, and is one of a few."""


class Expired(Bad):
    """Nothing else is wrong with it."""


class Issuers:
    """Those of the configuration, by the iss of their tokens."""

    def __init__(
        self, settings: Service, get: Fetch = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch, self._clock, self._waiting = get, clock, Waiting()
        self._keys: dict[str, IssuerKeys] = {}
        self._names: dict[str, str] = {}
        self._told: dict[tuple[str, str], float] = {}
        self.use(settings)

    def use(self, settings: Service) -> None:
        """Other settings; whose are the same keeps its keys."""
        before, self._keys = self._keys, {}
        self._names = {each.issuer: name for name, each in settings.issuers.items()}
        for name, each in settings.issuers.items():
            known = before.pop(name, None)
            same = known is not None and known.settings == each
            self._keys[name] = known if known and same else self._new(name, each)
            if known is not None and not same:
                known.close()
        for gone in before.values():
            gone.close()

    def _new(self, name: str, settings: Issuer) -> IssuerKeys:
        return IssuerKeys(name, settings, self._fetch, self._clock, self._waiting)

    def close(self) -> None:
        for keys in self._keys.values():
            keys.close()

    async def refresh(self) -> None:
        """Now and then, so that nobody has to wait for it."""
        for keys in list(self._keys.values()):
            await keys.refresh()

    async def resolve(self, store: Store, credential: str, tell: Tell | None = None) -> dict[str, Any]:
        """The link's question about an external credential. Why it is bad is told to the log, if to nobody
        else."""
        name = "-"
        try:
            token = read(credential)
            name = self._named(token)
            settings = await self._verified(name, token)
            async with store.reading() as db:
                now = await db.time() / 1000
                until = checked(token.claims, settings, now)
                told = identity_of(name, settings, token.claims, now)
                known = {role.name: role.permissions for role in await roles.every(db)} if told.roles else {}
        except Expired:
            return _EXPIRED
        except Bad as bad:
            (tell or self._tell)(name, str(bad))
            return _BAD
        except (KeysUnavailable, StoreUnavailable):
            return _UNAVAILABLE
        permissions = {each for role in told.roles for each in known.get(role, ())}
        return {
            "outcome": "identified",
            "identity": msgspec.structs.replace(told, permissions=tuple(sorted(permissions))),
            "expires_in": until - now,
            "renew_in": min(until - now, LOOK_AGAIN),
        }

    def _tell(self, name: str, why: str) -> None:
        """Clients learn no reason; the log does, once a minute for each, and nothing else of the token."""
        now = self._clock()
        if now - self._told.get((name, why), float("-inf")) >= TELL_EVERY:
            self._told[name, why] = now
            log.warning("a token of issuer %s is refused: %s", name, why)

    def _named(self, token: Token) -> str:
        """Its issuer, as it says. Raises Bad."""
        issuer = token.claims.get("iss")
        name = self._names.get(issuer) if isinstance(issuer, str) else None
        if name is None:
            raise Bad("its iss is not in the configuration")
        return name

    async def _verified(self, name: str, token: Token) -> Issuer:
        """That issuer's key signed it, with the algorithm that this key is for; else raises Bad."""
        keys = self._keys[name]
        algorithm = token.head.alg
        if algorithm not in keys.settings.algorithms:
            raise Bad("its alg is not among the issuer's algorithms")
        key = await keys.key(token.head.kid, algorithm)
        if key is None:
            raise Bad("the issuer has no such key for its alg")
        try:
            PyJWS(algorithms=[key.algorithm]).decode(token.text, key.public, [key.algorithm])
        except jwt.PyJWTError:
            raise Bad("its signature is wrong") from None
        return keys.settings


def read(text: str) -> Token:
    """Raises Bad for what is no JWS of a JSON object, or has a head that we can't follow to the letter."""
    parts = text.split(".")
    if len(text) > LONGEST or len(parts) != 3 or not text.isascii():
        raise Bad("it is no JWT")
    head, claims, _ = (decoded(part) for part in parts)
    if not head or not claims:
        raise Bad("it is no JWT")
    try:
        token = Token(text, msgspec.json.decode(head, type=Head), msgspec.json.decode(claims))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Bad("it is no JWT") from None
    if not isinstance(token.claims, dict):
        raise Bad("it is no JWT")
    if token.head.crit is not msgspec.UNSET:
        raise Bad("it has crit")
    if token.head.typ.lower() not in _TYPES:
        raise Bad("its typ is not that of an access token")
    return token


def checked(claims: dict[str, Any], settings: Issuer, now: float) -> float:
    """Until when it is good. Raises Bad, and Expired only where all else is right."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not any(each in settings.audience for each in named):
        raise Bad("its aud has none of the issuer's audiences")
    _refuse_others(claims, named)
    until = _time(claims, "exp")
    if until is None:
        raise Bad("it has no exp")
    for claim in ("nbf", "iat"):
        since = _time(claims, claim)
        if since is not None and since > now + LEEWAY:
            raise Bad(f"its {claim} is to come")
    if until <= now:
        raise Expired("exp")
    return until


def _refuse_others(claims: dict[str, Any], audience: list[Any]) -> None:
    """Tokens that the issuer signs for something else: ID tokens above all, which tell a client who somebody
    is and open nothing; and those that are worth nothing without a proof that is not looked at here."""
    if any(claim in claims for claim in _OF_ID_TOKENS):
        raise Bad("it is an ID token: it has nonce, at_hash, c_hash or s_hash")
    if claims.get("token_use", "access") != "access" or "events" in claims:
        raise Bad("it is no access token: token_use or events says so")
    kind = claims.get("typ", "Bearer")  # Keycloak's, beside the header's
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise Bad("it is no access token: the claim typ says so")
    if "cnf" in claims:
        raise Bad("it has cnf: it is bound to a key of its client")
    says_so = "typ" in claims or any(claim in claims for claim in _OF_ACCESS_TOKENS)
    if audience == [claims.get("azp")] and not says_so:
        raise Bad("its aud is its azp alone, as in ID tokens")


def _time(claims: dict[str, Any], name: str) -> float | None:
    """Seconds since 1970. Raises Bad for what is none."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_TIME:
        raise Bad(f"its {name} is no time")
    return float(value)


def identity_of(name: str, settings: Issuer, claims: dict[str, Any], now: float) -> Identity:
    """What the claims make of it here. Roles come from the file's map, and level, session, meta from nowhere:
    a group, or a claim, that is called like something of ours is only called so (T44)."""
    user = _claim(claims, settings.user_id)
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    if not isinstance(user, str) or not 0 < len(user) <= _LONGEST_ID:
        raise Bad("its claim for user_id names nobody")
    email = _text(claims, settings.email)
    verified = email != "" and claims.get("email_verified") is True
    return Identity(
        id=f"{name}:{user}",
        name=_text(claims, settings.name),
        email=email,
        email_verified=verified,
        confirmed=verified,
        roles=tuple(sorted({settings.roles[each] for each in _groups(claims, settings)})),
        kind="external",
        proved=_since_proof(claims, now),
        issuer=name,
    )


def _groups(claims: dict[str, Any], settings: Issuer) -> list[str]:
    """Those that the file's map has."""
    given = _claim(claims, settings.groups)
    listed = given if isinstance(given, list) else [given]
    return [each for each in listed if isinstance(each, str) and each in settings.roles]


def _since_proof(claims: dict[str, Any], now: float) -> float:
    proved_at = _time(claims, "auth_time")
    if proved_at is None or proved_at > now + LEEWAY:
        return _NEVER
    return max(0.0, now - proved_at)


def _text(claims: dict[str, Any], name: str) -> str:
    value = _claim(claims, name)
    return value if isinstance(value, str) else ""


def _claim(claims: dict[str, Any], name: str) -> Any:
    """A dot goes one level down; a name with : or / is one claim, as namespaces in claims are URLs."""
    if ":" in name or "/" in name:
        return claims.get(name)
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
