"""One signing key: EdDSA or ES256, its head and public form, and signatures that never differ."""

import base64
import binascii
import secrets
from typing import Any, Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.model.credentials import JWT_KEY, base62

Algorithm = Literal["EdDSA", "ES256"]

# FIPS 186-5, P-256. Of the two values of `s` that fit one signature only the lower is made and accepted: one
# spelling for each token.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF = 32


class Signer(Protocol):
    """A private key with its algorithm."""

    algorithm: Algorithm

    def sign(self, message: bytes) -> bytes: ...

    def verify(self, message: bytes, signature: bytes) -> bool: ...

    def jwk(self) -> dict[str, str]:
        """The public members of the key's own kind."""

    def private(self) -> bytes:
        """To be sealed; `signer` reads it."""


class EdDSA:
    """Ed25519 (RFC 8037), deterministic by nature."""

    algorithm: Algorithm = "EdDSA"

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        return {"kty": "OKP", "crv": "Ed25519", "x": encoded(self._public.public_bytes_raw())}

    def private(self) -> bytes:
        return self._key.private_bytes_raw()


class ES256:
    """ECDSA with P-256 and SHA-256; the nonce as in RFC 6979."""

    algorithm: Algorithm = "ES256"

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = key.public_key()

    def sign(self, message: bytes) -> bytes:
        made = self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(made)
        return r.to_bytes(_HALF, "big") + min(s, _ORDER - s).to_bytes(_HALF, "big")

    def verify(self, message: bytes, signature: bytes) -> bool:
        r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
        if len(signature) != 2 * _HALF or s > _ORDER // 2:
            return False
        try:
            self._public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        numbers = self._public.public_numbers()
        x, y = (encoded(number.to_bytes(_HALF, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def private(self) -> bytes:
        return self._key.private_numbers().private_value.to_bytes(_HALF, "big")


def new_signer(algorithm: Algorithm) -> Signer:
    if algorithm == "EdDSA":
        return EdDSA(ed25519.Ed25519PrivateKey.generate())
    return ES256(ec.generate_private_key(ec.SECP256R1()))


def signer(algorithm: str, private: bytes) -> Signer:
    if algorithm == "EdDSA":
        return EdDSA(ed25519.Ed25519PrivateKey.from_private_bytes(private))
    if algorithm != "ES256":
        raise ValueError(f"{algorithm} is an algorithm of another version")
    return ES256(ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()))


def new_kid() -> str:
    return JWT_KEY + base62(secrets.token_bytes(8))


def head_of(algorithm: str, kid: str, typ: str = "at+jwt") -> str:
    """The first part of a token; of access tokens model.credentials.JWT_STARTS are the beginnings."""
    return encoded(f'{{"typ":"{typ}","alg":"{algorithm}","kid":"{kid}"}}'.encode())


def jwk_of(key: Signer, kid: str) -> dict[str, Any]:
    return {**key.jwk(), "use": "sig", "alg": key.algorithm, "kid": kid}


def encoded(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes | None:
    """None for what `encoded` would not have written."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if encoded(data) == text else None
