"""The PROXY protocol, versions 1 and 2: a load balancer tells who the client is before its first byte."""

import ipaddress
import re
import struct
from typing import Literal

import msgspec

Source = tuple[str, int]
Mode = Literal["none", "v1", "v2", "any"]

MAX_HEADER = 4096
_V1_START = b"PROXY "
_V1_LONGEST = 107
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = struct.Struct(">12sBBH")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_CRC32C = 0x03


class BadProxyHeader(Exception):
    """The connection does not begin with a PROXY protocol header that can be believed."""


class Incomplete(msgspec.Struct, frozen=True):
    """All of the data belongs to a header that has not ended."""


class Header(msgspec.Struct, frozen=True):
    """A whole header; `source` is None when it names no client: a balancer's check, or a Unix socket."""

    consumed: int
    source: Source | None


INCOMPLETE = Incomplete()


def parse(data: bytes, mode: Mode = "any") -> Incomplete | Header:
    if mode != "v2" and _begins(data, _V1_START):
        return _parse_v1(data)
    if mode != "v1" and _begins(data, _V2_START):
        return _parse_v2(data)
    raise BadProxyHeader("no PROXY protocol header" if mode == "any" else f"no PROXY protocol {mode} header")


def _begins(data: bytes, start: bytes) -> bool:
    return data.startswith(start) or start.startswith(data)


def _parse_v1(data: bytes) -> Incomplete | Header:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise BadProxyHeader("the v1 header does not end within 107 bytes")
        return INCOMPLETE
    words = data[:end].split(b" ")
    family = words[1]
    if family == b"UNKNOWN":  # what follows is to be ignored
        return Header(end + 2, None)
    if family not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise BadProxyHeader("the v1 header is not `PROXY TCP4|TCP6 source destination port port`")
    version = 4 if family == b"TCP4" else 6
    source = _text_address(words[2], version)
    _text_address(words[3], version)
    port = _text_port(words[4])
    _text_port(words[5])
    return Header(end + 2, (source, port))


def _text_address(word: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise BadProxyHeader("the v1 header has a bad address") from None
    if address.version != version or b"%" in word:
        raise BadProxyHeader("the v1 header has a bad address")
    return _plain(address)


def _text_port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 0xFFFF:
        raise BadProxyHeader("the v1 header has a bad port")
    return int(word)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """`::ffff:a.b.c.d` is the IPv4 address: one client must not have two names."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _parse_v2(data: bytes) -> Incomplete | Header:
    if len(data) < _V2_FIXED.size:
        return INCOMPLETE
    _, command, family, length = _V2_FIXED.unpack_from(data)
    consumed = _V2_FIXED.size + length
    if command not in (0x20, 0x21):
        raise BadProxyHeader("the v2 header has an unknown version or command")
    if family >> 4 > 3 or family & 15 > 2:
        raise BadProxyHeader("the v2 header has an unknown address family")
    if consumed > MAX_HEADER:
        raise BadProxyHeader(f"the v2 header is longer than {MAX_HEADER} bytes")
    if len(data) < consumed:
        return INCOMPLETE
    header = data[:consumed]
    told = command == 0x21 and family & 15 != 0
    source, extras = _binary_source(header, family >> 4 if told else 0)
    # LOCAL and UNSPEC say nothing of what their bytes are: they are to be ignored
    if extras:
        _check_extras(header, extras)
    return Header(consumed, source)


def _binary_source(header: bytes, family: int) -> tuple[Source | None, int]:
    """The client, and where the extra values begin; 0 when there are none to read."""
    start = _V2_FIXED.size
    size = (0, 12, 36, 216)[family]
    if family == 0:
        return None, 0
    if len(header) < start + size:
        raise BadProxyHeader("the v2 header is too short for its addresses")
    if family == 3:
        return None, start + size
    width = 4 if family == 1 else 16
    address = ipaddress.ip_address(header[start : start + width])
    (port,) = struct.unpack_from(">H", header, start + 2 * width)
    return (_plain(address), port), start + size


def _check_extras(header: bytes, start: int) -> None:
    """Type-length-value triples: they must fit and a checksum must be right; nothing else is read."""
    while start < len(header):
        if start + 3 > len(header):
            raise BadProxyHeader("the v2 header ends within an extra value")
        kind, length = struct.unpack_from(">BH", header, start)
        start += 3
        if start + length > len(header):
            raise BadProxyHeader("the v2 header ends within an extra value")
        if kind == _CRC32C:
            told = header[start : start + length]
            zeroed = header[:start] + bytes(length) + header[start + length :]
            if told != crc32c(zeroed).to_bytes(4, "big"):
                raise BadProxyHeader("the v2 header does not match its checksum")
        start += length


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720, appendix B.4), which zlib does not have."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
