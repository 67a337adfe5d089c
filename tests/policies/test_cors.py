"""The policy cors: preflights, ordinary requests, and origins that were made to slip through."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.exchange import Exchange
from gateway.model.verdict import Answer, Refuse, Reply
from policies.cors import Cors
from tests.policies.made import build, exchange, header

APP = b"https://app.example.com"
ONE = {"origins": ["https://app.example.com"], "credentials": True, "expose": ["X-Total"]}
WILD = {"origins": ["https://*.example.com", "https://other.test:8443"]}


def asking(origin: bytes, method: bytes = b"GET", **noted: bytes) -> Exchange:
    names = {name.replace("_", "-").encode(): value for name, value in noted.items()}
    return exchange(method, noted={b"origin": origin} | names)


def preflight(origin: bytes, **noted: bytes) -> Exchange:
    return asking(origin, b"OPTIONS", **({"access_control_request_method": b"PUT"} | noted))


def answered(verdict: Any) -> Reply:
    assert isinstance(verdict, Answer)
    assert verdict.instead_of is None
    return verdict.reply


def test_a_preflight_is_answered() -> None:
    asked = preflight(APP)
    reply = answered(build(Cors, ONE | {"max_age": 60.0, "methods": ["PUT", "DELETE"]}).on_request(asked))
    assert reply.status == 204
    headers = dict(reply.headers)
    assert headers[b"Access-Control-Allow-Methods"] == b"PUT, DELETE"
    assert headers[b"Access-Control-Max-Age"] == b"60"
    assert header(asked.reply_add, b"access-control-allow-origin") == APP
    assert header(asked.reply_add, b"access-control-allow-credentials") == b"true"


def test_one_preflight_changes_nothing_for_the_next() -> None:
    policy = build(Cors, ONE)
    answered(policy.on_request(preflight(APP))).headers.append((b"X-Seen", b"1"))
    assert (b"X-Seen", b"1") not in answered(policy.on_request(preflight(APP))).headers


def test_an_ordinary_request_goes_on_and_its_reply_may_be_read() -> None:
    asked = asking(APP, b"POST")
    assert build(Cors, ONE).on_request(asked) is None
    assert header(asked.reply_add, b"access-control-allow-origin") == APP
    assert header(asked.reply_add, b"access-control-expose-headers") == b"X-Total"


def test_what_others_have_already_added_to_the_reply_stays() -> None:
    asked = asking(APP, reply_add=b"")
    asked.reply_add = b"X-Other: 1\r\n"
    build(Cors, ONE).on_request(asked)
    assert header(asked.reply_add, b"x-other") == b"1"


def test_options_without_a_requested_method_is_an_ordinary_request() -> None:
    assert build(Cors, ONE).on_request(asking(APP, b"OPTIONS")) is None


def test_a_request_without_origin_is_left_alone() -> None:
    asked = exchange(b"OPTIONS", noted={b"access-control-request-method": b"PUT"})
    assert build(Cors, ONE).on_request(asked) is None
    assert asked.reply_add == b""


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.test", b"http://app.example.com", b"https://app.example.com.evil.test", b"null", b"*",
        b"", b"https://app.example.com:8443", b"https://APP.example.com", b"https://app.example.com/",
        b"https://app.example.com, https://evil.test", b"https://evilapp.example.com",
    ],
)  # fmt: skip
def test_a_stranger_gets_no_headers_and_its_preflight_is_refused(origin: bytes) -> None:
    policy = build(Cors, ONE)
    plain, first = asking(origin), preflight(origin)
    assert policy.on_request(plain) is None
    refused = policy.on_request(first)
    assert isinstance(refused, Refuse)
    assert (refused.fault.code, refused.fault.status) == ("origin_refused", 403)
    assert plain.reply_add == first.reply_add == b""


@pytest.mark.parametrize(
    "origin", [b"https://a.example.com", b"https://a.b-c.example.com", b"https://other.test:8443"]
)
def test_a_wildcard_is_one_label_or_more(origin: bytes) -> None:
    asked = asking(origin)
    build(Cors, WILD).on_request(asked)
    assert header(asked.reply_add, b"access-control-allow-origin") == origin


@pytest.mark.parametrize(
    "origin",
    [
        b"https://example.com", b"https://.example.com", b"https://a..example.com",
        b"https://evilexample.com",
        b"https://a.example.com.evil.test", b"https://evil.test/.example.com",
        b"https://evil.test#.example.com",
        b"https://user@a.example.com", b"https://a.example.com:443", b"http://a.example.com",
        b"https://a.example.com\n", b"https://a.exampleXcom", b"https://" + b"a." * 200 + b"example.com",
        b"https://a.other.test:8443",
    ],
)  # fmt: skip
def test_a_wildcard_is_nothing_else(origin: bytes) -> None:
    asked = asking(origin)
    assert build(Cors, WILD).on_request(asked) is None
    assert asked.reply_add == b""


PARTS = [
    b"https://",
    b"a",
    b".",
    b"-",
    b"example.com",
    b":8443",
    b"\r",
    b"\n",
    b" ",
    b"\0",
    b"@",
    b"other.test",
]
LETTERS = st.sampled_from(PARTS)


@given(st.one_of(st.binary(max_size=80), st.lists(LETTERS, max_size=8).map(b"".join)))
def test_no_origin_ever_writes_a_line_of_its_own(origin: bytes) -> None:
    asked = asking(origin)
    build(Cors, WILD).on_request(asked)
    if asked.reply_add:
        assert asked.reply_add == b"Access-Control-Allow-Origin: " + origin + b"\r\n"
        assert not set(origin) & set(b"\r\n\0 @")


def test_any_origin_gets_the_same_bytes_and_no_vary() -> None:
    policy = build(Cors, {"origins": ["*"]})
    asked = preflight(b"https://who.test")
    assert answered(policy.on_request(asked)).status == 204
    assert asked.reply_add == b""
    assert header(policy.effects().reply_add, b"access-control-allow-origin") == b"*"
    assert header(policy.effects().reply_add, b"vary") is None


def test_replies_vary_by_origin_and_the_upstreams_own_permissions_are_dropped() -> None:
    effects = build(Cors, ONE).effects()
    assert header(effects.reply_add, b"vary") == b"Origin"
    assert b"access-control-allow-origin" in effects.reply_drop
    assert b"access-control-allow-credentials" in effects.reply_drop


@pytest.mark.parametrize("asked", [b"authorization", b"X-One, x-two", b"a,b ,c"])
def test_requested_headers_are_echoed(asked: bytes) -> None:
    reply = answered(build(Cors, ONE).on_request(preflight(APP, access_control_request_headers=asked)))
    assert (b"Access-Control-Allow-Headers", asked) in reply.headers


@pytest.mark.parametrize("asked", [b"", b"a b", b"a,,b", b"a\r\nX-Evil: 1", b"a,", b"a" * 2049, b"\xff"])
def test_requested_headers_that_are_no_names_are_not_echoed(asked: bytes) -> None:
    reply = answered(build(Cors, ONE).on_request(preflight(APP, access_control_request_headers=asked)))
    assert b"Access-Control-Allow-Headers" not in dict(reply.headers)


def test_configured_headers_are_answered_instead_of_the_requested() -> None:
    policy = build(Cors, ONE | {"headers": ["Authorization", "X-One"]})
    reply = answered(policy.on_request(preflight(APP, access_control_request_headers=b"x-other")))
    assert dict(reply.headers)[b"Access-Control-Allow-Headers"] == b"Authorization, X-One"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"origins": ["*"], "credentials": True}, "credentials"),
        ({"origins": ["*", "https://a.test"]}, "beside"),
        ({"origins": []}, "at least one"),
        ({"origins": ["null"]}, "sandboxed"),
        ({"origins": ["https://a.test/"]}, "not an origin"),
        ({"origins": ["https://A.test"]}, "not an origin"),
        ({"origins": ["a.test"]}, "not an origin"),
        ({"origins": ["https://a.*.test"]}, "not an origin"),
        ({"origins": ["https://*.com"]}, "top level"),
        ({"origins": ["https://a.test:443"]}, "leave it out"),
        ({"origins": ["http://a.test:80"]}, "leave it out"),
        ({"origins": ["https://a.test"], "max_age": -1}, "negative"),
        ({"origins": ["https://a.test"], "methods": ["GET, PUT"]}, "not a method"),
        ({"origins": ["https://a.test"], "headers": ["a b"]}, "not a header name"),
        ({"origins": ["https://a.test"], "expose": ["a\r\nb"]}, "not a header name"),
        ({"origins": ["https://a.test"], "origin": "x"}, "unknown field"),
    ],
)
def test_settings_that_make_no_sense_are_faults(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        build(Cors, settings)
