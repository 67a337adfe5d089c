"""T06 to T11: what says who asks, or what was asked, reaches the upstream only as the gateway wrote it."""

import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import scripts
from tests.kit.gateway import run_gateway
from tests.kit.line import Received
from tests.kit.raw import Answer, chunked, get, request
from tests.kit.world import TRUSTED, World

IDENTITY_NAMES = (
    b"X-User X-User-Id X-User-Name X-User-Email X-User-Email-Verified X-User-Roles X-User-Permissions "
    b"X-User-Session X-User-Level X-User-Methods X-User-Kind X-User-Meta-Plan X-User-Public-Tier "
    b"X-User-Assertion X-User-Anything Remote-User X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups "
    b"X-Forwarded-Preferred-Username X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Redirect "
    b"X-Remote-User X-Remote-Group X-Authentik-Username X-Authentik-Jwt"
).split()
ORIGIN_NAMES = (
    b"X-Original-URL X-Original-URI X-Original-Method X-Original-Host X-Rewrite-URL X-Envoy-Original-Path "
    b"X-Envoy-External-Address X-HTTP-Method-Override Proxy"
).split()
FORWARDED_NAMES = (
    b"X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri "
    b"X-Forwarded-Method X-Forwarded-Server X-Forwarded-Scheme X-Forwarded-Ssl X-Real-IP Forwarded"
).split()

common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def folded(name: bytes) -> bytes:
    """A name as CGI, WSGI and PHP see it."""
    return name.upper().replace(b"-", b"_")


def assert_ours(seen: Received, client: bytes = b"127.0.0.1") -> None:
    """The four names that the gateway writes for every peer, each once, and true."""
    assert seen.value(b"x-forwarded-for").split(b",")[0].strip() == client
    assert seen.value(b"x-forwarded-proto") == b"http"
    assert seen.value(b"x-forwarded-host") == b"gateway.test"
    assert seen.value(b"x-forwarded-port").isdigit()


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """One of the names, in any mixture of cases and of - and _."""
    name = draw(st.sampled_from(IDENTITY_NAMES + ORIGIN_NAMES)).decode()
    flips = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    cased = [letter.swapcase() if flip else letter for letter, flip in zip(name, flips, strict=True)]
    lines = draw(st.lists(st.sampled_from("-_"), min_size=name.count("-"), max_size=name.count("-")))
    return "".join(lines.pop() if letter == "-" else letter for letter in cased).encode()


def test_T06_forwarded_headers_of_an_untrusted_peer_are_replaced(world: World) -> None:
    lines = [name + b": forged.test" for name in FORWARDED_NAMES]
    assert world.get("/app/x", *lines).status == 200
    seen = world.upstream.last
    assert b"forged" not in seen.raw
    assert_ours(seen)
    left = {name for name in seen.names() if name.startswith(b"x-forwarded-")}
    assert left == {b"x-forwarded-" + name for name in (b"for", b"proto", b"host", b"port")}


@pytest.mark.parametrize("name", ORIGIN_NAMES)
def test_T06_original_request_headers_change_nothing_and_are_removed(world: World, name: bytes) -> None:
    for value in (b"/public/x", b"http://gateway.test/public/x", b"DELETE", b"GET"):
        assert world.get("/admin", name + b": " + value).status == 401
        assert world.get("/app/x", name + b": " + value).status == 200
        assert world.upstream.last.line == b"GET /app/x HTTP/1.1"
        assert folded(name) not in map(folded, world.upstream.last.names())


@pytest.mark.parametrize("source", ["127.0.0.1", TRUSTED])
def test_T06_even_a_trusted_peer_cannot_say_the_path_or_the_user(world: World, source: str) -> None:
    lines = [name + b": forged" for name in IDENTITY_NAMES + ORIGIN_NAMES]
    assert world.get("/app/x", *lines, source=source).status == 200
    assert b"forged" not in world.upstream.last.raw


@pytest.mark.parametrize("query", [b"?route=public", b"?rule=/public/", b"?X-Original-URI=/public/"])
def test_T06_a_query_chooses_no_route(world: World, query: bytes) -> None:
    assert world.get(b"/admin" + query).status == 401
    assert world.reached() == []


def test_T06_the_scheme_is_not_what_an_untrusted_peer_says(world: World) -> None:
    for line in (b"X-Forwarded-Proto: https", b"Forwarded: proto=https", b"X-Forwarded-Ssl: on"):
        world.get("/app/x", line)
        assert world.upstream.last.value(b"x-forwarded-proto") == b"http"


