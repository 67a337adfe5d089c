"""Assertions: of whoever shows a good credential, for one audience, a few minutes, and nothing else."""

from typing import Any

import jwt
import msgspec
import pytest

from gateway.config.service import Issuer, Service, Tokens
from gateway.identity import assembly
from gateway.identity.assembly import LinkService
from gateway.identity.keys import AGE, ASSERTIONS, LEAD
from gateway.identity.resolving import resolve
from gateway.link.questions import Assert
from tests.identity.rig import ADDRESS, BEGAN, FIREFOX, SETTINGS, Rig, running
from tests.kit.provider import run_provider

AUDIENCES = ("orders", "shop")
ASSERTING = msgspec.structs.replace(SETTINGS, audiences=AUDIENCES)
BAD, UNAVAILABLE = {"outcome": "bad"}, {"outcome": "unavailable"}
NOW = BEGAN // 1000


async def asked(
    rig: Rig, credential: str, audience: str = "orders", ttl: float = 60.0, kind: str = "bearer"
) -> dict[str, Any]:
    return await LinkService(rig.context).assertion(Assert(1, kind, credential, audience, ttl))


async def verified(rig: Rig, text: str, audience: str = "orders") -> dict[str, Any]:
    """As an upstream does it: by pyjwt, from the JWKS alone. The time is the rig's, so it isn't pyjwt's."""
    document = (await rig.call("GET", "/.well-known/jwks.json")).body
    kid = jwt.get_unverified_header(text)["kid"]
    [key] = [jwt.PyJWK(each) for each in document["keys"] if each["kid"] == kid]
    return dict(
        jwt.decode(
            text, key, [key.algorithm_name], audience=audience, issuer=SETTINGS.base_url,
            options={"require": ["exp", "iat", "sub", "jti"], "verify_exp": False, "verify_iat": False},
        )
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
async def test_what_it_says_and_by_which_key(database: str, algorithm: Any) -> None:
    """Also where access tokens are opaque, and so nothing else is signed."""
    settings = msgspec.structs.replace(ASSERTING, tokens=Tokens(algorithm=algorithm))
    async with running(database, settings) as rig:
        user = await rig.user()
        async with rig.context.store.writing() as db:
            await rig.roles.insert(db, "clerk", ["orders:read"])
            await rig.roles.grant(db, user.user_id, "clerk", "test")
        opened = await rig.open(user)
        answer = await asked(rig, opened.access_token)
        assert (answer["outcome"], answer["expires_in"]) == ("asserted", 60.0)
        head = jwt.get_unverified_header(answer["assertion"])
        assert (head["typ"], head["alg"], set(head)) == (
            "user-assertion+jwt",
            algorithm,
            {"typ", "alg", "kid"},
        )
        said = await verified(rig, answer["assertion"])
        jti = said.pop("jti")
        assert said == {
            "iss": "https://gate.test", "sub": user.user_id, "aud": "orders", "exp": NOW + 60, "iat": NOW,
            "kind": "user", "roles": ["clerk"], "level": 1, "sid": opened.session.session_id,
        }  # fmt: skip
        again = await verified(rig, (await asked(rig, opened.access_token))["assertion"])
        assert again["jti"] != jti
        with pytest.raises(jwt.InvalidAudienceError):
            await verified(rig, answer["assertion"], "shop")


async def test_T42_only_for_a_good_credential_and_an_audience_of_the_configuration(database: str) -> None:
    async with running(database, ASSERTING) as rig:
        opened = await rig.signed_in()
        token = opened.access_token
        for wrong in ("", "x", opened.refresh_token, token[:-1] + "x", opened.session.session_id):
            assert await asked(rig, wrong) == BAD
        for kind in ("cookie", "external", "user", "session", ""):
            assert await asked(rig, token, kind=kind) == BAD
        for audience in ("", "another", SETTINGS.base_url, "orders "):
            assert await asked(rig, token, audience) == UNAVAILABLE
        for ttl in (0.0, -1.0, 4.9, 300.1, 1e9, float("nan"), float("inf")):
            assert await asked(rig, token, ttl=ttl) == UNAVAILABLE
        for audience in AUDIENCES:
            said = await verified(rig, (await asked(rig, token, audience, 300.0))["assertion"], audience)
            assert said["exp"] - said["iat"] == 300
        await rig.api("POST", "/logout", {}, bearer=token)
        assert await asked(rig, token) == BAD


async def test_T30_it_is_no_credential_here(database: str) -> None:
    """Whatever its format is: it is signed by the keys of access tokens, and is never taken for one."""
    settings = msgspec.structs.replace(ASSERTING, tokens=Tokens(format="jwt"))
    async with running(database, settings) as rig:
        opened = await rig.signed_in()
        made = (await asked(rig, opened.access_token))["assertion"]
        for kind in ("bearer", "header", "cookie", "external", "api_key"):
            answer = await resolve(rig.context, kind, made, ADDRESS, FIREFOX, False)
            assert answer == {"outcome": "bad", "code": "invalid_token"}
            assert (await asked(rig, made, kind=kind)) == BAD
        assert rig.context.keys.verify(made) is None
        assert (await rig.api("GET", "/me", bearer=made)).code == "invalid_token"
        assert (await rig.api("POST", "/validate", {"token": made})).body["valid"] is False
        # and with an access token's head, or its claims, it is not signed
        access = opened.access_token.split(".")
        parts = made.split(".")
        for mixed in (
            [access[0], parts[1], parts[2]], [access[0], access[1], parts[2]],
            [parts[0], access[1], parts[2]],
        ):  # fmt: skip
            assert await asked(rig, ".".join(mixed)) == BAD


async def test_T30_nor_is_it_one_where_its_gateway_is_an_issuer(database: str) -> None:
    """The upstream of one gateway can't act as the user at another that trusts the first."""
    async with running(database, ASSERTING) as rig:
        opened = await rig.signed_in()
        made = (await asked(rig, opened.access_token))["assertion"]
        keys = (await rig.call("GET", "/.well-known/jwks.json")).body["keys"]
        with run_provider() as provider:
            provider.published = keys
            trusting = Issuer(
                SETTINGS.base_url, ("orders",), ("EdDSA",), jwks_uri=provider.discovery["jwks_uri"]
            )
            rig.context.issuers.use(Service(issuers={"other": trusting}))
            answer = await resolve(rig.context, "external", made, ADDRESS, FIREFOX, False)
            assert answer == {"outcome": "bad", "code": "invalid_token"}
            as_access = rig.context.keys.sign(
                "at+jwt", msgspec.json.encode(await verified(rig, made)), BEGAN, BEGAN
            )
            answer = await resolve(rig.context, "external", as_access, ADDRESS, FIREFOX, False)
            assert answer["outcome"] == "identified"  # so it was its type alone


async def test_it_does_not_outlive_its_credential_by_more_than_a_moment(database: str) -> None:
    async with running(database, ASSERTING) as rig:
        opened = await rig.signed_in()
        ttl = SETTINGS.tokens.access_ttl
        await rig.clock.move(ttl - 20)
        assert (await asked(rig, opened.access_token))["expires_in"] == 20.0
        await rig.clock.move(19)
        assert (await asked(rig, opened.access_token))["expires_in"] == 5.0
        await rig.clock.move(1)
        assert await asked(rig, opened.access_token) == BAD


async def test_T44_of_an_external_identity(database: str) -> None:
    with run_provider() as provider:
        corporate = Issuer(provider.issuer, ("orders",), ("ES256",), roles={"staff": "clerk"})
        async with running(
            database, msgspec.structs.replace(ASSERTING, issuers={"corporate": corporate})
        ) as rig:
            theirs = provider.token(iat=NOW, exp=NOW + 30, groups=["staff", "admin"], sid="theirs")
            answer = await asked(rig, theirs, kind="external")
            assert answer["expires_in"] == 30.0
            said = await verified(rig, answer["assertion"])
            del said["jti"]
            assert said == {
                "iss": SETTINGS.base_url, "sub": "corporate:u-1", "aud": "orders", "exp": NOW + 30,
                "iat": NOW, "kind": "external", "roles": ["clerk"], "level": 1,
            }  # fmt: skip
            provider.mode = "broken"
            rig.context.issuers.use(Service())
            rig.context.issuers.use(Service(issuers={"corporate": corporate}))
            assert await asked(rig, theirs, kind="external") == UNAVAILABLE


async def test_keys_are_there_when_they_are_needed_and_until_the_last_assertion_is_over(
    database: str,
) -> None:
    short = msgspec.structs.replace(SETTINGS, tokens=Tokens(access_ttl=60.0))
    async with running(database, short) as rig:
        keys, store = rig.context.keys, rig.context.store
        opened = await rig.signed_in()
        assert keys.jwks()["keys"] == [] and await asked(rig, opened.access_token) == UNAVAILABLE
        asserting = msgspec.structs.replace(rig.context.settings, audiences=AUDIENCES)
        assembly.reconfigure(rig.context, asserting)
        assert await asked(rig, opened.access_token) == UNAVAILABLE  # no key yet
        await keys.tend(store)
        made = (await asked(rig, opened.access_token, ttl=300.0))["assertion"]
        await keys.rotate(store)
        await rig.clock.move((ASSERTIONS + 2 * LEAD) / 1000 - 1)
        await keys.tend(store)
        assert await verified(rig, made)
        await rig.clock.move(1)
        await keys.tend(store)
        assert len(keys.jwks()["keys"]) == 1
        await rig.clock.move(AGE / 1000)
        await keys.tend(store)
        assert len(keys.jwks()["keys"]) == 2  # the next one, though access tokens are opaque
