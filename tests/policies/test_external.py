"""The policy authenticate on routes that take tokens of other issuers: which go where, and who is let in."""

from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.credentials import JWT_STARTS
from gateway.model.exchange import Exchange
from gateway.model.identity import BadCredential, Identified
from gateway.model.policy import Resolution
from gateway.model.verdict import Refuse
from policies.authenticate import Authenticate
from tests.policies.made import UNAVAILABLE, build, exchange, who

OURS, KEY = b"psa_0123abcXYZ", b"psk_0123abcXYZ"
OUR_JWT = JWT_STARTS[0].encode() + b"abc.eyJz.c2ln"
THEIRS, OTHERS = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln", b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJiIn0.c2ln"
SESSION = b"0123abcXYZ"


class World:
    """Identities that knows a token of each of two issuers, one of ours, and a cookie."""

    def __init__(self, *, later: bool = False) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.later = later
        self.known: dict[tuple[str, bytes], Identified] = {
            ("external", THEIRS): who("external", id="corporate:u1", session="", issuer="corporate"),
            ("external", OTHERS): who("external", id="partners:u1", session="", issuer="partners"),
            ("bearer", OURS): who(), ("bearer", OUR_JWT): who(), ("cookie", SESSION): who("cookie"),
            ("api_key", KEY): who("api_key"),
        }  # fmt: skip

    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution | Awaitable[Resolution]:
        self.asked.append((kind, credential))
        found: Resolution = self.known.get((kind, credential)) or BadCredential()
        return self._later(found) if self.later else found

    async def _later(self, found: Resolution) -> Resolution:
        return found

    async def renew(self, cookie: bytes, exchange: Exchange) -> bool:
        return False

    async def mismatched(self, what: tuple[str, ...], act: str, exchange: Exchange) -> bool:
        return False


async def told(
    sent: dict[str, Any], accept: list[str], *, later: bool = False, mode: str = "required"
) -> str:
    """Who was let in, or the code of the refusal; of the identity's lines there is one block."""
    world = World(later=later)
    asked = exchange(**sent)
    verdict = build(Authenticate, {"accept": accept, "mode": mode}, identities=world).on_request(asked)
    if isinstance(verdict, Awaitable):
        verdict = await verdict
    if isinstance(verdict, Refuse):
        assert asked.who is None and asked.request_add == b""
        return verdict.fault.code
    assert verdict is None
    if asked.who is None:
        return "anonymous"
    assert asked.request_add == asked.who.block
    assert (asked.who.kind, asked.credential) in world.asked
    return f"{asked.who.kind} {asked.who.identity.id}"


def bearer(token: bytes) -> dict[str, Any]:
    return {"authorization": b"Bearer " + token}


BOTH, CORPORATE, NONE = ["bearer", "issuer:corporate"], ["issuer:corporate"], ["bearer"]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("mode", ["required", "optional"])
@pytest.mark.parametrize(
    ("token", "accept", "result"),
    [
        (THEIRS, CORPORATE, "external corporate:u1"),
        (THEIRS, BOTH, "external corporate:u1"),
        (THEIRS, ["cookie", "issuer:partners", "issuer:corporate"], "external corporate:u1"),
        (THEIRS, NONE, "invalid_token"),
        (THEIRS, ["issuer:partners"], "invalid_token"),
        (THEIRS, ["bearer", "api_key", "cookie", "issuer:partners"], "invalid_token"),
        (OTHERS, CORPORATE, "invalid_token"),
        (OTHERS, ["issuer:partners"], "external partners:u1"),
        (OURS, BOTH, "bearer u1"),
        (OURS, CORPORATE, "invalid_token"),
        (OUR_JWT, BOTH, "bearer u1"),
        (OUR_JWT, CORPORATE, "invalid_token"),
        (KEY, [*BOTH, "api_key"], "api_key u1"),
        (KEY, BOTH, "invalid_token"),
    ],
)
async def test_T17_a_token_counts_where_its_issuer_is_accepted_and_only_there(
    token: bytes, accept: list[str], result: str, mode: str, later: bool
) -> None:
    assert await told(bearer(token), accept, mode=mode, later=later) == result


