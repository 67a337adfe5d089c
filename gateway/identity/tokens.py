"""Tokens of a session, derived and never stored: ids with a proof, the same bytes whenever asked again."""

import hmac
import struct

import msgspec

from gateway.identity.secrets import Secrets
from gateway.model.credentials import ACCESS, COOKIE, REFRESH, base62, id_bytes, opened, shaped

_MAC = 16
_PURPOSES = {ACCESS: "postern access", REFRESH: "postern refresh", COOKIE: "postern cookie"}
_PLAIN = struct.Struct(">4s16sI")  # key-id, session, generation
_TIME = 6  # bytes of milliseconds
_LENGTHS = {ACCESS: _PLAIN.size + _TIME + _MAC, REFRESH: _PLAIN.size + _MAC, COOKIE: _PLAIN.size + _MAC}


class Parts(msgspec.Struct, frozen=True):
    """What a token says of itself."""

    kind: str  # ACCESS, REFRESH, COOKIE; ACCESS also for one that came as a JWT
    key_id: str
    session: str  # the session's id as in the database
    generation: int  # the cookie's own for COOKIE
    expires: int = 0  # milliseconds; 0: the session decides
    payload: bytes = b""
    mac: bytes = b""

    def __repr__(self) -> str:
        """Without what makes it a credential."""
        return f"Parts({self.kind}… of session {self.session}, generation {self.generation})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("kind", self.kind), ("session", self.session)]


def read(text: str) -> Parts | None:
    """The parts of an access or refresh token or a cookie; None for anything else. Proves nothing yet."""
    kind = text[:4]
    data = opened(text, kind) if kind in _LENGTHS else None
    if data is None or len(data) != _LENGTHS[kind]:
        return None
    payload, mac = data[:-_MAC], data[-_MAC:]
    key_id, session, generation = _PLAIN.unpack_from(payload)
    expires = int.from_bytes(payload[_PLAIN.size :], "big")
    return Parts(kind, key_id.hex(), base62(session), generation, expires, payload, mac)


class Tokens:
    """Makes and proves them. `salt` and `key_id` are the session row's.

    A token names its own key-id, so a session may move to the newest secret when it rotates: what was made
    before is proved by the older secret as long as that is configured.
    """

    __slots__ = ("_secrets",)
    read = staticmethod(read)

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def access(self, session_id: str, salt: bytes, key_id: str, generation: int, until: int) -> str:
        """`until`: milliseconds."""
        payload = _payload(session_id, key_id, generation) + until.to_bytes(_TIME, "big")
        return self._made(ACCESS, payload, salt, key_id)

    def refresh(self, session_id: str, salt: bytes, key_id: str, generation: int) -> str:
        return self._made(REFRESH, _payload(session_id, key_id, generation), salt, key_id)

    def cookie(self, session_id: str, salt: bytes, key_id: str, generation: int) -> str:
        return self._made(COOKIE, _payload(session_id, key_id, generation), salt, key_id)

    def proved(self, parts: Parts, salt: bytes) -> bool:
        """Whether we made it, for the session with this salt; in constant time."""
        mac = self._mac(parts.kind, parts.payload, salt, parts.key_id)
        return mac is not None and hmac.compare_digest(mac, parts.mac)

    def _made(self, kind: str, payload: bytes, salt: bytes, key_id: str) -> str:
        mac = self._mac(kind, payload, salt, key_id)
        if mac is None:
            raise LookupError(f"the secret with key-id {key_id} is missing")
        return shaped(kind, payload + mac)

    def _mac(self, kind: str, payload: bytes, salt: bytes, key_id: str) -> bytes | None:
        key = self._secrets.derive(key_id, salt, _PURPOSES[kind])
        return None if key is None else hmac.digest(key, kind.encode() + payload, "sha256")[:_MAC]


def _payload(session_id: str, key_id: str, generation: int) -> bytes:
    session = id_bytes(session_id)
    if session is None:
        raise ValueError("this is no session's id")
    return _PLAIN.pack(bytes.fromhex(key_id), session, generation)
