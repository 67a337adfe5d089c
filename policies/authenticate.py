"""Who asks: finds the credential that counts, has it resolved, and says what happens when there is none."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Literal
from urllib.parse import quote_from_bytes

import msgspec

from gateway.model.challenges import bearer
from gateway.model.credentials import JWT_STARTS
from gateway.model.exchange import Exchange
from gateway.model.faults import CREDENTIAL_MISSING, DUPLICATE_CREDENTIAL, INVALID_TOKEN
from gateway.model.headers import OURS
from gateway.model.identity import BadCredential, Identified
from gateway.model.lines import free_name
from gateway.model.policy import Effects, Ports, Resolution
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict

# RFC 6750 section 2.1, b64token; the = of padding stand at its end only
_is_token = re.compile(rb"[0-9A-Za-z._~+/-]+=*").fullmatch
_LONGEST = 8192
_LONGEST_RETURN = 2048  # bytes of return_to before encoding; the query is left behind first
_API_KEY = b"psk_"
_JWT_BYTES = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_."  # base64url and dots
_OUR_JWTS = tuple(start.encode() for start in JWT_STARTS)
_GETS = frozenset({b"GET", b"HEAD"})

# A place where a credential may stand: what it holds, what is wrong with it, or None. The second argument is
# the token of `Authorization: Bearer`, parsed once for all places.
Place = Callable[[Exchange, bytes | None], bytes | Refuse | None]
# The kind and value of a credential that came, or what is wrong with it.
Found = tuple[str, bytes | Refuse]


class Authenticate:
    name: ClassVar[str] = "authenticate"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        mode: Literal["required", "optional", "none"] = "required"
        accept: tuple[str, ...] = ("bearer", "cookie", "api_key")  # in order of preference
        on_missing: Literal["auto", "redirect", "401", 401] = "auto"
        forward_credential: bool = False

        def __post_init__(self) -> None:
            if not self.accept and self.mode != "none":
                raise ValueError("accept names no credential, so nobody could sign in")
            for word in self.accept:
                _check_accepted(word)

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.forward_credential = settings.forward_credential  # for the edge, which strips credentials
        self.credential_names = _credential_names(settings.accept)  # likewise: headers that may hold one
        self.idle = settings.mode == "none"  # nothing to ask: the edge leaves it out
        self._required = settings.mode == "required"
        self._takes_keys = "api_key" in settings.accept
        self._takes_bearers = "bearer" in settings.accept
        named = [word.partition(":") for word in settings.accept]
        self._issuers = frozenset(name for kind, _, name in named if kind == "issuer")
        self._places = self._in_order(settings.accept)
        self._cookies = frozenset(ports.cookies)
        self._mark = _common(ports.cookies)
        # most requests have a bearer and nothing else that could be a credential
        plain = not self.idle and not any(kind == "header" for kind, _, _ in named)
        self._simple = plain and self._takes_bearers
        self._simple_jwt = plain and (self._takes_bearers or bool(self._issuers))
        self._identities = ports.identities
        self._resolve = ports.identities.resolve
        self._renewal = ports.renewal
        self._clear_cookie = ports.clear_cookie
        self._sign_in = ports.sign_in.encode()
        self._on_missing = str(settings.on_missing) if ports.sign_in else "401"
        self._missing = Refuse(CREDENTIAL_MISSING, headers=bearer(ports.service))
        self._invalid = Refuse(INVALID_TOKEN, headers=bearer(ports.service, "invalid_token"))
        self._duplicate = Refuse(DUPLICATE_CREDENTIAL)

    def effects(self) -> Effects:
        return Effects(reads=self.credential_names)

    def on_request(self, exchange: Exchange) -> Verdict:
        value = exchange.authorization
        if (
            self._simple
            and exchange.flags & OURS
            and (not exchange.cookie or self._mark not in exchange.cookie)
            and b"x-api-key" not in exchange.noted
        ):
            credential = value[7:]
            found = self._resolve("bearer", credential, exchange)
            if type(found) is Identified:
                exchange.who = found
                exchange.credential = credential
                exchange.request_add += found.block
                return None
            return self._judge([("bearer", credential)], exchange, found)
        if self._simple_jwt and value[:10] == b"Bearer eyJ":
            return self._jwt_alone(value[7:], exchange)
        return None if self.idle else self._look(exchange)

    def _jwt_alone(self, credential: bytes, exchange: Exchange) -> Verdict:
        """The usual case where access tokens are JWTs, ours or an issuer's; all others are looked at
        closely."""
        ours = credential.startswith(_OUR_JWTS)
        second = credential.find(b".", credential.find(b".") + 1)
        if (
            not (self._takes_bearers if ours else self._issuers)
            or second < 0
            or credential.find(b".", second + 1) >= 0
            or len(credential) > _LONGEST
            or (exchange.cookie and self._mark in exchange.cookie)
            or b"x-api-key" in exchange.noted
        ):
            return self._look(exchange)
        kind = "bearer" if ours else "external"
        found = self._resolve(kind, credential, exchange)
        if type(found) is Identified and (ours or found.identity.issuer in self._issuers):
            exchange.who = found
            exchange.credential = credential
            exchange.request_add += found.block
            return None
        return self._judge([(kind, credential)], exchange, found)

    def _look(self, exchange: Exchange) -> Verdict:
        """In every place, since a doubled credential is refused wherever it stands."""
        bearer = _bearer_token(exchange.authorization) if exchange.authorization else None
        came: list[Found] = []
        for kind, place in self._places:
            found = place(exchange, bearer)
            if found is self._duplicate:
                return self._duplicate
            if found is None:
                continue
            if kind == "header":  # it takes what a bearer may be
                external = self._issuers and isinstance(found, bytes) and _is_external(found)
                kind = "external" if external else "bearer"
            came.append((kind, found))
        return self._judge(came, exchange)

    def _judge(
        self,
        came: list[Found],
        exchange: Exchange,
        found: Resolution | Awaitable[Resolution] | None = None,
    ) -> Verdict:
        """The credentials that came, in order of preference; `found` is what is known of the first."""
        for place, (kind, credential) in enumerate(came):
            if isinstance(credential, Refuse):
                return credential
            if found is None:
                found = self._resolve(kind, credential, exchange)
            if isinstance(found, Identified):
                if kind == "external" and found.identity.issuer not in self._issuers:
                    return self._invalid  # T17: it is good, but not here
                _identify(exchange, found, credential)
                return None
            if isinstance(found, Refuse):
                return found
            if not isinstance(found, BadCredential):
                return self._wait(came[place:], exchange, found)
            if kind != "cookie":
                cookie = dict(came).get("cookie")
                if found.session and self._renewal and isinstance(cookie, bytes):
                    return self._renew(found.session, cookie, exchange)
                return self._invalid
            exchange.answer_with(self._clear_cookie)  # a dead cookie is as none, and is to go
            found = None
        return self._without_credential(exchange) if self._required else None

    async def _wait(self, came: list[Found], exchange: Exchange, asked: Awaitable[Resolution]) -> Outcome:
        further = self._judge(came, exchange, await asked)
        return further if further is None or isinstance(further, Refuse | Answer) else await further

    async def _renew(self, session: str, cookie: bytes, exchange: Exchange) -> Outcome:
        """An expired bearer beside the good cookie of the same session: the cookie counts, and the reply
        carries a fresh access token."""
        found = self._resolve("cookie", cookie, exchange)
        if not isinstance(found, Identified | BadCredential | Refuse):
            found = await found
        if isinstance(found, Refuse):
            return found
        if not isinstance(found, Identified) or found.identity.session != session:
            return self._invalid
        await self._identities.renew(cookie, exchange)
        _identify(exchange, found, cookie)
        return None

    def _in_order(self, accept: tuple[str, ...]) -> tuple[tuple[str, Place], ...]:
        places: dict[str, Place] = {}
        for word in accept:
            kind, _, name = word.partition(":")
            if kind == "bearer":
                places[kind] = self._bearer
            elif kind == "issuer":
                places["external"] = self._external
            elif kind == "cookie":
                places[kind] = self._cookie
            elif kind == "api_key":
                places[kind] = self._api_key
            else:
                places[word.lower()] = partial(self._header, name.lower().encode())
        if self._takes_keys or self._issuers:  # these come as bearers; others are judged, not overlooked
            places.setdefault("bearer", self._bearer)
        kinds = ("bearer", "external", "cookie", "api_key")
        return tuple((name if name in kinds else "header", place) for name, place in places.items())

    def _bearer(self, exchange: Exchange, bearer: bytes | None) -> bytes | Refuse | None:
        if bearer is None:
            return None
        if self._takes_keys and bearer.startswith(_API_KEY):
            return None  # _api_key takes it, at its own rank
        if self._issuers and _is_external(bearer):
            return None  # _external takes it, likewise
        if not self._takes_bearers or bearer.startswith(_API_KEY):
            return self._invalid
        return bearer if _possible(bearer) else self._invalid

    def _external(self, exchange: Exchange, bearer: bytes | None) -> bytes | Refuse | None:
        if bearer is None or not _is_external(bearer):
            return None
        return bearer if _possible(bearer) else self._invalid

    def _api_key(self, exchange: Exchange, bearer: bytes | None) -> bytes | Refuse | None:
        key = exchange.noted.get(b"x-api-key", b"")
        ours = key.find(_API_KEY) >= 0  # other keys are the upstream's affair
        if bearer is not None and bearer.startswith(_API_KEY):
            if ours:
                return self._duplicate
            key = bearer
        elif not ours:
            return None
        elif b"," in key:
            return self._duplicate
        return key if _possible(key) else self._invalid

    def _cookie(self, exchange: Exchange, bearer: bytes | None) -> bytes | Refuse | None:
        mark, cookie = self._mark, exchange.cookie
        if cookie.find(mark) < 0:  # `in` would cost twice as much: it tries a number first
            return None
        pairs = [pair.partition(b"=") for pair in cookie.split(b";") if pair.find(mark) >= 0]
        values = [value.strip() for name, _, value in pairs if name.strip() in self._cookies]
        if len(values) > 1:
            return self._duplicate
        # what can't be a session is no credential: a browser would be stuck with a 401 that it can't clear
        return values[0] if values and _possible(values[0]) else None

    def _header(self, name: bytes, exchange: Exchange, bearer: bytes | None) -> bytes | Refuse | None:
        value = exchange.noted.get(name)
        if not value:
            return None
        if b"," in value:
            return self._duplicate
        return value if _possible(value) else self._invalid

    def _without_credential(self, exchange: Exchange) -> Verdict:
        how = self._on_missing
        if how == "401" or exchange.upgrade or (how == "auto" and not exchange.navigates()):
            return self._missing
        # what was sent with other methods can't be sent again after sign-in, so there is no way back to it
        comes_back = exchange.method in _GETS
        location = self._sign_in + (_return_to(exchange) if comes_back else b"")
        headers = [(b"Location", location), (b"Cache-Control", b"no-store")]
        return Answer(Reply(302 if comes_back else 303, headers), instead_of=CREDENTIAL_MISSING)


def _identify(exchange: Exchange, found: Identified, credential: bytes) -> None:
    exchange.who = found
    exchange.credential = credential
    exchange.request_add += found.block


def _is_external(bearer: bytes) -> bool:
    """Whether it looks like a JWT, and is none of ours."""
    parts = bearer.split(b".")
    return (
        len(parts) == 3 and all(parts)
        and not bearer.startswith(_OUR_JWTS) and not bearer.translate(None, _JWT_BYTES)
    )  # fmt: skip


def _possible(value: bytes) -> bool:
    return len(value) <= _LONGEST and _is_token(value) is not None


def _bearer_token(authorization: bytes) -> bytes | None:
    """None when the scheme is not Bearer; then it is the upstream's affair."""
    scheme, _, rest = authorization.partition(b" ")
    return rest.strip(b" ") if scheme.lower() == b"bearer" else None


