"""An issuer's keys: each for one algorithm; fetched seldom, bounded, and from nobody else."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from gateway.config.service import Issuer, Service
from gateway.identity import issuer_keys
from gateway.identity.issuer_keys import (
    FIRST_PAUSE,
    FRESH_FOR,
    GOOD_FOR,
    LAST_PAUSE,
    MOST_WAITING,
    UNKNOWN_EVERY,
    Failed,
    IssuerKeys,
    KeysUnavailable,
    Waiting,
    fetch,
    usable,
)
from gateway.identity.issuers import Bad, Issuers, read
from tests.kit.certs import Authority
from tests.kit.provider import Provider, SigningKey, encoded, new_key, rsa_key, run_provider, signed

ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with run_provider() as provider:
        yield provider


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def issuer(provider: Provider, **more: Any) -> Issuer:
    return Issuer(provider.issuer, **({"audience": ("orders",), "algorithms": ("ES256",)} | more))


@asynccontextmanager
async def keys_of(provider: Provider, **more: Any) -> AsyncIterator[tuple[IssuerKeys, Clock]]:
    clock = Clock()
    made = IssuerKeys("corporate", issuer(provider, **more), fetch, clock, Waiting())
    yield made, clock
    made.close()


async def found(keys: IssuerKeys, kid: str, algorithm: str = "ES256") -> bool:
    return await keys.key(kid, algorithm) is not None


async def verified(provider: Provider, text: str, **more: Any) -> bool:
    """Whether the signature is taken for the issuer's."""
    settings = Service(issuers={"corporate": issuer(provider, **more)})
    issuers = Issuers(settings)
    try:
        token = read(text)
        await issuers._verified(issuers._named(token), token)
    except Bad:
        return False
    finally:
        issuers.close()
    return True


# Which key, which algorithm


async def test_each_algorithm_is_verified_by_its_own_kind_of_key(provider: Provider) -> None:
    made = [new_key(algorithm, algorithm) for algorithm in ALL]
    provider.published = [key.jwk() for key in made]
    for key in made:
        assert await verified(provider, provider.token(key), algorithms=ALL), key.kid
        assert not await verified(provider, provider.token(key)[:-8] + "AAAAAAAA", algorithms=ALL), key.kid
        others = tuple(each for each in ALL if each != key.algorithm)
        assert not await verified(provider, provider.token(key), algorithms=others), key.kid


async def test_T24_a_key_never_verifies_with_another_algorithm(provider: Provider) -> None:
    """Not even one that its kind would allow, and that the file has for other keys."""
    key = SigningKey("rsa", "RS256", rsa_key(2048))
    for own, good in (("RS256", "RS256"), ("PS256", "PS256"), (None, "RS256")):
        provider.published = [key.jwk(alg=own)]
        for used in ("RS256", "RS512", "PS256"):
            text = signed(key, {"alg": used, "kid": "rsa"}, {"iss": provider.issuer}, used)
            taken = await verified(provider, text, algorithms=("RS256", "RS512", "PS256"))
            assert taken == (used == good), (own, used)
    provider.published = [key.jwk(alg=None)]
    text = signed(key, {"alg": "PS256", "kid": "rsa"}, {"iss": provider.issuer}, "PS256")
    assert await verified(provider, text, algorithms=("PS256", "RS256"))  # the first of the file that fits


async def test_T24_no_signature_and_symmetric_ones(provider: Provider) -> None:
    """`none`, and HMAC with everything public that the key is written as."""
    key = SigningKey("rsa", "RS256", rsa_key(2048))
    provider.published = [key.jwk(), {"kty": "oct", "k": encoded(b"x" * 32), "kid": "oct", "alg": "HS256"}]
    claims = {"iss": provider.issuer, "aud": "orders", "exp": 4e9}
    public = key.private.public_key()
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        base64.urlsafe_b64decode(key.jwk()["n"] + "=="), b"x" * 32, b"",
    ]  # fmt: skip
    hmac = jwt.get_algorithm_by_name("HS256")
    for pinned in (("RS256",), ALL):
        for kid in ("rsa", "oct"):
            head = {"alg": "HS256", "kid": kid}
            for secret in secrets:
                told = f"{_part(head)}.{_part(claims)}"
                text = f"{told}.{encoded(hmac.sign(told.encode(), secret))}"
                assert not await verified(provider, text, algorithms=pinned)
        for none in ("none", "None", "NONE", "", "nOnE"):
            for signature in ("", "AA", encoded(b"x" * 64)):
                text = f"{_part({'alg': none, 'kid': 'rsa'})}.{_part(claims)}.{signature}"
                assert not await verified(provider, text, algorithms=pinned)


