"""gateway.model.addresses: trusted proxies, the walk through what they forwarded, prefixes (T06, T15)."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.addresses import (
    MAX_HOPS,
    UNIX,
    Origin,
    TrustedProxies,
    of_peer,
    origin,
    parse,
    prefix,
    walk,
)

TRUSTED = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"])
PROXY = "10.0.0.1"


# ---- addresses as text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"1.2.3.4", "1.2.3.4"),
        (b" 1.2.3.4\t", "1.2.3.4"),
        (b"1.2.3.4:5678", "1.2.3.4"),
        (b"::1", "::1"),
        (b"2001:DB8:0:0::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"::ffff:1.2.3.4", "1.2.3.4"),
        (b"::FFFF:102:304", "1.2.3.4"),
        (b"[::ffff:1.2.3.4]:80", "1.2.3.4"),
        (b"0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_t15_an_address_has_one_text(text: bytes, address: str) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"unknown",
        b"_hidden",
        b"unix",
        b"1.2.3",
        b"1.2.3.4.5",
        b"01.2.3.4",
        b"1.2.3.256",
        b"0x7f.0.0.1",
        b"2130706433",
        b"1.2.3.4:",
        b"1.2.3.4:x",
        b"1.2.3.4:123456",
        b"1.2.3.4/8",
        b"1.2.3.4, 5.6.7.8",
        b"1.2.3.4 5",
        b"1.2.3.4\x00",
        b"1.2.3.4\n",
        b"[1.2.3.4]",
        b"[::1",
        b"::1]",
        b"[::1]:",
        b"[::1]x",
        b"::1::",
        b"fe80::1%eth0",
        b"[fe80::1%25eth0]",
        b'"1.2.3.4"',
        "١.2.3.4".encode(),
        b"\xff",
        b"1" * 100_000,
    ],
)
def test_t15_what_is_no_address(text: bytes) -> None:
    assert parse(text) is None


@given(st.binary(max_size=70))
@example(b"[::]:0")
def test_any_bytes_are_an_address_or_none(text: bytes) -> None:
    address = parse(text)
    if address is not None:
        assert parse(address.encode()) == address == str(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_every_address_is_parsed_alone_and_with_a_port(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    normal = getattr(ip, "ipv4_mapped", None) or ip
    with_port = f"[{ip}]:1" if ip.version == 6 else f"{ip}:1"
    assert parse(str(ip).encode()) == parse(with_port.encode()) == str(normal)


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("1.2.3.4", 5), "1.2.3.4"),
        (("::ffff:1.2.3.4", 5, 0, 0), "1.2.3.4"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1"),
        ("", UNIX),
        (b"", UNIX),
        ("/run/peer.sock", UNIX),
        (None, UNIX),
    ],
)
def test_the_address_of_a_connection(peername: object, address: str) -> None:
    assert of_peer(peername) == address


# ---- trusted proxies


@pytest.mark.parametrize("address", ["10.0.0.1", "10.255.255.255", "2001:db8:1:ffff::1", "192.0.2.7"])
def test_a_listed_proxy_is_trusted(address: str) -> None:
    assert TRUSTED.contains(address)
    assert TRUSTED.contains(address)  # remembered


@pytest.mark.parametrize("address", ["11.0.0.1", "2001:db8:2::1", "192.0.2.8", "::1", UNIX, "", "nonsense"])
def test_any_other_peer_is_not(address: str) -> None:
    assert not TRUSTED.contains(address)
    assert not TRUSTED.contains(address)


def test_nobody_is_trusted_by_default() -> None:
    assert not TrustedProxies([]).contains("127.0.0.1")
    assert not TrustedProxies([]).contains(UNIX)


def test_a_peer_on_a_unix_socket_is_trusted_only_when_listed() -> None:
    assert TrustedProxies([UNIX]).contains(UNIX)
    assert not TrustedProxies([UNIX]).contains("127.0.0.1")
    assert not TrustedProxies(["0.0.0.0/0", "::/0"]).contains(UNIX)


def test_a_mapped_network_is_its_v4_network() -> None:
    trusted = TrustedProxies(["::ffff:10.0.0.0/104", "::ffff:1.2.3.4"])
    assert trusted.contains("10.9.9.9")
    assert trusted.contains("1.2.3.4")
    assert not trusted.contains("11.0.0.1")


def test_a_network_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        TrustedProxies(["10.0.0.0/33"])


def test_what_is_remembered_stays_bounded_and_right() -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    for number in range(10_000):
        assert not trusted.contains(f"11.0.{number // 256}.{number % 256}")
    assert len(trusted._remembered) <= 4096
    assert trusted.contains("10.0.0.1")


# ---- the walk


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("9.9.9.9", [], "9.9.9.9"),
        ("9.9.9.9", [b"10.0.0.1"], "9.9.9.9"),
        (PROXY, [], PROXY),
        (PROXY, [b"9.9.9.9"], "9.9.9.9"),
        (PROXY, [b"10.0.0.3", b"10.0.0.2"], "10.0.0.3"),
        (PROXY, [b"9.9.9.9", b"10.0.0.2"], "9.9.9.9"),
        (PROXY, [b"1.1.1.1", b"9.9.9.9"], "9.9.9.9"),
        (PROXY, [b"1.1.1.1", b"9.9.9.9", b"10.0.0.2"], "9.9.9.9"),
        (PROXY, [b"10.0.0.9", b"9.9.9.9", b"10.0.0.2"], "9.9.9.9"),
        (PROXY, [b"::ffff:9.9.9.9"], "9.9.9.9"),
        (PROXY, [b"9.9.9.9:1234"], "9.9.9.9"),
        (PROXY, [b"9.9.9.9", b"[2001:db8:1::7]:44"], "9.9.9.9"),
        # a hop that is no address: the word of the proxy that sent it ends there
        (PROXY, [b"unknown"], PROXY),
        (PROXY, [b""], PROXY),
        (PROXY, [b"9.9.9.9", b"", b"10.0.0.2"], "10.0.0.2"),
        (PROXY, [b"9.9.9.9", b"nonsense", b"10.0.0.2"], "10.0.0.2"),
        (PROXY, [b"nonsense", b"9.9.9.9", b"10.0.0.2"], "9.9.9.9"),
        (PROXY, [b"9.9.9.9", b"fe80::1%eth0"], PROXY),
        (PROXY, [b"9.9.9.9", UNIX.encode()], PROXY),
    ],
)
def test_t15_the_first_untrusted_address_from_the_right(peer: str, chain: list[bytes], client: str) -> None:
    assert walk(peer, chain, TRUSTED) == client


def test_t15_the_walk_is_bounded() -> None:
    chain = [b"9.9.9.9"] + [b"10.0.0.2"] * MAX_HOPS
    assert walk(PROXY, chain, TRUSTED) == "10.0.0.2"
    assert walk(PROXY, chain[:MAX_HOPS], TRUSTED) == "9.9.9.9"


addresses = st.sampled_from(
    [b"10.0.0.2", b"192.0.2.7", b"9.9.9.9", b"8.8.8.8", b"::ffff:10.0.0.3", b"x", b""]
)


@given(st.lists(addresses, max_size=8), st.lists(addresses, max_size=8))
def test_t15_what_stands_left_of_an_untrusted_address_changes_nothing(
    forged: list[bytes], behind: list[bytes]
) -> None:
    honest = [b"7.7.7.7", *behind]
    assert walk(PROXY, forged + honest, TRUSTED) == walk(PROXY, honest, TRUSTED)


# ---- the headers


def asked(
    peer: str = PROXY,
    *,
    xff: bytes | None = None,
    forwarded: bytes | None = None,
    proto: bytes | None = None,
    host: bytes | None = None,
    port: bytes | None = None,
) -> Origin:
    return origin(peer, xff, forwarded, proto, host, port, TRUSTED)


def test_t06_from_an_untrusted_peer_nothing_counts() -> None:
    assert asked(
        "9.9.9.9",
        xff=b"1.1.1.1",
        forwarded=b"for=1.1.1.1;proto=https",
        proto=b"https",
        host=b"evil",
        port=b"1",
    ) == Origin("9.9.9.9")


def test_a_trusted_proxy_that_says_nothing_is_the_client() -> None:
    assert asked() == Origin(PROXY)


def test_the_x_forwarded_headers_of_a_trusted_proxy() -> None:
    assert asked(xff=b"1.1.1.1, 9.9.9.9", proto=b"HTTPS", host=b"shop.example:8443", port=b"8443") == Origin(
        "9.9.9.9", b"https", b"shop.example:8443", b"8443"
    )


@pytest.mark.parametrize(
    ("value", "proto"),
    [
        (b"http", b"http"),
        (b"ftp", b""),
        (b"", b""),
        (b"https\x00", b""),
        (b"https, http", b"http"),
        (b"wss", b""),
    ],
)
def test_a_forwarded_proto_is_http_or_https(value: bytes, proto: bytes) -> None:
    assert asked(proto=value).proto == proto


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"a.example", b"a.example"),
        (b"evil, a.example", b"a.example"),
        (b"a@b", b""),
        (b"a/b", b""),
        (b"", b""),
    ],
)
def test_a_forwarded_host_is_a_host(value: bytes, host: bytes) -> None:
    assert asked(host=value).host == host


@pytest.mark.parametrize(
    ("value", "port"),
    [
        (b"443", b"443"),
        (b"1, 8443", b"8443"),
        (b"0", b""),
        (b"65536", b""),
        (b"-1", b""),
        (b"+1", b""),
        (b"x", b""),
    ],
)
def test_a_forwarded_port_is_a_port(value: bytes, port: bytes) -> None:
    assert asked(port=value).port == port


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (b"for=9.9.9.9", Origin("9.9.9.9")),
        (b"For=9.9.9.9;PROTO=https;host=a.example", Origin("9.9.9.9", b"https", b"a.example")),
        (b'for="[2001:db8::1]:4711"', Origin("2001:db8::1")),
        (b"for=[2001:db8::1]", Origin("2001:db8::1")),
        (b"for=9.9.9.9:80", Origin("9.9.9.9")),
        (b'for="9\\.9.9.9" ; proto=http', Origin("9.9.9.9", b"http")),
        (b'for=9.9.9.9;host="a.example:80";by=_x', Origin("9.9.9.9", b"", b"a.example:80")),
        (b'for=9.9.9.9;x="a, for=1.1.1.1"', Origin("9.9.9.9")),
        # the element of the outermost trusted proxy says how the client came
        (
            b"for=1.1.1.1;proto=http, for=9.9.9.9;proto=https, for=10.0.0.2;proto=http",
            Origin("9.9.9.9", b"https"),
        ),
        (b"for=9.9.9.9;proto=http, for=8.8.8.8", Origin("8.8.8.8")),
        (b"for=9.9.9.9, for=unknown;proto=https", Origin(PROXY, b"https")),
        (b"for=9.9.9.9, for=_hidden, for=10.0.0.2", Origin("10.0.0.2")),
        (b"for=9.9.9.9, proto=https", Origin(PROXY, b"https")),
        (b'for=9.9.9.9;proto=ftp;host="a@b"', Origin("9.9.9.9")),
    ],
)
def test_the_forwarded_header_is_walked_the_same_way(forwarded: bytes, expected: Origin) -> None:
    assert asked(forwarded=forwarded) == expected


@pytest.mark.parametrize(
    "forwarded",
    [
        b"",
        b",",
        b";",
        b"for",
        b"for=",
        b"=9.9.9.9",
        b"for=9.9.9.9;",
        b"for=9.9.9.9,",
        b",for=9.9.9.9",
        b"for=9.9.9.9,,for=8.8.8.8",
        b"for =9.9.9.9",
        b"for= 9.9.9.9",
        b"for=9.9.9.9 8.8.8.8",
        b"for=9.9.9.9;for=8.8.8.8",
        b"for=9.9.9.9;FOR=8.8.8.8",
        b'for="9.9.9.9',
        b'for="9.9.9.9"x',
        b'for="9.9.9.9\\"',
        b'for="9.9.9.9\x00"',
        b"for=9.9.9.9\x00",
        # an open quote of the client's would swallow what the proxy added
        b'for="1.1.1.1, for=9.9.9.9;proto=https',
        b'for=1.1.1.1;x=", for="[2001:db8::9]:1"',
    ],
)
def test_t15_a_broken_forwarded_header_is_no_word_at_all(forwarded: bytes) -> None:
    assert asked(forwarded=forwarded) == Origin(PROXY)


@given(st.binary(max_size=60))
def test_any_bytes_in_every_header_name_an_address(value: bytes) -> None:
    got = asked(xff=value, forwarded=value, proto=value, host=value, port=value)
    ipaddress.ip_address(got.client)
    assert got.proto in (b"", b"http", b"https")


def test_when_both_are_there_x_forwarded_for_names_the_client() -> None:
    assert asked(xff=b"9.9.9.9", forwarded=b"for=1.1.1.1;proto=https;host=evil") == Origin("9.9.9.9")
    assert asked(xff=b"nonsense", forwarded=b"for=1.1.1.1;proto=https;host=evil") == Origin(PROXY)


def test_when_both_agree_forwarded_says_what_the_others_leave_open() -> None:
    forwarded = b"for=9.9.9.9;proto=https;host=a.example"
    assert asked(xff=b"9.9.9.9", forwarded=forwarded) == Origin("9.9.9.9", b"https", b"a.example")
    assert asked(xff=b"9.9.9.9", forwarded=forwarded, proto=b"http").proto == b"http"
    assert asked(forwarded=forwarded, host=b"b.example").host == b"b.example"


def test_t15_a_very_long_header_costs_a_bounded_walk() -> None:
    assert asked(xff=b"9.9.9.9," + b"10.0.0.2," * 3000 + b"10.0.0.2").client == "10.0.0.2"
    assert asked(xff=b"," * 30_000).client == PROXY
    assert asked(forwarded=b"for=9.9.9.9," + b"for=10.0.0.2," * 3000 + b"for=10.0.0.2").client == "10.0.0.2"


# ---- prefixes


@pytest.mark.parametrize(
    ("address", "v4", "v6", "network"),
    [
        ("1.2.3.4", 24, 64, "1.2.3.0/24"),
        ("1.2.3.4", 32, 64, "1.2.3.4/32"),
        ("2001:db8:1:2:3:4:5:6", 24, 64, "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", 32, 64, "2001:db8:1:2::/64"),
        (UNIX, 24, 64, UNIX),
    ],
)
def test_t15_a_prefix(address: str, v4: int, v6: int, network: str) -> None:
    assert prefix(address, v4, v6) == network
