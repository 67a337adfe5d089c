"""What a client gets, and what the backend is told, when a proxy asks Postern: the same behind each."""

import json

import pytest

from tests.kit.identity import HOST
from tests.kit.people import SAME_ORIGIN, Person
from tests.kit.raw import Answer, Client, request
from tests.kit.scripts import switch
from tests.proxies.conftest import Proxied

CROSS_SITE = b"Sec-Fetch-Site: cross-site"
WEBSOCKET = (
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip


def refused(proxied: Proxied, answer: Answer, status: int, code: str) -> None:
    """The client gets Postern's refusal, and the backend nothing. ingress-nginx passes no body on."""
    known = proxied.name != "ingress-nginx"
    assert answer.status == (status if known or status == 401 else 403), (proxied.name, answer)
    if known:
        assert answer.code == code and answer.problem()["status"] == status, (proxied.name, answer)
    assert proxied.reached == []


def test_the_backend_is_told_who_asks(proxied: Proxied, person: Person) -> None:
    answer = proxied.get("/api/orders?page=2", person.bearer)
    assert (answer.status, answer.body) == (200, b"ok")
    [seen] = proxied.reached
    assert seen.target == b"/api/orders?page=2" and seen.value(b"host") == HOST
    assert seen.value(b"x-user-id").decode() == person.user_id
    assert seen.value(b"x-user-email").decode() == person.email and seen.value(b"x-user-roles") == b"user"
    assert not any(name.lower().startswith(b"x-user") for name, _ in answer.headers)


def test_it_is_not_given_the_credential(proxied: Proxied, person: Person, browser: Person) -> None:
    assert proxied.get("/api/x", person.bearer).status == 200
    assert proxied.get("/api/x", browser.cookie_line + b"; theme=dark").status == 200
    assert proxied.get("/public/x", b"Authorization: Basic dTpw", b"Cookie: theme=dark").status == 200
    bearer, cookie, foreign = proxied.reached
    assert person.access.encode() not in bearer.raw and browser.cookie.encode() not in cookie.raw
    assert cookie.value(b"x-user-id").decode() == browser.user_id
    assert cookie.value(b"cookie") == foreign.value(b"cookie") == b"theme=dark"
    assert foreign.value(b"authorization") == b"Basic dTpw"


def test_a_public_route_is_anonymous(proxied: Proxied) -> None:
    assert proxied.get("/public/x").status == 200
    assert b"".join(proxied.reached[0].values(b"x-user-id")) == b""


def test_without_a_credential_it_is_401_with_body_and_challenge(proxied: Proxied) -> None:
    answer = proxied.get("/api/x")
    refused(proxied, answer, 401, "credential_missing")
    assert answer.value(b"www-authenticate") == b'Bearer realm="postern"'
    answer = proxied.get("/api/x", b"Authorization: Bearer psa_nonsense")
    refused(proxied, answer, 401, "invalid_token")
    assert b'error="invalid_token"' in answer.value(b"www-authenticate")


def test_without_the_right_role_it_is_403(proxied: Proxied, person: Person, admin: Person) -> None:
    refused(proxied, proxied.get("/api/admin/x", person.bearer), 403, "insufficient_scope")
    assert proxied.get("/api/admin/x", admin.bearer).status == 200
    assert proxied.reached[0].value(b"x-user-id").decode() == admin.user_id


def test_too_often_is_429_with_retry_after(proxied: Proxied, person: Person, address: str) -> None:
    """Counted by the client's own address, which the proxy tells."""
    for _ in range(3):
        assert proxied.get("/api/few", person.bearer, source=address).status == 200
    proxied.world.upstream.clear()
    answer = proxied.get("/api/few", person.bearer, source=address)
    refused(proxied, answer, 429, "rate_limited")
    if proxied.name != "ingress-nginx":
        assert int(answer.value(b"retry-after")) > 0
        assert b'"few.1";r=0' in answer.value(b"ratelimit")
        assert b'"few.1";q=3' in answer.value(b"ratelimit-policy")


def test_a_client_can_not_choose_its_address(proxied: Proxied, person: Person, address: str) -> None:
    """T15: forged hops share the bucket of the address that really comes."""
    for number in range(4):
        forged = b"X-Forwarded-For: 203.0.113.%d" % number
        others = (b"Forwarded: for=203.0.113.9", b"X-Real-IP: 203.0.113.9")
        answer = proxied.get("/api/few", person.bearer, forged, *others, source=address)
    assert answer.status in (429, 403)


def test_a_browser_is_sent_to_sign_in(proxied: Proxied) -> None:
    answer = proxied.get("/page?a=b", b"Accept: text/html", b"Sec-Fetch-Mode: navigate")
    assert answer.status == 302 and proxied.reached == []
    wanted = f"http://{HOST.decode()}/auth/sign-in?return_to=/page%3Fa%3Db"
    if proxied.name == "ingress-nginx":  # by its own annotation
        wanted = f"https://shop.example.com/auth/sign-in?return_to=http://{HOST.decode()}/page?a=b"
    assert answer.value(b"location").decode() == wanted


def test_sign_in_goes_through_to_postern(proxied: Proxied, person: Person) -> None:
    body = json.dumps({"email": person.email, "password": person.password}).encode()
    lines = (b"Content-Type: application/json", b"Accept: application/json")
    data = request("/api/auth/login", *lines, method=b"POST", body=body)
    given = proxied.send(data, method=b"POST").json()
    person.world.ledger.sent({"password": person.password})
    person.world.ledger.note("an access token", given["access_token"])
    assert proxied.get("/api/x", f"Authorization: Bearer {given['access_token']}".encode()).status == 200
    assert proxied.get("/.well-known/jwks.json").status == 200


def test_signed_in_by_cookie_a_change_has_to_be_meant(proxied: Proxied, browser: Person) -> None:
    """T38, by the original's method, host and origin."""

    def post(*lines: bytes) -> Answer:
        return proxied.send(request("/api/x", browser.cookie_line, *lines, method=b"POST", body=b"hello"))

    refused(proxied, post(CROSS_SITE), 403, "cross_site")
    refused(proxied, post(b"Origin: http://evil.test"), 403, "cross_site")
    assert post(SAME_ORIGIN).status == post(b"Origin: http://" + HOST).status == 200
    assert [(seen.method, seen.body) for seen in proxied.reached] == [(b"POST", b"hello")] * 2


def test_a_websocket_has_to_be_meant_too(proxied: Proxied, browser: Person) -> None:
    """T38: the proxy drops Upgrade from its question."""
    proxied.world.upstream.reply(switch(), b"/api/ws")
    for lines in ((CROSS_SITE,), (b"Origin: http://evil.test",), ()):
        refused(proxied, proxied.get("/api/ws", browser.cookie_line, *WEBSOCKET, *lines), 403, "cross_site")
    assert proxied.get("/api/ws", browser.cookie_line, *WEBSOCKET, SAME_ORIGIN).status == 101


def test_bodies_and_further_requests_go_on_as_ever(proxied: Proxied, person: Person) -> None:
    """Neither a body nor a refusal in between disturbs the connections of any side."""
    large = b"x" * 300_000
    with Client(proxied.port) as client:
        for number in range(3):
            client.send(request(f"/api/{number}", person.bearer, method=b"POST", body=large))
            assert client.reply().status == 200
            client.send(request("/api/refused"))
            assert client.reply().status == 401
            client.send(request("/public/x"))
            assert client.reply().status == 200
    posted = [seen for seen in proxied.reached if seen.method == b"POST"]
    assert [seen.body_bytes for seen in posted] == [len(large)] * 3
    anonymous = [seen for seen in proxied.reached if seen.path == b"/public/x"]
    assert [b"".join(seen.values(b"x-user-id")) for seen in anonymous] == [b""] * 3


def test_a_revoke_counts_at_once(proxied: Proxied, person: Person) -> None:
    assert proxied.get("/api/x", person.bearer).status == 200
    assert person.ask("POST", "/logout").status == 200
    assert proxied.get("/api/x", person.bearer).status == 401


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD"])
def test_every_method_is_asked_about_as_itself(proxied: Proxied, person: Person, method: bytes) -> None:
    name = f'postern_requests_total{{method="{method.decode()}",route="everything",status="STATUS"}}'
    before = counted(proxied, name)
    assert proxied.send(request("/api/x", method=method), method=method).status == 401
    answer = proxied.send(request("/api/x", person.bearer, method=method), method=method)
    assert answer.status == 200 and proxied.reached[-1].method == method
    assert [after - was for after, was in zip(counted(proxied, name), before, strict=True)] == [1, 1]


def counted(proxied: Proxied, name: str) -> list[float]:
    metrics = proxied.world.gateway.metrics()
    return [metrics.get(name.replace("STATUS", status), 0.0) for status in ("200", "401")]