def _part(members: dict[str, Any]) -> str:
    return encoded(json.dumps(members).encode())


async def test_T24_what_a_head_says_of_keys_is_never_followed(provider: Provider) -> None:
    """A kid is a name among the issuer's keys; a key, or a place of keys, in the head is nothing."""
    with run_provider() as thief:
        own = new_key(provider.key.kid)
        thief.key, thief.published = own, [own.jwk()]
        place = thief.url + "/realms/main/keys"
        for more in (
            {"jwk": own.jwk()}, {"jku": place}, {"x5u": place}, {"x5c": ["MIIB"]},
            {"jku": place, "jwk": own.jwk()},
        ):  # fmt: skip
            assert not await verified(provider, provider.token(own, head=more))
            assert await verified(provider, provider.token(head=more))  # some providers add them; unread
        kids = (
            place, "../../../../dev/null", "/dev/null", "file:///dev/null", "' OR '1'='1", "first' --", "%00",
            "first\x00", "FIRST", " first", "a" * 5000, "{{7*7}}", "$(id)", "\r\nX: y",
        )  # fmt: skip
        for kid in kids:
            assert not await verified(provider, provider.token(head={"kid": kid})), kid
        assert thief.asked == []
    for crit in ([], ["b64"], ["exp"], "exp", None):
        head = {"alg": "ES256", "kid": "first", "crit": crit}
        assert not _readable(signed(provider.key, head, {"iss": provider.issuer}))
    assert not await verified(provider, provider.token(head={"b64": False}))


def _readable(text: str) -> bool:
    try:
        read(text)
    except Bad:
        return False
    return True


async def test_a_token_without_a_kid_needs_an_issuer_with_one_key(provider: Provider) -> None:
    text = provider.token(head={"kid": None})
    assert await verified(provider, text)
    provider.published = [provider.key.jwk(kid=None)]
    assert await verified(provider, text)
    provider.rotate("second")
    assert not await verified(provider, provider.token(head={"kid": None}))
    assert await verified(provider, provider.token())


def test_T24_which_keys_are_used_at_all() -> None:
    good = new_key("a").jwk()
    rsa = SigningKey("r", "RS256", rsa_key(2048)).jwk()
    assert [key.algorithm for key in usable([good, rsa], ALL)] == ["ES256", "RS256"]
    assert usable([good | {"key_ops": ["sign", "verify"], "x5t": "x", "d": "ignored"}], ALL)
    small = SigningKey("s", "RS256", rsa_key(1024)).jwk()
    huge = rsa | {"n": encoded(b"\xff" * 4096)}
    unusable: tuple[Any, ...] = (
        good | {"use": "enc"}, good | {"key_ops": ["sign"]}, good | {"key_ops": "verify"},
        good | {"alg": "ES384"}, good | {"alg": "ECDH-ES"}, good | {"crv": "P-384"},
        good | {"crv": "secp256k1"}, good | {"kid": 7}, good | {"kty": "RSA"}, good | {"x": "AA"},
        good | {"x": None}, good | {"x": 7}, {"kty": ["EC"]}, {}, [], None, "key", small, huge,
        rsa | {"e": encoded(b"\x02")}, rsa | {"n": ""},
        {"kty": "oct", "k": encoded(b"x" * 32), "kid": "o"}, {"kty": "oct", "k": "eA", "alg": "ES256"},
    )  # fmt: skip
    for bad in unusable:
        assert usable([bad], ALL) == (), bad
    assert len(usable([good] * 500, ALL)) == issuer_keys.MOST_KEYS