def _return_to(exchange: Exchange) -> bytes:
    path = exchange.path
    if path.startswith(b"//"):
        return b""  # `paths: {empty_segments: true}` lets such a path in; as a reference it would name a host
    where = path + exchange.query
    if len(where) > _LONGEST_RETURN:
        where = path
    return b"?return_to=" + quote_from_bytes(where).encode() if len(where) <= _LONGEST_RETURN else b""


def _common(names: tuple[bytes, ...]) -> bytes:
    """What stands in all the names, so that most Cookie lines need no splitting."""
    shortest = min(names, key=len, default=b"")
    return shortest if all(shortest in name for name in names) else b""


def _credential_names(accept: tuple[str, ...]) -> frozenset[bytes]:
    names = {word.partition(":")[2].lower().encode() for word in accept if word.startswith("header:")}
    return frozenset(names | {b"x-api-key"} if "api_key" in accept else names)


def _check_accepted(word: str) -> None:
    kind, _, name = word.partition(":")
    if kind == "header" and name:
        if free_name(name) in (b"authorization", b"cookie", b"x-api-key"):
            raise ValueError(f"{word!r}: say bearer, cookie or api_key for what comes there")
    elif not (kind == "issuer" and name) and word not in ("bearer", "cookie", "api_key"):
        raise ValueError(f"{word!r} is no credential: bearer, cookie, api_key, issuer:NAME or header:NAME")
