"""gateway.model.paths: every line of spec/edge.md "Canonical path", and a slow model of the same words."""

import json
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.paths import (
    DOUBLE_ENCODING,
    EMPTY_SEGMENTS,
    ENCODED_SLASH,
    PARAMETERS,
    Ambiguous,
    canonical,
    compared,
    strip_prefix,
)

EVERYTHING = ENCODED_SLASH | PARAMETERS | DOUBLE_ENCODING | EMPTY_SEGMENTS


def refused(path: bytes, opt_ins: int = 0) -> str:
    with pytest.raises(Ambiguous) as caught:
        canonical(path, opt_ins)
    return caught.value.reason


# ---- one spelling


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/api/orders/123",
        b"/api/orders/",
        b"/a.b/c..d/e...",
        b"/...",
        b"/.well-known/jwks.json",
        b"/..a/b",
        b"/-._~!$&'()*+,=:@",
        b"/caf%C3%A9",
        b"/100%25",
        b"/a%3Fb%23c",
        b"/a%3Bb",
        b"/%F0%9F%98%80",
    ],
)
def test_a_canonical_path_stays_byte_for_byte(path: bytes) -> None:
    assert canonical(path) == path


@pytest.mark.parametrize(
    ("path", "spelling"),
    [
        (b"/%61dmin", b"/admin"),
        (b"/%41%5a%30%2D%5F%7e", b"/AZ0-_~"),
        (b"/a%2eb", b"/a.b"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/%3a%40%2c", b"/%3A%40%2C"),
        (b"/a%20b", b"/a%20b"),
        (b"/100%25/x", b"/100%25/x"),
        (b"/100%25zz", b"/100%25zz"),
        (b'/a"<b>', b"/a%22%3Cb%3E"),
        (b"/{id}|^`[0]", b"/%7Bid%7D%7C%5E%60%5B0%5D"),
        (b"/a b", b"/a%20b"),
    ],
)
def test_unreserved_pairs_are_decoded_and_the_rest_is_upper_case_hex(path: bytes, spelling: bytes) -> None:
    assert canonical(path) == spelling


# ---- refused, whatever a route allows

DOT_SEGMENTS = [
    b"/..",
    b"/.",
    b"/a/../b",
    b"/a/./b",
    b"/./",
    b"/a/..",
    b"/%2e%2e/b",
    b"/%2E",
    b"/a/.%2e/b",
    b"/a/%2e./b",
    b"/a/..%2fb",
    b"/a%2f..%2fb",
    b"/a%2f..",
    b"/a/..\\b",
    b"/a/..%5cb",
    b"/a%5c..%5cb",
    b"/%252e%252e/b",
    b"/%252e",
    b"/a/%25252e%25252e/b",
    b"/a%252f..%252fb",
    b"/a/%25%32%65./b",
    b"/%25%32%65",
    b"/%2525%32%65",
    b"/%252%2565",
    b"/a/..;/admin",
    b"/public/..;x=1/admin",
    b"/public/..%3b/admin",
    b"/public/%2e%2e%3bx/admin",
    b"/public/..%253b/admin",
    b"/a//../b",
    b"/a/..%252f/b",
]


@pytest.mark.parametrize("opt_ins", [0, EVERYTHING])
@pytest.mark.parametrize("path", DOT_SEGMENTS)
def test_t03_a_dot_segment_is_refused_whatever_a_route_allows(path: bytes, opt_ins: int) -> None:
    reason = refused(path, opt_ins)
    assert "dot-segment" in reason or (not opt_ins and "twice" in reason)


@pytest.mark.parametrize("opt_ins", [0, EVERYTHING])
@pytest.mark.parametrize(
    "path",
    [
        b"/a\\b",
        b"/a%5cb",
        b"/a%5Cb",
        b"/%00",
        b"/a%0d%0aX:1",
        b"/a%1f",
        b"/a%7F",
        b"/a%c2%85b",
        b"/a%C2%9F",
        b"/a\x00b",
        b"/a\tb",
        b"/a\rb",
        b"/a\x7fb",
        b"/a#b",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/a%2",
        b"/%%41",
        b"/%2%65",
        b"/%u0041",
        b"/caf\xc3\xa9",
        b"/\x80",
        b"/%ff",
        b"/%c3",
        b"/%C3%28",
        b"/%c0%ae%c0%ae/a",
        b"/%c0%af",
        b"/%ed%a0%80",
        b"/%f4%90%80%80",
        b"",
        b"*",
        b"admin",
        b"http://a/b",
        b"/a?b",
    ],
)
def test_t03_these_are_refused_whatever_a_route_allows(path: bytes, opt_ins: int) -> None:
    assert refused(path, opt_ins)


# ---- refused unless the route opts in, one by one, and then unchanged

OPT_INS = [
    (ENCODED_SLASH, b"/a%2fb", b"/a%2Fb"),
    (ENCODED_SLASH, b"/a%2F%2Fb", b"/a%2F%2Fb"),
    (PARAMETERS, b"/admin;x", b"/admin;x"),
    (PARAMETERS, b"/a;b=c/d;", b"/a;b=c/d;"),
    (DOUBLE_ENCODING, b"/a%2520b", b"/a%2520b"),
    (DOUBLE_ENCODING, b"/a%252fb", b"/a%252fb"),
    (DOUBLE_ENCODING, b"/a%25%32%30b", b"/a%2520b"),
    (DOUBLE_ENCODING, b"/a%2500", b"/a%2500"),
    (EMPTY_SEGMENTS, b"//", b"//"),
    (EMPTY_SEGMENTS, b"/a//b///", b"/a//b///"),
]


@pytest.mark.parametrize(("opt_in", "path", "spelling"), OPT_INS)
def test_t03_t04_an_opt_in_lets_through_its_own_line_only(opt_in: int, path: bytes, spelling: bytes) -> None:
    assert refused(path)
    assert refused(path, EVERYTHING & ~opt_in)
    assert canonical(path, opt_in) == spelling


@pytest.mark.parametrize("depth", [1, 2, 3, 50, 2000])
def test_a_deep_encoding_of_a_dot_segment_is_found(depth: int) -> None:
    assert "dot-segment" in refused(b"/%" + b"25" * depth + b"2e/a", DOUBLE_ENCODING)
    # each decoding makes the digit that the next one needs
    assert "dot-segment" in refused(b"/%25" + b"2%25" * depth + b"2e/..", DOUBLE_ENCODING)


# ---- properties

PIECES = (
    rb"/ // \ . .. ... ; % %2 %25 2e 2f %2e %2E %2f %5c %252e %25%32 %32 %65 %3b %00 %c3%a9 %C2%85 %c0%ae %ff"
    rb" %7e %40 @ : a A e F 0 5 { ] # ?"
).split() + [b" ", b'"', b"\x00", b"\xc3\xa9"]
nasty = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: b"/" + b"".join(pieces))
paths = st.one_of(nasty, st.binary(max_size=40), st.binary(max_size=40).map(lambda tail: b"/" + tail))
opt_ins = st.integers(min_value=0, max_value=EVERYTHING)


