"""JWT access tokens and their keys: one token for each generation, no other believed, keys that follow."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.faults import ConfigFaults
from gateway.config.service import Service, Tokens
from gateway.identity import keys as keys_module
from gateway.identity import secrets, signing
from gateway.identity.keys import AGE, LEAD, Keys
from gateway.identity.secrets import Secrets
from gateway.model import credentials
from gateway.model.credentials import ACCESS, JWT_KEY, JWT_STARTS
from gateway.store import keys as rows
from gateway.store.database import Store
from tests.identity.rig import Clock

ISSUER = "https://shop.example.com"
MASTER = Secrets([secrets.make()])
SESSION = credentials.new_id()
USER = "3b241101-e2bb-4255-8caf-4136c566a962"
LIFE = 900_000


@pytest.fixture
async def clock(database: str) -> Clock:
    made = Clock(database)
    await made.set()
    return made


@pytest.fixture
async def store(database: str, clock: Clock) -> AsyncIterator[Store]:
    opened = await Store.open(database, "auto", clock)
    yield opened
    await opened.close()


def settings(algorithm: Any = "EdDSA", form: Any = "jwt", **more: Any) -> Service:
    return Service(base_url=ISSUER, tokens=Tokens(format=form, algorithm=algorithm), **more)


async def ready(store: Store, algorithm: str = "EdDSA", master: Secrets = MASTER) -> Keys:
    made = Keys(settings(algorithm), master)
    await made.tend(store)
    return made


def token(keys: Keys, at: int, generation: int = 1) -> str:
    return keys.access(USER, SESSION, generation, at, at + LIFE)


def head(text: str) -> dict[str, Any]:
    return dict(jwt.get_unverified_header(text))


def verified(keys: Keys, text: str) -> dict[str, Any]:
    """By pyjwt, from the JWKS alone, as a backend would."""
    found = jwt.PyJWKSet.from_dict(json.loads(json.dumps(keys.jwks())))[head(text)["kid"]]
    return dict(
        jwt.decode(
            text, found, algorithms=[found.algorithm_name], audience=ISSUER, issuer=ISSUER,
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "sub", "jti"]},
        )
    )  # fmt: skip


BOTH = pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])


@BOTH
async def test_a_token_is_as_rfc_9068_says_and_pyjwt_believes_it(
    store: Store, clock: Clock, algorithm: str
) -> None:
    keys = await ready(store, algorithm)
    made = token(keys, clock.now, 7)
    assert made.startswith(JWT_STARTS)
    assert list(head(made).items())[:2] == [("typ", "at+jwt"), ("alg", algorithm)]
    assert list(head(made)) == ["typ", "alg", "kid"] and head(made)["kid"].startswith(JWT_KEY)
    claims = verified(keys, made)
    begun = clock.now // 1000
    assert claims == {
        "iss": ISSUER, "sub": USER, "aud": ISSUER, "client_id": "postern", "exp": begun + 900, "iat": begun,
        "jti": f"{SESSION}.7.{begun + 900}", "sid": SESSION, "gen": 7,
    }  # fmt: skip
    parts = keys.verify(made)
    assert parts is not None
    assert (parts.kind, parts.key_id, parts.session, parts.generation) == (ACCESS, "", SESSION, 7)
    assert parts.expires == clock.now + LIFE


@BOTH
async def test_a_generation_has_one_token_whoever_makes_it(
    store: Store, clock: Clock, algorithm: str
) -> None:
    """Asked twice, and from another replica: the same bytes."""
    one, other = await ready(store, algorithm), await ready(store, algorithm)
    asked = {token(each, clock.now, generation) for each in (one, other, one) for generation in (1, 2)}
    assert len(asked) == 2


async def test_a_token_never_outlives_its_time(store: Store, clock: Clock) -> None:
    keys = await ready(store)
    parts = keys.verify(keys.access(USER, SESSION, 1, clock.now, clock.now + 1999))
    assert parts is not None and parts.expires == clock.now + 1000


async def test_the_jwks_shows_public_parts_only(store: Store) -> None:
    for algorithm, members in (("EdDSA", {"x"}), ("ES256", {"x", "y"})):
        keys = await ready(store, algorithm)
        shown = keys.jwks()["keys"][0]
        assert shown["alg"] == algorithm
        assert set(shown) == {"kty", "crv", "use", "alg", "kid"} | members


# T24: what is tried


def encoded(data: bytes | dict[str, Any]) -> str:
    text = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(
    keys: Keys,
    clock: Clock,
    sign: Callable[[bytes], bytes],
    head_more: dict[str, Any],
    claims_more: dict[str, Any],
) -> str:
    good = token(keys, clock.now)
    claims = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    told = f"{encoded({**head(good), **head_more})}.{encoded({**claims, **claims_more})}"
    return f"{told}.{encoded(sign(told.encode()))}"


def own(keys: Keys) -> Callable[[bytes], bytes]:
    """The real key: what is refused then is refused for its words alone."""
    return keys._keys[0].signer.sign


@BOTH
async def test_T24_no_head_but_our_own_is_believed(store: Store, clock: Clock, algorithm: str) -> None:
    keys = await ready(store, algorithm)
    attacker = ed25519.Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encoded(attacker.public_key().public_bytes_raw())}
    assert keys.verify(forged(keys, clock, own(keys), {}, {})) is not None, "else this test shows nothing"
    tries: tuple[dict[str, Any], ...] = (
        {"alg": "none"}, {"alg": "None"}, {"alg": "HS256"}, {"alg": ["EdDSA"]}, {"alg": "ES384"},
        {"typ": "JWT"}, {"typ": "at+JWT"}, {"typ": "application/at+jwt"}, {"crit": ["exp"]}, {"crit": []},
        {"b64": False}, {"zip": "DEF"}, {"jku": "https://evil.example/jwks"}, {"jwk": jwk}, {"x5u": "https://e"},
        {"x5c": ["MII"]}, {"kid": "../../dev/null"}, {"kid": "/dev/null"}, {"kid": "https://evil.example/k"},
        {"kid": "psj_k' OR '1'='1"}, {"kid": "psj_kAAAAAAAAAAA"}, {"kid": ""}, {"kid": None}, {"kid": 1},
    )  # fmt: skip
    for more in tries:
        for sign in (own(keys), attacker.sign, lambda _: b""):
            assert keys.verify(forged(keys, clock, sign, more, {})) is None, more


@BOTH
async def test_T24_a_public_key_is_no_shared_secret(store: Store, clock: Clock, algorithm: str) -> None:
    """HS256 with the bytes of the public key, in every form that somebody might take them."""
    keys = await ready(store, algorithm)
    shown = keys.jwks()["keys"][0]
    raw = base64.urlsafe_b64decode(shown["x"] + "==")
    for secret in (raw, shown["x"].encode(), json.dumps(shown).encode(), json.dumps(keys.jwks()).encode()):

        def sign(told: bytes, secret: bytes = secret) -> bytes:
            return hmac.digest(secret, told, hashlib.sha256)

        for more in ({"alg": "HS256"}, {}):
            assert keys.verify(forged(keys, clock, sign, more, {})) is None


@BOTH
async def test_T24_our_own_signature_over_other_words_is_nothing(
    store: Store, clock: Clock, algorithm: str
) -> None:
    keys = await ready(store, algorithm)
    tries: tuple[dict[str, Any], ...] = (
        {"iss": "https://evil.example"}, {"iss": ISSUER + "/"}, {"iss": None}, {"aud": "https://other"},
        {"aud": [ISSUER]}, {"aud": None}, {"exp": None}, {"exp": "9999999999"}, {"exp": True},
        {"sid": "../x"}, {"sid": ""}, {"sid": None}, {"gen": "1"}, {"gen": None}, {"gen": 1.5}, {"gen": -1},
        {"exp": -1},
    )  # fmt: skip
    for more in tries:
        assert keys.verify(forged(keys, clock, own(keys), {}, more)) is None, more


@BOTH
async def test_a_changed_token_is_no_token(store: Store, clock: Clock, algorithm: str) -> None:
    """Not even one that decodes to the same bytes: a token has one spelling."""
    keys = await ready(store, algorithm)
    made = token(keys, clock.now)
    for place, letter in enumerate(made):
        for other in ("A", "B", "_", ".", "=", " ", "é"):
            changed = made[:place] + other + made[place + 1 :]
            assert letter == other or keys.verify(changed) is None
        assert keys.verify(made[:place] + made[place + 1 :]) is None
    for changed in (
        made + "=",
        made + ".",
        "." + made,
        made + "\n",
        " " + made,
        made + ".x",
        made.rsplit(".", 1)[0],
    ):
        assert keys.verify(changed) is None


async def test_the_second_signature_that_es256_has_is_refused(store: Store, clock: Clock) -> None:
    """With (r, s) also (r, n - s) fits; pyjwt takes it, we don't."""
    keys = await ready(store, "ES256")
    told, _, proof = token(keys, clock.now).rpartition(".")
    data = base64.urlsafe_b64decode(proof + "==")
    twin = data[:32] + (signing._ORDER - int.from_bytes(data[32:], "big")).to_bytes(32, "big")
    other = f"{told}.{encoded(twin)}"
    assert verified(keys, other)["sid"] == SESSION
    assert keys.verify(other) is None