@pytest.mark.parametrize("name", ["Access-Token", "x-token"])
async def test_a_named_header_takes_them_too(name: str) -> None:
    accept = [f"header:{name}"]
    sent = {"noted": {name.lower().encode(): THEIRS}}
    assert await told(sent, [*accept, "issuer:corporate"]) == "external corporate:u1"
    assert await told(sent, [*accept, "issuer:partners"]) == "invalid_token"
    assert await told(sent, accept) == "invalid_token"
    for ours in (OURS, OUR_JWT):
        assert (
            await told({"noted": {name.lower().encode(): ours}}, [*accept, "issuer:corporate"]) == "bearer u1"
        )


async def test_the_first_that_the_route_prefers_is_judged() -> None:
    cookie = {"cookie": b"__Host-postern=" + SESSION}
    both = bearer(THEIRS) | cookie
    assert await told(both, ["issuer:corporate", "cookie"]) == "external corporate:u1"
    assert await told(both, ["cookie", "issuer:corporate"]) == "cookie u1"
    assert await told(both, ["bearer", "cookie", "issuer:corporate"]) == "cookie u1"
    assert await told(bearer(OURS) | cookie, ["issuer:corporate", "cookie", "bearer"]) == "cookie u1"
    assert await told(bearer(OTHERS) | cookie, ["issuer:corporate", "cookie"]) == "invalid_token"
    key = {"noted": {b"x-api-key": KEY}}
    assert await told(bearer(THEIRS) | key, ["api_key", "issuer:corporate"]) == "api_key u1"
    assert await told({}, CORPORATE) == "credential_missing"
    assert await told({}, CORPORATE, mode="optional") == "anonymous"


def test_what_is_no_jwt_is_not_asked_about_as_one() -> None:
    for token in (b"a.b", b"a.b.", b".b.c", b"a..c", b"a.b.c.d", b"a.b.c=", b"eyJ.a~b.c", b"eyJ", b"x" * 100):
        for accept in (BOTH, CORPORATE):
            world = World()
            policy = build(Authenticate, {"accept": accept}, identities=world)
            verdict = policy.on_request(exchange(**bearer(token)))
            assert isinstance(verdict, Refuse) and verdict.fault.code == "invalid_token"
            if token != b"eyJ.a~b.c":  # this one is left to the identity service
                assert [kind for kind, _ in world.asked] == (["bearer"] if accept is BOTH else [])


def test_one_that_is_too_long_is_not_asked_about() -> None:
    for token in (b"eyJ." + b"a" * 8192 + b".c", b"a." + b"a" * 8192 + b".c"):
        world = World()
        policy = build(Authenticate, {"accept": BOTH}, identities=world)
        verdict = policy.on_request(exchange(**bearer(token)))
        assert isinstance(verdict, Refuse) and world.asked == []


class Away(World):
    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution | Awaitable[Resolution]:
        return UNAVAILABLE


def test_T18_when_it_can_t_be_known_nobody_comes_in() -> None:
    for accept in (BOTH, CORPORATE, ["header:x-token", "issuer:corporate"]):
        policy = build(Authenticate, {"accept": accept, "mode": "optional"}, identities=Away())
        assert policy.on_request(exchange(noted={b"x-token": THEIRS}, **bearer(THEIRS))) is UNAVAILABLE


PIECES = st.sampled_from([THEIRS, OTHERS, OURS, OUR_JWT, KEY, b"eyJ", b".", b"a", b"=", b" ", b"~", b"psa_"])
ACCEPT = st.lists(
    st.sampled_from(["bearer", "cookie", "api_key", "header:x-token", "issuer:corporate", "issuer:partners"]),
    min_size=1, unique=True,
)  # fmt: skip


@given(st.lists(PIECES, max_size=4).map(b"".join), st.sampled_from([b"", THEIRS, OURS]), ACCEPT)
def test_T17_whoever_is_let_in_came_by_what_the_route_accepts(
    token: bytes, own: bytes, accept: list[str]
) -> None:
    world = World()
    asked = exchange(authorization=b"Bearer " + token, noted={b"x-token": own} if own else {})
    build(Authenticate, {"accept": accept, "mode": "optional"}, identities=world).on_request(asked)
    if asked.who is None:
        return
    kind, issuer = asked.who.kind, asked.who.identity.issuer
    if kind == "external":
        assert f"issuer:{issuer}" in accept
    else:
        assert kind in accept or (kind == "bearer" and "header:x-token" in accept and asked.credential == own)
