"""A question gets the verdict that the request itself would get, with every identity header or a refusal."""

import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.model.identity import STANDARD
from tests.kit.asking import Asked, original
from tests.kit.people import SAME_ORIGIN, Person
from tests.kit.raw import Answer, Client, chunked, exchange, request

NAMES = [*STANDARD.values(), *(f"X-User-{kind}-{key}" for key in ("plan", "tier", "note", "roles")
         for kind in ("Meta", "Public")), "X-User-Assertion"]  # fmt: skip
CLOSE = b"Connection: close"


def identity(answer: Answer) -> dict[str, str]:
    """The identity headers of an answer: every one of them, each once."""
    assert answer.status == 200 and answer.body == b"", answer
    found = {name: answer.value(name.lower().encode()).decode() for name in NAMES}
    others = [name for name, _ in answer.headers if name.lower().startswith(b"x-user")]
    assert len(others) == len(NAMES), answer
    return found


def test_who_may_pass_is_named_in_every_identity_header(asked: Asked, person: Person) -> None:
    said = identity(asked.verify("/app/orders?page=2", person.bearer))
    assert said["X-User-Id"] == person.user_id and said["X-User-Session"] == person.session
    assert said["X-User-Email"] == quote(person.email, safe="@") and said["X-User-Roles"] == "user"
    assert (said["X-User-Level"], said["X-User-Kind"], said["X-User-Methods"]) == ("1", "user", "pwd")
    assert said["X-User-Meta-plan"] == said["X-User-Assertion"] == ""


def test_meta_stands_beside_the_empty_rest(asked: Asked, person: Person) -> None:
    assert person.ask("PATCH", "/me", {"meta": {"tier": "gold"}}).status == 200
    said = identity(asked.verify("/app/x", person.bearer))
    assert said["X-User-Public-tier"] == "gold" and said["X-User-Meta-tier"] == ""


@pytest.mark.parametrize("target", ["/public/x", "/optional/x"])
def test_for_the_anonymous_all_are_empty(asked: Asked, target: str) -> None:
    assert set(identity(asked.verify(target)).values()) == {""}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_method_may_ask_about_any_other(asked: Asked, person: Person, method: str) -> None:
    for about in ("GET", "HEAD", "DELETE"):
        lines = original("/app/x", method=about)
        data = request("/verify", *lines, person.bearer, CLOSE, method=method.encode())
        assert asked.send(data, method=method.encode()).status == 200
        data = request("/verify", *lines, CLOSE, method=method.encode())
        answer = asked.send(data, method=method.encode())
        assert (answer.status, answer.body == b"") == (401, method == "HEAD"), answer


def test_a_refusal_has_its_body_and_challenge(asked: Asked) -> None:
    answer = asked.verify("/app/x")
    assert (answer.status, answer.code) == (401, "credential_missing")
    assert answer.value(b"www-authenticate") == b'Bearer realm="postern"'
    bad = asked.verify("/app/x", b"Authorization: Bearer psa_nonsense")
    assert (bad.status, bad.code) == (401, "invalid_token")
    assert b'error="invalid_token"' in bad.value(b"www-authenticate")
    assert asked.verify("/nowhere").code == "no_route"
    wrong = asked.verify("/reads", method="POST")
    assert (wrong.status, wrong.value(b"allow")) == (405, b"GET, HEAD")


def test_whoever_guesses_is_told_when_to_come_back(asked: Asked) -> None:
    """By the client's address, not the proxy's; and by the same count as on the main listener."""
    for number in range(80):
        line = b"Authorization: Bearer unknown-%d" % number
        answer = asked.verify("/app/x", line, client="198.51.100.66")
    assert (answer.status, answer.code) == (429, "too_many_unknown_credentials")
    assert answer.value(b"retry-after").isdigit()
    assert asked.verify("/app/x", b"Authorization: Bearer unknown", client="198.51.100.67").status == 401


