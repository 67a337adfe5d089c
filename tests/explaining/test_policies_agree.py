"""Every policy, explained: verdict, head and reply are those of the running gateway; nothing is used up."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from policies import POLICIES
from tests.explaining.agreeing import HOST, Explaining, beside, verdicts, why
from tests.kit.federated import Federation
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import AGENT, Person, make_admin, register

ACTOR = "tests.kit.plugins:Actor"
MOVED = "127.99.99.99"
ROUTES = """
service: kit
trusted_proxies: [127.0.0.9/32]
limits: {keepalive: 300s}
upstreams:
  app: {servers: ["URL"], timeouts: {connect: 2s, first_byte: 20s, idle: 20s}}
  inside: {servers: ["URL"], host: inside.test}
  own: {servers: ["URL"], host: upstream}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
  - {name: inside, match: {path: /inside/**}, upstream: inside}
  - {name: own, match: {path: /own/**}, upstream: own}
  - {name: public, match: {path: /public/**}, upstream: app, policies: {authenticate: none}}
  - {name: optional, match: {path: /optional/**}, upstream: app, policies: {authenticate: optional}}
  - {name: forwarding, match: {path: /forwarding/**}, upstream: app,
     policies: {authenticate: {mode: required, forward_credential: true}}}
  - {name: named, match: {path: /named/**}, upstream: app,
     policies: {authenticate: {mode: required, accept: ["header:access-token"]}}}
  - {name: cookies, match: {path: /cookies/**}, upstream: app,
     policies: {authenticate: {mode: required, accept: [cookie]}}}
  - {name: pages, match: {path: /pages/**}, upstream: app,
     policies: {authenticate: {mode: required, on_missing: redirect}}}
  - {name: trusting, match: {path: /trusting/**}, upstream: app,
     policies: {csrf: {trusted_origins: ["https://friend.test"]}}}
  - {name: logged, match: {path: /logged/**}, upstream: app,
     policies: {bind: {address: exact, agent: family, on_mismatch: log}}}
  - {name: bound, match: {path: /bound/**}, upstream: app,
     policies: {bind: {address: exact, agent: family, on_mismatch: step_up}}}
  - {name: strict, match: {path: /strict/**}, upstream: app,
     policies: {bind: {address: exact, agent: "off", on_mismatch: strict}}}
  - {name: clerks, match: {path: /clerks/**}, upstream: app, policies: {require: {roles: [clerk]}}}
  - {name: users, match: {path: /users/**}, upstream: app, policies: {require: {roles: [user]}}}
  - {name: level, match: {path: /level/**}, upstream: app, policies: {require: {level: 2, fresh: 15m}}}
  - {name: limited, match: {path: /limited/**}, upstream: app,
     policies: {rate_limit: [{limit: 1000/day, key: ip}, {name: each, limit: 500/day, key: user}]}}
  - {name: few, match: {path: /few/**}, upstream: app,
     policies: {rate_limit: {limit: 2/day, key: user}}}
  - {name: signed, match: {path: /signed/**}, upstream: app, policies: {assertion: {audience: orders}}}
  - name: classes
    match: {path: /classes/**}
    upstream: app
    policies:
      plugins:
        - {class: "ACTOR", phase: before_auth, settings: {mark: one}}
        - {class: "ACTOR", settings: {mark: two, later: true}}
  - name: pageable
    match: {path: /pageable/**, methods: [GET, POST]}
    upstream: app
    policies:
      cors: {origins: ["https://page.test"], credentials: true, expose: [X-Total]}
      body_limit: 1KiB
      request_headers: {set: {X-Tenant: acme, X-Upstream-Token: hidden-in-print}, remove: [X-Debug]}
      response_headers: {set: {X-Served-By: kit}, remove: [Server]}
      security_headers: standard
  - name: reported
    match: {path: /reported/**}
    upstream: app
    mode: report
    policies: {authenticate: required, require: {roles: [clerk]}, body_limit: 1KiB}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: from the gateway}}
  - {name: guarded, match: {path: /guarded}, answer: {status: 200, body: from the gateway},
     policies: {authenticate: required}}
""".replace("ACTOR", ACTOR)


class World(NamedTuple):
    house: IdentityWorld
    explaining: Explaining
    person: Person


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with run_identity_gateway(ROUTES) as house, beside(house) as explaining:
        person = register(house)
        person.cookie = person.elsewhere(cookie=True).cookie
        yield World(house, explaining, person)


class Row(NamedTuple):
    """A request, and of which policies it gets which verdict; the others allow it, or are not asked."""

    method: str
    target: str
    lines: tuple[str, ...] = ()
    who: str = "bearer"  # bearer, cookie, named, nobody, nonsense, refresh
    says: str = ""  # policy=verdict …
    address: str = ""  # the person's own
    body: int = 0


PREFLIGHT = ("Origin: https://page.test", "Access-Control-Request-Method: POST")
STRANGE = ("Origin: https://strange.test", "Access-Control-Request-Method: POST")
HERE = ("Sec-Fetch-Site: same-origin",)
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: eA==",
    "Sec-WebSocket-Version: 13",
)
ROWS = [
    Row("GET", "/app/x"),
    Row("GET", "/app/x", who="nobody", says="authenticate=refused csrf=not_asked"),
    Row("GET", "/app/x", ("Accept: text/html",), "nobody", "authenticate=refused"),
    Row("GET", "/app/x", who="nonsense", says="authenticate=refused"),
    Row("GET", "/app/x", who="refresh", says="authenticate=refused"),
    Row("GET", "/app/x", who="cookie"),
    Row("POST", "/app/x", who="cookie", says="authenticate=allowed csrf=refused"),
    Row("POST", "/app/x", HERE, "cookie", "csrf=allowed"),
    Row("POST", "/app/x", ("Origin: http://gateway.test",), "cookie", "csrf=allowed"),
    Row("POST", "/trusting/x", ("Origin: https://friend.test",), "cookie", "csrf=allowed"),
    Row("GET", "/app/x", UPGRADE),
    Row("GET", "/app/x", UPGRADE, "cookie", "csrf=refused"),
    Row("GET", "/inside/x"),
    Row("GET", "/own/x"),
    Row("GET", "/public/x", says="authenticate=off"),
    Row("GET", "/optional/x", who="nobody", says="authenticate=allowed"),
    Row("GET", "/optional/x", who="nonsense", says="authenticate=refused"),
    Row("GET", "/optional/x", ("Cookie: __Host-postern=dead",), "nobody", "authenticate=allowed"),
    Row("GET", "/forwarding/x"),
    Row("GET", "/forwarding/x", who="cookie"),
    Row("GET", "/named/x", who="named"),
    Row("GET", "/named/x", says="authenticate=refused"),
    Row("GET", "/cookies/x", who="cookie"),
    Row("GET", "/cookies/x", says="authenticate=refused"),
    Row("GET", "/pages/x?a=b", who="nobody", says="authenticate=refused"),
    Row("POST", "/pages/x", who="nobody", says="authenticate=refused"),
    Row("GET", "/logged/x", says="bind=allowed", address=MOVED),
    Row("GET", "/bound/x", says="bind=allowed"),
    Row("GET", "/bound/x", says="bind=refused", address=MOVED),
    Row("GET", "/clerks/x", says="require=refused"),
    Row("GET", "/clerks/x", who="nobody", says="authenticate=refused require=not_asked"),
    Row("GET", "/users/x", says="require=allowed"),
    Row("GET", "/level/x", says="require=refused"),
    Row("GET", "/limited/x", says="rate_limit=allowed"),
    Row("GET", "/limited/x", who="nobody", says="authenticate=refused rate_limit=not_asked"),
    Row("GET", "/signed/x", says="assertion=allowed"),
    Row("GET", "/signed/x", who="nobody", says="authenticate=refused assertion=not_asked"),
    Row("GET", "/classes/x", says="actor-one=allowed actor-two=allowed"),
    Row("GET", "/classes/x", ("X-Do: refuse",), says="actor-one=refused authenticate=not_asked"),
    Row("GET", "/classes/x", ("X-Do: answer",), says="actor-one=answered authenticate=not_asked"),
    Row("GET", "/pageable/x", ("Origin: https://page.test", "X-Debug: 1"), says="cors=allowed"),
    Row("GET", "/pageable/x", ("Origin: https://page.test",), "nobody", "authenticate=refused"),
    Row("OPTIONS", "/pageable/x", PREFLIGHT, "nobody", "cors=answered authenticate=not_asked"),
    Row("OPTIONS", "/pageable/x", STRANGE, "nobody", "cors=refused"),
    Row("OPTIONS", "/pageable/x", PREFLIGHT[:1], "nobody", "routes=refused"),
    Row("POST", "/pageable/x", says="body_limit=allowed", body=1024),
    Row("POST", "/pageable/x", says="body_limit=refused", body=1025),
    Row("POST", "/reported/x", says="require=would_refuse body_limit=would_refuse", body=1025),
    Row("GET", "/reported/x", who="nobody", says="authenticate=would_refuse require=would_refuse"),
    Row("GET", "/answered", who="nobody"),
    Row("GET", "/guarded"),
    Row("GET", "/guarded", who="nobody", says="authenticate=refused"),
]  # fmt: skip


def credential(person: Person, who: str) -> tuple[str, ...]:
    return {
        "bearer": (f"Authorization: Bearer {person.access}",),
        "cookie": (person.cookie_line.decode(),),
        "named": (f"Access-Token: {person.access}",),
        "nobody": (),
        "nonsense": ("Authorization: Bearer nonsense",),
        "refresh": (f"Authorization: Bearer {person.refresh}",),
    }[who]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.target} {row.who} {row.says}")
def test_what_is_explained_is_what_happens(made: World, row: Row) -> None:
    lines = (AGENT.decode(), *row.lines, *credential(made.person, row.who))
    if row.body:
        lines += (f"Content-Length: {row.body}",)
    asked = made.explaining.asked(row.method, row.target, *lines, source=row.address or made.person.address)
    told = made.explaining.agree(asked, b"x" * row.body)
    said = dict(one.split("=") for one in row.says.split())
    found = verdicts(told)
    if told.refusal is not None and not told.policies:
        found[told.refusal.by] = "refused"
    assert {name: found[name] for name in said} == said
    rest = {verdict for name, verdict in found.items() if name not in said}
    assert rest <= {"allowed", "applies", "off"} | ({"not_asked"} if told.reply is not None else set()), told
    assert (told.refusal.by if told.refusal else "") in ("", *(n for n, v in said.items() if v == "refused"))
    if told.head is not None:
        assert (told.user is not None) == any(line.startswith("X-User-Id") for line in told.head)
    secrets = (made.person.access, made.person.refresh, made.person.cookie, "hidden-in-print")
    assert not [secret for secret in secrets if secret in json.dumps(repr(told))]


def test_there_is_a_row_for_every_policy() -> None:
    """And for each that can refuse, one that is refused; headers' policies have no say."""
    text = ROUTES + " ".join(row.says for row in ROWS)
    silent = {"request_headers", "response_headers", "security_headers"}
    for policy in POLICIES:
        assert policy.name in text, policy.name
        if policy.name not in silent | {
            "plugins",
            "assertion",
            "rate_limit",
        }:  # these have tests of their own
            assert f"{policy.name}=refused" in text, policy.name


def test_nothing_is_counted_by_explaining(made: World) -> None:
    person = register(made.house)
    asked = made.explaining.asked("GET", "/few/x", person.bearer.decode())
    for _ in range(3):
        told = made.explaining.explain(asked)
        assert told.outcome == "passes"
        assert f"counts for kit/few.1, u:{person.user_id}: one of 2 in 86,400 s; 2 left" in why(
            told, "rate_limit"
        )
    assert [made.explaining.send(asked)[0].status for _ in range(3)] == [200, 200, 429]
    told = made.explaining.agree(asked)
    assert (
        told.refusal is not None and told.refusal.by == "rate_limit" and "0 left" in why(told, "rate_limit")
    )
    assert told.reply is not None and any(line.startswith("Retry-After: ") for line in told.reply.headers)


def test_a_session_that_would_be_ended_is_only_told_of(made: World) -> None:
    person = register(made.house)
    asked = made.explaining.asked("GET", "/strict/x", person.bearer.decode(), source=MOVED)
    told = made.explaining.explain(asked)
    assert told.refusal is not None and told.refusal.code == "binding_changed"
    assert "would end the session; it is left alone here" in why(told, "bind")
    assert person.get("/strict/x").status == 200
    assert made.explaining.agree(asked, told=told).refusal is not None
    assert person.get("/strict/x").status == 401  # now it has happened


def test_a_mismatch_that_is_only_logged_is_told_with_its_policy(made: World) -> None:
    asked = made.explaining.asked("GET", "/logged/x", made.person.bearer.decode(), source=MOVED)
    told = made.explaining.explain(asked)
    assert "would be written to its events; it is left alone here" in why(told, "bind")
    events = made.person.ask("GET", "/events").json()
    assert MOVED not in json.dumps(events) or made.house.upstream.on(b"/logged/x")


def test_whoever_is_known_elsewhere_is_explained_too(sqlite_federation: Federation) -> None:
    """And of a token that is bad, whoever explains learns why; nobody else does."""
    provider = sqlite_federation.corporate
    with beside(sqlite_federation.house) as explaining:
        for target in ("/theirs/x", "/both/x", "/clerks/x", "/fresh/x"):
            token = provider.token(groups=["staff"])
            told = explaining.agree(explaining.asked("GET", target, f"Authorization: Bearer {token}"))
            assert told.user is not None and told.user.startswith("corporate:")
        for claims, why_not in (
            ({"aud": "others"}, "issuer corporate: its aud"),
            ({"exp": 1}, "it has expired"),
        ):
            bad = explaining.asked("GET", "/theirs/x", f"Authorization: Bearer {provider.token(**claims)}")
            told = explaining.agree(bad)
            assert told.refusal is not None and told.refusal.code == "invalid_token"
            assert why_not in why(told, "authenticate")


def test_a_token_goes_where_its_route_takes_one(made: World) -> None:
    explaining, person = made.explaining, made.person
    for target, line in (("/app/x", "Authorization"), ("/named/x", "access-token")):
        plain = explaining.explain(explaining.asked("GET", target), token=person.access)
        assert plain.outcome == "passes" and plain.user == person.user_id
        asked = explaining.asked(
            "GET", target, f"{line}: {'Bearer ' if line[0] == 'A' else ''}{person.access}"
        )
        explaining.agree(asked, told=plain)
    by_cookie = explaining.explain(explaining.asked("GET", "/cookies/x"), token=person.cookie)
    assert by_cookie.outcome == "passes" and by_cookie.user == person.user_id


def test_who_has_just_signed_in_passes_as_they_would(made: World) -> None:
    explaining, person = made.explaining, made.person
    agent = AGENT.decode().partition(": ")[2]
    for target, name in (
        ("/app/x", person.email),
        ("/bound/x", person.username),
        ("/cookies/x", person.user_id),
    ):
        asked = explaining.asked("GET", target, AGENT.decode())
        told = explaining.explain(asked, somebody=explaining.user(name, asked.address, agent))
        assert told.outcome == "passes" and told.user == person.user_id and told.head is not None
        assert "X-User-Session: made-up" in told.head and "X-User-Level: 1" in told.head
        fresh = person.elsewhere(cookie=target.startswith("/cookies"))
        real = explaining.asked(
            "GET", target, AGENT.decode(), *credential(fresh, "cookie" if fresh.cookie else "bearer"),
            source=fresh.address,
        )  # fmt: skip
        _, seen = explaining.send(real)
        assert seen is not None
        own = ("X-User-Session", "X-Request-Id", "traceparent", "X-Forwarded-For", "Authorization", "Cookie")
        lines = seen.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        assert [x for x in told.head if not x.startswith(own)] == [x for x in lines if not x.startswith(own)]


def test_whoever_is_locked_out_is_refused(made: World) -> None:
    person = register(made.house)
    made.house.postern("users", "lock", person.user_id)
    told = made.explaining.explain(
        made.explaining.asked("GET", "/app/x"), somebody=made.explaining.user(person.user_id)
    )
    assert told.refusal is not None and told.refusal.by == "authenticate"
    assert "the account is locked" in why(told, "authenticate")
    dead = made.explaining.explain(made.explaining.asked("GET", "/app/x"), token=person.access)
    assert dead.refusal is not None and "access token: its session has ended: locked" in why(
        dead, "authenticate"
    )


def test_the_calls_of_the_api_show_what_the_service_would_get(made: World) -> None:
    admin = make_admin(made.house)
    for method, path, lines in (
        ("GET", "/api/auth/me", (admin.bearer.decode(),)),
        ("POST", "/api/auth/login", ("Content-Type: application/json", "Content-Length: 20")),
        ("POST", "/api/auth/login", ("Content-Type: application/json", "Transfer-Encoding: chunked")),
    ):
        told = made.explaining.explain(made.explaining.asked(method, path, *lines))
        assert told.outcome == "passes" and told.upstream is not None and told.upstream.name == "identity"
        assert told.head is not None and told.head[0] == f"{method} {path} HTTP/1.1"
        assert f"Host: {HOST}" in told.head
    too_large = made.explaining.asked("POST", "/api/auth/login", "Content-Length: 70000")
    assert made.explaining.explain(too_large).outcome == "refused"