@given(st.text(max_size=300))
async def test_any_text_is_verified_or_is_nothing(text: str) -> None:
    keys = Keys(settings(), MASTER)
    for each in (text, JWT_STARTS[0] + text, f"{JWT_STARTS[1]}.{text}."):
        assert keys.verify(each) is None


async def test_another_deployments_key_signs_nothing_of_ours(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    elsewhere = await Store.open(f"sqlite:{tmp_path}/elsewhere.db", "auto", clock)
    theirs, ours = await ready(elsewhere), await ready(store)
    await elsewhere.close()
    assert ours.verify(token(theirs, clock.now)) is None


# Keys that follow


async def test_no_key_is_made_where_no_jwt_is(store: Store) -> None:
    keys = Keys(settings(form="opaque"), MASTER)
    await keys.tend(store)
    assert keys.jwks() == {"keys": []}


async def test_a_key_is_followed_after_90_days_and_lives_until_its_last_token_has_died(
    store: Store, clock: Clock
) -> None:
    keys = await ready(store)
    first = token(keys, clock.now)
    await clock.move(AGE / 1000 - 1)
    await keys.tend(store)
    assert len(keys.jwks()["keys"]) == 1
    await clock.move(1)
    await keys.tend(store)
    assert len(keys.jwks()["keys"]) == 2, "published before it signs"
    last = token(keys, clock.now + LEAD - 1)
    assert head(last)["kid"] == head(first)["kid"]
    await clock.move(LEAD / 1000)
    new = token(keys, clock.now)
    assert head(new)["kid"] != head(last)["kid"]
    assert token(keys, clock.now - 1) == last, "asked again, signed as it was"
    await clock.move(LIFE / 1000 - 1)
    await keys.tend(store)
    parts = keys.verify(last)
    assert parts is not None and parts.expires <= clock.now + 1000
    await clock.move(LEAD / 1000 + 1)
    await keys.tend(store)
    assert keys.verify(last) is None
    assert keys.verify(new) is not None
    assert [each["kid"] for each in keys.jwks()["keys"]] == [head(new)["kid"]]
    assert head(token(keys, clock.now - 2 * LIFE))["kid"] == head(new)["kid"], "no key of that time is left"


async def test_a_token_is_never_signed_by_a_key_that_goes_before_it(store: Store, clock: Clock) -> None:
    """A cookie's session keeps its generation for days, and is given new access tokens all the time."""
    keys = await ready(store)
    begun = clock.now
    await clock.move(1)
    await keys.rotate(store)
    for _ in range(40):
        await clock.move(60)
        await keys.tend(store)
        made = keys.access(USER, SESSION, 1, begun, clock.now + LIFE)
        key = next(each for each in keys._keys if each.kid == head(made)["kid"])
        assert key.ends is None or key.ends >= clock.now + LIFE


async def test_rotation_by_command_makes_the_next_key(store: Store, clock: Clock) -> None:
    keys = await ready(store)
    before = token(keys, clock.now)
    kid = await keys.rotate(store)
    assert kid in [each["kid"] for each in keys.jwks()["keys"]]
    await clock.move(LEAD / 1000)
    assert head(token(keys, clock.now))["kid"] == kid
    assert keys.verify(before) is not None
    other = await ready(store)
    assert token(other, clock.now) == token(keys, clock.now)
    assert other.verify(before) is not None


async def test_replicas_that_find_a_key_due_make_one(store: Store, clock: Clock) -> None:
    """At the first start, and after 90 days."""
    replicas = [Keys(settings(), MASTER) for _ in range(4)]
    for count in (1, 2):
        await asyncio.gather(*(keys.tend(store) for keys in replicas))
        [shown] = {json.dumps(keys.jwks()) for keys in replicas}
        assert len(json.loads(shown)["keys"]) == count
        await clock.move(AGE / 1000)


async def test_another_algorithm_is_a_rotation(store: Store, clock: Clock) -> None:
    keys = await ready(store, "EdDSA")
    before = token(keys, clock.now)
    keys.use(settings("ES256"), MASTER)
    await keys.tend(store)
    await keys.tend(store)
    assert [each["alg"] for each in keys.jwks()["keys"]] == ["ES256", "EdDSA"]
    await clock.move(LEAD / 1000)
    assert head(token(keys, clock.now))["alg"] == "ES256"
    assert keys.verify(before) is not None


async def test_jwts_are_believed_on_when_tokens_are_opaque_from_now_on(store: Store, clock: Clock) -> None:
    keys = await ready(store)
    before = token(keys, clock.now)
    later = Keys(settings(form="opaque"), MASTER)
    await later.tend(store)
    assert later.verify(before) is not None


# At rest


async def test_the_private_part_is_sealed_for_its_row(store: Store) -> None:
    for algorithm in ("EdDSA", "ES256"):
        keys = await ready(store, algorithm)
        private = keys._keys[0].signer.private()
        async with store.reading() as db:
            found = {row.kid: row for row in await rows.live(db)}
        row = found[keys._keys[0].kid]
        assert private not in row.sealed and len(private) == 32
        assert encoded(private) not in row.public and row.key_id == MASTER.newest
        assert MASTER.open(row.sealed, keys_module.PURPOSE, row.kid) == private
        with pytest.raises(secrets.NotOpened):
            MASTER.open(row.sealed, keys_module.PURPOSE, "another")


async def test_rewrap_moves_keys_to_the_newest_secret(store: Store, clock: Clock) -> None:
    old, new = secrets.make(), secrets.make()
    keys = await ready(store, master=Secrets([old]))
    before = token(keys, clock.now)
    with pytest.raises(ConfigFaults, match=Secrets([old]).newest):
        await Keys(settings(), Secrets([new])).tend(store)
    both = await ready(store, master=Secrets([new, old]))
    assert await both.rewrap(store) == 1
    assert await both.rewrap(store) == 0
    alone = await ready(store, master=Secrets([new]))
    assert token(alone, clock.now) == before


async def test_T25_a_key_does_not_show_itself(store: Store) -> None:
    keys = await ready(store)
    private = keys._keys[0].signer.private()
    shown = repr(keys._keys[0]) + repr(keys)
    assert private.hex() not in shown and repr(private) not in shown and encoded(private) not in shown


def test_ecdsa_is_deterministic_as_in_rfc_6979() -> None:
    """The signature of "sample" by the key of appendix A.2.5, its s below half of the order."""
    key = ec.derive_private_key(
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
    )
    made = signing.ES256(key).sign(b"sample")
    assert made[:32].hex().upper() == "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert int.from_bytes(made[32:], "big") == signing._ORDER - s
