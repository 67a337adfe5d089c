"""T06: the original is what a trusted proxy says, said once and clearly; nothing else is ever judged."""

import pytest

from gateway.model.headers import RequestNames
from gateway.model.originals import FORGED, AskedNames, Untold, told
from tests.kit.asking import Asked, original
from tests.kit.people import SAME_ORIGIN, Person
from tests.kit.raw import request

FORGED_NAMES = (
    b"X_User_Id X-User_Id x_uSER-iD X-User_Email_Verified X_User X-User X-User-Anything X-User-Meta-Secret "
    b"X_User_Assertion X-User_Meta-plan X-Rewrite-URL X_Rewrite_Url X-HTTP-Method-Override X-HTTP-Method "
    b"X-Method-Override X_HTTP_Method_Override"
).split()
WEBSOCKET = (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13")


def headers(**values: str) -> dict[bytes, bytes]:
    """Noted headers, by names with _ for -."""
    return {name.replace("_", "-").encode(): value.encode() for name, value in values.items()}


COMPLETE = headers(
    x_forwarded_method="GET", x_forwarded_proto="https", x_forwarded_host="shop.test", x_forwarded_uri="/a?b"
)


def test_what_several_headers_say_alike_is_said_once() -> None:
    for more in (
        {},
        headers(x_original_method="GET", x_original_uri="/a?b"),
        headers(x_original_url="https://SHOP.test/a?b"),
        headers(x_forwarded_proto="wss"),
        headers(x_original_uri="", x_original_url=""),
    ):
        assert told(COMPLETE | more) == (b"GET", b"https", b"shop.test", b"/a?b")


def test_a_whole_url_says_protocol_host_and_target() -> None:
    method = headers(x_original_method="PUT")
    for url, rest in (
        ("http://a.test:81/x/y?z", (b"http", b"a.test:81", b"/x/y?z")),
        ("HTTPS://A.test", (b"https", b"a.test", b"/")),
        ("https://a.test?z", (b"https", b"a.test", b"/?z")),
        ("https://[2001:db8::1]/", (b"https", b"[2001:db8::1]", b"/")),
    ):
        assert told(method | headers(x_original_url=url)) == (b"PUT", *rest)


@pytest.mark.parametrize("name", [name.decode() for name in COMPLETE])
def test_what_is_missing_is_named(name: str) -> None:
    for absent in ({}, {name.encode(): b""}):
        with pytest.raises(Untold) as raised:
            told({key: value for key, value in COMPLETE.items() if key != name.encode()} | absent)
        assert raised.value.fault.code == "original_missing"
        assert name in raised.value.detail.lower()


@pytest.mark.parametrize(
    "more",
    [
        headers(x_original_method="POST"),
        headers(x_original_uri="/public/x"),
        headers(x_original_url="/public/x"),
        headers(x_original_url="https://other.test/a?b"),
        headers(x_original_url="http://shop.test/a?b"),
        headers(x_original_url="ftp://shop.test/a?b"),
        headers(x_original_url="https://me@shop.test/a?b"),
        headers(x_original_url="https:///a?b"),
        headers(x_original_url="a?b"),
        headers(x_original_url="*"),
        headers(x_forwarded_uri="/a, /public/x"),
        headers(x_forwarded_uri="/a b"),
        headers(x_forwarded_host="shop.test, evil.test"),
        headers(x_forwarded_host="shop.test/x"),
        headers(x_forwarded_host="shop.test@evil.test"),
        headers(x_forwarded_proto="https,http"),
        headers(x_forwarded_proto="javascript"),
    ],
)
def test_what_is_said_in_two_ways_is_refused(more: dict[bytes, bytes]) -> None:
    with pytest.raises(Untold) as raised:
        told(COMPLETE | more)
    assert raised.value.fault.code == "original_unclear"


def test_T06_names_that_the_answer_overwrites_are_let_be_and_other_spellings_are_forged() -> None:
    names = AskedNames(RequestNames(), [b"X-User-Id", b"X-User-Meta-plan", b"Remote-User"])
    for name in (b"x-user-id", b"X-USER-ID", b"X-User-Meta-Plan", b"Remote-User"):
        assert not names.judge(name) & FORGED
    for name in (*FORGED_NAMES, b"X-User-Name", b"Remote_User", b"remote-uSer".replace(b"-", b"_")):
        assert names.judge(name) & FORGED, name
    for name in (b"X-User-Agent", b"User-Agent", b"X-Users", b"X-Api-Key", b"api_key", b"X-Forwarded-Uri"):
        assert not names.judge(name) & FORGED, name


@pytest.mark.parametrize("name", FORGED_NAMES)
def test_T06_what_only_the_proxy_could_take_away_is_refused(
    asked: Asked, person: Person, name: bytes
) -> None:
    answer = asked.verify("/public/x", name + b": admin")
    assert (answer.status, answer.code) == (400, "forged_header")
    assert name.decode().lower() in answer.problem()["detail"] and "admin" not in answer.problem()["detail"]
    assert asked.verify("/app/x", person.bearer, name + b": admin").code == "forged_header"


def test_T06_a_forged_identity_is_overwritten(asked: Asked, person: Person) -> None:
    forged = [f"X-User-{name}: admin".encode() for name in ("Id", "Roles", "Meta-plan", "Assertion")]
    answer = asked.verify("/app/x", person.bearer, *forged)
    assert answer.value(b"x-user-id").decode() == person.user_id and answer.value(b"x-user-roles") == b"user"
    assert asked.verify("/public/x", *forged).value(b"x-user-id") == b""


def test_T06_nobody_else_may_ask(asked: Asked, person: Person) -> None:
    """Whatever headers say: an untrusted peer is refused, on either path, and learns nothing."""
    for source in ("127.0.0.1", "127.0.0.10"):
        for line in (b"X: y", person.bearer):
            answer = asked.verify("/public/x", line, source=source)
            assert (answer.status, answer.code) == (403, "proxy_not_trusted")
            answer = asked.send(request("/ext-authz/public/x", *original("/x"), line), source=source)
            assert (answer.status, answer.code) == (403, "proxy_not_trusted")
    claimed = asked.verify("/public/x", source="127.0.0.1", client="127.0.0.9")
    assert claimed.code == "proxy_not_trusted"


@pytest.mark.parametrize("what", ["method", "host", "proto", "target", "client"])
def test_T06_half_an_original_is_refused_with_what_is_missing(
    asked: Asked, person: Person, what: str
) -> None:
    said = {"target": "/public/x", what: ""}
    answer = asked.verify(said.pop("target"), person.bearer, **said)
    assert (answer.status, answer.code) == (400, "original_missing")
    assert "X-Forwarded-" in answer.problem()["detail"]


@pytest.mark.parametrize(
    "line",
    [
        b"X-Original-URL: /public/x", b"X-Original-URI: /public/x", b"X-Forwarded-Uri: /public/x",
        b"X-Original-Method: HEAD", b"X-Forwarded-Method: GET", b"X-Original-URL: https://open.test/app/x",
        b"X-Forwarded-Host: open.test", b"X-Forwarded-Proto: http",
    ],
)  # fmt: skip
def test_T06_a_client_s_own_word_beside_the_proxy_s_is_refused(asked: Asked, line: bytes) -> None:
    """Where the proxy adds its headers, and does not clear the client's."""
    for lines in ([*original("/app/x"), line], [line, *original("/app/x")]):
        answer = asked.send(request("/verify", *lines))
        assert (answer.status, answer.code) == (400, "original_unclear"), answer


@pytest.mark.parametrize(
    "name", [b"X_Forwarded_Uri", b"X-Forwarded_Uri", b"X_Original_URL", b"X-Original_URI"]
)
def test_T06_another_spelling_of_the_original_says_nothing(asked: Asked, name: bytes) -> None:
    assert asked.verify("/app/x", name + b": /public/x").code == "credential_missing"
    lines = [line for line in original("/app/x") if b"Uri" not in line]
    assert asked.send(request("/verify", *lines, name + b": /public/x")).code == "original_missing"


@pytest.mark.parametrize(
    "target",
    ["/app/../public/x", "/public/..;/app", "/public/%2e%2e/app", "//public", "/public/%00", "/public/x#y",
     "/public%5c..%5capp", "/public/%252e%252e/app", "/public/\\..\\app", "/public/x?y#z"],
)  # fmt: skip
def test_T06_the_original_path_is_as_strict_as_any(asked: Asked, person: Person, target: str) -> None:
    answer = asked.verify(target, person.bearer)
    assert (answer.status, answer.code) == (400, "ambiguous_path")


def test_T06_the_query_of_the_original_decides_nothing(asked: Asked) -> None:
    for target in ("/app/x?route=public", "/app/x?/public/", "/app/x?x=/public/x", "/app/x?rd=/public"):
        assert asked.verify(target).code == "credential_missing"


@pytest.mark.parametrize("method", ["get", "GET/", "G E T", "FETCH", "PRI", ""])
def test_T06_a_method_that_is_none_is_refused(asked: Asked, method: str) -> None:
    code = "original_unclear" if method else "original_missing"
    assert asked.verify("/public/x", method=method).code == code
    assert asked.verify("/public/x", method="CONNECT").status == 405


def test_T16_a_probe_s_agent_is_no_credential(asked: Asked) -> None:
    for agent in (b"kube-probe/1.30", b"GoogleHC/1.0", b"ELB-HealthChecker/2.0"):
        assert asked.verify("/app/x", b"User-Agent: " + agent).code == "credential_missing"


def test_T38_a_handshake_is_seen_although_its_upgrade_is_gone(asked: Asked, browser: Person) -> None:
    """Proxies drop Upgrade, which concerns one connection, from their question."""
    for line in (*WEBSOCKET, b"Upgrade: websocket"):
        assert asked.verify("/app/ws", browser.cookie_line, line).code == "cross_site"
        cross = (b"Origin: https://evil.test", b"Sec-Fetch-Site: cross-site")
        assert asked.verify("/app/ws", browser.cookie_line, line, *cross).code == "cross_site"
        assert asked.verify("/app/ws", browser.cookie_line, line, SAME_ORIGIN).status == 200
        assert asked.verify("/plain/ws", line).code == "bad_upgrade"
        assert asked.verify("/app/ws", line, b"Accept: text/html").status == 401
    assert asked.verify("/plain/ws").status == 200


def test_a_handshake_that_may_pass_leaves_the_connection_open(asked: Asked) -> None:
    data = request("/verify", *original("/public/ws"), *WEBSOCKET)
    answer = asked.send(data)
    assert answer.status == 200 and answer.values(b"connection") == []