def test_a_browser_is_sent_to_sign_in_by_a_whole_url(asked: Asked) -> None:
    """Some proxies take a path in Location for one of the server that they asked."""
    for proto, host in (("https", "shop.test"), ("http", "shop.test:8080")):
        answer = asked.verify("/app/a?b=c&d", b"Accept: text/html", proto=proto, host=host)
        assert answer.status == 302
        wanted = f"{proto}://{host}/auth/sign-in?return_to=/app/a%3Fb%3Dc%26d"
        assert answer.value(b"location").decode() == wanted
        assert answer.value(b"cache-control") == b"no-store"


def test_a_route_s_own_answer_is_given_unless_it_would_mean_yes(asked: Asked) -> None:
    gone = asked.verify("/gone")
    assert (gone.status, gone.body) == (410, b"moved to /new")
    moved = asked.verify("/moved")
    assert (moved.status, moved.value(b"location")) == (308, b"https://gateway.test/app/new")
    assert (answer := asked.verify("/answered")).status == 403 and answer.code == "not_by_forward_auth"


def test_a_preflight_is_no_yes_either(asked: Asked) -> None:
    """The main listener answers it with 204: a proxy would let the request through to the backend."""
    lines = (b"Origin: https://page.test", b"Access-Control-Request-Method: GET")
    answer = asked.verify("/shared/x", *lines, method="OPTIONS")
    assert (answer.status, answer.code) == (403, "not_by_forward_auth")
    refused = asked.verify("/shared/x", b"Origin: https://page.test")
    assert refused.status == 401
    assert refused.value(b"access-control-allow-origin") == b"https://page.test"


@pytest.mark.parametrize(
    "target", ["/api/auth/me", "/api/auth/login", "/auth/sign-in", "/.well-known/jwks.json"]
)
def test_sign_in_itself_is_not_asked_about(asked: Asked, person: Person, target: str) -> None:
    answer = asked.verify(target, person.bearer)
    assert (answer.status, answer.code) == (403, "not_by_forward_auth")


def test_routes_are_found_by_the_original_s_host_headers_and_method(asked: Asked) -> None:
    assert asked.verify("/app/x").status == 401
    assert asked.verify("/app/x", host="open.test").status == 200
    assert asked.verify("/app/x", host="OPEN.test:8443").status == 200
    assert asked.verify("/versioned/x").status == 404
    assert asked.verify("/versioned/x", b"X-Api-Version: 2").status == 200
    assert asked.verify("/reads").status == 200
    assert asked.verify("/slashes/a%2fb").status == 200
    assert asked.verify("/public/a%2fb").code == "ambiguous_path"


def test_a_route_that_only_reports_refuses_nothing(asked: Asked) -> None:
    assert set(identity(asked.verify("/watched/x")).values()) == {""}


def test_a_fixed_route_judges_whatever_the_path(asked: Asked, person: Person) -> None:
    fixed = asked.on(asked.ports.fixed)
    for target in ("/public/x", "/nowhere", "/api/auth/me", "/answered", "/app/x?route=public"):
        assert fixed.verify(target).code == "credential_missing"
        assert identity(fixed.verify(target, person.bearer))["X-User-Id"] == person.user_id
    for target in ("/app/../public", "/a//b", "/a%2fb", "/a;b", "/a?b#c"):
        assert fixed.verify(target, person.bearer).code == "ambiguous_path"


def test_the_query_of_the_question_says_nothing(asked: Asked, person: Person) -> None:
    for query in ("?route=public", "?rd=/public/x", "?uri=/public/x&method=GET"):
        data = request("/verify" + query, *original("/app/x"))
        assert asked.send(data).code == "credential_missing"
        assert asked.send(data[:-2] + person.bearer + b"\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "target", ["/", "/verify/", "/Verify", "/verify/app/x", "/public/x", "/ext-authz", "/ext-authz?/public/x"]
)
def test_anything_else_on_that_listener_is_not_there(asked: Asked, person: Person, target: str) -> None:
    answer = asked.send(request(target, *original("/public/x"), person.bearer))
    assert (answer.status, answer.code) == (404, "no_route")