@pytest.mark.parametrize("name", IDENTITY_NAMES)
@pytest.mark.parametrize("place", [b"/public/x", b"/optional/x"])
def test_T07_identity_headers_never_pass(world: World, place: bytes, name: bytes) -> None:
    assert world.get(place, name + b": admin-forged", name + b": second-forged").status == 200
    assert b"forged" not in world.upstream.last.raw
    assert folded(name) not in map(folded, world.upstream.last.names())


@pytest.mark.parametrize("name", IDENTITY_NAMES)
def test_T07_an_identity_header_signs_nobody_in(world: World, name: bytes) -> None:
    assert world.get("/admin", name + b": admin").code == "credential_missing"
    assert world.reached() == []


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: __Host-postern=psr_secret",
        b"Cookie: a=1; postern=psr_secret; b=2",
        b"Cookie: a=1;__Secure-postern=psr_secret;b=2",
        b'Cookie: b=2; __Host-postern="psr_secret"; a=1',
        b"Authorization: Bearer psa_secret",
        b"Authorization: bearer   psk_secret",
        b"Authorization: BEARER psr_secret",
        b"X-Api-Key: psk_secret",
        b"X-Api-Key:   psk_secret",
    ],
)
def test_T07_our_own_credentials_do_not_reach_a_public_upstream(world: World, line: bytes) -> None:
    assert world.get("/public/x", line).status == 200
    seen = world.upstream.last
    assert b"secret" not in seen.raw, seen.raw
    if line.startswith(b"Cookie: a=1"):
        pairs = [pair.strip() for value in seen.values(b"cookie") for pair in value.split(b";")]
        assert pairs == [b"a=1", b"b=2"]


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: session=abc; not-postern=x; postern2=y",
        b"Authorization: Basic dXNlcjpwYXNz",
        b"Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.e30.x",
        b"X-Api-Key: someone-elses",
    ],
)
def test_T07_credentials_of_others_pass_a_public_route(world: World, line: bytes) -> None:
    name, _, value = line.partition(b": ")
    assert world.get("/public/x", line).status == 200
    assert world.upstream.last.values(name) == [value]


def test_T07_a_route_may_forward_our_credential(world: World) -> None:
    for _ in range(2):  # the second time the head is known
        assert world.get("/forwarding", b"Authorization: Bearer psa_kept").status == 200
        assert world.upstream.last.value(b"authorization") == b"Bearer psa_kept"


@settings(common, max_examples=200)
@given(names=st.lists(spellings(), min_size=1, max_size=8))
def test_T08_no_spelling_of_a_guarded_name_passes(world: World, names: list[bytes]) -> None:
    assert world.get("/public/x", *[name + b": forged" for name in names]).status == 200
    seen = world.upstream.last
    assert b"forged" not in seen.raw, (names, seen.raw)
    assert not {folded(name) for name in names} & {folded(name) for name in seen.names()}


def test_T08_any_name_with_an_underscore_is_dropped(world: World) -> None:
    assert world.get("/app/x", b"X_Custom: forged", b"_: forged", b"X-Custom: kept").status == 200
    assert b"forged" not in world.upstream.last.raw
    assert world.upstream.last.value(b"x-custom") == b"kept"


class Quiet(WSGIRequestHandler):
    """Without the log on stderr."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def wsgi_port() -> Iterator[int]:
    """A gateway before a WSGI application that answers with the names it was given."""

    def application(environ: dict[str, object], start_response: object) -> list[bytes]:
        assert callable(start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name}={value}\n".encode() for name, value in environ.items() if name.startswith("HTTP_")]

    server = make_server("127.0.0.1", 0, application, WSGIServer, Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    text = f"""
