"""T17, T24 and T44: tokens of other issuers at the running gateway, on two workers and both databases."""

import time
from typing import Any

from tests.kit import scripts
from tests.kit.federated import Federation
from tests.kit.identity import text_of
from tests.kit.people import new_address, register
from tests.kit.provider import SigningKey, new_key, rsa_key, signed
from tests.kit.raw import Client, request
from tests.kit.workers import one_each
from tests.threats.test_t30_every_call import own, refused, secured


def told(federation: Federation) -> dict[str, str]:
    """The X-User-* lines of the last request upstream."""
    lines = [(name.decode().lower(), value.decode()) for name, value in federation.house.seen.headers]
    found = {name: value for name, value in lines if name.startswith("x-user")}
    assert len(found) == len([name for name, _ in lines if name.startswith("x-user")])
    return found


def test_T44_the_backend_is_told_who_it_is_and_by_whom(federation: Federation) -> None:
    token = federation.corporate.token(
        groups=["staff", "admin"], email="ada@sso.example", email_verified=True, preferred_username="ada"
    )
    for target in ("/theirs/x", "/both/x", "/optional/x", "/clerks/x"):
        assert federation.get(target, token, b"X-User-Id: forged", b"X-User-Kind: user").status == 200
        lines = told(federation)
        assert ("x-user-assertion" in lines) == (target in ("/both/x", "/optional/x"))
        lines.pop("x-user-assertion", None)
        assert lines == {
            "x-user-id": "corporate:u-1", "x-user-name": "ada", "x-user-email": "ada@sso.example",
            "x-user-email-verified": "true", "x-user-roles": "clerk", "x-user-permissions": "orders:read",
            "x-user-session": "", "x-user-level": "1", "x-user-methods": "", "x-user-kind": "external",
        }  # fmt: skip
        # it is no credential of ours, and the backend may have a use for it
        assert federation.house.seen.value(b"authorization") == b"Bearer " + token.encode()
    named = federation.house.get("/named/x", b"Access-Token: " + token.encode(), source=new_address())
    assert named.status == 200 and told(federation)["x-user-id"] == "corporate:u-1"


def test_T44_nothing_of_ours_comes_of_their_sub_and_groups(federation: Federation) -> None:
    """Their `sub` is a local user's id, their groups are called like roles here, and they say much more."""
    person = register(federation.house)
    token = federation.corporate.token(
        sub=person.user_id, groups=["admin", "clerk", "user", "postern:admin"], roles=["admin"],
        permissions=["orders:read"], sid=person.session, level=2, acr="2", amr=["otp"], kind="user",
        realm_access={"roles": ["admin"]}, email=person.email, preferred_username=person.username,
        plan="pro", meta={"plan": "pro"}, tier="pro",
    )  # fmt: skip
    assert federation.get("/both/x", token).status == 200
    lines = told(federation)
    assert lines["x-user-id"] == f"corporate:{person.user_id}" and lines["x-user-kind"] == "external"
    assert lines["x-user-email-verified"] == "false" and lines["x-user-level"] == "1"
    for empty in ("roles", "permissions", "session", "methods"):
        assert lines[f"x-user-{empty}"] == ""
    assert not [name for name in lines if name.startswith(("x-user-meta", "x-user-public"))]
    said = federation.asserted("orders")
    assert (said["sub"], said["kind"], said["roles"]) == (lines["x-user-id"], "external", [])
    assert "sid" not in said
    denied = federation.get("/clerks/x", token)
    assert (denied.status, denied.code) == (403, "insufficient_scope")
    assert federation.get("/fresh/x", token).code == "insufficient_user_authentication"
    now = int(time.time())
    assert federation.get("/fresh/x", federation.corporate.token(auth_time=now - 60)).status == 200
    # and what happens to the local user is not theirs either
    assert person.ask("POST", "/revoke-all-tokens").status == 200
    assert federation.get("/both/x", token).status == 200


