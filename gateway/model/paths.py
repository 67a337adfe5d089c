"""The canonical path of a request, or why there is none: one spelling that decides and is forwarded."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

# What a route may let through (paths: in routes.yaml); plain ints, since they are tested per request.
ENCODED_SLASH = 1
PARAMETERS = 2
DOUBLE_ENCODING = 4
EMPTY_SEGMENTS = 8

# RFC 3986 section 3.3: pchar without pairs and without ";" (which starts a parameter).
_PCHAR = rb"[A-Za-z0-9\-._~!$&'()*+,=:@]"
_PCHAR_BUT_DOT = rb"[A-Za-z0-9\-_~!$&'()*+,=:@]"
# Nearly every path: nothing to decode, no empty segment, none that begins with a dot.
_PLAIN = rb"(?=/)(?:/" + _PCHAR_BUT_DOT + _PCHAR + rb"*+)*+/?"
_plain = re.compile(_PLAIN).fullmatch

QUERY = rb"[\x21\x22\x24-\x7e]*"  # visible ASCII without "#"
# Nearly every target: such a path, which is canonical as it stands, and perhaps a query with its "?".
plain_target = re.compile(rb"(" + _PLAIN + rb")(\?" + QUERY + rb")?").fullmatch

_never_raw = re.compile(rb"[\x00-\x1f\x7f-\xff\\#?]").search
_broken_pair = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
# RFC 3986 allows none of these in a path, yet parsers pass them on: each gets the pair it should have been.
_UNWISE = b' "<>[]^`{|}'
_to_spell = re.compile(rb"%[0-9A-Fa-f]{2}|[" + re.escape(_UNWISE) + rb"]").sub
_pair = re.compile(rb"%[0-9A-Fa-f]{2}").sub
# In canonical spelling. The last is a C1 control (U+0080 to U+009F) in UTF-8.
_encoded_control = re.compile(rb"%(?:[01][0-9A-F]|7F|C2%[89][0-9A-F])").search
_encoded_pair = re.compile(rb"%25[0-9A-Fa-f]{2}").search
# The path begins with a slash, so every segment has a separator before it.
_dot_segment = re.compile(rb"[/\\]\.\.?(?:[/\\;]|\Z)").search

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX_DIGITS = "0123456789ABCDEFabcdef"
_DECODED = {f"%{a}{b}".encode(): bytes([int(a + b, 16)]) for a in _HEX_DIGITS for b in _HEX_DIGITS}
_SPELLED = {pair: byte if byte[0] in _UNRESERVED else pair.upper() for pair, byte in _DECODED.items()}
_SPELLED |= {bytes([byte]): b"%%%02X" % byte for byte in _UNWISE}
# Reserved characters that may stand bare in a segment; RFC 3986 section 2.2: their two spellings differ.
_BARE = {b"%%%02X" % byte: bytes([byte]) for byte in b"!$&'()*+,;=:@"}


class Ambiguous(ValueError):
    """Two programs could read this path differently; `reason` says to people what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadAuthority(ValueError):
    """An absolute-form target that does not name the host of the request."""


def canonical(path: bytes, opt_ins: int = 0) -> bytes:
    """The one spelling of `path`. It is printable ASCII without a double quote and without a backslash."""
    if _plain(path):
        return path
    return _canonical_with_care(path, opt_ins)


def _canonical_with_care(path: bytes, opt_ins: int) -> bytes:
    if path[:1] != b"/":
        raise Ambiguous("The path does not begin with a slash.")
    if _broken_pair(path):
        raise Ambiguous("The path has a % that two hexadecimal digits do not follow; send %25 for the sign.")
    spelled = _to_spell(_spell, path)
    doubled = _encoded_pair(spelled) is not None
    if doubled and not opt_ins & DOUBLE_ENCODING:
        raise Ambiguous("The path is encoded twice (%25 before two hexadecimal digits).")
    decoded = _pair(_decode, spelled)
    # Without a doubled pair one decoding is all there is: `decoded` has no pair left.
    if _dot_segment(_decoded_to_the_end(decoded) if doubled else decoded):
        raise Ambiguous("The path has a dot-segment (. or ..), perhaps encoded; send the path it leads to.")
    _refuse_what_is_never_allowed(path, spelled, decoded)
    if not opt_ins & ENCODED_SLASH and b"%2F" in spelled:
        raise Ambiguous("The path has an encoded slash (%2F).")
    if not opt_ins & EMPTY_SEGMENTS and b"//" in spelled:
        raise Ambiguous("The path has an empty segment (//).")
    if not opt_ins & PARAMETERS and b";" in spelled:
        raise Ambiguous("The path has a parameter (;); send %3B if the sign is part of a name.")
    return spelled


