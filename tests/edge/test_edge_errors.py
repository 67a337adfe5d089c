"""Errors that the gateway itself makes: one shape for programs, a page for people, and nothing that leaks."""

import json

import pytest

from tests.kit import scripts
from tests.kit.raw import Answer, request
from tests.kit.world import World

BROWSER = b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"

ERRORS: list[tuple[bytes, int, str]] = [
    (request("/app/../x"), 400, "ambiguous_path"),
    (request("/app/x", host=b"a b"), 400, "bad_host"),
    (request("http://other.test/app/x"), 400, "bad_authority"),
    (request("/app/x", b"Transfer-Encoding: CHUNKED"), 400, "bad_framing"),
    (request("/app/x", b"Authorization: a", b"Authorization: b"), 400, "duplicate_credential"),
    (request("/app/x", b"Upgrade: h2c", b"Connection: Upgrade"), 400, "bad_upgrade"),
    (request("/admin"), 401, "credential_missing"),
    (request("/nowhere"), 404, "no_route"),
    (request("/"), 404, "no_route"),
    (request("/reads", method=b"POST", body=b""), 405, "method_not_allowed"),
    (request("/app", method=b"CONNECT"), 405, "connect_refused"),
    (request("/small", b"Content-Length: 5000", method=b"POST"), 413, "body_too_large"),
    (request(b"/app/" + b"a" * 5000), 414, "target_too_long"),
    (request("/app/x", b"Expect: a-miracle"), 417, "expectation_failed"),
    (request("/app/x", b"X: " + b"a" * 20_000), 431, "headers_too_large"),
    (request("/dead"), 503, "upstream_unavailable"),
    (request("/admin", b"Authorization: Bearer psa_x"), 401, "invalid_token"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status", "code"), ERRORS, ids=[f"{code} {n}" for n, (_, _, code) in enumerate(ERRORS)]
)
def test_an_error_has_all_its_parts(world: World, data: bytes, status: int, code: str) -> None:
    reply = world.send(data)
    assert (reply.status, reply.code) == (status, code)
    problem = reply.problem()
    assert problem.keys() >= {"type", "title", "status", "code", "request_id"}
    assert problem["status"] == status and isinstance(problem["title"], str) and problem["title"]
    assert isinstance(problem["type"], str) and isinstance(problem.get("detail", ""), str)
    assert problem["request_id"].encode() == reply.value(b"x-request-id")
    assert int(reply.value(b"content-length")) == len(reply.body)
    assert world.reached() == []


@pytest.mark.parametrize(
    ("data", "status", "code"), ERRORS, ids=[f"{code} {n}" for n, (_, _, code) in enumerate(ERRORS)]
)
def test_an_error_is_logged_with_its_code(world: World, data: bytes, status: int, code: str) -> None:
    reply = world.send(data)
    logged = world.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert (logged["status"], logged["code"]) == (status, code)


@pytest.mark.parametrize("line", [BROWSER, b"Sec-Fetch-Mode: navigate"])
@pytest.mark.parametrize("target", ["/nowhere", "/dead", "/admin", "/app/%2e%2e/x"])
def test_a_browser_that_navigates_gets_a_page(world: World, target: str, line: bytes) -> None:
    reply = world.get(target, line)
    if reply.status in (302, 303, 307):
        return  # to sign in
    assert reply.value(b"content-type").startswith(b"text/html")
    assert reply.value(b"x-request-id") in reply.body
    assert b"<script" not in reply.body.lower()


@pytest.mark.parametrize(
    "lines", [(BROWSER, b"Sec-Fetch-Mode: cors"), (b"Accept: application/json",), (b"Accept: */*",), ()]
)
def test_a_program_gets_problem_json(world: World, lines: tuple[bytes, ...]) -> None:
    assert world.get("/nowhere", *lines).code == "no_route"


def test_a_post_that_takes_html_is_no_navigation(world: World) -> None:
    assert world.send(request("/nowhere", BROWSER, method=b"POST", body=b"")).code == "no_route"


@pytest.mark.parametrize("line", [b"X: y", BROWSER])
def test_nothing_of_the_request_is_echoed_unescaped(world: World, line: bytes) -> None:
    path = b"/nowhere/%3Cscript%3Ealert(1)%3C/script%3E'\"<script>"
    reply = world.get(path, line, b"User-Agent: <script>", b"Referer: <script>")
    assert reply.status in (400, 404) and b"<script>" not in reply.body


def test_an_error_for_head_has_no_body(world: World) -> None:
    talk = world.talk(request("/nowhere", method=b"HEAD") + request("/app/x", method=b"HEAD"), b"HEAD")
    assert talk.statuses == [404, 200] and not talk.leftover


def test_an_error_for_a_client_of_1_0_is_readable(world: World) -> None:
    reply = world.send(request("/nowhere", version=b"HTTP/1.0"))
    assert reply.code == "no_route" and reply.values(b"transfer-encoding") == []


def test_errors_that_do_not_distrust_the_connection_keep_it(world: World) -> None:
    data = request("/nowhere") + request("/admin") + request("/dead") + request("/app/x")
    assert world.talk(data).statuses == [404, 401, 503, 200]


def test_405_says_what_is_allowed(world: World) -> None:
    reply = world.send(request("/reads", method=b"POST", body=b""))
    assert {method.strip() for method in reply.value(b"allow").split(b",")} >= {b"GET", b"HEAD"}
    assert b"POST" not in reply.value(b"allow")


def test_401_without_a_credential_names_the_scheme_and_no_error(world: World) -> None:
    challenge = world.get("/admin").value(b"www-authenticate")
    assert challenge.startswith(b"Bearer") and b"error" not in challenge


def test_a_broken_upstream_is_502_a_slow_one_504(world: World) -> None:
    world.upstream.reply(scripts.raw(b"nonsense\r\n\r\n", then="close"), b"/app/broken")
    world.upstream.reply(scripts.silent(), b"/app/slow")
    assert world.get("/app/broken").code == "upstream_bad_reply"
    assert world.get("/app/slow").code == "upstream_timeout"


@pytest.mark.parametrize(
    "line", [b"Authorization: Bearer psa_VERYSECRET", b"Cookie: __Host-postern=VERYSECRET"]
)
@pytest.mark.parametrize(
    "target", ["/admin?token=VERYSECRET", "/nowhere?token=VERYSECRET", "/dead?token=VERYSECRET"]
)
def test_no_error_and_no_log_line_carries_a_secret(world: World, target: str, line: bytes) -> None:
    reply = world.get(target, line)
    assert reply.status >= 400 and b"VERYSECRET" not in reply.body + repr(reply.headers).encode()
    world.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert "VERYSECRET" not in world.gateway.output() + world.gateway.errors()


@pytest.mark.parametrize(
    "agent", [b'"},{"x":"', b"\\", b"a\tb", b"caf\xc3\xa9 \xff\xfe", b"\xf0\x9f\x98\x80", b"{env.HOME}"]
)
def test_a_log_line_is_one_line_of_json_whatever_the_client_says(world: World, agent: bytes) -> None:
    reply = world.get("/app/x", b"User-Agent: " + agent, b"Referer: " + agent)
    logged = world.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert (logged["method"], logged["path"], logged["status"]) == ("GET", "/app/x", 200)
    assert (logged["route"], logged["client"]) == ("app", "127.0.0.1")
    assert json.loads(json.dumps(logged)) == logged


def test_the_log_has_the_canonical_path_without_the_query(world: World) -> None:
    reply: Answer = world.get("/app/%41%7e?secret=1")
    logged = world.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert logged["path"] == "/app/A~"
    assert "secret" not in json.dumps(logged)


def test_an_answer_and_a_redirect_of_our_own(world: World) -> None:
    answered = world.get("/answered")
    assert (answered.status, answered.body) == (200, b"from the gateway")
    moved = world.get("/moved")
    assert (moved.status, moved.value(b"location")) == (308, b"/app/new")
    assert world.reached() == []
