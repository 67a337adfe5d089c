"""What edge.md says of the canonical path, written down a second time: slowly, apart from the gateway."""

import string

UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
PATH_CHARACTERS = UNRESERVED + b"/!$&'()*+,;=:@"  # RFC 3986: pchar, "/" between segments
HEX = string.hexdigits.encode()


class Refused(Exception):
    """400 ambiguous_path."""


def units(path: bytes) -> list[bytes]:
    """The path cut into single bytes and percent-pairs."""
    cut, at = [], 0
    while at < len(path):
        length = 3 if path[at : at + 1] == b"%" and is_pair(path[at : at + 3]) else 1
        cut.append(path[at : at + length])
        at += length
    return cut


def is_pair(text: bytes) -> bool:
    return len(text) == 3 and text[:1] == b"%" and all(digit in HEX for digit in text[1:])


def decode(path: bytes) -> bytes:
    """Every pair decoded once."""
    return b"".join(bytes([int(unit[1:], 16)]) if is_pair(unit) else unit for unit in units(path))


def decode_fully(path: bytes) -> bytes:
    """Decoded until nothing changes."""
    while (decoded := decode(path)) != path:
        path = decoded
    return path


def has_dot_segment(path: bytes) -> bool:
    segments = decode_fully(path).replace(b"\\", b"/").split(b"/")
    return any(segment.split(b";")[0] in (b".", b"..") for segment in segments)


def canonical(path: bytes, opt_ins: frozenset[str] = frozenset()) -> bytes:
    """The one spelling that decides and is forwarded; or Refused."""
    lower = path.lower()
    if not path.startswith(b"/") or has_dot_segment(path):
        raise Refused
    if any(sign in path for sign in (b"#", b"\\")) or b"%5c" in lower:
        raise Refused
    if any(unit == b"%" for unit in units(path)):
        raise Refused
    if any(byte < 0x20 or byte >= 0x7F for byte in path):
        raise Refused
    try:
        decoded = decode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None
    if any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in decoded):
        raise Refused
    doubled = any(unit == b"%25" and is_pair(b"%" + rest) for unit, rest in with_rest(path))
    for sign, found in {
        "encoded_slash": b"%2f" in lower,
        "parameters": b";" in path,
        "empty_segments": b"//" in path,
        "double_encoding": doubled,
    }.items():
        if found and sign not in opt_ins:
            raise Refused
    return b"".join(spelling(unit) for unit in units(path))


def with_rest(path: bytes) -> list[tuple[bytes, bytes]]:
    """Each unit with the two bytes that stand after it once unreserved pairs are decoded."""
    spelled = b"".join(spelling(unit) for unit in units(path))
    found, at = [], 0
    for unit in units(spelled):
        at += len(unit)
        found.append((unit, spelled[at : at + 2]))
    return found


def spelling(unit: bytes) -> bytes:
    """A unit as the canonical path has it."""
    byte = int(unit[1:], 16) if len(unit) == 3 else unit[0]
    if len(unit) == 3:
        return bytes([byte]) if byte in UNRESERVED else unit.upper()
    return unit if byte in PATH_CHARACTERS + b"%" else b"%%%02X" % byte
