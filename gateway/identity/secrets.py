"""The master secrets: where they come from, the keys made of them, and what they keep sealed at rest."""

import secrets
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.config.faults import ConfigFault, ConfigFaults
from gateway.config.service import Service
from gateway.identity import secret_file
from gateway.identity.secret_file import VARIABLE, Log

SHORTEST = 32  # bytes
FEWEST = 8  # different characters: fewer are no random text
_MAKE = "`postern secret` makes one"

_FORM = b"\x01"
_KEY_ID = 4
_SALT = 16
_NONCE = 12
_HEAD = len(_FORM) + _KEY_ID + _SALT


class NotOpened(Exception):
    """Something sealed can't be opened: its secret is not configured, or it is not what was sealed here."""


class Secrets:
    """The master secrets, newest first. New things use the newest; older ones still open and prove theirs."""

    __slots__ = ("_by_id", "newest")

    def __init__(self, texts: Sequence[str]) -> None:
        faults = [fault for place, text in enumerate(texts) for fault in _faults_of(place, text)]
        if not texts:
            faults = [_fault("there is no secret", _MAKE)]
        if faults:
            raise ConfigFaults(faults)
        found = {_key_id(text.encode()): text.encode() for text in reversed(texts)}
        if len(found) < len(set(texts)):
            raise ConfigFaults([_fault("two of the secrets have the same key-id", f"replace one; {_MAKE}")])
        self._by_id = found
        self.newest = _key_id(texts[0].encode())

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.key_ids)})"

    @property
    def key_ids(self) -> list[str]:
        """Newest first. A key-id says nothing about its secret."""
        return sorted(self._by_id, key=lambda key_id: key_id != self.newest)

    def derive(self, key_id: str, salt: bytes, info: str, size: int = 32) -> bytes | None:
        """A key of that secret (HKDF, RFC 5869); None when no such secret is configured."""
        secret = self._by_id.get(key_id)
        if secret is None:
            return None
        return HKDF(SHA256(), size, salt, info.encode()).derive(secret)

    def missing(self, key_ids: Iterable[str]) -> list[str]:
        return sorted(set(key_ids) - self._by_id.keys())

    def require(self, key_ids: Iterable[str]) -> None:
        """Refuse to start while something in the database names a secret that is not here."""
        lost = self.missing(key_ids)
        if lost:
            raise ConfigFaults(
                [
                    _fault(
                        f"the secret with key-id {key_id} is missing, and the database still has sessions or "
                        "sealed rows made with it",
                        "put it back after the newest one, until they have ended or `postern keys rewrap` "
                        "has moved them",
                    )
                    for key_id in lost
                ]
            )

    def seal(self, plain: bytes, purpose: str, row: str) -> bytes:
        """Encrypted for that purpose and row: moved to another row it can't be opened."""
        salt = secrets.token_bytes(_SALT)
        head = _FORM + bytes.fromhex(self.newest) + salt
        key, nonce = self._sealing(self.newest, salt, purpose)
        return head + AESGCM(key).encrypt(nonce, plain, head + row.encode())

    def open(self, sealed: bytes, purpose: str, row: str) -> bytes:
        key_id = sealed_with(sealed)
        head = sealed[:_HEAD]
        key, nonce = self._sealing(key_id, head[-_SALT:], purpose)
        try:
            return AESGCM(key).decrypt(nonce, sealed[_HEAD:], head + row.encode())
        except InvalidTag:
            raise NotOpened(f"what is sealed for {purpose} {row} was changed, or moved there") from None

    def rewrap(self, sealed: bytes, purpose: str, row: str) -> bytes:
        """Sealed with the newest secret; the very same bytes when it already is."""
        if sealed_with(sealed) == self.newest:
            return sealed
        return self.seal(self.open(sealed, purpose, row), purpose, row)

    def _sealing(self, key_id: str, salt: bytes, purpose: str) -> tuple[bytes, bytes]:
        """A key and a nonce of its own for each sealing, as in RFC 8188: no count of uses to watch."""
        made = self.derive(key_id, salt, f"postern seal {purpose}", 32 + _NONCE)
        if made is None:
            raise NotOpened(f"the secret with key-id {key_id} is missing; add it to {VARIABLE}")
        return made[:32], made[32:]


def sealed_with(sealed: bytes) -> str:
    """The key-id in its sealed form."""
    if len(sealed) < _HEAD or not sealed.startswith(_FORM):
        raise NotOpened("this is nothing that was sealed here")
    return sealed[1 : 1 + _KEY_ID].hex()


def make() -> str:
    """A new master secret."""
    return secrets.token_urlsafe(SHORTEST)


def load(service: Service, log: Log) -> Secrets:
    """The configured secrets, or those of the data folder, where one is made at the first start.

    Call it before the database is opened: a database without its secret is refused.
    """
    if service.secrets:
        return Secrets(service.secrets)
    return Secrets(secret_file.find_or_make(service, make, log))


def _key_id(secret: bytes) -> str:
    return HKDF(SHA256(), _KEY_ID, None, b"key-id").derive(secret).hex()


def _faults_of(place: int, text: str) -> Iterable[ConfigFault]:
    which = f"secret {place + 1}"
    if len(text.encode()) < SHORTEST:
        yield _fault(f"{which} is shorter than {SHORTEST} bytes", _MAKE)
    elif len(set(text)) < FEWEST:
        yield _fault(f"{which} has fewer than {FEWEST} different characters", _MAKE)


def _fault(problem: str, hint: str) -> ConfigFault:
    return ConfigFault("environment", 0, VARIABLE, problem, hint)
