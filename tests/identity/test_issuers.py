"""Tokens of other issuers: which are believed, and what their claims become here."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from gateway.config.service import Issuer, Service
from gateway.identity.issuers import LEEWAY, LOOK_AGAIN, TELL_EVERY, Issuers
from gateway.identity.resolving import resolve
from gateway.model.identity import Identity
from tests.identity.rig import ADDRESS, BEGAN, FIREFOX, SETTINGS, Rig, running
from tests.kit.postgres import Postgres
from tests.kit.provider import Provider, new_key, run_provider, signed

BAD = {"outcome": "bad", "code": "invalid_token"}
EXPIRED = {"outcome": "bad", "code": "token_expired"}
NOW = BEGAN // 1000


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[Provider]:
    with run_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: Provider) -> Iterator[Provider]:
    shared_provider.asked.clear()
    yield shared_provider
    shared_provider.mode = "good"


def issuer(provider: Provider, **more: Any) -> Issuer:
    usual: dict[str, Any] = {"audience": ("orders",), "algorithms": ("ES256",), "roles": {"staff": "clerk"}}
    return Issuer(provider.issuer, **(usual | more))


def settings(provider: Provider, **more: Any) -> Service:
    return msgspec.structs.replace(SETTINGS, issuers={"corporate": issuer(provider, **more)})


@pytest.fixture
async def rig(provider: Provider, tmp_path: Any) -> AsyncIterator[Rig]:
    async with running(f"sqlite:{tmp_path}/postern.db", settings(provider)) as rig:
        yield rig


def token(provider: Provider, key: Any = None, head: dict[str, Any] | None = None, **claims: Any) -> str:
    """Of the rig's time."""
    return provider.token(key, head, **({"iat": NOW, "exp": NOW + 600} | claims))


async def asked(rig: Rig, credential: str, kind: str = "external") -> dict[str, Any]:
    return await resolve(rig.context, kind, credential, ADDRESS, FIREFOX, False)


async def told(rig: Rig, provider: Provider, **claims: Any) -> Identity:
    answer = await asked(rig, token(provider, **claims))
    assert answer["outcome"] == "identified", answer
    found: Identity = answer["identity"]
    return found


async def test_what_the_claims_become(provider: Provider, database: str) -> None:
    """Over both databases, since permissions are read there."""
    async with running(database, settings(provider)) as rig:
        async with rig.context.store.writing() as db:
            await rig.roles.insert(db, "clerk", ["orders:read", "orders:write"])
        sent = token(
            provider, email="ada@sso.example", email_verified=True, preferred_username="ada",
            groups=["staff", "cleaners"], auth_time=NOW - 30,
        )  # fmt: skip
        answer = await asked(rig, sent)
        assert answer == {
            "outcome": "identified",
            "identity": Identity(
                id="corporate:u-1", name="ada", email="ada@sso.example", email_verified=True, confirmed=True,
                roles=("clerk",), permissions=("orders:read", "orders:write"), kind="external", proved=30.0,
                issuer="corporate",
            ),
            "expires_in": 600.0,
            "renew_in": LOOK_AGAIN,
        }  # fmt: skip
        await rig.clock.move(500)
        later = await asked(rig, sent)
        assert (later["expires_in"], later["renew_in"]) == (100.0, 100.0)
        async with rig.context.store.writing() as db:
            await rig.roles.update(db, "clerk", ["orders:read"])
        assert (await asked(rig, sent))["identity"].permissions == ("orders:read",)
        await rig.clock.move(100)
        assert await asked(rig, sent) == EXPIRED
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer["identity"]), type=Identity)


async def test_T44_nothing_of_ours_comes_of_what_it_calls_its_own(rig: Rig, provider: Provider) -> None:
    user = await rig.user(protected='{"plan": "pro"}')
    claims: dict[str, Any] = {
        "sub": user.user_id, "groups": ["admin", "clerk", "user", "postern:admin"], "roles": ["admin"],
        "permissions": ["postern:admin"], "level": 2, "amr": ["otp"], "acr": "2", "sid": "a-session",
        "session": "a-session", "kind": "user", "protected": {"plan": "pro"}, "plan": "pro",
        "meta": {"plan": "pro"}, "email_verified": True, "confirmed": True, "api_key": "k", "issuer": "x",
    }  # fmt: skip
    assert await told(rig, provider, **claims) == Identity(
        id=f"corporate:{user.user_id}", kind="external", issuer="corporate", proved=float("inf")
    )


