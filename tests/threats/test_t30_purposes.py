"""T30: a token of one purpose opens nothing else: every kind at every place that takes a token."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.kit.identity import ROUTES, IdentityWorld, run_identity_gateway
from tests.kit.mailbox import key_mailed
from tests.kit.people import (
    COOKIE,
    SAME_ORIGIN,
    Person,
    make_admin,
    new_address,
    new_email,
    new_password,
    register,
)
from tests.kit.provider import Provider, run_provider
from tests.kit.raw import Answer
from tests.kit.tokens import KINDS, as_another_kind, made_up

Place = Callable[["Tries", str], Answer]


@dataclass
class Tries:
    """Somebody with a session of each kind, an invitation, and an address that nobody has slowed yet."""

    house: IdentityWorld
    person: Person
    browser: Person
    invite: str
    reset: str  # the key for another user's new password
    mailed: dict[str, str]  # keys that were mailed
    device: str  # the cookie of a known browser
    provider: Provider
    address: str


def bearer(token: str) -> bytes:
    return b"Authorization: Bearer " + token.encode()


def cookie(token: str) -> bytes:
    return f"Cookie: {COOKIE}={token}".encode()


def line_of(name: bytes) -> Callable[[str], bytes]:
    return lambda token: name + b": " + token.encode()


def route(target: str, line: Callable[[str], bytes]) -> Place:
    return lambda tries, token: tries.house.get(target, line(token), source=tries.address)


def api(method: str, path: str, line: Callable[[str], bytes]) -> Place:
    return lambda tries, token: tries.house.call(
        method, path, None, line(token), SAME_ORIGIN, source=tries.address
    )


def confirming(tries: "Tries", token: str) -> Answer:
    return tries.person.ask("POST", "/email/change/confirm", {"key": token})


def body(path: str, key: str, **more: str) -> Place:
    return lambda tries, token: tries.house.call("POST", path, {key: token, **more}, source=tries.address)


MORE_ROUTES = """
  - {name: asserting, match: {path: /asserting/**}, upstream: app, policies: {assertion: {audience: app}}}
  - {name: theirs, match: {path: /theirs/**}, upstream: app,
     policies: {authenticate: {accept: ["issuer:corporate"]}}}
  - {name: both, match: {path: /both/**}, upstream: app,
     policies: {authenticate: {accept: [bearer, cookie, "issuer:corporate"]}}}
issuers: {corporate: {issuer: "ISSUER", audience: orders}}
"""
# each place, and the one kind of token that it takes
PLACES: dict[str, tuple[Place, str]] = {
    "bearer at a route": (route("/app/x", bearer), "access"),
    "bearer at an optional route": (route("/optional/x", bearer), "access"),
    "bearer at a route of an issuer's": (route("/theirs/x", bearer), "external"),
    "bearer at a route of both": (route("/both/x", bearer), "access"),
    "cookie at a route": (route("/app/x", cookie), "cookie"),
    "named header at a route": (route("/named/x", line_of(b"Access-Token")), "access"),
    "X-Api-Key at a route": (route("/app/x", line_of(b"X-Api-Key")), "none"),
    "bearer at /me": (api("GET", "/me", bearer), "access"),
    "cookie at /me": (api("GET", "/me", cookie), "cookie"),
    "bearer at /sessions": (api("GET", "/sessions", bearer), "access"),
    "bearer at /events": (api("GET", "/events", bearer), "access"),
    "bearer at /admin/users": (api("GET", "/admin/users", bearer), "none"),
    "/refresh": (body("/refresh", "refresh_token"), "refresh"),
    "cookie at /refresh": (api("POST", "/refresh", cookie), "cookie"),
    "/validate": (body("/validate", "token"), "access"),
    "invite at /register": (
        lambda tries, token: tries.house.call(
            "POST", "/register",
            {"email": new_email(), "password": new_password(), "invite": token}, source=tries.address,
        ),
        "invite",
    ),
    "key at /password/reset": (body("/password/reset", "key", new_password=new_password()), "reset"),
    "key at /confirm": (body("/confirm", "key"), "confirm"),
    "key at /email/change/confirm": (confirming, "new address"),
    "key at /email/change/undo": (body("/email/change/undo", "key"), "undo"),
    "key at /unlock": (body("/unlock", "key"), "unlock"),
    "bearer at the JWKS": (route("/.well-known/jwks.json", bearer), "any"),
}  # fmt: skip


# the kinds that some place takes: what a thief would dress others up as
TAKEN = ("psa_", "psr_", "pss_", "psi_", "psp_", "psc_", "psn_", "psu_", "psl_")


@pytest.fixture(scope="module", params=[("opaque", "sqlite"), ("jwt", "postgres")], ids="-".join)
def inviting(request: pytest.FixtureRequest) -> Iterator[tuple[IdentityWorld, Person, Provider, str]]:
    """Only who is invited may register; tokens of either format, over either database."""
    form, store = request.param
    url = request.getfixturevalue("postgres_server").make_database() if store == "postgres" else ""
    with run_provider() as provider:
        routes = ROUTES + MORE_ROUTES.replace("ISSUER", provider.issuer)
        with run_identity_gateway(routes, url=url, registration="invite", tokens={"format": form}) as house:
            admin = make_admin(house)
            yield house, admin, provider, guessed_at(register(house, invite=invited(admin)))


def guessed_at(person: Person) -> str:
    """The key that is mailed when somebody has tried many passwords."""
    for _ in range(100):
        refused = person.call("POST", "/login", {"email": person.email, "password": new_password()})
        assert refused.status == 401
    return key_mailed(person.world, person.email, "unlock")


def moved(person: Person) -> str:
    """The key with which the person's old address can take the account back."""
    old, email = person.email, new_email()
    assert person.ask("POST", "/email/change", {"email": email}).status == 202
    key = key_mailed(person.world, email, "email")
    assert person.ask("POST", "/email/change/confirm", {"key": key}).status == 200
    return key_mailed(person.world, old, "undo")


def invited(admin: Person) -> str:
    return str(admin.ask("POST", "/admin/invites", {}).json(201)["invite"])


@pytest.fixture
def tries(inviting: tuple[IdentityWorld, Person, Provider, str]) -> Tries:
    house, admin, provider, unlock = inviting
    person = register(house, invite=invited(admin))
    forgetful = register(house, invite=invited(admin))
    reset = admin.ask("POST", f"/admin/users/{forgetful.user_id}/password-reset").json()["key"]
    browser = person.elsewhere(cookie=True)
    email = new_email()
    assert person.ask("POST", "/email/change", {"email": email}).status == 202
    mailed = {
        "confirm": key_mailed(house, person.email, "confirm"),
        "new address": key_mailed(house, email, "email"),
        "undo": moved(register(house, invite=invited(admin))),
        "unlock": unlock,
    }
    return Tries(
        house, person, browser, invited(admin), reset, mailed, browser.device, provider, new_address()
    )


def tokens_of(tries: Tries) -> dict[str, str]:
    """Every kind: real ones, real ones dressed up as another kind, and those that nobody was given."""
    found = {
        "access": tries.person.access,
        "refresh": tries.person.refresh,
        "cookie": tries.browser.cookie,
        "invite": tries.invite,
        "reset": tries.reset,
        "known browser": tries.device,
        **tries.mailed,
    }
    for name, prefix in itertools.product(tuple(found), TAKEN):
        if found[name].startswith("ps") and not found[name].startswith(prefix):
            found[f"{name} as {prefix}"] = as_another_kind(found[name], prefix)
    for prefix in KINDS:
        found[f"made up {prefix}"] = made_up(prefix)
        found[f"made up {prefix}, as long as a derived one"] = made_up(prefix, 46)
    found["external"] = tries.provider.token()
    found["external, for somebody else"] = tries.provider.token(aud="shop")
    assert tries.person.get("/asserting/x").status == 200
    found["an assertion"] = tries.house.seen.value(b"x-user-assertion").decode()
    found["the admin listener's"] = tries.house.gateway.token
    for known in (tries.person.session, tries.person.user_id):
        tries.house.ledger.no_secret(known)
    found["the session's id"] = tries.person.session
    found["the user's id"] = tries.person.user_id
    return found


def opens(answer: Answer) -> bool:
    """Whether the place took it."""
    if answer.status in (400, 401, 403, 422, 429):
        return False
    assert answer.status in (200, 201), answer
    return b'"valid":false' not in answer.body.replace(b" ", b"")


@pytest.mark.parametrize("place", PLACES)
def test_T30_a_token_opens_what_it_is_for_and_nothing_else(tries: Tries, place: str) -> None:
    ask, kind = PLACES[place]
    right = {
        "bearer at an optional route": {"access"},
        "bearer at a route of both": {"access", "external"},
        "cookie at /refresh": {"cookie"},
    }.get(place, {kind})
    found = tokens_of(tries)
    if kind == "any":
        return
    for number, (name, token) in enumerate(found.items()):
        if number % 20 == 0:
            tries.address = new_address()  # who guesses much is slowed, and this is about who comes in
        if name in right:
            continue
        answer = ask(tries, token)
        assert not opens(answer), (place, name, answer)
        assert answer.status != 429
    for name in right - {"none"}:
        assert opens(ask(tries, found[name])), (place, name)


def test_T30_wrong_tries_have_spoilt_nothing(tries: Tries) -> None:
    """After the whole of a session's tokens were shown everywhere, it lives."""
    for ask, _ in PLACES.values():
        for name, token in tokens_of(tries).items():
            if name not in ("refresh", "invite", "reset", *tries.mailed):
                tries.address = new_address()
                ask(tries, token)
    assert tries.person.get().status == 200
    assert tries.browser.get_by_cookie().status == 200
