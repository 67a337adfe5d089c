"""PROXY protocol headers: what is read, what is refused, and never a byte too many."""

import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.edge.proxy_protocol import INCOMPLETE, MAX_HEADER, BadProxyHeader, Header, Mode, crc32c, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


def v4_body(source: str = "192.0.2.7", port: int = 51000) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", port, 443)


def v6_body(source: str, port: int = 51000) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return ends + struct.pack(">HH", port, 443)


def extra(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def with_checksum(body: bytes) -> bytes:
    zeroed = v2(0x21, 0x11, body + extra(3, bytes(4)))
    return zeroed[:-4] + crc32c(zeroed).to_bytes(4, "big")


GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n": ("192.0.2.7", 51000),
    b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n": ("192.0.2.7", 0),
    b"PROXY TCP6 2001:DB8::7 2001:db8::1 51000 443\r\n": ("2001:db8::7", 51000),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 51000 443\r\n": ("192.0.2.7", 51000),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:: what ever 1\r\n": None,
    v2(0x21, 0x11, v4_body()): ("192.0.2.7", 51000),
    v2(0x21, 0x12, v4_body()): ("192.0.2.7", 51000),
    v2(0x21, 0x21, v6_body("2001:db8::7")): ("2001:db8::7", 51000),
    v2(0x21, 0x21, v6_body("::ffff:192.0.2.7")): ("192.0.2.7", 51000),
    v2(0x21, 0x31, bytes(216)): None,
    v2(0x21, 0x11, v4_body() + extra(0xEA, b"\x01vpce-1") + extra(0x04, b"")): ("192.0.2.7", 51000),
    v2(0x20, 0x00, b""): None,
    v2(0x20, 0x11, v4_body()): None,
    v2(0x21, 0x00, b"to be ignored"): None,
    with_checksum(v4_body()): ("192.0.2.7", 51000),
}

BAD = [
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 1\r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 51000 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 \r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 51000 443\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 51000 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 51000 443\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 51000 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 51000 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 051 443\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 x\r\n",
    b"PROXY TCP4 192.0.2.\xb27 198.51.100.1 51000 443\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 51000 443\r\n",
    b"PROXY UNKNOWN " + b"x" * 93,  # 107 bytes without an end
    v2(0x11, 0x11, v4_body()),
    v2(0x22, 0x11, v4_body()),
    v2(0x21, 0x41, v4_body()),
    v2(0x21, 0x13, v4_body()),
    v2(0x21, 0x11, v4_body()[:-1]),
    v2(0x21, 0x21, v4_body()),
    v2(0x21, 0x31, bytes(215)),
    v2(0x21, 0x11, v4_body() + b"\x04"),
    v2(0x21, 0x11, v4_body() + b"\x04\x00\x02x"),
    v2(0x21, 0x11, v4_body() + extra(3, b"\x00\x00\x00\x01")),
    v2(0x21, 0x11, v4_body() + extra(3, b"")),
    v2(0x21, 0x11, bytes(MAX_HEADER)),
    with_checksum(v4_body()).replace(socket.inet_aton("192.0.2.7"), socket.inet_aton("192.0.2.8")),
]


@pytest.mark.parametrize("data", GOOD)
def test_it_reads_the_client_and_exactly_the_header(data: bytes) -> None:
    assert parse(data) == Header(len(data), GOOD[data])
    assert parse(data + b"\x16\x03\x01\r\n") == Header(len(data), GOOD[data])


@pytest.mark.parametrize("data", GOOD)
def test_a_header_that_comes_in_pieces_is_incomplete_until_its_last_byte(data: bytes) -> None:
    assert {type(parse(data[:end])) for end in range(len(data))} == {type(INCOMPLETE)}


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_valid_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse(data)


def test_a_header_that_can_not_become_good_is_refused_at_once() -> None:
    for start in (b"G", b"PROXX", SIGNATURE[:11] + b"x", v2(0x21, 0x11, bytes(MAX_HEADER))[:16]):
        with pytest.raises(BadProxyHeader):
            parse(start)


@pytest.mark.parametrize(
    ("mode", "data"),
    [("v1", v2(0x21, 0x11, v4_body())), ("v2", b"PROXY UNKNOWN\r\n"), ("v1", SIGNATURE[:1]), ("v2", b"P")],
)
def test_a_listener_for_one_version_refuses_the_other(mode: Mode, data: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse(data, mode)


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4


headers = st.one_of(
    st.binary(max_size=64).map(lambda data: b"PROXY " + data),
    st.lists(st.sampled_from([b"TCP4", b"TCP6", b"UNKNOWN", b"1.2.3.4", b"::1", b"9", b"", b"\xff"])).map(
        lambda words: b"PROXY " + b" ".join(words) + b"\r\n"
    ),
    st.builds(
        v2,
        st.sampled_from([0x20, 0x21, 0x31]),
        st.sampled_from([0, 0x10, 0x11, 0x12, 0x21, 0x31, 0x41]),
        st.binary(max_size=260) | st.binary(max_size=40).map(lambda data: v4_body() + data),
    ),
    st.binary(max_size=64),
)


@given(headers, st.binary(max_size=8), st.sampled_from(["v1", "v2", "any"]))
@example(SIGNATURE, b"", "any")
def test_any_bytes_give_a_header_within_them_or_a_refusal(head: bytes, rest: bytes, mode: Mode) -> None:
    data = head + rest
    try:
        found = parse(data, mode)
    except BadProxyHeader:
        return
    if isinstance(found, Header):
        assert 0 < found.consumed <= len(data)
        assert parse(data[: found.consumed], mode) == found
        assert found.source is None or socket.getaddrinfo(*found.source, flags=socket.AI_NUMERICHOST)
    else:
        assert len(data) < MAX_HEADER