# When they are fetched


async def test_T24_a_flood_of_unknown_kids_is_one_fetch_a_minute(provider: Provider) -> None:
    async with keys_of(provider) as (keys, clock):
        assert await found(keys, "first")
        for minute in range(3):
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(found(keys, f"made-up-{number}")) for number in range(30)]
            assert not any(each.result() for each in asked)
            for number in range(30):
                assert not await found(keys, f"another-{number}")
            assert provider.fetches() == 2 + minute
            clock.now += UNKNOWN_EVERY
    assert len(provider.asked) == 2 * provider.fetches()  # each with its discovery, and nothing else


async def test_a_new_key_is_found_at_once_and_all_who_wait_for_it_get_it(provider: Provider) -> None:
    async with keys_of(provider) as (keys, clock):
        assert await found(keys, "first")
        provider.rotate("second")
        assert all(await asyncio.gather(*(found(keys, "second") for _ in range(20))))
        assert provider.fetches() == 2
        provider.rotate("third")
        assert not await found(keys, "third")
        clock.now += UNKNOWN_EVERY
        assert await found(keys, "third") and await found(keys, "first")


async def test_a_withdrawn_key_is_gone_with_the_next_fetch(provider: Provider) -> None:
    async with keys_of(provider) as (keys, clock):
        assert await found(keys, "first")
        provider.published = [new_key("second").jwk()]
        clock.now += FRESH_FOR
        assert await found(keys, "first")
        clock.now += 1
        assert not await found(keys, "first")
        assert await found(keys, "second")


async def test_several_questions_share_one_fetch(provider: Provider) -> None:
    async with keys_of(provider) as (keys, _):
        assert all(await asyncio.gather(*(found(keys, "first") for _ in range(MOST_WAITING))))
        assert provider.fetches() == 1


