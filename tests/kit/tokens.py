"""What our tokens look like from outside, written down a second time, and how a thief would bend them."""

import re
import secrets
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# every token there is or will be: access, refresh, cookie, API key, confirm, reset, magic, second step,
# invite, edge key, "this was not me", another address, the old address back, unlock, known browser
KINDS = (
    "psa_", "psr_", "pss_", "psk_", "psc_", "psp_", "psm_", "psx_", "psi_", "pse_", "psd_", "psn_", "psu_",
    "psl_", "psv_",
)  # fmt: skip
SHAPE = re.compile(r"\bps[a-z]_[0-9A-Za-z]{20,}|\beyJ[\w-]{10,}\.[\w-]+\.[\w-]*")


def payload(token: str) -> bytes:
    """What a token holds, without its checksum."""
    number = 0
    for letter in token[4:]:
        number = number * 62 + ALPHABET.index(letter)
    size = len(token[4:]) * 5954 // 8000  # log(62) / log(256), downwards
    return number.to_bytes(size, "big")[:-4]


def shaped(prefix: str, data: bytes) -> str:
    """A token with a right checksum, whatever it holds."""
    data += zlib.crc32(prefix.encode() + data).to_bytes(4, "big")
    number, letters, width = int.from_bytes(data, "big"), "", 0
    most = (1 << 8 * len(data)) - 1
    while most:
        most //= 62
        width += 1
    for _ in range(width):
        number, rest = divmod(number, 62)
        letters = ALPHABET[rest] + letters
    return prefix + letters


def made_up(prefix: str, size: int = 32) -> str:
    """A token that nobody was given, but that looks like one."""
    return shaped(prefix, secrets.token_bytes(size))


def as_another_kind(token: str, prefix: str) -> str:
    """The same payload and proof as a token of another kind, with the checksum of that kind."""
    return shaped(prefix, payload(token))


def with_bit_flipped(token: str, byte: int, bit: int = 0) -> str:
    """One bit of what it holds changed, the checksum made right again."""
    data = bytearray(payload(token))
    data[byte] ^= 1 << bit
    return shaped(token[:4], bytes(data))