def test_a_proxy_over_a_unix_socket_asks_if_unix_is_trusted(asked: Asked, person: Person) -> None:
    path = str(Path(asked.world.gateway.folder) / "verify.sock")
    with Client(0, unix=path) as client:
        client.send(request("/verify", *original("/app/x"), person.bearer))
        assert client.reply().value(b"x-user-id").decode() == person.user_id


def test_what_the_backend_may_see_of_the_credentials(asked: Asked, person: Person, browser: Person) -> None:
    """Copied like the identity headers, they take ours away as the gateway does on its own way."""
    passed = asked.verify("/app/x", person.bearer)
    assert passed.value(b"authorization") == b"" and passed.values(b"cookie") == []
    foreign = (b"Authorization: Basic dTpw", b"Cookie: a=1; b=2")
    kept = asked.verify("/public/x", *foreign)
    assert (kept.value(b"authorization"), kept.value(b"cookie")) == (b"Basic dTpw", b"a=1; b=2")
    mixed = asked.verify("/app/x", browser.cookie_line + b"; theme=dark")
    assert mixed.value(b"cookie") == b"theme=dark"
    forwarded = asked.verify("/forwarding/x", person.bearer)
    assert forwarded.value(b"authorization") == person.bearer.partition(b" ")[2]


def test_a_header_that_routes_accept_is_taken_away_too(asked: Asked, person: Person) -> None:
    token = b"Access-Token: " + person.access.encode()
    for target, lines in (("/named/x", [token]), ("/app/x", [token, person.bearer]), ("/public/x", [token])):
        assert asked.verify(target, *lines).values(b"access-token") == [b""], target
    for target, line in (("/public/x", b"Access-Token: theirs"), ("/forwarding/x", token)):
        assert asked.verify(target, line, person.bearer).values(b"access-token") == [], target


def test_a_yes_is_never_kept_by_a_cache_and_sets_no_cookie(asked: Asked, browser: Person) -> None:
    answer = asked.verify("/app/x", browser.cookie_line)
    assert answer.value(b"cache-control") == b"no-store" and answer.values(b"set-cookie") == []


def test_the_log_tells_of_the_original_and_that_it_was_asked_about(asked: Asked, person: Person) -> None:
    answer = asked.verify("/app/x?secret=1", person.bearer, method="PATCH", client="192.0.2.99")
    line = asked.world.gateway.wait_logged(answer.value(b"x-request-id").decode())
    assert line["forward_auth"] is True and line["server"] is None
    assert (line["route"], line["method"], line["path"]) == ("app", "PATCH", "/app/x")
    assert (line["client"], line["user"], line["status"]) == ("192.0.2.99", person.user_id, 200)
    refused = asked.on(asked.ports.denying).verify("/app/x")
    line = asked.world.gateway.wait_logged(refused.value(b"x-request-id").decode())
    assert (line["code"], line["status"], line["forward_auth"]) == ("credential_missing", 401, True)