async def test_T18_while_keys_can_t_be_fetched_nothing_is_refused_and_the_last_good_go_on(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with keys_of(provider) as (keys, clock):
        provider.mode = "broken"
        with pytest.raises(KeysUnavailable):
            await keys.key("first", "ES256")
        asked = len(provider.asked)
        with pytest.raises(KeysUnavailable):  # not so soon again
            await keys.key("first", "ES256")
        assert len(provider.asked) == asked
        provider.mode = "good"
        clock.now += FIRST_PAUSE
        assert await found(keys, "first")
        provider.server.stop()
        clock.now += FRESH_FOR + 1
        assert await found(keys, "first")
        with pytest.raises(KeysUnavailable):  # it may be new there
            await keys.key("second", "ES256")
        clock.now += GOOD_FOR - FRESH_FOR - 1
        assert await found(keys, "first")
        clock.now += 1
        with pytest.raises(KeysUnavailable):
            await keys.key("first", "ES256")
        provider.server.start()
        clock.now += LAST_PAUSE
        assert await found(keys, "first")
    assert "the keys of issuer corporate can't be fetched: it answered 500" in caplog.messages


async def test_after_failures_it_is_asked_less_and_less_often(provider: Provider) -> None:
    provider.mode = "broken"
    async with keys_of(provider) as (keys, clock):
        tried = []
        for _ in range(300):
            before = len(provider.asked)
            with pytest.raises(KeysUnavailable):
                await keys.key("first", "ES256")
            if len(provider.asked) > before:
                tried.append(clock.now - 1000)
            clock.now += 1
        assert tried == [0, 5, 15, 35, 75, 135, 195, 255]


async def test_T36_a_slow_issuer_is_not_waited_for_and_holds_few(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.mode = "slow"
    monkeypatch.setattr(issuer_keys, "FETCH_WITHIN", 0.3)
    async with keys_of(provider) as (keys, _):
        asked = [asyncio.ensure_future(keys.key("first", "ES256")) for _ in range(3 * MOST_WAITING)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(not each.done() for each in asked) == MOST_WAITING
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, KeysUnavailable) for each in results)
        assert len(provider.asked) == 1


async def test_T36_many_slow_issuers_hold_no_more_than_one(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each edge the service answers 64 questions at a time: room is left to those about our own tokens."""
    provider.mode = "slow"
    monkeypatch.setattr(issuer_keys, "FETCH_WITHIN", 0.3)
    named = {f"realm{number}": f"{provider.issuer}{number}" for number in range(5)}
    realms = {name: Issuer(iss, ("orders",), ("ES256",)) for name, iss in named.items()}
    issuers = Issuers(Service(issuers=realms))
    tokens = [read(provider.token(iss=iss)) for iss in named.values()]
    asked = [
        asyncio.ensure_future(issuers._verified(name, token))
        for name, token in zip(named, tokens, strict=True)
        for _ in range(MOST_WAITING)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(not each.done() for each in asked) == MOST_WAITING
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, KeysUnavailable) for each in results)
    issuers.close()


async def test_one_who_goes_away_leaves_the_fetch_to_the_others(provider: Provider) -> None:
    async with keys_of(provider) as (keys, _):
        first, second = (asyncio.ensure_future(found(keys, "first")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert provider.fetches() == 1


@pytest.mark.parametrize("mode", ["broken", "garbage", "a list", "deep", "huge", "compressed", "redirecting"])
async def test_what_is_no_jwks_is_no_answer(provider: Provider, mode: str) -> None:
    provider.mode = mode
    with pytest.raises(Failed):
        await fetch(issuer(provider))
    assert "/elsewhere" not in provider.asked  # nobody is sent on to another place


async def test_T31_discovery_is_of_this_issuer_and_names_a_safe_place(provider: Provider) -> None:
    good = provider.discovery
    for bad in (
        {"issuer": provider.issuer + "/"}, {"issuer": None}, {"issuer": "https://other.example"},
        {"jwks_uri": None}, {"jwks_uri": ["x"]}, {"jwks_uri": "http://sso.example.com/keys"},
        {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "/keys"}, {"jwks_uri": "http://[::1/keys"},
        {"jwks_uri": "http://127.0.0.1@example.com/"},
    ):  # fmt: skip
        provider.discovery = good | bad
        with pytest.raises(Failed):
            await fetch(issuer(provider))
    provider.discovery = {"issuer": "https://other.example"}
    place = good["jwks_uri"]
    assert await fetch(issuer(provider, jwks_uri=place))  # named by the file: no discovery
    provider.published = {"first": provider.key.jwk()}  # type: ignore[assignment]
    with pytest.raises(Failed):
        await fetch(issuer(provider, jwks_uri=place))


async def test_its_certificate_is_verified(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    pair = authority.issue("sso", "127.0.0.1")
    with run_provider(authority.server_context(pair)) as provider:
        assert provider.issuer.startswith("https://")
        assert await fetch(issuer(provider, ca=authority.ca))
        for ca in ("", stranger.ca, str(tmp_path / "missing.crt")):
            before = len(provider.asked)
            async with keys_of(provider, ca=ca) as (keys, _):
                with pytest.raises(KeysUnavailable):
                    await keys.key("first", "ES256")
            assert len(provider.asked) == before
        # an issuer that is encrypted can't send us to a place that is not
        provider.discovery["jwks_uri"] = "http://127.0.0.1:1/keys"
        with pytest.raises(Failed):
            await fetch(issuer(provider, ca=authority.ca))


async def test_T25_no_log_has_what_came(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    kid = "kid-that-nobody-should-find-in-a-log"
    async with keys_of(provider) as (keys, _):
        provider.mode = "garbage"
        with pytest.raises(KeysUnavailable):
            await keys.key(kid, "ES256")
    provider.mode = "good"
    async with keys_of(provider, algorithms=("RS256",)) as (keys, _):
        assert not await found(keys, kid, "RS256")
    assert "issuer corporate has no key that can be used with RS256" in caplog.messages
    assert kid not in caplog.text and "<html>" not in caplog.text