upstreams: {{app: "http://127.0.0.1:{server.server_port}"}}
routes: [{{name: all, match: {{path: /**}}, upstream: app, policies: {{authenticate: none}}}}]
"""
    with run_gateway(text) as gateway:
        yield gateway.port
    server.shutdown()
    server.server_close()
    thread.join(5)


@settings(common, max_examples=40)
@given(names=st.lists(spellings(), min_size=1, max_size=8))
def test_T08_no_spelling_reaches_a_wsgi_application(wsgi_port: int, names: list[bytes]) -> None:
    reply = get(wsgi_port, "/", *[name + b": forged" for name in names])
    assert reply.status == 200
    assert b"HTTP_X_FORWARDED_FOR=127.0.0.1" in reply.body
    assert b"forged" not in reply.body, (names, reply.body)


@pytest.mark.parametrize(
    "trailer",
    [
        b"X-User-Id: forged\r\n",
        b"Authorization: forged\r\nX-Forwarded-For: forged\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: forged\r\nHost: forged\r\n",
        b"X-Custom: forged\r\n",
    ],
)
def test_T09_trailers_never_reach_the_upstream(world: World, trailer: bytes) -> None:
    head = request("/app/x", b"Transfer-Encoding: chunked", b"Trailer: X-User-Id", method=b"POST")
    assert world.send(head + chunked(b"body", trailer=trailer)).status == 200
    seen = world.upstream.last
    assert (seen.body, seen.trailers) == (b"body", [])
    assert b"forged" not in seen.raw
    assert seen.values(b"trailer") == []


NOMINATIONS = [
    b"close, X-User-Id, X-Forwarded-For",
    b"X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Request-Id",
    b"keep-alive, Host, Content-Length, Traceparent",
    b"x-request-id,,x-forwarded-for, ,host",
]


@pytest.mark.parametrize("nominated", NOMINATIONS)
def test_T10_nominating_our_headers_changes_nothing(world: World, nominated: bytes) -> None:
    data = request("/app/x", b"Connection: " + nominated, b"X-User-Id: forged", method=b"POST", body=b"body")
    assert world.send(data).status == 200
    seen = world.upstream.last
    assert_ours(seen)
    assert (seen.value(b"host"), seen.body) == (b"gateway.test", b"body")
    assert len(seen.value(b"x-request-id")) >= 8 and seen.value(b"traceparent")
    assert b"forged" not in seen.raw


@pytest.mark.parametrize(
    "line", [b"Authorization: Bearer psa_kept", b"Authorization: Bearer x", b"Cookie: a=1"]
)
def test_T10_a_nominated_credential_goes_no_further(world: World, line: bytes) -> None:
    for _ in range(2):
        assert world.get("/forwarding", line, b"Connection: Authorization, Cookie").status == 200
        assert world.upstream.last.values(line.partition(b":")[0].lower()) == []


@pytest.mark.parametrize("nominated", NOMINATIONS)
def test_T10_nominating_our_headers_on_an_upgrade_changes_nothing(world: World, nominated: bytes) -> None:
    world.upstream.reply(scripts.switch(), b"/app/ws")
    with world.client() as client:
        lines = (b"Connection: upgrade, " + nominated, b"Upgrade: websocket", b"X-User-Id: forged")
        client.send(request("/app/ws", *lines))
        assert client.reply().status == 101
    seen = world.upstream.last
    assert_ours(seen)
    assert seen.value(b"host") == b"gateway.test" and seen.value(b"x-request-id")
    assert seen.value(b"upgrade").lower() == b"websocket" and b"forged" not in seen.raw


def test_T10_nominated_and_hop_by_hop_headers_are_removed(world: World) -> None:
    hops = (
        b"Keep-Alive: timeout=forged", b"TE: trailers", b"Proxy-Connection: forged",
        b"Proxy-Authorization: forged", b"Proxy-Authenticate: forged", b"Trailer: forged",
    )  # fmt: skip
    lines = (b"Connection: X-One, keep-alive", b"Connection: x-two", b"X-One: forged", b"X-Two: forged")
    assert world.get("/app/x", *hops, *lines, b"X-Three: kept").status == 200
    seen = world.upstream.last
    assert b"forged" not in seen.raw and seen.values(b"te") == []
    assert seen.value(b"x-three") == b"kept"


@pytest.mark.parametrize(
    "lines",
    [
        (b"Authorization: Basic YTpi", b"Authorization: Bearer x"),
        (b"Authorization: Basic YTpi", b"Authorization: Basic YTpi"),
        (b"Host: other.test",),
        (b"Host: gateway.test",),
        (b"Content-Length: 0", b"Content-Length: 5"),
        (b"Content-Length: 5", b"content-length: 5"),
    ],
)
def test_T11_duplicates_of_what_must_be_single_are_refused(world: World, lines: tuple[bytes, ...]) -> None:
    world.refused(request("/app/x", *lines) + b"hello")


@pytest.mark.parametrize("source", ["127.0.0.1", TRUSTED])
def test_T11_our_headers_arrive_exactly_once(world: World, source: str) -> None:
    names = [b"X-Request-Id", b"Traceparent", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host"]
    forged = [name + b": forged-%d-aaaaaaaa" % number for name in names for number in (1, 2)]
    reply: Answer = world.get("/app/x", *forged, source=source)
    assert reply.status == 200
    seen = world.upstream.last
    for name in [*names, b"Host"]:
        assert len(seen.values(name)) == 1, (name, seen.headers)
    if source != TRUSTED:
        assert b"forged" not in seen.raw
    assert reply.value(b"x-request-id") == seen.value(b"x-request-id")