def _spell(found: re.Match[bytes]) -> bytes:
    return _SPELLED[found[0]]


def _decode(found: re.Match[bytes]) -> bytes:
    return _DECODED[found[0]]


def _refuse_what_is_never_allowed(path: bytes, spelled: bytes, decoded: bytes) -> None:
    if found := _never_raw(path):
        raise Ambiguous(f"The path has the byte 0x{found[0][0]:02x}, which must be encoded or left out.")
    if b"%5C" in spelled:
        raise Ambiguous("The path has an encoded backslash (%5C).")
    if _encoded_control(spelled):
        raise Ambiguous("The path has an encoded control character.")
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise Ambiguous("The path is not UTF-8 when it is decoded.") from None


def _decoded_to_the_end(text: bytes) -> bytes:
    """Decodes until nothing changes, in one pass: "%2%3%35" chains would make repeated passes quadratic."""
    out = bytearray()
    for byte in text:
        out.append(byte)
        while (pair := _DECODED.get(bytes(out[-3:]))) is not None:
            out[-3:] = pair
    return bytes(out)


def compared(path: bytes) -> bytes:
    """How a canonical path is compared with patterns: two are equal exactly if they decode to the same.

    What is forwarded keeps the client's spelling of "@" and "%40". But servers decode both to one place, so
    the rules for that place must meet both.
    """
    return _pair(_bare, path) if 37 in path else path  # "%"; a number is found at less than half the price


def _bare(found: re.Match[bytes]) -> bytes:
    return _BARE.get(found[0], found[0])


def strip_prefix(path: bytes, prefix: bytes) -> bytes:
    """The canonical `path` without its leading segments `prefix`; unchanged when it has other ones.

    The result begins with exactly one slash: "//evil" and "@evil" would be a host to some parsers.
    """
    prefix = prefix.rstrip(b"/")
    if not prefix:
        return path
    segments = path.split(b"/")
    own = prefix.count(b"/") + 1
    if compared(b"/".join(segments[:own])) != compared(prefix):
        return path
    rest = b"/" + b"/".join(segments[own:])
    if rest[:2] == b"//":
        raise Ambiguous("The path has an empty segment (//) where the route's prefix ends.")
    return rest


# A DNS name, wider by "_"; RFC 3986 would allow "!$&'()*+,;=" too, which no host has and lists are made of.
_name = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?").fullmatch
_host_and_port = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:]+)(?::([0-9]{1,5}))?").fullmatch
_MAX_NAME = 255
_absolute = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch
_DEFAULT_PORT = {b"http": 80, b"https": 443}


@lru_cache(256)
def _split_host(host: bytes) -> tuple[bytes, int] | None:
    """Lower-case name and port (-1: none), or None when this is no host."""
    found = _host_and_port(host)
    if found is None:
        return None
    name, port = found[1].lower(), int(found[2] or -1)
    if port > 65535 or len(name) > _MAX_NAME:
        return None
    if name[:1] == b"[":
        try:
            return b"[%s]" % IPv6Address(name[1:-1].decode()).compressed.encode(), port
        except AddressValueError:
            return None
    return (name, port) if _name(name) else None


def _host_parts(host: bytes) -> tuple[bytes, int] | None:
    # Bounded before it is remembered: a long Host must not live on as a key.
    return _split_host(host) if len(host) <= _MAX_NAME + 6 else None


def valid_host(host: bytes) -> bool:
    """Whether this is a name, an IPv4 or a bracketed IPv6 address, with an optional port."""
    return _host_parts(host) is not None


def host_name(host: bytes) -> bytes:
    """The name of a valid host: lower-case, without port and final dot."""
    parts = _host_parts(host)
    if parts is None:
        raise ValueError("not a host")
    return parts[0].removesuffix(b".")


def reduce_absolute(target: bytes, host: bytes) -> bytes:
    """The origin-form of an absolute-form target whose authority is `host` (RFC 9112 section 3.2.2)."""
    found = _absolute(target)
    if found is None:
        raise BadAuthority("The target is neither a path nor an http or https URL.")
    default = _DEFAULT_PORT[found[1].lower()]
    named, asked = _host_parts(found[2]), _host_parts(host)
    if named is None or asked is None:
        raise BadAuthority("The target does not name a host with an optional port.")
    if _with_port(named, default) != _with_port(asked, default):
        raise BadAuthority("The target names another host than the Host header.")
    rest = found[3]
    return rest if rest[:1] == b"/" else b"/" + rest


def _with_port(parts: tuple[bytes, int], default: int) -> tuple[bytes, int]:
    return (parts[0], default) if parts[1] < 0 else parts
