"""The policy authenticate: which credential counts, and what becomes of requests without one."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.exchange import Exchange
from gateway.model.verdict import Answer, Refuse, Reply
from policies.authenticate import Authenticate
from tests.policies.made import UNAVAILABLE, Nobody, build, exchange

TOKEN, KEY, SESSION = b"psa_0123abcXYZ", b"psk_0123abcXYZ", b"0123abcXYZ"
BROWSER = {b"sec-fetch-mode": b"navigate", b"accept": b"text/html"}


def judge(asked: Exchange, ports: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, list[bytes]]:
    """The verdict, and the credentials that were to be resolved."""
    nobody = Nobody()
    verdict = build(Authenticate, settings, **({"identities": nobody} | (ports or {}))).on_request(asked)
    return verdict, nobody.asked


def code(verdict: Any) -> str:
    assert isinstance(verdict, Refuse)
    return verdict.fault.code


def challenge(verdict: Any) -> bytes:
    assert isinstance(verdict, Refuse)
    return dict(verdict.headers)[b"WWW-Authenticate"]


def redirect(verdict: Any) -> Reply:
    assert isinstance(verdict, Answer)
    assert verdict.instead_of is not None and verdict.instead_of.code == "credential_missing"
    return verdict.reply


def location(verdict: Any) -> str:
    return dict(redirect(verdict).headers)[b"Location"].decode("ascii")


# Which credential counts


@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize(
    ("sent", "credential"),
    [
        ({"authorization": b"Bearer " + TOKEN}, TOKEN),
        ({"authorization": b"bEARER   " + TOKEN}, TOKEN),
        ({"authorization": b"Bearer eyJh.eyJz.c2ln-_=="}, b"eyJh.eyJz.c2ln-_=="),
        ({"authorization": b"Bearer " + KEY}, KEY),
        ({"noted": {b"x-api-key": KEY}}, KEY),
        ({"cookie": b"__Host-postern=" + SESSION}, SESSION),
        ({"cookie": b"a=1; postern=" + SESSION + b" ; b=2"}, SESSION),
        ({"cookie": b"__Secure-postern = " + SESSION + b";b"}, SESSION),
    ],
)
def test_a_credential_is_resolved(mode: str, sent: dict[str, Any], credential: bytes) -> None:
    verdict, asked = judge(exchange(**sent), mode=mode)
    assert (verdict, asked) == (UNAVAILABLE, [credential])


def test_the_session_cookies_names_are_given_to_it() -> None:
    other = {"cookies": (b"shop", b"id")}
    assert judge(exchange(cookie=b"a=1; id=" + SESSION), other)[1] == [SESSION]
    assert code(judge(exchange(cookie=b"shop=a; id=b"), other)[0]) == "duplicate_credential"
    assert code(judge(exchange(cookie=b"postern=" + SESSION), other)[0]) == "credential_missing"


def test_the_default_order_is_bearer_cookie_key() -> None:
    everything = exchange(
        authorization=b"Bearer " + TOKEN, cookie=b"postern=" + SESSION, noted={b"x-api-key": KEY}
    )
    assert judge(everything)[1] == [TOKEN]
    assert judge(everything, accept=["api_key", "cookie", "bearer"])[1] == [KEY]
    assert judge(everything, accept=["cookie", "api_key", "bearer"])[1] == [SESSION]
    everything.authorization = b""
    assert judge(everything)[1] == [SESSION]


def test_a_bad_bearer_beside_a_good_cookie_is_refused() -> None:
    verdict, asked = judge(exchange(authorization=b"Bearer ?", cookie=b"postern=" + SESSION))
    assert (code(verdict), asked) == ("invalid_token", [])


def test_a_header_of_your_own_can_carry_it() -> None:
    asked = exchange(noted={b"access-token": TOKEN})
    assert judge(asked, accept=["header:Access-Token"])[1] == [TOKEN]
    assert code(judge(asked, accept=["cookie"])[0]) == "credential_missing"
    wrong, both = (
        exchange(noted={b"access-token": b"a b"}),
        exchange(noted={b"access-token": TOKEN + b", " + TOKEN}),
    )
    assert code(judge(wrong, accept=["header:Access-Token"])[0]) == "invalid_token"
    assert code(judge(both, accept=["header:Access-Token"])[0]) == "duplicate_credential"


def test_what_accept_does_not_name_is_not_looked_at() -> None:
    asked = exchange(
        authorization=b"Bearer " + TOKEN, cookie=b"postern=" + SESSION, noted={b"x-api-key": KEY}
    )
    assert judge(asked, accept=["cookie"])[1] == [SESSION]
    assert judge(asked, accept=["api_key"])[1] == [KEY]
    assert code(judge(asked, accept=["header:x-token"])[0]) == "credential_missing"


@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize(
    ("accept", "token"), [(["bearer"], KEY), (["api_key"], TOKEN), (["issuer:corporate"], KEY)]
)
def test_a_bearer_of_a_kind_not_accepted_is_never_anonymous(
    mode: str, accept: list[str], token: bytes
) -> None:
    verdict, asked = judge(exchange(authorization=b"Bearer " + token), mode=mode, accept=accept)
    assert (code(verdict), asked) == ("invalid_token", [])


@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize(
    "sent",
    [
        {"cookie": b"postern=a; postern=b"},
        {"cookie": b"__Host-postern=a; x=1;postern=b"},
        {"cookie": b"postern=a; postern =a", "authorization": b"Bearer " + TOKEN},
        {"noted": {b"x-api-key": KEY + b", " + KEY}},
        {"noted": {b"x-api-key": b"other, " + KEY}},
        {"noted": {b"x-api-key": KEY}, "authorization": b"Bearer " + KEY},
    ],
)
def test_two_credentials_of_one_kind_are_refused(mode: str, sent: dict[str, Any]) -> None:
    verdict, asked = judge(exchange(**sent), mode=mode)
    assert (code(verdict), asked) == ("duplicate_credential", [])


# Required


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"authorization": b"Basic dTpw"},
        {"authorization": b"BearerX " + TOKEN},
        {"authorization": TOKEN},
        {"cookie": b"a=1; xpostern=b; postern2=c; d=postern=e"},
        {"cookie": b"postern="},
        {"cookie": b'postern="quoted"'},
        {"cookie": b"postern"},
        {"noted": {b"x-api-key": b"the-upstreams-own"}},
    ],
)
def test_required_without_a_credential_of_ours_is_401(sent: dict[str, Any]) -> None:
    verdict, asked = judge(exchange(**sent), {"service": "shop"})
    assert (code(verdict), asked) == ("credential_missing", [])
    assert challenge(verdict) == b'Bearer realm="shop"'


@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize(
    "authorization",
    [b"Bearer", b"Bearer ", b"bearer =", b"Bearer a b", b"Bearer a, Bearer b", b"Bearer a=b",
     b"Bearer \xc3\xa9", b"bearer psa_\x00", b"Bearer " + b"a" * 8193],
)  # fmt: skip
def test_a_malformed_bearer_is_401_and_says_so(mode: str, authorization: bytes) -> None:
    verdict, asked = judge(exchange(authorization=authorization), mode=mode)
    assert (code(verdict), asked) == ("invalid_token", [])
    assert challenge(verdict) == b'Bearer realm="postern", error="invalid_token"'


@pytest.mark.parametrize(
    ("service", "realm"),
    [('a"b', b'"a\\"b"'), ("a\\", b'"a\\\\"'), ("a\r\nX: y", b'"aX: y"'), ("caf\u00e9", b'"caf"')],
)
def test_the_realm_is_always_one_quoted_string(service: str, realm: bytes) -> None:
    assert challenge(judge(exchange(), {"service": service})[0]) == b"Bearer realm=" + realm


# Optional and none


@pytest.mark.parametrize(
    "sent", [{}, {"authorization": b"Basic dTpw"}, {"cookie": b"a=1"}, {"cookie": b"postern=%00"}]
)
def test_optional_lets_the_anonymous_pass(sent: dict[str, Any]) -> None:
    assert judge(exchange(**sent, noted=BROWSER), mode="optional") == (None, [])


def test_none_looks_at_nothing() -> None:
    asked = exchange(authorization=b"Bearer ?", cookie=b"postern=a; postern=b")
    assert judge(asked, mode="none") == (None, [])


# The way to sign-in


def test_a_browser_is_sent_to_sign_in_and_back() -> None:
    asked = exchange(path=b"/orders/%C3%A9", query=b"?q=a&b=//evil.test#", noted=BROWSER)
    verdict, _ = judge(asked)
    assert redirect(verdict).status == 302
    assert (b"Cache-Control", b"no-store") in redirect(verdict).headers
    assert location(verdict).startswith("/auth/sign-in?return_to=/orders/")
    assert parse_qs(urlsplit(location(verdict)).query) == {"return_to": ["/orders/%C3%A9?q=a&b=//evil.test#"]}


@pytest.mark.parametrize(
    "asked",
    [
        exchange(noted={b"accept": b"application/json"}),
        exchange(noted={b"accept": b"text/html", b"sec-fetch-mode": b"cors"}),
        exchange(b"POST", noted={b"accept": b"text/html"}),
        exchange(upgrade=b"websocket", noted=BROWSER),
    ],
)
def test_a_program_is_told_401(asked: Exchange) -> None:
    assert code(judge(asked)[0]) == "credential_missing"


def test_a_form_can_t_come_back() -> None:
    verdict, _ = judge(exchange(b"POST", noted=BROWSER))
    assert (redirect(verdict).status, location(verdict)) == (303, "/auth/sign-in")


@pytest.mark.parametrize("way", ["401", 401])
def test_on_missing_401_never_redirects(way: Any) -> None:
    assert code(judge(exchange(noted=BROWSER), on_missing=way)[0]) == "credential_missing"


def test_on_missing_redirect_sends_programs_too_but_no_upgrade() -> None:
    assert location(judge(exchange(), on_missing="redirect")[0]) == "/auth/sign-in?return_to=/orders"
    assert code(judge(exchange(upgrade=b"websocket"), on_missing="redirect")[0]) == "credential_missing"


def test_without_a_sign_in_page_nobody_is_sent_there() -> None:
    for way in ("auto", "redirect"):
        assert (
            code(judge(exchange(noted=BROWSER), {"sign_in": ""}, on_missing=way)[0]) == "credential_missing"
        )


def test_the_way_back_names_no_other_host_and_stays_short() -> None:
    assert location(judge(exchange(path=b"//evil.test/", noted=BROWSER))[0]) == "/auth/sign-in"
    long_query = exchange(query=b"?" + b"q" * 2048, noted=BROWSER)
    assert location(judge(long_query)[0]) == "/auth/sign-in?return_to=/orders"
    long_path = exchange(path=b"/" + b"p" * 2048, noted=BROWSER)
    assert location(judge(long_path)[0]) == "/auth/sign-in"


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_way_back_is_one_value_whatever_the_path_and_query_hold(path: bytes, query: bytes) -> None:
    verdict, _ = judge(exchange(path=b"/" + path, query=b"?" + query, noted=BROWSER))
    parts = urlsplit(location(verdict))
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("", "", "/auth/sign-in", "")
    back = parse_qs(parts.query, keep_blank_values=True, encoding="latin-1")
    if path.startswith(b"/"):
        assert back == {}
    else:
        assert back == {"return_to": [(b"/" + path + b"?" + query).decode("latin-1")]}


# Nothing fails open


PIECES = st.sampled_from(
    [
        b"Bearer",
        b"bearer",
        b"Basic",
        b" ",
        b"\t",
        b",",
        b";",
        b"=",
        b"psa_",
        b"psk_",
        b"postern",
        b"__Host-",
        b"\xff",
        b"x",
    ]
)
PIECED = st.one_of(st.binary(max_size=40), st.lists(PIECES, max_size=8).map(b"".join))
ACCEPT = st.lists(
    st.sampled_from(["bearer", "cookie", "api_key", "header:x-token", "issuer:a"]), min_size=1, unique=True
)


@given(PIECED, PIECED, PIECED, PIECED, ACCEPT, st.sampled_from(["auto", "redirect", "401"]), st.booleans())
def test_required_never_lets_anyone_pass_without_being_resolved(
    authorization: bytes, cookie: bytes, key: bytes, own: bytes, accept: list[str], way: str, browser: bool
) -> None:
    noted = {b"x-api-key": key, b"x-token": own} | (BROWSER if browser else {})
    asked = exchange(authorization=authorization, cookie=cookie, noted=noted)
    verdict, resolved = judge(asked, accept=accept, on_missing=way)
    assert isinstance(verdict, Refuse | Answer)
    assert (verdict is UNAVAILABLE) == (len(resolved) == 1)


@given(PIECED, ACCEPT)
def test_optional_never_takes_a_bearer_for_anonymous(rest: bytes, accept: list[str]) -> None:
    verdict, _ = judge(exchange(authorization=b"Bearer " + rest), mode="optional", accept=accept)
    if {"bearer", "api_key", "issuer:a"} & set(accept):
        assert isinstance(verdict, Refuse)
    else:
        assert verdict is None


# Settings, and what the edge reads


def test_the_edge_is_told_which_headers_to_note_and_to_strip() -> None:
    policy = build(Authenticate, {"accept": ["api_key", "header:Access-Token"], "forward_credential": True})
    assert policy.forward_credential is True
    assert policy.credential_names == {b"x-api-key", b"access-token"}
    assert policy.effects().reads >= {b"x-api-key", b"access-token"}
    assert build(Authenticate, {}).forward_credential is False


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "maybe"}, "maybe"),
        ({"accept": []}, "nobody could sign in"),
        ({"accept": ["baerer"]}, "no credential"),
        ({"accept": ["issuer:"]}, "no credential"),
        ({"accept": ["header:"]}, "no credential"),
        ({"accept": ["header:a b"]}, "not a header name"),
        ({"accept": ["header:Authorization"]}, "say bearer"),
        ({"accept": ["header:X-User-Id"]}, "backends trust"),
        ({"on_missing": 403}, "403"),
        ({"modes": "none"}, "unknown field"),
    ],
)
def test_settings_that_make_no_sense_are_faults(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        build(Authenticate, settings)