def test_T44_id_tokens_tokens_without_end_and_for_others(federation: Federation) -> None:
    now = int(time.time())
    bad: list[dict[str, Any]] = [
        {"nonce": "n-0S6_WzA2Mj"}, {"at_hash": "x"}, {"c_hash": "x"}, {"aud": "orders", "azp": "orders"},
        {"exp": None}, {"exp": now - 1}, {"nbf": now + 600}, {"iat": now + 600}, {"aud": "shop"},
        {"aud": None}, {"iss": federation.partners.issuer}, {"iss": "https://gateway.test"}, {"sub": None},
    ]  # fmt: skip
    for claims in bad:
        for target in ("/both/x", "/optional/x", "/theirs/x"):
            answer = federation.get(target, federation.corporate.token(**claims))
            assert (answer.status, answer.code) == (401, "invalid_token"), (claims, target)
            assert answer.value(b"www-authenticate") == b'Bearer realm="postern", error="invalid_token"'
    assert federation.house.upstream.requests == []


def test_T17_the_same_token_is_judged_by_each_route(federation: Federation) -> None:
    """Cached by one route, it opens none that accepts another issuer, or none at all; on each worker."""
    tokens = {"corporate": federation.corporate.token(), "partners": federation.partners.token()}
    opens = {"/theirs/x": {"corporate"}, "/partners/x": {"partners"}, "/app/x": set[str](),
             "/both/x": {"corporate"}, "/optional/x": {"corporate"}}  # fmt: skip
    with one_each(federation.house.gateway, "/answered", new_address()) as clients:
        for _ in range(3):
            for client in clients.values():
                for name, token in tokens.items():
                    for target, takes in opens.items():
                        answer = ask(client, target, token)
                        assert answer.status == (200 if name in takes else 401), (name, target)
                        if answer.status == 401:
                            assert answer.code == "invalid_token"


def ask(client: Client, target: str, token: str) -> Any:
    return client.send(request(target, b"Authorization: Bearer " + token.encode())).reply()


def test_T24_forged_tokens(federation: Federation) -> None:
    good, stranger = federation.corporate.key, new_key(federation.corporate.key.kid)
    claims = {
        "iss": federation.corporate.issuer,
        "aud": "orders",
        "sub": "u-1",
        "exp": int(time.time()) + 600,
    }
    rsa = SigningKey("rsa", "RS256", rsa_key(2048))
    heads: list[tuple[SigningKey, dict[str, Any]]] = [
        (stranger, {"alg": "ES256", "kid": good.kid}),
        (stranger, {"alg": "ES256", "kid": good.kid, "jwk": stranger.jwk()}),
        (stranger, {"alg": "ES256", "jwk": stranger.jwk()}),
        (stranger, {"alg": "ES256", "kid": stranger.kid, "jku": federation.partners.discovery["jwks_uri"]}),
        (federation.partners.key, {"alg": "ES256", "kid": federation.partners.key.kid}),
        (good, {"alg": "ES256", "kid": good.kid, "crit": ["exp"]}),
        (good, {"alg": "ES256", "kid": good.kid, "typ": "user-assertion+jwt"}),
        (good, {"alg": "none", "kid": good.kid}),
        (good, {"alg": "HS256", "kid": good.kid}),
        (good, {"alg": "ES384", "kid": good.kid}),
        (rsa, {"alg": "RS256", "kid": good.kid}),
        (good, {"alg": "ES256", "kid": "../../../dev/null"}),
        (good, {"alg": "ES256", "kid": "' OR 1=1 --"}),
        (good, {"alg": "ES256", "kid": federation.partners.url + "/realms/main/keys"}),
    ]
    asked = len(federation.partners.asked)
    for key, head in heads:
        answer = federation.get("/both/x", signed(key, head, claims, key.algorithm))
        assert (answer.status, answer.code) == (401, "invalid_token"), head
    assert len(federation.partners.asked) == asked  # nobody was sent there
    text = federation.corporate.token()
    assert federation.get("/both/x", text).status == 200
    for forged in (text[:-4] + "AAAA", text + ".x", text.rpartition(".")[0] + ".", text.replace(".", "..")):
        assert federation.get("/both/x", forged).code == "invalid_token"
    assert federation.get("/both/x", signed(good, {"alg": "ES256", "kid": good.kid}, claims)).status == 200


