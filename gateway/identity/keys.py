"""The keys that sign JWT access tokens (RFC 9068) and assertions: sealed, rotated, published as a JWKS."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from gateway.config.service import Service
from gateway.identity.secrets import Secrets, sealed_with
from gateway.identity.signing import (
    Algorithm,
    Signer,
    decoded,
    encoded,
    head_of,
    jwk_of,
    new_kid,
    new_signer,
    signer,
)
from gateway.identity.tokens import Parts
from gateway.model.credentials import ACCESS, id_bytes
from gateway.store import keys as rows
from gateway.store.database import Database, Store
from gateway.store.keys import SigningKey

AGE = 90 * 86_400_000  # milliseconds; then the next key follows
LEAD = 60_000  # it is published so long before it signs, so that replicas and verifiers know it by then
TEND_EVERY = 20.0  # seconds; below LEAD
ASSERTIONS = 300_000  # milliseconds that one may live: so long its key verifies it
PURPOSE = "signing key"
_LONGEST = 4096
_Number = Annotated[int, msgspec.Meta(ge=0)]


class Claims(msgspec.Struct, frozen=True):
    """RFC 9068 section 2.2, in the order in which they are written; gen is our own."""

    iss: str
    sub: str
    aud: str
    client_id: str
    exp: _Number
    iat: _Number
    jti: str
    sid: str
    gen: _Number


class Key(msgspec.Struct, frozen=True):
    """A key as it is held in memory."""

    kid: str
    signer: Signer
    begins: int  # milliseconds: it signs for generations made from then on
    ends: int | None  # it is gone from then on
    head: str  # the first part of every token of it

    def __repr__(self) -> str:
        return f"Key({self.kid})"


class Keys:
    """Signs, verifies and publishes. Loaded and rotated by `tend`; all else only looks up."""

    def __init__(self, settings: Service, secrets: Secrets) -> None:
        self._keys: tuple[Key, ...] = ()  # newest first
        self._by_head: dict[str, Key] = {}
        self.use(settings, secrets)

    def use(self, settings: Service, secrets: Secrets) -> None:
        """The settings from now on."""
        self._issuer = settings.base_url
        self._client = settings.name
        self._algorithm: Algorithm = settings.tokens.algorithm
        self._signs = settings.tokens.format == "jwt" or bool(settings.audiences)
        self._life = max(int(settings.tokens.access_ttl * 1000), ASSERTIONS)
        self._secrets = secrets

    def access(self, user_id: str, session_id: str, generation: int, rotated_at: int, until: int) -> str:
        """The token of that generation: by the key that signed then, so always the same bytes.

        Times are milliseconds; the token's are whole seconds, and it never outlives `until`.
        """
        key = self._signing(rotated_at, until)
        expires = until // 1000
        claims = Claims(
            iss=self._issuer, sub=user_id, aud=self._issuer, client_id=self._client, exp=expires,
            iat=rotated_at // 1000, jti=f"{session_id}.{generation}.{expires}", sid=session_id,
            gen=generation,
        )  # fmt: skip
        return _signed(key, key.head, msgspec.json.encode(claims))

    def sign(self, typ: str, claims: bytes, now: int, until: int) -> str:
        """Something else than an access token, of a type that `verify` takes for nothing (T30). Times are
        milliseconds."""
        key = self._signing(now, until)
        return _signed(key, head_of(key.signer.algorithm, key.kid, typ), claims)

    def verify(self, text: str) -> Parts | None:
        """The parts of an access token that we signed; None for anything else. Its expiry is left to the
        caller, as with the other tokens: an expired one still says whose it was.

        The head is compared as it stands: nothing in it is ever interpreted, so there is no `alg`, `crit`,
        `jku` or `jwk` to be fooled by, and a `kid` is one of ours or nothing.
        """
        if len(text) > _LONGEST or text.count(".") != 2 or not text.isascii():
            return None
        told, _, proof = text.rpartition(".")
        head, _, body = told.partition(".")
        key, signature, data = self._by_head.get(head), decoded(proof), decoded(body)
        if key is None or signature is None or data is None:
            return None
        if not key.signer.verify(told.encode(), signature):
            return None
        return self._parts(data)

    def _parts(self, data: bytes) -> Parts | None:
        try:
            claims = msgspec.json.decode(data, type=Claims)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if claims.iss != self._issuer or claims.aud != self._issuer or id_bytes(claims.sid) is None:
            return None
        return Parts(ACCESS, "", claims.sid, claims.gen, claims.exp * 1000)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """RFC 7517: also the key to come, and old ones until their last token has died."""
        return {"keys": [jwk_of(key.signer, key.kid) for key in self._keys]}

    async def tend(self, store: Store) -> None:
        """At start, and every TEND_EVERY seconds: reads the keys, makes the next one when it is due, removes
        those whose last token has died. Several replicas may do it at once. Raises ConfigFaults when a key
        was sealed with a secret that is not here."""
        async with store.reading() as db:
            found, now = await rows.live(db), db.now
        if self._due(found, now) or any(_is_over(row, now) for row in found):
            async with store.writing() as db:
                found = await rows.live(db, lock=True)
                if self._due(found, db.now):
                    await self._follow(db, found, self._algorithm)
                await rows.purge(db)
                found = await rows.live(db)
        self._hold(found)

    async def rotate(self, store: Store) -> str:
        """By command: the next key now, whatever the age of the one in use; its kid."""
        async with store.writing() as db:
            kid = await self.next_key(db)
        await self.tend(store)
        return kid

    async def next_key(self, db: Database) -> str:
        """Make it in the caller's transaction. Whoever tends knows it, and by LEAD later it signs."""
        return await self._follow(db, await rows.live(db, lock=True), self._algorithm)

    async def rewrap(self, store: Store) -> int:
        """Seal all with the newest secret; how many were moved."""
        moved = 0
        async with store.writing() as db:
            for row in await rows.live(db, lock=True):
                sealed = self._secrets.rewrap(row.sealed, PURPOSE, row.kid)
                if sealed != row.sealed:
                    await rows.reseal(db, row.kid, sealed_with(sealed), sealed)
                    moved += 1
        return moved

    def _due(self, found: Sequence[SigningKey], now: int) -> bool:
        if not self._signs:
            return False
        newest = max(found, key=_begins, default=None)
        return newest is None or newest.algorithm != self._algorithm or newest.created_at + AGE <= now

    async def _follow(self, db: Database, found: Sequence[SigningKey], algorithm: Algorithm) -> str:
        """The next key; those before it go when the last token that they can have signed has died."""
        begins = db.now + LEAD if found else db.now
        for row in found:
            if row.retired_at is None:
                await rows.retire(db, row.kid, begins, begins + self._life + LEAD)
        made, kid = new_signer(algorithm), new_kid()
        sealed = self._secrets.seal(made.private(), PURPOSE, kid)
        public = msgspec.json.encode(jwk_of(made, kid)).decode()
        await rows.insert(
            db, SigningKey(kid, algorithm, sealed_with(sealed), sealed, public, begins, None, None)
        )
        return kid

    def _hold(self, found: Sequence[SigningKey]) -> None:
        self._secrets.require(row.key_id for row in found)
        known = {key.kid: key for key in self._keys}
        self._keys = tuple(
            self._key(row, known.get(row.kid)) for row in sorted(found, key=_begins, reverse=True)
        )
        self._by_head = {key.head: key for key in self._keys}

    def _key(self, row: SigningKey, known: Key | None) -> Key:
        held = known.signer if known else signer(row.algorithm, self._opened(row))
        return Key(row.kid, held, row.created_at, row.expires_at, head_of(row.algorithm, row.kid))

    def _opened(self, row: SigningKey) -> bytes:
        return self._secrets.open(row.sealed, PURPOSE, row.kid)

    def _signing(self, rotated_at: int, until: int) -> Key:
        """The newest that signed when the generation was made; a later one where that has gone, or goes
        before the token."""
        lasting = [key for key in self._keys if key.ends is None or key.ends >= until]
        if not lasting:
            raise LookupError("there is no signing key yet")
        return next((key for key in lasting if key.begins <= rotated_at), lasting[-1])


def _signed(key: Key, head: str, claims: bytes) -> str:
    told = f"{head}.{encoded(claims)}"
    return f"{told}.{encoded(key.signer.sign(told.encode()))}"


def _begins(row: SigningKey) -> tuple[int, str]:
    return row.created_at, row.kid


def _is_over(row: SigningKey, now: int) -> bool:
    return row.expires_at is not None and row.expires_at <= now
