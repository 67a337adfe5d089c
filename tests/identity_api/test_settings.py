"""What a deployment chooses: who may register, where the API is, which tokens, cookie and origins."""

import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from tests.kit.identity import ROUTES, IdentityWorld, run_identity_gateway
from tests.kit.people import AGENT, SAME_ORIGIN, Person, make_admin, new_email, new_password, register
from tests.kit.raw import request
from tests.kit.workers import one_each
from tests.processes.supervised import until


def signing_up(house: IdentityWorld, **more: Any) -> tuple[int, str]:
    body = {"email": new_email(), "password": new_password(), **more}
    answer = house.call("POST", "/register", body)
    return answer.status, answer.code if answer.status >= 400 else ""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def choosy(request: pytest.FixtureRequest) -> Iterator[IdentityWorld]:
    """Invited people of one domain, at another prefix, with JWTs, and cookies that renew them."""
    url = request.getfixturevalue("postgres_server").make_database() if request.param == "postgres" else ""
    with run_identity_gateway(
        url=url, registration="invite", email_domains=["example.test"], prefix="/accounts/v1",
        tokens={"format": "jwt", "access_ttl": "2s"}, cookie={"renewal": True}, base_url="http://localhost:1",
        headers={"user_id": "X-Auth-Id", "roles": "X-Auth-Roles"},
        cors_origins=["https://app.example.test"],
    ) as house:  # fmt: skip
        yield house


@pytest.fixture(scope="module")
def host(choosy: IdentityWorld) -> Person:
    return make_admin(choosy)


def invited(host: Person) -> str:
    host.sign_in()
    return str(host.ask("POST", "/admin/invites", {}).json(201)["invite"])


def guest(choosy: IdentityWorld, host: Person) -> Person:
    return Person(choosy).register(invite=invited(host))


def test_only_the_invited_register_and_once(choosy: IdentityWorld, host: Person) -> None:
    assert signing_up(choosy)[0] in (400, 403)
    invite = invited(host)
    assert signing_up(choosy, invite=invite) == (201, "")
    assert signing_up(choosy, invite=invite) == (400, "invalid_key")
    assert signing_up(choosy, invite="psi_nothing") == (400, "invalid_key")


def test_a_refused_registration_leaves_the_invitation_good(choosy: IdentityWorld, host: Person) -> None:
    invite = invited(host)
    assert signing_up(choosy, invite=invite, password="short")[0] == 422
    assert signing_up(choosy, invite=invite, email="a@elsewhere.test")[0] in (403, 422)
    assert signing_up(choosy, invite=invite) == (201, "")


def test_the_prefix_is_another_and_the_usual_one_is_nowhere(choosy: IdentityWorld) -> None:
    assert choosy.call("GET", "/me").code == "credential_missing"
    assert choosy.get("/api/auth/me").code == "no_route"


def test_access_tokens_are_jwts_by_rfc_9068(choosy: IdentityWorld, host: Person) -> None:
    person = guest(choosy, host)
    head = jwt.get_unverified_header(person.access)
    assert (head["typ"], head["alg"]) == ("at+jwt", "EdDSA")
    keys = jwt.PyJWKSet.from_dict(choosy.get("/.well-known/jwks.json").json())
    (key,) = [key for key in keys.keys if key.key_id == head["kid"]]
    claims = jwt.decode(person.access, key, algorithms=["EdDSA"], options={"verify_aud": False})
    assert claims["sub"] == person.user_id and claims["sid"] == person.session
    assert {"iss", "aud", "client_id", "exp", "iat", "jti"} <= set(claims)
    assert claims["iss"] == "http://localhost:1" and claims["exp"] - claims["iat"] == 2
    assert person.refresh.startswith("psr_")


def test_no_private_key_is_published(choosy: IdentityWorld) -> None:
    said = choosy.get("/.well-known/jwks.json").json()
    assert said["keys"] and all(set(key) & {"d", "p", "q", "k"} == set() for key in said["keys"])


def test_a_jwt_is_revoked_and_renewed_like_any_token(choosy: IdentityWorld, host: Person) -> None:
    person = guest(choosy, host)
    assert person.get().status == 200
    first, again = person.renew().json(), person.renew().json()
    assert first["access_token"] == again["access_token"]
    person.take(person.renew())
    assert person.ask("POST", "/logout").json()["propagated"] == {"edges": 2, "acknowledged": 2}
    assert person.get().code == "invalid_token"


@pytest.mark.parametrize("how", ["none", "key", "signature", "claim", "kid"])
def test_a_forged_jwt_is_refused(choosy: IdentityWorld, host: Person, how: str) -> None:
    """T24 in small; issue 6 has the whole of it."""
    person = guest(choosy, host)
    head, claims, signature = person.access.split(".")
    payload = jwt.decode(person.access, options={"verify_signature": False})
    kid = jwt.get_unverified_header(person.access)["kid"]
    public = choosy.get("/.well-known/jwks.json").json()["keys"][0]["x"]
    forged = {
        "none": jwt.encode(payload, "", algorithm="none", headers={"kid": kid, "typ": "at+jwt"}),
        "key": jwt.encode(payload, public, algorithm="HS256", headers={"kid": kid, "typ": "at+jwt"}),
        "signature": f"{head}.{claims}.{'A' * len(signature)}",
        "claim": f"{head}.{claims[:-2]}{'BB' if claims[-2:] != 'BB' else 'CC'}.{signature}",
        "kid": jwt.encode(payload, "", algorithm="none", headers={"kid": "../../etc/passwd"}),
    }[how]
    line = b"Authorization: Bearer " + forged.encode()
    assert choosy.get("/app/x", line, source=person.address).code == "invalid_token"
    assert person.get().status == 200


