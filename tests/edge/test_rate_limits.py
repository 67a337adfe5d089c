"""rate_limit through a gateway of two workers: one count for both, and what its clients are told."""

from collections.abc import Iterator

import pytest

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, make_admin, new_address, register
from tests.kit.raw import Answer, Client, request
from tests.kit.scripts import answer
from tests.kit.workers import one_each

# Days, and hours: sliding, so that a test which runs over their ends finds the same.
ROUTES = """
service: shop
trusted_proxies: [127.0.0.9/32]
upstreams: {app: {servers: ["URL"]}, nobody: "http://127.0.0.1:1"}
defaults: {policies: {authenticate: none}}
routes:
  - {name: free, match: {path: /free}, answer: {status: 200}}
  - name: users
    match: {path: /users/**}
    upstream: app
    policies:
      authenticate: required
      rate_limit: {name: users, limit: {default: 6/day, "role:admin": 9/day}}
  - name: users-too
    match: {path: /users-too/**}
    upstream: app
    policies:
      authenticate: optional
      rate_limit: {name: users, limit: {default: 6/day, "role:admin": 9/day}, key: user}
  - {name: large, match: {path: /large/**}, upstream: app, policies: {rate_limit: {limit: 200/day, key: ip}}}
  - name: address
    match: {path: /address/**}
    upstream: app
    policies: {rate_limit: {name: address, limit: 5/day, key: ip}, cors: {origins: ["https://page.test"]}}
  - name: two
    match: {path: /two/**}
    upstream: app
    policies:
      authenticate: required
      rate_limit: [{limit: [3/hour, 100/day], key: session}, {name: by-address, limit: 50/day, key: ip}]
  - {name: dead, match: {path: /dead}, upstream: nobody, policies: {rate_limit: {limit: 50/day}}}
  - name: report
    match: {path: /report}
    upstream: app
    mode: report
    policies: {rate_limit: {name: reported, limit: 2/day}}
  - name: tenant
    match: {path: /tenant}
    upstream: app
    policies: {rate_limit: {limit: 2/day, key: "header:X-Tenant", algorithm: moving_window}}
  - name: whole
    match: {path: /whole}
    answer: {status: 200}
    policies: {rate_limit: {limit: 4/day, key: route}}
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES) as world:
        yield world


@pytest.fixture(scope="module")
def workers(shop: IdentityWorld) -> Iterator[list[Client]]:
    """A connection to each, of one address."""
    with one_each(shop.gateway, "/free", new_address()) as clients:
        yield list(clients.values())


def ask(workers: list[Client], target: str, times: int, *lines: bytes) -> list[Answer]:
    """By turns at each worker."""
    return [workers[each % len(workers)].send(request(target, *lines)).reply() for each in range(times)]


def counted(shop: IdentityWorld, rule: str) -> dict[str, float]:
    samples = shop.gateway.metrics()
    results = ("allowed", "refused", "local_allowed", "local_refused", "uncounted", "denied")
    text = 'postern_rate_limit_total{{result="{}",rule="{}"}}'
    found = {result: samples.get(text.format(result, rule), 0.0) for result in results}
    return {result: value for result, value in found.items() if value}


def test_two_workers_have_one_count_for_a_user(shop: IdentityWorld, workers: list[Client]) -> None:
    person, other = register(shop), register(shop)
    before = len(shop.upstream.on(b"/users/a"))
    replies = ask(workers, "/users/a", 10, person.bearer)
    assert [reply.status for reply in replies] == [200] * 6 + [429] * 4
    assert len(shop.upstream.on(b"/users/a")) - before == 6
    assert ask(workers, "/users/a", 1, other.bearer)[0].status == 200
    assert [reply.value(b"ratelimit") for reply in replies[:6]] == [
        b'"users";r=%d;t=' % left + reply.value(b"ratelimit").partition(b"t=")[2]
        for left, reply in zip(range(5, -1, -1), replies, strict=False)
    ]
    assert {reply.value(b"ratelimit-policy") for reply in replies} == {b'"users";q=6;w=86400'}


def test_a_refusal_says_why_and_until_when(shop: IdentityWorld, workers: list[Client]) -> None:
    person = register(shop)
    refused = ask(workers, "/users/b", 7, person.bearer)[-1]
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert "users" in refused.problem()["detail"] and "6 per day" in refused.problem()["detail"]
    seconds = refused.value(b"retry-after")
    assert 0 < int(seconds) <= 2 * 86400
    assert refused.value(b"ratelimit") == b'"users";r=0;t=' + seconds
    logged = shop.gateway.wait_logged(refused.value(b"x-request-id").decode())
    assert logged["code"] == "rate_limited"
    assert logged["verdicts"] == [{"policy": "rate_limit", "code": "rate_limited"}]


def test_rules_of_one_name_are_one_count_over_routes(shop: IdentityWorld, workers: list[Client]) -> None:
    person = register(shop)
    assert [each.status for each in ask(workers, "/users/c", 4, person.bearer)] == [200] * 4
    assert [each.status for each in ask(workers, "/users-too/c", 4, person.bearer)] == [200, 200, 429, 429]
    anonymous = ask(workers, "/users-too/c", 8)
    assert [each.status for each in anonymous] == [200] * 6 + [429] * 2  # by their address


def test_a_role_may_more(shop: IdentityWorld, workers: list[Client]) -> None:
    admin = make_admin(shop)
    replies = ask(workers, "/users/d", 10, admin.bearer)
    assert [each.status for each in replies] == [200] * 9 + [429]
    assert replies[0].value(b"ratelimit-policy") == b'"users";q=9;w=86400'


def test_batches_waste_little_and_never_let_more_in(shop: IdentityWorld) -> None:
    address = new_address()
    with one_each(shop.gateway, "/free", address) as clients:
        statuses = [each.status for each in ask(list(clients.values()), "/large/a", 240)]
    assert 190 <= statuses.count(200) <= 200 and statuses.count(429) == 240 - statuses.count(200)


def test_each_address_has_its_own_count_and_a_page_can_read_the_refusal(shop: IdentityWorld) -> None:
    origin = b"Origin: https://page.test"
    address = new_address()
    replies = [shop.get("/address/a", origin, source=address) for _ in range(6)]
    assert [each.status for each in replies] == [200] * 5 + [429]
    assert replies[-1].value(b"access-control-allow-origin") == b"https://page.test"
    assert shop.get("/address/a", source=new_address()).status == 200
    preflight = (origin, b"Access-Control-Request-Method: PUT")
    asked = request("/address/a", *preflight, method=b"OPTIONS")
    assert shop.send(asked, source=address, method=b"OPTIONS").status == 204  # not counted


def test_every_answer_tells_of_the_limits_and_only_of_ours(shop: IdentityWorld) -> None:
    person = register(shop)
    theirs = (b'RateLimit: "x";r=9999;t=1', b"RateLimit-Policy: x", b"RateLimit-Remaining: 7", b"X-Own: 1")
    shop.upstream.reply(answer(b"no", *theirs, status=404), b"/two/a")
    reply = shop.get("/two/a", person.bearer, source=person.address)
    assert reply.status == 404 and reply.value(b"x-own") == b"1" and not reply.values(b"ratelimit-remaining")
    # judged in their order: by address first
    assert [value.partition(b";t")[0] for value in reply.values(b"ratelimit")] == [
        b'"by-address";r=49', b'"two.1/hour";r=2',
    ]  # fmt: skip
    assert sorted(reply.values(b"ratelimit-policy")) == [
        b'"by-address";q=50;w=86400', b'"two.1/hour";q=3;w=3600, "two.1/day";q=100;w=86400',
    ]  # fmt: skip
    unknown = shop.get("/two/a", source=person.address)
    assert unknown.status == 401 and len(unknown.values(b"ratelimit-policy")) == 2
    assert unknown.value(b"ratelimit").startswith(b'"by-address";r=48')
    assert reply.values(b"cache-control") == []  # the upstream alone says who may keep it


def test_the_gateways_own_failures_tell_of_them_too(shop: IdentityWorld) -> None:
    reply = shop.get("/dead", source=new_address())
    assert reply.code == "upstream_unavailable"
    assert reply.value(b"ratelimit").startswith(b'"dead.1";r=49;t=')


def test_report_mode_counts_and_lets_go_on(shop: IdentityWorld) -> None:
    address = new_address()
    replies = [shop.get("/report", source=address) for _ in range(4)]
    assert [each.status for each in replies] == [200] * 4
    assert replies[3].value(b"ratelimit").startswith(b'"reported";r=0;')
    logged = shop.gateway.wait_logged(replies[3].value(b"x-request-id").decode())
    assert logged["verdicts"] == [{"policy": "rate_limit", "code": "rate_limited"}]
    assert counted(shop, "shop/reported") == {"allowed": 2, "refused": 2}


def test_by_header_or_else_by_address(shop: IdentityWorld) -> None:
    def statuses(*lines: bytes) -> list[int]:
        return [shop.get("/tenant", *lines, source=new_address()).status for _ in range(3)]

    assert statuses(b"X-Tenant: acme") == [200, 200, 429]
    assert statuses(b"X-Tenant: bee") == [200, 200, 429]
    assert statuses() == [200, 200, 200]  # each from another address


def test_a_whole_route_and_its_metrics(shop: IdentityWorld) -> None:
    statuses = [shop.get("/whole", source=new_address()).status for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2
    assert counted(shop, "shop/whole.1") == {"allowed": 4, "refused": 2}


def test_counts_outlive_a_reload(shop: IdentityWorld) -> None:
    address = new_address()
    assert shop.get("/address/r", source=address).status == 200
    text = shop.gateway.routes.read_text()
    more = "routes:\n  - {name: more, match: {path: /more}, answer: {status: 200}}"
    shop.gateway.reload(text.replace("routes:", more))
    assert shop.get("/more").status == 200
    assert [shop.get("/address/r", source=address).status for _ in range(5)] == [200] * 4 + [429]
    shop.gateway.reload(text)


def test_who_has_a_new_limit_is_counted_anew(shop: IdentityWorld) -> None:
    """Another limit is another count; the old one does not mix in."""
    person: Person = register(shop)
    assert [each.status for each in (shop.get("/users/n", person.bearer) for _ in range(7))][-1] == 429
    text = shop.gateway.routes.read_text()
    shop.gateway.reload(text.replace("default: 6/day", "default: 8/day"))
    try:
        assert [shop.get("/users/n", person.bearer).status for _ in range(9)] == [200] * 8 + [429]
    finally:
        shop.gateway.reload(text)
