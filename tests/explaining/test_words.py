"""The words of the command line as a request, what is hidden of one, and what a log's line tells of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.snapshot import AccessLog, Route, Snapshot
from gateway.explaining import hiding, lines
from gateway.explaining.afterwards import again, told
from gateway.explaining.asked import BadQuestion, asked, with_line
from gateway.explaining.explanation import Said
from gateway.model.credentials import ACCESS, shaped

TOKEN = shaped(ACCESS, b"not random: it stands in tests' names")
USUAL: dict[str, Any] = {"address": "192.0.2.7", "agent": "", "host": "here.test"}


@pytest.mark.parametrize(
    ("where", "target", "host"),
    [
        ("/a/b?c#d", "/a/b?c#d", "here.test"),  # as a raw client would send it
        ("https://shop.test", "/", "shop.test"),
        ("http://shop.test:8080/a/%2e?c=/x#part", "/a/%2e?c=/x", "shop.test:8080"),
        ("HTTPS://shop.test?x", "/?x", "shop.test"),
        ("*", "*", "here.test"),
    ],
)
def test_a_url_or_a_path_is_a_target_and_a_host(where: str, target: str, host: str) -> None:
    made = asked("GET", where, [], **USUAL)
    assert (made.target, made.host) == (target, host)
    assert made.head() == f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def test_lines_go_into_the_head_as_they_are() -> None:
    given = ["Host: other.test", "X-A:1", "host: second.test", "Accept: */*"]
    made = asked("POST", "https://shop.test/x", given, **{**USUAL, "agent": "curl/8"})
    assert made.head().decode().split("\r\n") == [
        "POST /x HTTP/1.1", "Host: other.test", "X-A:1", "Accept: */*", "User-Agent: curl/8",
        "Host: second.test", "", "",
    ]  # fmt: skip
    assert made.value("x-a") == "1" and made.value("none") == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"where": "orders"}, "neither a URL nor a path"),
        ({"where": "ftp://x/"}, "neither a URL nor a path"),
        ({"where": "/a\r\nX: y"}, "line breaks"),
        ({"method": ""}, "no method"),
        ({"method": "GET /x"}, "no method"),
        ({"lines": ["Authorization"]}, "write 'Name: value'"),
        ({"lines": ["X: a\r\n\r\nGET / HTTP/1.1"]}, "line breaks"),
        ({"address": "somewhere"}, "no IP address"),
        ({"agent": "x", "lines": ["user-agent: y"]}, "twice"),
    ],
)
def test_what_is_no_request_is_said(words: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQuestion, match=why):
        asked(**{"method": "GET", "where": "/", "lines": [], **USUAL, **words})


def test_a_credential_is_added_but_never_doubled() -> None:
    made = asked("GET", "/", ["Cookie: a=b"], **USUAL)
    assert with_line(made, "Cookie", "postern=c").lines == ("Cookie: a=b; postern=c",)
    bearing = with_line(made, "Authorization", "Bearer x")
    with pytest.raises(BadQuestion, match="one credential of a kind"):
        with_line(bearing, "authorization", "Bearer y")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer (hidden)"),
        ("authorization: opensesame", "authorization: (hidden)"),
        ("Cookie: a=b; postern=c; lonely", "Cookie: a=(hidden); postern=(hidden); (hidden)"),
        ("Set-Cookie: postern=c; Path=/", "Set-Cookie: (hidden)"),
        ("X-Api-Key: k", "X-Api-Key: (hidden)"),
        ("X-Upstream-Token: t", "X-Upstream-Token: (hidden)"),
        ("X-Upstream-Token:t", "X-Upstream-Token:(hidden)"),
        ("X-Upstream-Auth: Basic dTpw", "X-Upstream-Auth: Basic (hidden)"),
        ("X-Plan: Basic and more", "X-Plan: Basic and more"),
        ('WWW-Authenticate: Bearer realm="postern"', 'WWW-Authenticate: Bearer realm="postern"'),
        ("Authorization:Basic \tdTpw", "Authorization:Basic (hidden)"),
        (f"Referer: /x?t={TOKEN}", "Referer: /x?t=psa_…"),
        (f"GET /x?{TOKEN} HTTP/1.1", "GET /x?psa_… HTTP/1.1"),
        ("Access-Control-Allow-Credentials: true", "Access-Control-Allow-Credentials: true"),
        ("X-User-Meta-Token-Limit: 7", "X-User-Meta-Token-Limit: 7"),
        ("Accept: */*", "Accept: */*"),
    ],
)
def test_credentials_are_hidden_and_nothing_else(line: str, shown: str) -> None:
    assert hiding.line(line) == shown


def logged(number: int, **more: Any) -> bytes:
    return json.dumps(
        {"n": number, "request_id": f"request-{number}", **more}, separators=(",", ":")
    ).encode()


def test_the_last_line_of_a_request_is_found_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", 64)  # lines and blocks meet in every way
    path = tmp_path / "access.log"
    made = [logged(number, pad="x" * (number * 7 % 150)) for number in range(200)]
    path.write_bytes(
        b"\n".join([*made, logged(7, again=True), b'{"request_id":"request-9"', b"no json"]) + b"\n"
    )
    found = [lines.find(str(path), f"request-{number}") for number in range(200)]
    assert [line["n"] for line in found if line is not None] == list(range(200))
    assert (found[7] or {}).get("again")
    assert lines.find(str(path), "request-200") is None
    assert lines.find(str(path), "request-0", most=300) is None  # bounded
    assert lines.find(str(path), "request-199", most=600) is not None
    assert lines.find(str(tmp_path / "none"), "request-1") is None


def test_a_name_in_anothers_text_is_not_taken_for_the_id(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(
        logged(1, agent='"request_id":"request-2"') + b"\n" + b'{"why":{"request_id":"request-2"}}\n'
    )
    assert lines.find(str(path), "request-2") is None


def test_the_files_of_a_configuration() -> None:
    own = Route("own", "/own", access_log=AccessLog("/logs/own"))
    off = Route("off", "/off", access_log=AccessLog("none"))
    snapshot = Snapshot("h", access_log=AccessLog("/logs/all"), routes=(own, off, Route("same", "/same")))
    assert lines.files(snapshot) == ["/logs/all", "/logs/all.1", "/logs/own", "/logs/own.1"]
    assert lines.writes_lines(snapshot) and not lines.writes_lines(snapshot, "off")
    assert lines.files(Snapshot("h")) == [] and lines.writes_lines(Snapshot("h"))
    assert not lines.writes_lines(Snapshot("h", access_log=AccessLog("none"), routes=(Route("a", "/a"),)))


POLICIES = [Said("cors", "allowed", []), Said("authenticate", "refused", [], "credential_missing", 401),
            Said("require", "not_asked", []), Said("security_headers", "applies", ["sets"])]  # fmt: skip


def said(line: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.policy, one.verdict) for one in told(line, POLICIES)]


def test_a_line_tells_which_policies_have_let_it_pass() -> None:
    applies = ("security_headers", "applies")
    passed = [(name, "allowed") for name in ("cors", "authenticate", "require")]
    assert said({"server": "http://a", "status": 200}) == [*passed, applies]
    refused = {"server": None, "code": "x", "verdicts": [{"policy": "authenticate", "code": "x"}]}
    assert said(refused) == [
        ("cors", "allowed"), ("authenticate", "refused"), ("require", "not_asked"), applies,
    ]  # fmt: skip
    reported = {"server": "http://a", "verdicts": [{"policy": "require", "code": "x"}]}
    assert said(reported) == [
        ("cors", "allowed"), ("authenticate", "allowed"), ("require", "would_refuse"), applies,
    ]  # fmt: skip
    unclear = {"server": None, "status": 204}
    assert said(unclear) == [(name, "unknown") for name, _ in passed] + [applies]


def test_the_same_request_can_be_asked_again_as_far_as_its_line_knows_it() -> None:
    route = Route("orders", "/orders/**", hosts=("*.shop.test",), headers={"x-api-version": "2"})
    snapshot = Snapshot("h", routes=(route,))
    line = {
        "method": "PUT",
        "path": "/orders/7",
        "route": "orders",
        "client": "2001:db8::1",
        "agent": "curl/8",
    }
    made = again(snapshot, line, ["X-More: 1"], "here.test")
    assert made is not None and (made.method, made.target, made.host) == ("PUT", "/orders/7", "any.shop.test")
    assert made.address == "2001:db8::1"
    assert made.lines == ("X-More: 1", "x-api-version: 2", "User-Agent: curl/8")
    for path in ("-", "/long/...", "/psa_…/x"):
        assert again(snapshot, {**line, "path": path}, [], "here.test") is None