def test_rotating_keys_breaks_no_token(choosy: IdentityWorld, host: Person) -> None:
    person = guest(choosy, host)
    before = {key["kid"] for key in choosy.get("/.well-known/jwks.json").json()["keys"]}
    host.sign_in()
    assert host.ask("POST", "/admin/keys/rotate").status in (200, 201, 202)
    after = {key["kid"] for key in choosy.get("/.well-known/jwks.json").json()["keys"]}
    assert before < after
    person.renewed()
    assert person.get().status == 200
    assert jwt.get_unverified_header(person.access)["kid"] in after


def test_an_expired_bearer_beside_its_session_s_cookie_is_renewed(
    choosy: IdentityWorld, host: Person
) -> None:
    """The passwordless seed's way: `renewal: true`."""
    browser = guest(choosy, host).elsewhere(cookie=True, bearer=True)
    cookie = b"Cookie: postern=" + cookie_of(browser)
    assert browser.get("/app/x", cookie).values(b"x-access-token") == []
    until(lambda: has_expired(browser))
    answer = browser.get("/app/x", cookie)
    assert answer.status == 200 and answer.value(b"cache-control") == b"no-store"
    fresh = answer.value(b"x-access-token").decode()
    choosy.ledger.note("a renewed access token", fresh)
    assert 1 <= int(answer.value(b"x-access-token-expires-in")) <= 2
    browser.access = fresh
    assert browser.get().status == 200
    assert choosy.seen.value(b"x-auth-id").decode() == browser.user_id


def test_it_counts_as_the_cookie_s_doing(choosy: IdentityWorld, host: Person) -> None:
    browser = guest(choosy, host).elsewhere(cookie=True, bearer=True)
    cookie = b"Cookie: postern=" + cookie_of(browser)
    until(lambda: has_expired(browser))
    for lines, status in (((b"Sec-Fetch-Site: cross-site",), 403), ((SAME_ORIGIN,), 200)):
        data = request("/app/x", browser.bearer, cookie, AGENT, *lines, method=b"POST", body=b"x")
        assert choosy.send(data, source=browser.address).status == status


def test_another_session_s_bearer_is_not_renewed(choosy: IdentityWorld, host: Person) -> None:
    person = guest(choosy, host)
    browser = person.elsewhere(cookie=True, bearer=True)
    cookie = b"Cookie: postern=" + cookie_of(browser)
    until(lambda: has_expired(person))
    answer = person.get("/app/x", cookie)
    assert answer.code == "invalid_token" and answer.values(b"x-access-token") == []


def has_expired(person: Person) -> bool:
    """Everywhere: two seconds after it was made."""
    return all(person.get().status == 401 for _ in range(8))


def cookie_of(browser: Person) -> bytes:
    assert browser.cookie, "on plain http to localhost the cookie has no prefix, and is not Secure"
    return browser.cookie.encode()


def test_the_identity_headers_have_other_names(choosy: IdentityWorld, host: Person) -> None:
    person = guest(choosy, host)
    assert person.get("/app/x", b"X-Auth-Id: forged", b"X-User-Id: forged").status == 200
    assert choosy.seen.value(b"x-auth-id").decode() == person.user_id
    assert choosy.seen.value(b"x-auth-roles") == b"user"
    assert choosy.seen.values(b"x-user-id") == []


def test_the_api_can_be_called_by_a_page_of_that_origin_only(choosy: IdentityWorld) -> None:
    for origin, allowed in ((b"https://app.example.test", True), (b"https://evil.test", False)):
        lines = (b"Origin: " + origin, b"Access-Control-Request-Method: POST",
                 b"Access-Control-Request-Headers: content-type")  # fmt: skip
        answer = choosy.send(request("/accounts/v1/login", *lines, method=b"OPTIONS"))
        assert answer.values(b"access-control-allow-origin") == ([origin] if allowed else [])


# over a reload


def test_a_reload_keeps_everybody_signed_in(sqlite_house: IdentityWorld) -> None:
    person = register(sqlite_house)
    with one_each(sqlite_house.gateway, "/answered", person.address) as clients:
        for client in clients.values():
            assert client.send(request("/app/x", person.bearer)).reply().status == 200
        sqlite_house.gateway.signal(1)
        for client in clients.values():
            assert client.send(request("/app/x", person.bearer)).reply().status == 200
    assert person.renew().status == 200


def test_registration_can_be_closed_by_a_reload() -> None:
    with run_identity_gateway(workers=1) as house:
        assert signing_up(house) == (201, "")
        text = house.gateway.routes.read_text()
        identity, _, rest = text.partition("identity: ")[2].partition("\n")
        closed = {**json.loads(identity), "registration": "closed"}
        changed = text.replace(f"identity: {identity}\n{rest}", f"identity: {json.dumps(closed)}\n{rest}")
        assert house.gateway.reload(changed).status == 200
        assert signing_up(house)[0] == 403
        assert house.gateway.reload(text).status == 200
        assert signing_up(house) == (201, "")


def test_without_the_api_there_is_none() -> None:
    with run_identity_gateway(ROUTES, serve=["jwks"], workers=1) as house:
        assert house.call("POST", "/login", {}).code == "no_route"
        assert house.get("/.well-known/jwks.json").status == 200
        assert house.get("/app/x").code == "credential_missing"