def test_the_client_is_found_through_trusted_proxies(asked: Asked) -> None:
    for chain, client in (
        ("192.0.2.1, 127.0.0.9", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.2", "192.0.2.2"),
        ("unknown", "127.0.0.9"),
    ):
        answer = asked.verify("/public/x", client=chain)
        line = asked.world.gateway.wait_logged(answer.value(b"x-request-id").decode())
        assert line["client"] == client


def test_it_counts_like_any_request(asked: Asked, person: Person) -> None:
    name = 'postern_requests_total{method="PURGE",route="other",status="200"}'
    before = asked.world.gateway.metrics().get(name, 0.0)
    assert asked.verify("/other/x", person.bearer, method="PURGE").status == 200
    assert asked.world.gateway.metrics()[name] == before + 1


def test_a_revoked_session_is_refused_at_once(asked: Asked, person: Person) -> None:
    assert asked.verify("/app/x", person.bearer).status == 200
    assert person.ask("POST", "/logout").status == 200
    assert asked.verify("/app/x", person.bearer).code == "invalid_token"


def test_many_questions_on_one_connection(asked: Asked, person: Person, browser: Person) -> None:
    """T17: the verdicts come in order, and nobody gets another's; anonymous after somebody is anonymous."""
    questions = [
        ("/app/1", person.bearer, 200),
        ("/app/2", b"X: y", 401),
        ("/app/3", browser.cookie_line, 200),
        ("/public/4", b"X: y", 200),
        ("/nowhere", person.bearer, 404),
    ] * 3
    data = b"".join(request("/verify", *original(target), line) for target, line, _ in questions)
    talk = exchange(asked.port, data, source="127.0.0.9", most=len(questions))
    assert talk.statuses == [status for _, _, status in questions]
    who = [answer.values(b"x-user-id") for answer in talk.replies]
    ours, theirs = [person.user_id.encode()], [browser.user_id.encode()]
    assert who == [ours, [], theirs, [b""], []] * 3


def test_a_body_of_the_question_is_not_taken_for_the_next_one(asked: Asked, person: Person) -> None:
    """A proxy may send the client's body along, or only its length."""
    smuggled = request("/verify", *original("/public/x"))
    whole = request("/verify", *original("/app/x"), method=b"POST", body=smuggled)
    talk = exchange(asked.port, whole + request("/verify", *original("/app/y"), CLOSE), source="127.0.0.9")
    assert talk.statuses == [401, 401]
    data = request("/verify", *original("/app/x"), b"Transfer-Encoding: chunked", method=b"POST")
    talk = exchange(asked.port, data + chunked(smuggled) + smuggled, source="127.0.0.9", most=2)
    assert talk.statuses == [401, 200]
    only_its_length = request("/verify", *original("/app/x"), person.bearer, b"Content-Length: 5")
    talk = exchange(asked.port, only_its_length, source="127.0.0.9")
    assert talk.statuses == [200] and talk.closed


def test_a_connection_ends_when_the_proxy_asks_for_that(asked: Asked) -> None:
    for version, lines, closed in (
        (b"HTTP/1.1", (CLOSE,), True),
        (b"HTTP/1.0", (), True),
        (b"HTTP/1.0", (b"Connection: keep-alive",), False),
    ):
        data = request("/verify", *original("/public/x"), *lines, version=version)
        with Client(asked.port, source="127.0.0.9") as client:
            client.send(data)
            assert client.reply().status == 200
            client.sock.settimeout(0.3 if not closed else 10)
            if closed:
                assert client.sock.recv(1) == b""
            else:
                with pytest.raises(socket.timeout):
                    client.sock.recv(1)


def test_questions_wait_for_the_one_before_them(asked: Asked, person: Person) -> None:
    """Whoever is not known yet is asked about at the identity service; the next question waits."""
    news = [person.elsewhere() for _ in range(3)]
    data = b"".join(request("/verify", *original("/app/x"), each.bearer) for each in news)
    talk = exchange(asked.port, data, source="127.0.0.9", most=3)
    assert [answer.value(b"x-user-session").decode() for answer in talk.replies] == [n.session for n in news]


def test_signed_in_by_cookie_it_still_has_to_be_meant(asked: Asked, browser: Person) -> None:
    """T38: by the original's method, origin and host."""
    assert asked.verify("/app/x", browser.cookie_line, method="POST").code == "cross_site"
    assert asked.verify("/app/x", browser.cookie_line, SAME_ORIGIN, method="POST").status == 200
    own = b"Origin: https://gateway.test"
    assert asked.verify("/app/x", browser.cookie_line, own, method="POST").status == 200
    assert asked.verify("/app/x", browser.cookie_line, own, proto="http", method="POST").code == "cross_site"
    assert (
        asked.verify("/app/x", browser.cookie_line, own, host="other.test", method="POST").code
        == "cross_site"
    )
    assert (
        asked.verify("/trusting/x", browser.cookie_line, b"Origin: https://friend.test", method="POST").status
        == 200
    )
