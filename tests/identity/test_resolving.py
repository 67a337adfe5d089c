"""What credentials stand for: the link's question, read from the store each time."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.config.service import Tokens
from gateway.identity.lives import milliseconds
from gateway.identity.resolving import resolve
from gateway.model import credentials
from gateway.model.identity import Identity
from tests.identity.rig import ADDRESS, FIREFOX, SETTINGS, Rig, cookie_of, running
from tests.kit.postgres import Postgres

BAD = {"outcome": "bad", "code": "invalid_token"}
TTL = SETTINGS.tokens.access_ttl


async def asked(rig: Rig, credential: str, kind: str = "bearer", stream: bool = False) -> dict[str, Any]:
    return await resolve(rig.context, kind, credential, ADDRESS, FIREFOX, stream)


async def test_an_access_token_tells_all_of_its_user_and_session(rig: Rig) -> None:
    user = await rig.user(
        first_name="Ada", meta='{"colour": "red", "plan": "free"}', protected='{"plan": "pro", "seats": 3}'
    )
    async with rig.context.store.writing() as db:
        await rig.roles.insert(db, "clerk", ["orders:read"])
        await rig.roles.grant(db, user.user_id, "clerk", "test")
    opened = await rig.open(user)
    await rig.clock.move(10)
    settings = msgspec.structs.replace(rig.context.settings, forward_meta=("colour",))
    rig.context.settings = settings
    told = await asked(rig, opened.access_token)
    assert told["outcome"] == "identified"
    assert (told["expires_in"], told["renew_in"]) == (TTL - 10, None)
    assert told["identity"] == Identity(
        id=user.user_id,
        name="ada",
        email="ada@example.test",
        roles=("clerk",),
        permissions=("orders:read",),
        session=opened.session.session_id,
        methods=("pwd",),
        protected={"plan": "pro", "seats": "3"},
        public={"colour": "red"},
        proved=10.0,
        address=ADDRESS,
        agent=FIREFOX,
    )


async def test_T45_nobody_is_told_by_the_user_name_of_another(rig: Rig) -> None:
    """Backends take X-User-Name for a name that one user has: what is free text is not told as such."""
    user = await rig.user(first_name="admin")
    async with rig.context.store.writing() as db:
        await rig.accounts.save(db, msgspec.structs.replace(user, username=None, username_key=None))
    told = await asked(rig, (await rig.open(user)).access_token)
    assert told["identity"].name == ""


async def test_the_first_sight_of_a_generation_is_kept_before_it_is_answered(rig: Rig) -> None:
    opened = await rig.signed_in()
    await rig.clock.move(5)
    await asked(rig, opened.access_token)
    assert (await rig.session(opened.session.session_id)).presented_at == rig.clock.now
    await rig.clock.move(5)
    await asked(rig, opened.access_token)
    assert (await rig.session(opened.session.session_id)).presented_at == rig.clock.now - 5000


async def test_an_expired_token_says_whose_it_was_only_when_all_else_is_good(rig: Rig) -> None:
    opened = await rig.signed_in()
    session = opened.session
    await rig.clock.move(TTL)
    expired = {"outcome": "bad", "code": "token_expired", "session": session.session_id}
    assert await asked(rig, opened.access_token) == expired
    forged = rig.context.tokens.access(session.session_id, bytes(16), session.key_id, 1, session.access_until)
    assert await asked(rig, forged) == BAD
    await rig.api("POST", "/logout", {"scope": "session"}, bearer=await fresh(rig, opened.refresh_token))
    assert await asked(rig, opened.access_token) == BAD


async def fresh(rig: Rig, refresh_token: str) -> str:
    return str((await rig.refresh(refresh_token)).body["access_token"])


async def test_a_stream_goes_on_as_long_as_its_session(rig: Rig) -> None:
    opened = await rig.signed_in()
    await rig.clock.move(TTL)
    assert (await asked(rig, opened.access_token, stream=True))["outcome"] == "identified"
    for _ in range(3):
        opened = msgspec.structs.replace(
            opened, refresh_token=(await rig.refresh(opened.refresh_token)).body["refresh_token"]
        )
    assert (await asked(rig, opened.access_token, stream=True))["outcome"] == "identified"
    await rig.clock.move(SETTINGS.tokens.idle_ttl)
    assert await asked(rig, opened.access_token, stream=True) == BAD


async def test_nothing_of_a_locked_or_deleted_user_resolves(rig: Rig) -> None:
    locked, deleted = await rig.signed_in("locked"), await rig.signed_in("deleted")
    async with rig.context.store.writing() as db:
        await rig.accounts.lock(db, locked.session.user_id, "test")
        await rig.accounts.delete(db, deleted.session.user_id)
    assert await asked(rig, locked.access_token) == BAD
    assert await asked(rig, deleted.access_token) == BAD
    assert await asked(rig, locked.access_token, stream=True) == BAD


async def test_a_token_from_the_future_of_a_restored_database_is_bad(rig: Rig) -> None:
    session = (await rig.signed_in()).session
    ahead = rig.context.tokens.access(
        session.session_id, session.salt, session.key_id, 2, session.access_until
    )
    assert await asked(rig, ahead) == BAD


async def test_an_answer_is_good_for_no_longer_than_the_session(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, tokens=Tokens(idle_ttl=100.0, absolute_ttl=150.0))
    async with running(database, settings) as rig:
        opened = await rig.signed_in()
        assert (await asked(rig, opened.access_token))["expires_in"] == 100
        await rig.clock.move(90)
        access = await fresh(rig, opened.refresh_token)
        assert (await asked(rig, access))["expires_in"] == 60
        await rig.clock.move(60)
        assert await asked(rig, access) == BAD


async def test_T30_a_token_of_one_purpose_opens_nothing_else(rig: Rig) -> None:
    tokens = await rig.signed_in()
    browser = await rig.signed_in("bob", cookie=True)
    cookie = cookie_of(browser.set_cookie)
    kinds = {
        "access": tokens.access_token, "refresh": tokens.refresh_token, "cookie": cookie,
        **{kind: credentials.new(kind) for kind in credentials.KINDS if kind[2] not in "ars"},
    }  # fmt: skip
    opens = {("access", "bearer"), ("access", "header"), ("cookie", "cookie")}
    for name, token in kinds.items():
        for kind in ("bearer", "header", "cookie", "api_key"):
            told = await asked(rig, token, kind)
            assert (told["outcome"] == "identified") is ((name, kind) in opens), (name, kind)
        validated = await rig.api("POST", "/validate", {"token": token})
        assert validated.body["valid"] is (name == "access")
        refreshed = await rig.api("POST", "/refresh", {"refresh_token": token})
        assert (refreshed.status == 200) is (name == "refresh")
        listed = await rig.api("GET", "/sessions", bearer=token)
        assert (listed.status == 200) is (name == "access")
        listed = await rig.api("GET", "/sessions", cookie=token)
        assert (listed.status == 200) is (name == "cookie")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
async def test_jwt_access_tokens_resolve_and_are_revoked_like_the_rest(database: str, algorithm: Any) -> None:
    tokens = Tokens(format="jwt", algorithm=algorithm)
    async with running(database, msgspec.structs.replace(SETTINGS, tokens=tokens)) as rig:
        opened = await rig.signed_in()
        assert opened.access_token.startswith(credentials.JWT_STARTS)
        assert (await asked(rig, opened.access_token))["outcome"] == "identified"
        assert (await rig.session(opened.session.session_id)).presented_at == rig.clock.now
        first = (await rig.refresh(opened.refresh_token)).body
        assert (await rig.refresh(opened.refresh_token)).body == first
        assert (await rig.api("POST", "/logout", bearer=first["access_token"])).status == 200
        assert await asked(rig, opened.access_token) == BAD
        keys = await rig.call("GET", "/.well-known/jwks.json")
        assert [key["alg"] for key in keys.body["keys"]] == [algorithm]


async def test_a_use_is_kept_and_lets_the_session_idle_anew(rig: Rig) -> None:
    opened = await rig.signed_in()
    session_id = opened.session.session_id
    await rig.clock.move(3600)
    await rig.touch([(session_id, 60.0), (credentials.new_id(), 0.0), ("nonsense", -5.0)])
    session = await rig.session(session_id)
    assert session.last_seen_at == rig.clock.now - 60_000
    assert session.idle_until == session.last_seen_at + milliseconds(SETTINGS.tokens.idle_ttl)
    await rig.touch([(session_id, 600.0)])  # told late: nothing goes back
    assert await rig.session(session_id) == session


async def test_parallel_first_sights_are_one(rig: Rig) -> None:
    opened = await rig.signed_in()
    answers = await asyncio.gather(*(asked(rig, opened.access_token) for _ in range(20)))
    assert {answer["outcome"] for answer in answers} == {"identified"}
    assert (await rig.session(opened.session.session_id)).presented_at == rig.clock.now


async def test_without_a_store_a_question_is_unavailable_never_anonymous(
    postgres_server: Postgres, template: str
) -> None:
    url = postgres_server.make_database(template)
    async with running(url) as rig:
        opened = await rig.signed_in()
        postgres_server.drop_database(url)
        assert await asked(rig, opened.access_token) == {"outcome": "unavailable"}
