"""The policy csrf: what a cookie authenticates must come from here, or from an origin that is trusted."""

from typing import Any

import pytest

from gateway.model.verdict import Refuse
from policies.csrf import Csrf
from tests.policies.made import build, exchange, who

HOST = b"shop.example.com"


def judge(method: bytes = b"POST", kind: str = "cookie", **sent: Any) -> str:
    settings = {"trusted_origins": ["https://app.example.com"]}
    upgrade = sent.pop("upgrade", b"")
    secure = sent.pop("secure", True)
    host = sent.pop("host", HOST)
    noted = {name.replace("_", "-").encode(): value for name, value in sent.items()}
    asked = exchange(method, noted=noted, who=who(kind), upgrade=upgrade, secure=secure, forwarded_host=host)
    verdict = build(Csrf, settings).on_request(asked)
    if verdict is None:
        return "pass"
    assert isinstance(verdict, Refuse)
    return verdict.fault.code


@pytest.mark.parametrize(
    "sent",
    [
        {"sec_fetch_site": b"same-origin"},
        {"sec_fetch_site": b"none"},
        {"sec_fetch_site": b"cross-site", "origin": b"https://app.example.com"},
        {"origin": b"https://shop.example.com"},
        {"origin": b"https://shop.example.com", "host": b"Shop.Example.com:443"},
        {"origin": b"http://shop.example.com:8080", "host": b"shop.example.com:8080", "secure": False},
    ],
)
def test_what_its_user_meant_passes(sent: dict[str, Any]) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"PURGE"):
        assert judge(method, **sent) == "pass"
    assert judge(b"GET", upgrade=b"websocket", **sent) == "pass"


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"sec_fetch_site": b"cross-site"},
        {"sec_fetch_site": b"same-site"},
        {"sec_fetch_site": b""},
        {"sec_fetch_site": b"same-origin, cross-site"},
        {"sec_fetch_site": b"cross-site", "origin": b"https://shop.example.com"},
        {"origin": b"null"},
        {"origin": b"http://shop.example.com"},
        {"origin": b"https://shop.example.com.evil.test"},
        {"origin": b"https://shop.example.com:8443"},
        {"origin": b"https://app.example.com.evil.test"},
        {"origin": b"https://APP.example.com"},
    ],
)
def test_t38_what_another_site_sent_is_refused(sent: dict[str, Any]) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"PURGE"):
        assert judge(method, **sent) == "cross_site"
    assert judge(b"GET", upgrade=b"websocket", **sent) == "cross_site"


def test_reading_and_bearers_are_not_its_affair() -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS"):
        assert judge(method, sec_fetch_site=b"cross-site") == "pass"
    for kind in ("bearer", "api_key"):
        assert judge(b"POST", kind, sec_fetch_site=b"cross-site") == "pass"
    assert build(Csrf, {}).on_request(exchange(b"POST")) is None


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "https://*.example.com", "null", "*", ""]
)
def test_a_trusted_origin_is_written_out(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        build(Csrf, {"trusted_origins": [origin]})