def test_T24_a_flood_of_unknown_kids_is_one_fetch(federation: Federation) -> None:
    """And none for tokens of the others; a new key is known all the same when its minute comes."""
    before, others = federation.corporate.fetches(), federation.partners.fetches()
    for number in range(60):
        unknown = federation.corporate.token(head={"kid": f"made-up-{number}"})
        assert federation.get("/both/x", unknown).code == "invalid_token"
    assert federation.corporate.fetches() <= before + 1
    assert federation.partners.fetches() == others
    assert federation.get("/both/x", federation.corporate.token()).status == 200


def test_T24_a_rotated_key_is_found_by_its_first_token(federation: Federation) -> None:
    federation.partners.rotate("second")
    token = federation.partners.token()
    with one_each(federation.house.gateway, "/answered", new_address()) as clients:
        for client in clients.values():
            assert ask(client, "/partners/x", token).status == 200


def test_T18_an_issuer_that_can_t_be_reached_is_no_refusal(federation: Federation) -> None:
    away = signed(
        new_key("k"), {"alg": "ES256", "kid": "k"}, {"iss": "http://127.0.0.1:9/realms/main", "aud": "orders"}
    )
    for _ in range(3):
        answer = federation.get("/both/x", away)
        assert (answer.status, answer.code) == (503, "identity_unavailable")
        assert answer.value(b"retry-after") == b"1"
    federation.corporate.server.stop()  # and one that was there goes on with the keys that it had
    try:
        assert federation.get("/both/x", federation.corporate.token()).status == 200
    finally:
        federation.corporate.server.start()


def test_T30_the_account_endpoints_take_no_external_bearer(federation: Federation) -> None:
    """Not even one whose roles here are an admin's."""
    house = federation.house
    person = register(house)
    token = federation.corporate.token(groups=["staff"], sub=person.user_id).encode()
    assert federation.get("/both/x", token.decode()).status == 200
    for method, path in secured(house):
        answer = house.call(
            method, own(path, person), None, b"Authorization: Bearer " + token, source=new_address()
        )
        assert refused(answer), (method, path, answer)
    for path, key in (("/refresh", "refresh_token"), ("/validate", "token")):
        answer = house.call("POST", path, {key: token.decode()}, source=new_address())
        assert answer.status == 400 or b'"valid":false' in answer.body


def test_T28_a_stream_ends_with_its_token(federation: Federation) -> None:
    """There is no session that could go on."""
    federation.house.upstream.reply(scripts.switch(), b"/both/ws")
    with (
        one_each(federation.house.gateway, "/answered", new_address()) as short,
        one_each(federation.house.gateway, "/answered", new_address()) as long,
    ):
        now = int(time.time())
        for clients, life in ((short, 4), (long, 600)):
            bearer = b"Authorization: Bearer " + federation.corporate.token(exp=now + life).encode()
            lines = (bearer, b"Connection: Upgrade", b"Upgrade: websocket")
            for client in clients.values():
                assert client.send(request("/both/ws", *lines)).head().status == 101
                assert client.send(b"a word").source.exactly(6) == b"a word"
        for client in short.values():
            client.sock.settimeout(10.0)
            assert client.ends()
        assert time.time() >= now + 4
        for client in long.values():
            assert client.send(b"still here").source.exactly(10) == b"still here"


def test_other_roles_count_as_soon_as_they_are_loaded(federation: Federation) -> None:
    house, token = federation.house, federation.corporate.token(groups=["staff"])
    assert federation.get("/theirs/x", token).status == 200
    assert told(federation)["x-user-roles"] == "clerk"
    try:
        assert reloaded(federation, "{staff: boss}")
        with one_each(house.gateway, "/answered", new_address()) as clients:
            for client in clients.values():
                assert ask(client, "/theirs/x", token).status == 200
                assert told(federation)["x-user-roles"] == "boss"
    finally:
        assert reloaded(federation)
    assert federation.get("/theirs/x", token).status == 200
    assert told(federation)["x-user-roles"] == "clerk"


def reloaded(federation: Federation, *roles: str) -> bool:
    text = text_of(federation.text(*roles).replace("URL", federation.house.upstream.url), {})
    return federation.house.gateway.reload(text).status == 200
