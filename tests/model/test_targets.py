"""gateway.model.paths: targets, authorities and hosts (T01, T02, T14)."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.paths import (
    BadAuthority,
    canonical,
    host_name,
    reduce_absolute,
    valid_host,
)

# ---- targets


def test_t02_an_encoded_number_sign_is_data() -> None:
    assert canonical(b"/a%23b") == b"/a%23b"


@pytest.mark.parametrize(
    ("target", "host", "origin_form"),
    [
        (b"http://example.com/a?b", b"example.com", b"/a?b"),
        (b"http://example.com", b"example.com", b"/"),
        (b"http://example.com?x", b"example.com", b"/?x"),
        (b"HTTP://Example.COM/A", b"eXample.com", b"/A"),
        (b"http://example.com:80/", b"example.com", b"/"),
        (b"http://example.com/", b"example.com:80", b"/"),
        (b"https://example.com:443/", b"example.com", b"/"),
        (b"http://example.com:8080/", b"example.com:8080", b"/"),
        (b"http://[::1]:80/x", b"[0:0::1]", b"/x"),
        (b"http://a//evil.com/", b"a", b"//evil.com/"),
    ],
)
def test_t14_an_absolute_form_is_reduced(target: bytes, host: bytes, origin_form: bytes) -> None:
    assert reduce_absolute(target, host) == origin_form


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://evil.com/", b"example.com"),
        (b"http://example.com:81/", b"example.com"),
        (b"https://example.com:80/", b"example.com"),
        (b"http://example.com:443/", b"example.com"),
        (b"http://example.com/", b"example.com:443"),
        (b"http://example.com@evil.com/", b"evil.com"),
        (b"http://user@example.com/", b"example.com"),
        (b"http://user:pw@example.com/", b"example.com"),
        (b"http://example.com\\@evil.com/", b"example.com"),
        (b"http://example.com./", b"example.com"),
        (b"http://example.com:/", b"example.com"),
        (b"http:///a", b"example.com"),
        (b"http:/example.com/a", b"example.com"),
        (b"http:example.com", b"example.com"),
        (b"ftp://example.com/", b"example.com"),
        (b"ws://example.com/", b"example.com"),
        (b"//example.com/a", b"example.com"),
        (b"/a", b"example.com"),
        (b"*", b"example.com"),
        (b"example.com:80", b"example.com"),
        (b"http://a b/", b"a b"),
        (b"http:///a", b""),
        (b"http://\xc3\xa9/", b"\xc3\xa9"),
    ],
)
def test_t14_an_absolute_form_of_another_authority_is_refused(target: bytes, host: bytes) -> None:
    with pytest.raises(BadAuthority):
        reduce_absolute(target, host)


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_reducing_raises_nothing_but_bad_authority(tail: bytes, host: bytes) -> None:
    with suppress(BadAuthority):
        assert reduce_absolute(b"http://" + tail, host).startswith(b"/")


# ---- hosts


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"example.com", b"example.com"),
        (b"Example.COM:8080", b"example.com"),
        (b"example.com.", b"example.com"),
        (b"example.com.:80", b"example.com"),
        (b"localhost:0", b"localhost"),
        (b"a:65535", b"a"),
        (b"my_service-1:80", b"my_service-1"),
        (b"xn--caf-dma.example", b"xn--caf-dma.example"),
        (b"127.0.0.1:4000", b"127.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[2001:DB8:0::1]:443", b"[2001:db8::1]"),
        (b"a" * 255, b"a" * 255),
    ],
)
def test_hosts_and_their_names(host: bytes, name: bytes) -> None:
    assert valid_host(host)
    assert host_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b"a b",
        b" a",
        b"a\t",
        b"a\r\nX: y",
        b"a\x00",
        b"a/b",
        b"a/",
        b"a?b",
        b"a#b",
        b"a@b",
        b"u:p@b",
        b"a%2eb",
        b"a\\b",
        b"a,b",
        b'a"',
        b"a;b",
        b"a:",
        b"a:b",
        b"a:-1",
        b"a:+1",
        b"a:65536",
        b"a:999999",
        b"a:80:80",
        b":80",
        b".",
        b"a..b",
        b".a",
        b"http://a",
        b"::1",
        b"[::1",
        b"[::1]x",
        b"[::1]:",
        b"[]",
        b"[a]",
        b"[127.0.0.1]",
        b"[fe80::1%eth0]",
        b"[fe80::1%25eth0]",
        b"[v1.x]",
        b"[::1]]",
        b"caf\xc3\xa9",
        b"\xff",
        b"a" * 256,
        b"a" * 100_000,
    ],
)
def test_t14_what_is_no_host(host: bytes) -> None:
    assert not valid_host(host)
    with pytest.raises(ValueError, match="not a host"):
        host_name(host)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_host_or_not(host: bytes) -> None:
    if valid_host(host):
        assert re.fullmatch(rb"[A-Za-z0-9_.:\[\]-]+", host)
        assert host_name(host)