async def test_only_text_is_a_name_or_an_address_and_only_true_is_verified(
    rig: Rig, provider: Provider
) -> None:
    address = {"email": "a@b.example"}
    forged = "Zoë\r\nX-User-Roles: admin"
    tried: list[tuple[dict[str, Any], tuple[str, str, bool, bool]]] = [
        (address | {"email_verified": True}, ("", "a@b.example", True, True)),
        (address | {"email_verified": "true"}, ("", "a@b.example", False, False)),
        (address | {"email_verified": 1}, ("", "a@b.example", False, False)),
        (address, ("", "a@b.example", False, False)),
        ({"email": ["a@b.example"], "email_verified": True}, ("", "", False, False)),
        ({"preferred_username": {"first": "ada"}, "name": "ada"}, ("", "", False, False)),
        ({"preferred_username": forged}, (forged, "", False, False)),
    ]
    for said, expected in tried:
        found = await told(rig, provider, **said)
        assert (found.name, found.email, found.email_verified, found.confirmed) == expected, said


async def test_groups_are_found_where_the_file_says(rig: Rig, provider: Provider) -> None:
    tried: list[tuple[str, dict[str, Any]]] = [
        ("realm_access.roles", {"realm_access": {"roles": ["staff"]}}),
        ("resource_access.shop.roles", {"resource_access": {"shop": {"roles": ["staff"]}}}),
        ("https://example.com/groups", {"https://example.com/groups": ["staff"]}),
        ("cognito:groups", {"cognito:groups": ["staff"]}),
        ("groups", {"groups": "staff"}),
        ("groups", {"groups": ["staff", "staff", 7, None, {"staff": 1}]}),
    ]
    for claim, said in tried:
        rig.context.issuers.use(settings(provider, groups=claim))
        assert (await told(rig, provider, **said)).roles == ("clerk",), claim
        for elsewhere in ("staff", {"roles": ["staff"]}, {"realm_access": ["staff"]}):
            wrong = {"elsewhere": elsewhere, claim.partition(".")[0]: {"staff": True}}
            assert (await told(rig, provider, **wrong)).roles == (), (claim, wrong)


async def test_other_claims_may_name_the_user(rig: Rig, provider: Provider) -> None:
    rig.context.issuers.use(settings(provider, user_id="employee.number"))
    assert (await told(rig, provider, employee={"number": 7})).id == "corporate:7"
    assert (await told(rig, provider, employee={"number": "a:b"})).id == "corporate:a:b"
    for nobody in ("", True, 1.5, ["a"], "a" * 256, None):
        assert await asked(rig, token(provider, employee={"number": nobody})) == BAD
    rig.context.issuers.use(settings(provider))
    assert await asked(rig, token(provider, sub=None)) == BAD


GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "several audiences": {"aud": ["other", "orders"]},
    "no iat": {"iat": None},
    "an iat a little ahead": {"iat": NOW + LEEWAY},
    "an nbf a little ahead": {"nbf": NOW + LEEWAY},
    "a fraction": {"exp": NOW + 1.5},
    "made for a client that says so": {"aud": "orders", "azp": "orders", "scope": "read"},
    "of Keycloak": {"typ": "Bearer", "azp": "orders"},
    "of Cognito": {"token_use": "access"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://sso.example.com"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "shop"},
    "a longer audience": {"aud": "orders2"},
    "no audience": {"aud": None},
    "no audience in the list": {"aud": []},
    "an audience of maps": {"aud": [{"orders": "orders"}]},
    "a map of audiences": {"aud": {"orders": "orders"}},
    "no exp": {"exp": None},
    "a text for exp": {"exp": str(NOW + 600)},
    "true for exp": {"exp": True},
    "an exp without end": {"exp": 1e300},
    "an exp before all time": {"exp": -1},
    "an nbf to come": {"nbf": NOW + LEEWAY + 1},
    "an iat to come": {"iat": NOW + LEEWAY + 1},
    "a text for nbf": {"nbf": "now"},
    "a nonce": {"nonce": "n"},
    "an empty nonce": {"nonce": ""},
    "at_hash": {"at_hash": "x"},
    "c_hash": {"c_hash": "x"},
    "s_hash": {"s_hash": "x"},
    "an ID token of Keycloak": {"typ": "ID"},
    "a refresh token of Keycloak": {"typ": "Refresh"},
    "an odd kind": {"typ": ["Bearer"]},
    "an ID token of Cognito": {"token_use": "id"},
    "only for its own client": {"azp": "orders"},
    "only for its own client, in a list": {"aud": ["orders"], "azp": "orders"},
    "a security event": {"events": {}},
    "bound to a key": {"cnf": {"jkt": "x"}},
    "a text for auth_time": {"auth_time": "now"},
}  # fmt: skip


async def test_good_tokens(rig: Rig, provider: Provider) -> None:
    for name, claims in GOOD.items():
        assert (await asked(rig, token(provider, **claims)))["outcome"] == "identified", name


async def test_T24_T44_tokens_that_are_refused(rig: Rig, provider: Provider) -> None:
    of_the_issuer: dict[str, dict[str, Any]] = {
        "its issuer with a slash more": {"iss": provider.issuer + "/"}, "issuers": {"iss": [provider.issuer]},
    }  # fmt: skip
    tried: dict[str, dict[str, Any]] = REFUSED | of_the_issuer
    for name, claims in tried.items():
        assert await asked(rig, token(provider, **claims)) == BAD, name


TYPES: list[tuple[Any, bool]] = [
    ("JWT", True), ("jwt", True), ("at+jwt", True), ("application/at+jwt", True), (None, True),
    ("ID", False), ("logout+jwt", False), ("user-assertion+jwt", False), ("dpop+jwt", False),
    ("JOSE", False), (7, False), (["JWT"], False),
]  # fmt: skip


async def test_T24_what_a_token_is_for_stands_in_its_head(rig: Rig, provider: Provider) -> None:
    for typ, good in TYPES:
        answer = await asked(rig, token(provider, head={"typ": typ}))
        assert answer["outcome"] == ("identified" if good else "bad"), typ


async def test_T44_only_an_expired_token_is_told_to_be_one(rig: Rig, provider: Provider) -> None:
    """Its client may refresh it; of forgeries nothing is told, whatever their exp."""
    past: dict[str, Any] = {"iat": NOW - 600, "exp": NOW}
    assert await asked(rig, token(provider, **past)) == EXPIRED
    assert await asked(rig, token(provider, new_key(provider.key.kid), **past)) == BAD
    assert await asked(rig, token(provider, aud="other", **past)) == BAD
    assert await asked(rig, token(provider, nonce="n", **past)) == BAD


async def test_T44_when_somebody_proved_themselves_is_not_guessed(rig: Rig, provider: Provider) -> None:
    """`fresh` of the policy require asks for it: a new token, or a time to come, is no proof."""
    assert (await told(rig, provider)).proved == float("inf")
    assert (await told(rig, provider, auth_time=NOW + LEEWAY + 1)).proved == float("inf")
    assert (await told(rig, provider, auth_time=NOW + 5)).proved == 0.0


async def test_T30_each_kind_of_credential_in_its_place_only(rig: Rig, provider: Provider) -> None:
    theirs = token(provider)
    opened = await rig.signed_in()
    for kind in ("bearer", "cookie", "header", "api_key", ""):
        assert (await asked(rig, theirs, kind))["outcome"] == "bad"
    for ours in (opened.access_token, opened.refresh_token):
        assert await asked(rig, ours) == BAD
    assert (await rig.api("GET", "/me", bearer=theirs)).code == "invalid_token"
    assert (await rig.api("POST", "/validate", {"token": theirs})).body["valid"] is False


