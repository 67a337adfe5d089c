"""Assertions at the running gateway: for the known alone, ours alone, and never a credential."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.kit.federated import Federation
from tests.kit.identity import ORIGIN, wait_linked
from tests.kit.people import Person, make_admin, new_address, register
from tests.kit.raw import Client, request
from tests.kit.workers import one_each

NAME = b"x-user-assertion"
SPELLINGS = (
    b"X-User-Assertion", b"x-user-assertion", b"X-USER-ASSERTION", b"X_User_Assertion", b"X-User_Assertion",
    b"X-User.Assertion", b"X-User-Assertion-", b"X-User",
)  # fmt: skip


def sent(federation: Federation) -> list[bytes]:
    return [value for name, value in federation.house.seen.headers if name.lower() == NAME]


@pytest.mark.parametrize("way", ["bearer", "cookie"])
def test_who_asks_is_asserted_to_the_upstream(federation: Federation, way: str) -> None:
    house = federation.house
    person = register(house)
    if way == "cookie":
        person = person.elsewhere(cookie=True)
    line = person.bearer if way == "bearer" else person.cookie_line
    seen = set()
    for target, audience, ttl in (("/app/x", "app", 60), ("/both/x", "orders", 120)):
        with one_each(house.gateway, "/answered", person.address) as clients:
            for client in clients.values():
                for _ in range(3):
                    assert client.send(request(target, line)).reply().status == 200
                    said = federation.asserted(audience)
                    assert said["sub"] == person.user_id and said["sid"] == person.session
                    assert (said["aud"], said["kind"], said["roles"], said["level"]) == (
                        audience, "user", ["user"], 1,
                    )  # fmt: skip
                    assert said["exp"] - said["iat"] == ttl
                    seen.add(said["jti"])
    assert len(seen) == 4  # each worker asks once for each audience
    assert b"authorization" not in house.seen.names() or way == "bearer"


def test_T07_a_forged_assertion_never_passes_nor_any_for_the_anonymous(federation: Federation) -> None:
    house = federation.house
    person = register(house)
    assert person.get("/app/x").status == 200
    [real] = sent(federation)
    forged = [name + b": " + real for name in SPELLINGS]
    for target, lines, count in (
        ("/public/x", (), 0), ("/optional/x", (), 0), ("/public/x", (person.bearer,), 0),
        ("/theirs/x", (b"Authorization: Bearer " + federation.corporate.token().encode(),), 0),
        ("/optional/x", (person.bearer,), 1), ("/app/x", (person.bearer,), 1),
        ("/app/x", (person.bearer, b"Connection: close, X-User-Assertion"), 1),
    ):  # fmt: skip
        assert house.get(target, *lines, *forged, source=person.address).status == 200
        assert len(sent(federation)) == count, target
        assert house.seen.raw.count(real.rpartition(b".")[2]) == (1 if sent(federation) == [real] else 0)
        folded = [name.lower().replace(b"_", b"-") for name in house.seen.names()]
        assert folded.count(NAME) == count


def test_T28_it_is_gone_with_the_session_and_follows_the_roles(federation: Federation) -> None:
    house, admin = federation.house, make_admin(federation.house)
    person = register(house)
    with one_each(house.gateway, "/answered", person.address) as clients:
        for client in clients.values():
            assert client.send(request("/app/x", person.bearer)).reply().status == 200
        changed = admin.ask("PUT", f"/admin/users/{person.user_id}/roles", {"roles": ["user", "clerk"]})
        assert changed.status == 200, changed
        for client in clients.values():
            assert client.send(request("/app/x", person.bearer)).reply().status == 200
            assert sorted(federation.asserted("app")["roles"]) == ["clerk", "user"]
        assert person.ask("POST", "/logout").status == 200
        house.upstream.clear()
        for client in clients.values():
            assert client.send(request("/app/x", person.bearer)).reply().status == 401
        assert house.upstream.requests == []


def test_the_lines_of_the_page_verify_it_and_refuse_all_else(federation: Federation) -> None:
    """As an upstream would paste them, with its gateway's address."""
    page = (Path(__file__).parents[2] / "docs/policies/assertion.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    here = f'"http://127.0.0.1:{federation.house.port}/.well-known/jwks.json"'
    code = code.replace('f"{GATEWAY}/.well-known/jwks.json"', here)
    names: dict[str, Any] = {}
    exec(code.replace("https://shop.example.com", ORIGIN), names)
    who_asks = names["who_asks"]
    person = register(federation.house)
    assert person.get("/both/x").status == 200
    [made] = [value.decode() for value in sent(federation)]
    assert who_asks(made)["sub"] == person.user_id
    assert person.get("/app/x").status == 200  # whose audience is another upstream
    [other] = [value.decode() for value in sent(federation)]
    head, claims, proof = made.split(".")
    for bad in (other, f"{head}.{claims}.{proof[:-4]}AAAA", federation.corporate.token(), person.access, ""):
        with pytest.raises(jwt.PyJWTError):
            who_asks(bad)


def test_T30_an_assertion_opens_nothing(federation: Federation) -> None:
    """Its upstream holds it, and may be the thief."""
    house = federation.house
    person = register(house)
    assert person.get("/both/x").status == 200
    [made] = [value.decode() for value in sent(federation)]
    for target in ("/app/x", "/both/x", "/theirs/x", "/optional/x", "/named/x"):
        answer = federation.get(target, made, b"Access-Token: " + made.encode())
        assert (answer.status, answer.code) == (401, "invalid_token"), target
    as_cookie = f"Cookie: {house.cookie}={made}".encode()
    assert house.get("/app/x", as_cookie, source=new_address()).code == "credential_missing"
    assert federation.get("/api/auth/me", made).code == "invalid_token"


@contextmanager
def frozen(federation: Federation) -> Iterator[None]:
    pid = federation.house.pid_of_identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_T18_without_the_identity_service_what_is_kept_goes_on_and_nothing_goes_without(
    federation: Federation,
) -> None:
    house = federation.house
    person: Person = register(house)
    with Client(house.port, source=person.address) as client:
        assert client.send(request("/app/x", person.bearer)).reply().status == 200
        house.upstream.clear()
        with frozen(federation):
            kept = client.send(request("/app/x", person.bearer)).reply()
            assert kept.status == 200 and sent(federation)
            house.upstream.clear()
            # known here, but not asserted for this audience yet
            answer = client.send(request("/both/x", person.bearer)).reply()
            assert (answer.status, answer.code) == (503, "identity_unavailable")
            assert answer.value(b"retry-after") == b"1"
            assert house.upstream.requests == []
        wait_linked(house, 2)
        assert client.send(request("/both/x", person.bearer)).reply().status == 200
        assert federation.asserted("orders")["sub"] == person.user_id