def spelling_or_none(path: bytes, opted: int) -> bytes | None:
    try:
        return canonical(path, opted)
    except Ambiguous:
        return None  # any other exception fails the test


def slow_model(path: bytes, opted: int) -> bytes | None:
    """The spec's words one after the other, with no thought of speed."""
    if not path.startswith(b"/"):
        return None
    for at, byte in enumerate(path):
        if byte < 0x20 or byte >= 0x7F or chr(byte) in "\\#?":
            return None
        if byte == ord("%") and not re.match(rb"[0-9a-fA-F]{2}", path[at + 1 : at + 3]):
            return None
    inmost = path
    while unquote_to_bytes(inmost) != inmost:
        inmost = unquote_to_bytes(inmost)
    for segment in inmost.replace(b"\\", b"/").split(b"/"):
        if segment.split(b";")[0] in (b".", b".."):
            return None
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\\" in text or any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        return None
    spelled, at = "", 0
    while at < len(path):
        pair = path[at] == ord("%")
        char = chr(int(path[at + 1 : at + 3], 16)) if pair else chr(path[at])
        if re.fullmatch(r"[A-Za-z0-9._~-]", char) or (not pair and char in "/:@!$&'()*+,;="):
            spelled += char
        else:
            spelled += f"%{ord(char):02X}"
        at += 3 if pair else 1
    faults = {
        ENCODED_SLASH: "%2F" in spelled,
        PARAMETERS: ";" in spelled,
        DOUBLE_ENCODING: re.search("%25[0-9a-fA-F]{2}", spelled) is not None,
        EMPTY_SEGMENTS: "//" in spelled,
    }
    if any(found and not opted & opt_in for opt_in, found in faults.items()):
        return None
    return spelled.encode()


@given(paths, opt_ins)
@example(b"/%25%32%65", DOUBLE_ENCODING)
@example(b"/%%32%35", 0)
def test_the_slow_model_agrees(path: bytes, opted: int) -> None:
    assert spelling_or_none(path, opted) == slow_model(path, opted)


@given(paths, opt_ins)
def test_a_canonical_path_is_canonical(path: bytes, opted: int) -> None:
    spelling = spelling_or_none(path, opted)
    if spelling is not None:
        assert canonical(spelling, opted) == spelling
        assert unquote_to_bytes(spelling) == unquote_to_bytes(path)