async def test_issuers_of_one_house_are_told_apart(provider: Provider, tmp_path: Any) -> None:
    with run_provider() as other:
        both = {"corporate": issuer(provider), "partners": issuer(other, roles={"staff": "guest"})}
        with_both = msgspec.structs.replace(SETTINGS, issuers=both)
        async with running(f"sqlite:{tmp_path}/postern.db", with_both) as rig:
            ours = await told(rig, provider, groups=["staff"])
            theirs = await told(rig, other, groups=["staff"])
            assert (ours.id, ours.roles) == ("corporate:u-1", ("clerk",))
            assert (theirs.id, theirs.roles) == ("partners:u-1", ("guest",))
            # a key of one signs nothing for the other
            assert await asked(rig, token(other, iss=provider.issuer)) == BAD
            other.key.kid = provider.key.kid
            assert await asked(rig, token(other, iss=provider.issuer)) == BAD


async def test_other_settings_count_at_once_and_keep_the_keys(rig: Rig, provider: Provider) -> None:
    sent = token(provider, groups=["staff"])
    assert (await asked(rig, sent))["identity"].roles == ("clerk",)
    before = provider.fetches()
    rig.context.issuers.use(settings(provider))
    await asked(rig, sent)
    assert provider.fetches() == before
    rig.context.issuers.use(settings(provider, roles={"staff": "boss"}))
    assert (await asked(rig, sent))["identity"].roles == ("boss",)
    rig.context.issuers.use(settings(provider, audience=("shop",)))
    assert await asked(rig, sent) == BAD
    rig.context.issuers.use(SETTINGS)
    assert await asked(rig, sent) == BAD


async def test_T18_without_a_store_a_question_is_unavailable(
    provider: Provider, postgres_server: Postgres, template: str
) -> None:
    url = postgres_server.make_database(template)
    async with running(url, settings(provider)) as rig:
        await told(rig, provider)
        postgres_server.drop_database(url)
        assert await asked(rig, token(provider)) == {"outcome": "unavailable"}


async def test_no_garbage_crashes(provider: Provider) -> None:
    made = Issuers(settings(provider))
    key = provider.key
    for text in (
        "", ".", "..", "a.b.c", "....", "é.é.é", signed(key, b"", b""), signed(key, b"{}", b"{}"),
        signed(key, b"[]", b"[]"), signed(key, b'{"alg":"ES256"}', b"[]"),
        signed(key, b'{"alg":"ES256"}', b"[" * 3000), signed(key, b'{"alg":"ES256"}', b'"\xff"'),
        signed(key, b'{"alg":"ES256"}', b'{"iss": "\\ud800"}'), signed(key, {"alg": 7}, {}),
        signed(key, {"alg": "ES256", "kid": 7}, {}), token(provider) + "=", token(provider) + "." + "a",
        token(provider, padding="x" * 8192), " " + token(provider),
    ):  # fmt: skip
        assert (await made.resolve(None, text))["outcome"] == "bad"  # type: ignore[arg-type] # it is never asked
    made.close()


async def test_T25_the_log_says_why_once_a_minute_and_nothing_of_the_token(
    provider: Provider, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    moved = 0.0
    async with running(f"sqlite:{tmp_path}/postern.db", settings(provider)) as rig:
        rig.context.issuers = Issuers(settings(provider), clock=lambda: 1000.0 + moved)
        for minute in range(2):
            moved = minute * TELL_EVERY
            for number in range(5):
                assert await asked(rig, token(provider, aud="shop", sub=f"secret-{number}")) == BAD
                assert await asked(rig, token(provider, iss=f"https://secret-{number}.example")) == BAD
                assert await asked(rig, f"secret.{number}.x") == BAD
        rig.context.issuers.close()
    said = [
        "a token of issuer corporate is refused: its aud has none of the issuer's audiences",
        "a token of issuer - is refused: its iss is not in the configuration",
        "a token of issuer - is refused: it is no JWT",
    ]
    assert [line for line in caplog.messages if "refused" in line] == 2 * said
    assert "secret" not in caplog.text
