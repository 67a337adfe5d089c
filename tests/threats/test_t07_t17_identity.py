"""T07, T10, T11 and T17 with people signed in: what the backend is told of them is ours, theirs, and once."""

import random

import pytest

from tests.kit import scripts
from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_address, register
from tests.kit.raw import exchange, request
from tests.kit.workers import one_each
from tests.threats.test_t06_t11_headers import IDENTITY_NAMES, NOMINATIONS, folded

CLAIMS = [name for name in IDENTITY_NAMES if name.startswith(b"X-User-")]


@pytest.mark.parametrize("target", ["/app/x", "/optional/x", "/public/x", "/forwarding/x"])
def test_T07_forged_identity_headers_are_absent_or_ours(
    house: IdentityWorld, person: Person, target: str
) -> None:
    lines = [name + b": admin-forged" for name in IDENTITY_NAMES for _ in range(2)]
    lines += [name.replace(b"-", b"_") + b": admin-forged" for name in IDENTITY_NAMES]
    assert house.get(target, *lines[: len(lines) // 2], person.bearer).status == 200
    assert b"forged" not in house.seen.raw
    for name in {folded(name) for name in house.seen.names()} & {folded(name) for name in CLAIMS}:
        assert len([each for each in house.seen.names() if folded(each) == name]) == 1
    given = house.seen.values(b"x-user-id")
    assert given == ([] if target == "/public/x" else [person.user_id.encode()])


@pytest.mark.parametrize("name", IDENTITY_NAMES)
def test_T07_a_forged_header_neither_adds_to_nor_replaces_ours(
    house: IdentityWorld, person: Person, name: bytes
) -> None:
    assert person.get("/app/x", name + b": admin-forged").status == 200
    assert b"forged" not in house.seen.raw
    assert house.seen.value(b"x-user-id").decode() == person.user_id


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize(
    "nominated", [*NOMINATIONS, b"x-user-id, x-user-roles, x-user-session, authorization"]
)
def test_T10_nominating_identity_headers_changes_nothing(
    house: IdentityWorld, person: Person, nominated: bytes, upgrade: bool
) -> None:
    lines = [b"Connection: " + (b"upgrade, " if upgrade else b"") + nominated, b"X-User-Id: forged"]
    if upgrade:
        house.upstream.reply(scripts.switch(), b"/app/ws")
        lines.append(b"Upgrade: websocket")
    answer = person.get("/app/ws" if upgrade else "/app/x", *lines)
    assert answer.status == (101 if upgrade else 200)
    assert house.seen.value(b"x-user-id").decode() == person.user_id
    assert house.seen.value(b"x-user-roles") == b"user"
    assert house.seen.value(b"x-user-session").decode() == person.session
    assert b"forged" not in house.seen.raw


def test_T11_two_credentials_are_refused_whichever_is_good(house: IdentityWorld, person: Person) -> None:
    other = register(house)
    for lines in ((person.bearer, other.bearer), (person.bearer, b"Authorization: Basic YTpi")):
        for both in (lines, lines[::-1]):
            assert house.get("/app/x", *both).status == 400
            assert house.get("/public/x", *both).status == 400
    assert house.upstream.requests == []


def test_T11_each_of_ours_is_there_once(house: IdentityWorld, person: Person) -> None:
    assert person.get().status == 200
    names = house.seen.names()
    assert len(names) == len(set(names)), names


def test_T17_the_same_token_on_other_routes_is_judged_by_them(house: IdentityWorld, person: Person) -> None:
    """What one route takes, another does not: the cache holds who it is, not what was decided."""
    assert person.get("/app/x").status == 200
    assert person.get("/cookies/x").status == 401
    assert person.get("/named/x").status == 401
    assert person.get("/other/x").status == 200
    as_cookie = b"Cookie: __Host-postern=" + person.access.encode()
    assert house.get("/app/x", as_cookie, source=person.address).status == 401
    assert house.get("/cookies/x", as_cookie, source=person.address).status == 401


def test_T17_a_cookie_shown_as_a_bearer_first_is_still_a_cookie(house: IdentityWorld) -> None:
    """And the other way round: what was refused in one place is not remembered for another."""
    person = register(house)
    browser = person.elsewhere(cookie=True)
    as_bearer = b"Authorization: Bearer " + browser.cookie.encode()
    as_cookie = b"Cookie: __Host-postern=" + person.access.encode()
    with one_each(house.gateway, "/answered", person.address) as connections:
        for client in connections.values():
            for line, status in (
                (as_bearer, 401), (browser.cookie_line, 200), (as_cookie, 401), (person.bearer, 200),
            ):  # fmt: skip
                assert client.send(request("/app/x", line)).reply().status == status


def test_T17_anonymous_after_authenticated_on_one_connection(house: IdentityWorld, person: Person) -> None:
    with one_each(house.gateway, "/answered", person.address) as connections:
        for client in connections.values():
            for lines, status in (((person.bearer,), 200), ((), 401), ((person.bearer,), 200)):
                assert client.send(request("/app/x", *lines)).reply().status == status
                optional = client.send(request("/optional/x", *lines)).reply()
                assert optional.status == 200
                assert len(house.seen.values(b"x-user-id")) == len(lines)


def test_T17_pipelined_users_never_mix(house: IdentityWorld) -> None:
    """Known and unknown ones, anonymous ones and forgeries, sixteen at a time on one connection."""
    people = [register(house) for _ in range(4)]
    dice = random.Random(17)
    for turn in range(12):
        if turn % 4 == 0:
            people = [one.elsewhere() for one in people]  # nobody has seen these tokens yet
        crowd = [dice.choice([*people, None]) for _ in range(16)]
        house.upstream.clear()
        data = b"".join(
            request(f"/optional/{number}", *([one.bearer] if one else [b"X-User-Id: forged"]))
            for number, one in enumerate(crowd)
        )
        talk = exchange(house.port, data, half_close=True, source=new_address())
        assert talk.statuses == [200] * len(crowd)
        for number, one in enumerate(crowd):
            (seen,) = house.upstream.on(b"/optional/%d" % number)
            assert seen.values(b"x-user-id") == ([one.user_id.encode()] if one else [])
            assert seen.values(b"x-user-session") == ([one.session.encode()] if one else [])


def test_T17_a_refused_request_among_pipelined_ones_changes_no_other(house: IdentityWorld) -> None:
    good, gone = register(house), register(house)
    assert gone.ask("POST", "/logout").status == 200
    order = [good, gone, None, good, gone, good]
    data = b"".join(request("/app/x", *([one.bearer] if one else [])) for one in order)
    talk = exchange(house.port, data, half_close=True, source=new_address())
    assert talk.statuses == [200 if one is good else 401 for one in order]
    assert {seen.value(b"x-user-id").decode() for seen in house.upstream.requests} == {good.user_id}
