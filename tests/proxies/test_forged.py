"""What clients may try behind a proxy that asks Postern: to be somebody, or to ask for something else."""

from urllib.parse import unquote_to_bytes

import pytest

from gateway.model.paths import canonical
from tests.kit.people import Person
from tests.kit.raw import exchange, request
from tests.proxies.conftest import Proxied

IDENTITY = (
    b"X-User-Id X-User-Name X-User-Email X-User-Email-Verified X-User-Roles X-User-Permissions "
    b"X-User-Session X-User-Level X-User-Methods X-User-Kind X-User-Assertion"
).split()
SPELLINGS = (
    b"X_User_Id X-User_Id X_User-Id x_uSeR_iD X_USER_ROLES X-User_Roles X-User_Email_Verified X_User "
    b"X-User-Anything X-User-Meta-Plan"
).split()
ORIGINALS = (
    b"X-Forwarded-Uri: /public/x", b"X-Original-URI: /public/x", b"X-Original-URL: /public/x",
    b"X-Original-URL: http://gateway.test/public/x", b"X-Rewrite-URL: /public/x",
    b"X-Forwarded-Method: OPTIONS", b"X-Original-Method: OPTIONS", b"X-HTTP-Method-Override: OPTIONS",
    b"X-Forwarded-Host: public.test", b"X-Forwarded-Path: /public/x", b"X-Forwarded-Prefix: /public",
    b"X_Forwarded_Uri: /public/x", b"X_Original_URL: /public/x", b"X-Envoy-Original-Path: /public/x",
    b"X-Auth-Request-Redirect: /public/x", b"X-Forwarded-Proto: https", b"Forwarded: host=public.test",
)  # fmt: skip
CLEARED = frozenset(
    b"x-original-url x-original-uri x-original-method x-forwarded-uri x-forwarded-method x-forwarded-prefix "
    b"forwarded".split()
)
FORGED = frozenset(b"".join(name.lower().split(b"_")).replace(b"-", b"") for name in IDENTITY + SPELLINGS)


def said(proxied: Proxied) -> list[tuple[bytes, bytes]]:
    """What a backend that folds names could take for an identity, on the last request it got."""
    seen = proxied.reached[-1]
    return [
        (name, value)
        for name, value in seen.headers
        if name.lower().replace(b"_", b"").replace(b"-", b"") in FORGED and value
    ]


def test_T07_forged_identity_is_absent_or_ours(proxied: Proxied, person: Person) -> None:
    forged = [name + b": admin" for name in IDENTITY]
    assert proxied.get("/public/x", *forged).status == 200
    assert said(proxied) == []
    assert proxied.get("/api/x", person.bearer, *forged).status == 200
    assert {value for _, value in said(proxied)}.isdisjoint({b"admin"})
    assert proxied.reached[-1].value(b"x-user-id").decode() == person.user_id


@pytest.mark.parametrize("name", SPELLINGS)
def test_T08_other_spellings_reach_nobody(proxied: Proxied, person: Person, name: bytes) -> None:
    """Taken away by the proxy; or, where it can't, refused by Postern."""
    for target, line in (("/public/x", b"A: b"), ("/api/x", person.bearer)):
        proxied.world.upstream.clear()
        answer = proxied.get(target, line, name + b": admin")
        if answer.status == 200:
            assert b"admin" not in {value for _, value in said(proxied)}, (name, said(proxied))
        else:
            assert answer.status in (400, 403) and proxied.reached == [], (name, answer)


def test_T10_a_nominated_header_is_still_ours(proxied: Proxied, person: Person) -> None:
    nominated = b"Connection: close, X-User-Id, X-Forwarded-For, X-Forwarded-Uri, X-User-Roles"
    answer = proxied.get("/api/x", person.bearer, nominated, b"X-User-Id: admin")
    if answer.status == 200:
        assert proxied.reached[-1].value(b"x-user-id").decode() == person.user_id
    else:
        assert proxied.reached == []
    proxied.world.upstream.clear()
    assert proxied.get("/api/x", nominated, b"X-User-Id: admin").status in (400, 401, 403)
    assert proxied.reached == []


@pytest.mark.parametrize("line", ORIGINALS)
def test_T06_a_forged_original_does_nothing(proxied: Proxied, person: Person, line: bytes) -> None:
    answer = proxied.get("/api/x", line)
    assert answer.status in (400, 401, 403) and proxied.reached == [], (proxied.name, answer)
    name = line.partition(b":")[0].lower()
    answer = proxied.get("/api/x", person.bearer, line)
    if answer.status == 200:
        [seen] = proxied.reached
        assert seen.target == b"/api/x" and seen.method == b"GET"
        if name in CLEARED:
            assert b"".join(seen.values(name)) == b"", (proxied.name, seen.headers)
    else:  # where a proxy's configuration can't take it away, it is refused
        assert answer.status in (400, 403) and proxied.reached == [], (proxied.name, answer)


@pytest.mark.parametrize(
    "target", ["/api/x?route=public", "/api/x?/public/", "/api/x?rd=/public/x", "/api/admin?x=/public/"]
)
def test_T06_the_query_decides_nothing(proxied: Proxied, target: str) -> None:
    assert proxied.get(target).status == 401 and proxied.reached == []


@pytest.mark.parametrize(
    "target",
    [
        "/public/../x", "/public/%2e%2e/x", "/public/..%2fx", "/public%2f..%2fx", "/public/..;/x",
        "/public/;/../x", "//public/../x", "/public//../x", "/public/%252e%252e/x", "/public\\..\\x",
        "/public/%5c..%5cx", "/public/.%2e/x", "/public/x/../../x", "/public%00/../x", "/%70ublic/../x",
        "/public/../../public/../x", "/./public/../x", "/public/x%2f..%2f..%2fx",
    ],
)  # fmt: skip
def test_T03_no_path_leads_out_of_the_public_part(proxied: Proxied, target: str) -> None:
    """However the proxy itself reads it: the backend gets one canonical path that is public, or nothing."""
    talk = exchange(proxied.port, request(target), most=1)
    assert talk.statuses, (proxied.name, talk)
    if talk.statuses[0] == 200:
        [seen] = proxied.reached
        assert canonical(seen.path) == seen.path and seen.path.startswith(b"/public/"), (proxied.name, seen)
    else:
        assert talk.statuses[0] in (302, 400, 401, 403, 404) and proxied.reached == [], (proxied.name, talk)


@pytest.mark.parametrize("target", ["/public/a", "/public/%41", "/%70ublic/a", "/public/a%20b?c=%2e%2e"])
def test_one_path_is_judged_and_passed_on(proxied: Proxied, target: str) -> None:
    assert proxied.get(target).status == 200
    [seen] = proxied.reached
    assert unquote_to_bytes(seen.target) == unquote_to_bytes(target)


def test_T14_a_whole_url_is_judged_by_its_path(proxied: Proxied, person: Person) -> None:
    for target in ("http://gateway.test/x", "http://public.test/public/x", "http://gateway.test/public/../x"):
        talk = exchange(proxied.port, request(target), most=1)
        assert talk.statuses == [] or talk.statuses[0] != 200 or proxied.reached[-1].path == b"/public/x"
    assert all(seen.path == b"/public/x" for seen in proxied.reached)