@given(paths, opt_ins)
def test_t22_the_output_is_safe_in_json_and_in_logs(path: bytes, opted: int) -> None:
    spelling = spelling_or_none(path, opted)
    if spelling is not None:
        assert re.fullmatch(rb"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", spelling)
        assert json.dumps(spelling.decode()) == f'"{spelling.decode()}"'


@given(paths)
def test_an_opt_in_changes_no_spelling(path: bytes) -> None:
    without = spelling_or_none(path, 0)
    if without is not None:
        assert canonical(path, EVERYTHING) == without


@given(st.text(min_size=1, max_size=20))
def test_a_segment_that_is_well_encoded_once_is_data(name: str) -> None:
    """Whoever encodes each segment by the rules is refused for dots, slashes, controls and doubles only."""
    pairs = "".join(f"%{byte:02X}" for byte in name.encode())
    if re.search(r"[\\/\x00-\x1f\x7f-\x9f]|%[0-9a-fA-F]{2}", name) or name.split(";")[0] in (".", ".."):
        assert refused(f"/{pairs}".encode())
    else:
        assert unquote_to_bytes(canonical(f"/{pairs}".encode())) == f"/{name}".encode()


# ---- comparing


@pytest.mark.parametrize(
    ("path", "as_compared"),
    [
        (b"/@admin/v1:run", b"/@admin/v1:run"),
        (b"/%40admin/v1%3Arun", b"/@admin/v1:run"),
        (b"/%21%24%26%27%28%29%2A%2B%2C%3B%3D", b"/!$&'()*+,;="),
        (b"/caf%C3%A9/%25/%5B%22%20", b"/caf%C3%A9/%25/%5B%22%20"),
        (b"/a%2F%3F%23b", b"/a%2F%3F%23b"),
    ],
)
def test_t03_a_rule_meets_both_spellings_of_a_character(path: bytes, as_compared: bytes) -> None:
    assert compared(path) == as_compared


@given(nasty, nasty)
@example(b"/%40", b"/@")
@example(b"/%2540", b"/%40")
def test_two_paths_are_compared_equal_exactly_if_they_decode_to_the_same(left: bytes, right: bytes) -> None:
    a, b = (spelling_or_none(path, DOUBLE_ENCODING) for path in (left, right))
    if a is not None and b is not None:
        assert (compared(a) == compared(b)) == (unquote_to_bytes(a) == unquote_to_bytes(b))


# ---- rewriting


@pytest.mark.parametrize(
    ("path", "prefix", "rest"),
    [
        (b"/api/orders", b"/api", b"/orders"),
        (b"/api/orders", b"/api/", b"/orders"),
        (b"/api", b"/api", b"/"),
        (b"/api/", b"/api", b"/"),
        (b"/api", b"/api/", b"/"),
        (b"/a/b", b"/", b"/a/b"),
        (b"/a/b", b"", b"/a/b"),
        (b"/apix/a", b"/api", b"/apix/a"),
        (b"/other", b"/api", b"/other"),
        (b"/api/api/x", b"/api", b"/api/x"),
        (b"/api@evil/", b"/api", b"/api@evil/"),
        (b"/api.evil.com/", b"/api", b"/api.evil.com/"),
        (b"/api/@evil/", b"/api", b"/@evil/"),
        (b"/%40me/x%40y", b"/@me", b"/x%40y"),
        (b"/v1%3Arun/a", b"/v1:run/", b"/a"),
        (b"/a/b/c", b"/a/b", b"/c"),
        (b"/a/bc", b"/a/b", b"/a/bc"),
        (b"/a", b"/a/b", b"/a"),
    ],
)
def test_t05_a_prefix_is_stripped_at_a_segment_only(path: bytes, prefix: bytes, rest: bytes) -> None:
    assert strip_prefix(path, prefix) == rest


def test_t05_a_rest_that_begins_like_a_host_is_refused() -> None:
    path = canonical(b"/api//evil.com/", EMPTY_SEGMENTS)
    with pytest.raises(Ambiguous):
        strip_prefix(path, b"/api")


@given(nasty, opt_ins, st.sampled_from([b"/api", b"/api/", b"/", b""]))
def test_t05_a_rewritten_path_is_canonical_again(tail: bytes, opted: int, prefix: bytes) -> None:
    path = spelling_or_none(b"/api" + tail, opted)
    if path is None:
        return
    try:
        rest = strip_prefix(path, prefix)
    except Ambiguous:
        assert b"/api//" in path
        return
    assert rest.startswith(b"/") and not rest.startswith(b"//")
    assert canonical(rest, opted) == rest
