"""The shapes of our tokens: prefix, base62, a checksum so that typos cost no look-up; hashes, redaction."""

import hashlib
import re
import secrets
import zlib

ACCESS = "psa_"
REFRESH = "psr_"
COOKIE = "pss_"  # the session cookie's value
API_KEY = "psk_"
CONFIRM = "psc_"
RESET = "psp_"
MAGIC = "psm_"
SECOND_STEP = "psx_"
INVITE = "psi_"
EDGE = "pse_"
NOT_ME = "psd_"  # in a mail: the account was made by somebody else
NEW_EMAIL = "psn_"
UNDO_EMAIL = "psu_"
UNLOCK = "psl_"
DEVICE = "psv_"  # the cookie of a browser that its user has signed in from
KINDS = (
    ACCESS, REFRESH, COOKIE, API_KEY, CONFIRM, RESET, MAGIC, SECOND_STEP, INVITE, EDGE, NOT_ME, NEW_EMAIL,
    UNDO_EMAIL, UNLOCK, DEVICE,
)  # fmt: skip

# Our own JWTs begin with these bytes: base64url of {"typ":"at+jwt","alg":"…","kid":"psj_k
JWT_KEY = "psj_k"
JWT_STARTS = (
    "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6InBzal9r",
    "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6InBzal9r",
)

LONGEST = 128  # bytes that are ever written in base62

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_SHAPE = re.compile(r"ps[a-z]_[0-9A-Za-z]{20,200}")
# Wherever one begins: before it may stand anything, as in `token%3Dpsa_…`.
_IN_TEXT = re.compile(r"(ps[a-z]_)[0-9A-Za-z]{20,}|eyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
SHORTEST_TOKEN = len("eyJ") + 10 + len(".x.")  # of what is taken for one in a text


def base62(data: bytes) -> str:
    """Always as long as any value of that many bytes needs, so there is one spelling for each value."""
    if len(data) > LONGEST:
        raise ValueError(f"at most {LONGEST} bytes")
    number, letters = int.from_bytes(data, "big"), []
    for _ in _WIDTHS[len(data)]:
        number, rest = divmod(number, 62)
        letters.append(_ALPHABET[rest])
    return "".join(reversed(letters))


def unbase62(text: str, size: int) -> bytes | None:
    """The bytes; None for what `base62` would not have written."""
    if size > LONGEST or len(text) != len(_WIDTHS[size]):
        return None
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number * 62 + value
    try:
        return number.to_bytes(size, "big")
    except OverflowError:
        return None


def shaped(prefix: str, payload: bytes) -> str:
    """A token: the payload and a CRC over prefix and payload."""
    return prefix + base62(payload + _crc(prefix, payload))


def opened(token: str, prefix: str) -> bytes | None:
    """The payload of a token of that kind; None for anything else, typos included. Proves nothing yet."""
    if not token.startswith(prefix) or not _SHAPE.fullmatch(token):
        return None
    body = token[len(prefix) :]
    size = _SIZES.get(len(body))
    data = unbase62(body, size) if size is not None else None
    if data is None or data[-4:] != _crc(prefix, data[:-4]):
        return None
    return data[:-4]


def plausible(token: str) -> bool:
    """Whether its checksum holds, for a token of one of our kinds."""
    return token[:4] in KINDS and opened(token, token[:4]) is not None


def new(prefix: str) -> str:
    """A random token of 256 bits; `stored` of it is what is kept."""
    return shaped(prefix, secrets.token_bytes(32))


def stored(token: str) -> bytes:
    """What is kept of a random token."""
    return hashlib.sha256(token.encode()).digest()


def new_id() -> str:
    """A session's id, as it stands in the database, in answers and in headers: 16 random bytes in base62."""
    return base62(secrets.token_bytes(16))


def id_bytes(text: str) -> bytes | None:
    return unbase62(text, 16)


def redacted(text: str) -> str:
    """The text without the tokens in it; their kind is left to see."""
    return _IN_TEXT.sub(lambda found: (found[1] or "jwt:") + "…", text)


def _crc(prefix: str, payload: bytes) -> bytes:
    return zlib.crc32(prefix.encode() + payload).to_bytes(4, "big")


def _digits(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number, 62)
        letters += _ALPHABET[rest]
    return letters


_WIDTHS = tuple(_digits((1 << (8 * size)) - 1) for size in range(LONGEST + 1))
_SIZES = {len(digits): size for size, digits in enumerate(_WIDTHS)}
