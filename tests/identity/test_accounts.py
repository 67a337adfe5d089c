"""Accounts: made, signed in to, changed and deleted; refusals that look and cost the same (T19, T20, T35)."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.config.service import Password
from gateway.identity import accounts
from gateway.identity.limits import Limits
from gateway.identity.passwords import Passwords
from gateway.identity.web import Refused
from gateway.model import credentials
from gateway.store import events, onetime, revocations
from gateway.store.limiters import Limiters
from tests.identity.rig import SETTINGS, Answer, Rig, cookie_of, running

PASSWORD = "a long enough password"
SAME = {"Sec-Fetch-Site": "same-origin"}
CHEAP = Password(memory=64 * 1024, time=1)
ALL_KNOW = {"edges": 0, "acknowledged": 0}


@asynccontextmanager
async def house(database: str, **settings: Any) -> AsyncIterator[Rig]:
    changed = msgspec.structs.replace(SETTINGS, password=CHEAP, **settings)
    async with running(database, changed) as rig:
        yield rig


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with house(database) as rig:
        yield rig


async def register(rig: Rig, name: str = "ada", status: int = 201, **more: Any) -> Answer:
    body = {"email": f"{name}@example.test", "password": PASSWORD, "username": name, **more}
    answer = await rig.api("POST", "/register", body)
    assert answer.status == status, answer.body
    return answer


async def login(rig: Rig, name: str = "ada", password: str = PASSWORD, **how: Any) -> Answer:
    field = "email" if "@" in name else "username"
    return await rig.api("POST", "/login", {field: name, "password": password}, **how)


async def trail(rig: Rig) -> list[str]:
    async with rig.context.store.reading() as db:
        return [each.event for each in reversed(await events.page(db))]


async def news(rig: Rig) -> list[tuple[str, str, str]]:
    async with rig.context.store.reading() as db:
        return [(each.kind, each.session, each.user) for each in await revocations.after(db, 0, 0)]


# Registering


async def test_register_gives_an_account_with_the_role_user_and_tokens(rig: Rig) -> None:
    told = (await register(rig, first_name="Ada", last_name="Lovelace", meta={"colour": "blue"})).body
    assert told["access_token"].startswith("psa_") and told["refresh_token"].startswith("psr_")
    user = told["user"]
    assert (user["username"], user["email"], user["confirmed"]) == ("ada", "ada@example.test", False)
    assert (user["roles"], user["permissions"]) == (["user"], [])
    assert (user["first_name"], user["last_name"], user["meta"]) == ("Ada", "Lovelace", {"colour": "blue"})
    assert await rig.good(told["access_token"])
    assert await trail(rig) == ["user.registered", "session.created"]


async def test_the_fields_may_stand_under_user(rig: Rig) -> None:
    body = {"user": {"email": "john@example.test", "password": PASSWORD, "first_name": "John"}}
    answer = await rig.api("POST", "/register", body)
    assert answer.status == 201 and answer.body["user"]["first_name"] == "John"


async def test_T35_nobody_gives_themselves_anything_by_sending_it(rig: Rig) -> None:
    sent: dict[str, Any] = {
        "roles": ["admin"], "role": "admin", "permissions": ["postern:admin"], "confirmed": True,
        "user_id": "mine", "id": 1, "password_hash": "x", "confirm_id": "k", "email_proved_at": 1,
        "protected": {"tier": "pro"}, "locked_at": None, "session_id": "s", "level": 2,
        "meta": {"tier": "free", "protected": {"tier": "pro"}, "public": {"tier": "pro"}},
    }  # fmt: skip
    told = (await register(rig, **sent)).body
    user = told["user"]
    assert (user["roles"], user["permissions"], user["confirmed"]) == (["user"], [], False)
    assert user["user_id"] != "mine" and user["meta"] == {"tier": "free"}
    answer = await rig.api("PATCH", "/me", sent, bearer=told["access_token"])
    assert answer.status == 200 and answer.body["meta"] == {"tier": "free"}
    async with rig.context.store.reading() as db:
        kept = await rig.accounts.by_id(db, user["user_id"])
        rights = await rig.roles.of(db, user["user_id"])
    assert kept and (kept.protected, kept.confirmed, kept.email_proved_at) == ("{}", False, None)
    assert rights.roles == ("user",)


async def test_T45_public_meta_stays_public_and_text(rig: Rig) -> None:
    meta = {"tier": "pro", "roles": "admin,user", "x\r\ny": "a\r\nb"}
    told = (await register(rig, meta=meta)).body
    async with rig.context.store.reading() as db:
        user = await rig.accounts.by_id(db, told["user"]["user_id"])
    assert user and msgspec.json.decode(user.meta) == meta and user.protected == "{}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no-address"), ("email", "a@b@c.test"), ("email", 7), ("password", "short"),
        ("password", "ADA@EXAMPLE.TEST"), ("password", "x" * 257), ("username", "ab"),
        ("username", "a@b.c"), ("username", "админ"), ("first_name", "a\nb"), ("last_name", "x" * 101),
        ("meta", {"a": "x" * 9000}), ("meta", []),
    ],
)  # fmt: skip
async def test_a_field_that_is_not_right_is_named(rig: Rig, field: str, value: Any) -> None:
    answer = await register(rig, status=422, **{field: value})
    assert answer.code == "invalid_fields" and list(answer.body["errors"]) == [field]


async def test_every_wrong_field_is_told_at_once(rig: Rig) -> None:
    answer = await register(rig, status=422, email="no", password="no", username="-", first_name="a\nb")
    assert set(answer.body["errors"]) == {"email", "password", "username", "first_name"}


@pytest.mark.parametrize("email", ["ADA@example.test", "ada@EXAMPLE.test", "Ａda@example.test"])
async def test_an_address_is_taken_in_every_spelling(rig: Rig, email: str) -> None:
    await register(rig)
    assert (await register(rig, "other", 409, email=email)).code == "email_taken"
    assert await trail(rig) == ["user.registered", "session.created"]


async def test_a_username_is_taken_in_every_case(rig: Rig) -> None:
    await register(rig)
    assert (await register(rig, "other", 409, username="ADA")).code == "username_taken"


async def test_of_many_who_register_one_address_at_once_one_gets_it(rig: Rig) -> None:
    bodies = [{"email": "ada@example.test", "password": PASSWORD} for _ in range(8)]
    answers = await asyncio.gather(*(rig.api("POST", "/register", body) for body in bodies))
    assert sorted(each.status for each in answers) == [201] + [409] * 7


async def test_register_in_cookie_mode(rig: Rig) -> None:
    answer = await rig.api(
        "POST", "/register", {"email": "a@b.test", "password": PASSWORD, "cookie": True}, headers=SAME
    )
    assert answer.status == 201 and "access_token" not in answer.body
    me = await rig.api("GET", "/me", cookie=cookie_of(answer.headers["Set-Cookie"]))
    assert me.body["email"] == "a@b.test"


async def test_closed_registration_takes_nobody(database: str) -> None:
    async with house(database, registration="closed") as rig:
        assert (await register(rig, status=403)).code == "registration_closed"


async def test_only_some_domains_may_register(database: str) -> None:
    async with house(database, email_domains=("example.test",)) as rig:
        await register(rig)
        answer = await register(rig, "eve", 422, email="eve@sub.example.test")
        assert "example.test" in answer.body["errors"]["email"][0]


async def test_without_passwords_nobody_registers_or_signs_in_by_one(database: str) -> None:
    async with running(database, msgspec.structs.replace(SETTINGS, password=Password(on=False))) as rig:
        assert (await register(rig, status=403)).code == "password_off"
        assert (await login(rig)).code == "password_off"


# Confirmation required: nobody learns who has an account


class Work:
    """What a call cost: argon2 and queries by name."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def taken(self) -> tuple[int, dict[str, int]]:
        queries = {sample.labels[0]: sum(sample.counts) for sample in self._rig.context.store.samples()}
        return self._rig.context.passwords.calls, queries

    async def of(self, call: Callable[[], Awaitable[Answer]]) -> tuple[Answer, int, int]:
        """The answer, calls of argon2, queries."""
        argon, queries = self.taken()
        answer = await call()
        argon_after, queries_after = self.taken()
        return answer, argon_after - argon, sum(queries_after.values()) - sum(queries.values())


def told(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    own = ("date", "content-length")
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in own}
    return answer.status, answer.body, headers


async def test_T19_register_is_the_same_for_a_taken_and_a_free_address(database: str) -> None:
    async with house(database, confirmation="required") as rig:
        work = Work(rig)
        free = await work.of(lambda: register(rig, "ada", 202))
        taken = await work.of(lambda: register(rig, "ada", 202, username="other"))
        name_taken = await work.of(lambda: register(rig, "eve", 202, username="ada"))
        assert told(free[0]) == told(taken[0]) == told(name_taken[0]) and free[0].body == {}
        assert free[1:] == taken[1:] == name_taken[1:] and free[1] == 1
        assert await trail(rig) == ["user.registered", "register.address_taken", "user.registered"]
        async with rig.context.store.reading() as db:
            eve = await rig.accounts.by_identifier(db, "eve@example.test")
            assert eve and eve.username is None
            assert await rig.accounts.count(db) == 2


async def test_an_unconfirmed_account_has_a_key_and_no_sign_in(database: str) -> None:
    async with house(database, confirmation="required") as rig:
        await register(rig, "ada", 202)
        async with rig.context.store.reading() as db:
            ada = await rig.accounts.by_identifier(db, "ada")
            (key,) = await onetime.good_of(db, credentials.CONFIRM)
        assert ada and key.user_id == ada.user_id and key.expires_at - key.created_at == 86_400_000
        right, wrong = await login(rig), await login(rig, password="not the password at all")
        assert told(right) == told(wrong) and right.code == "invalid_credentials"


# Signing in


@pytest.mark.parametrize("name", ["ada", "ADA", "ada@example.test", "Ada@EXAMPLE.test"])
async def test_sign_in_by_address_or_name_in_any_case(rig: Rig, name: str) -> None:
    user_id = (await register(rig)).body["user"]["user_id"]
    await rig.clock.move(60)
    answer = await login(rig, name, address="198.51.100.9")
    assert answer.status == 200 and answer.body["user"]["user_id"] == user_id
    async with rig.context.store.reading() as db:
        user = await rig.accounts.by_id(db, user_id)
    assert user and user.successful_login_attempts == 2
    assert (user.last_login_at, user.last_login_address) == (rig.clock.now, "198.51.100.9")
    assert rig.count("logins_total", "ok") == 1


async def test_T19_wrong_unknown_locked_and_waiting_look_and_cost_the_same(rig: Rig) -> None:
    ada = (await register(rig)).body["user"]["user_id"]
    await register(rig, "bob")
    waiting = (await register(rig, "eve")).body["user"]["user_id"]
    await accounts.lock(rig.context, (await accounts.find(rig.context, "bob")).user.user_id, "test", ada)
    for _ in range(5):
        await login(rig, "eve", "wrong password, and long")
    work = Work(rig)
    found = [
        await work.of(lambda: login(rig, "ada", "wrong password, and long")),
        await work.of(lambda: login(rig, "nobody", "wrong password, and long")),
        await work.of(lambda: login(rig, "nobody@example.test", "wrong password, and long")),
        await work.of(lambda: login(rig, "no@address@", "wrong password, and long")),
        await work.of(lambda: login(rig, "bob", PASSWORD)),
        await work.of(lambda: login(rig, "eve", PASSWORD)),
    ]
    assert waiting and {each[0].code for each in found} == {"invalid_credentials"}
    assert all(told(each[0]) == told(found[0][0]) for each in found)
    assert {each[1:] for each in found} == {found[0][1:]} and found[0][1] == 1


async def test_a_hash_of_old_parameters_is_made_anew_at_sign_in(rig: Rig) -> None:
    user_id = (await register(rig)).body["user"]["user_id"]
    rig.context.passwords.use(
        msgspec.structs.replace(rig.context.settings, password=Password(memory=128 * 1024, time=1))
    )
    assert (await login(rig)).status == 200
    async with rig.context.store.reading() as db:
        user = await rig.accounts.by_id(db, user_id)
    assert user and re.search(r"\bm=128,", user.password_hash or "")
    assert (await login(rig)).status == 200


async def test_too_many_passwords_at_once_are_told_to_come_again(rig: Rig) -> None:
    await register(rig)
    rig.context.passwords.close()
    rig.context.passwords = Passwords(SETTINGS, cores=1, waiting=1)
    answers = await asyncio.gather(*(login(rig) for _ in range(10)))
    assert {each.status for each in answers} == {200, 503}
    busy = [each for each in answers if each.status == 503]
    assert all(each.code == "sign_in_busy" and int(each.headers["Retry-After"]) > 0 for each in busy)
    assert (await login(rig)).status == 200  # nobody was counted as a wrong password


async def test_cookie_mode_gives_a_cookie_and_a_token_only_if_asked(rig: Rig) -> None:
    await register(rig)
    body = {"username": "ada", "password": PASSWORD, "cookie": True}
    plain = await rig.api("POST", "/login", body, headers=SAME)
    assert plain.status == 200 and "access_token" not in plain.body and "refresh_token" not in plain.body
    both = await rig.api("POST", "/login", {**body, "bearer": True}, headers=SAME)
    assert await rig.good(both.body["access_token"]) and both.headers["Set-Cookie"]


async def test_another_sites_page_signs_nobody_in_by_cookie_whatever_it_sends(rig: Rig) -> None:
    """Login CSRF; and the answer doesn't tell whether the password was right."""
    await register(rig)
    for password in (PASSWORD, "wrong password, and long"):
        body = {"username": "ada", "password": password, "cookie": True}
        answer = await rig.api("POST", "/login", body, headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status, answer.code) == (403, "origin_refused")
        assert "Set-Cookie" not in answer.headers


async def test_login_takes_a_name_or_an_address_and_nothing_else(rig: Rig) -> None:
    for body in (
        {"password": PASSWORD}, {"email": "a@b.test"},
        {"email": "a@b.test", "username": "ada", "password": "x"},
        {"username": "ada", "password": PASSWORD, "roles": ["admin"]},
    ):  # fmt: skip
        assert (await rig.api("POST", "/login", body)).status == 422


# Limits


async def test_an_address_that_asks_too_often_waits(rig: Rig) -> None:
    seconds = [0.0]
    settings = msgspec.structs.replace(rig.context.settings, limits={"login": (3, 60), "register": (1, 60)})
    rig.context.limits = Limits(Limiters(lambda: seconds[0]), settings)
    await register(rig)
    again = await register(rig, "eve", 429)
    assert again.code == "rate_limited" and again.headers["Retry-After"] == "60"
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3"):
        assert (await login(rig, address=address)).status == 200
    assert (await login(rig, address="2001:db8::4")).status == 429  # one network of 64 bits
    assert (await login(rig, address="2001:db8:0:1::1")).status == 200
    seconds[0] = 61.0
    assert (await login(rig, address="2001:db8::1")).status == 200


# The profile


async def test_me_shows_and_changes_the_profile_and_every_edge_is_told(rig: Rig) -> None:
    told = (await register(rig)).body
    bearer, user_id = told["access_token"], told["user"]["user_id"]
    change = {"first_name": "Ada", "username": "Countess", "meta": {"a": 1, "b": 2}}
    answer = await rig.api("PATCH", "/me", change, bearer=bearer)
    assert answer.status == 200 and answer.body["propagated"] == ALL_KNOW
    answer = await rig.api("PATCH", "/me", {"meta": {"a": None}, "email": "x@y.test"}, bearer=bearer)
    me = (await rig.api("GET", "/me", bearer=bearer)).body
    assert (me["first_name"], me["username"], me["meta"]) == ("Ada", "Countess", {"b": 2})
    assert me["email"] == "ada@example.test"
    assert await news(rig) == [("changed", "", user_id)] * 2


async def test_a_profile_takes_no_name_of_another_and_nothing_too_large(rig: Rig) -> None:
    await register(rig, "eve")
    bearer = (await register(rig)).body["access_token"]
    taken = await rig.api("PATCH", "/me", {"username": "EVE"}, bearer=bearer)
    assert taken.code == "username_taken"
    for number in range(49):
        change = {"meta": {str(number): "x" * 100}}
        assert (await rig.api("PATCH", "/me", change, bearer=bearer)).status == 200
    large = await rig.api("PATCH", "/me", {"meta": {"more": "x" * 5000}}, bearer=bearer)
    assert large.status == 422 and list(large.body["errors"]) == ["meta"]


async def test_deleting_needs_a_fresh_proof_and_ends_everything(rig: Rig) -> None:
    told = (await register(rig)).body
    await rig.clock.move(901)
    bearer = (await rig.refresh(told["refresh_token"])).body["access_token"]
    stale = await rig.api("DELETE", "/me", bearer=bearer)
    assert (stale.status, stale.code) == (401, "insufficient_user_authentication")
    proof = await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer)
    assert (proof.status, proof.body["fresh_for"]) == (200, 900)
    assert (await rig.api("DELETE", "/me", bearer=bearer)).body == {"propagated": ALL_KNOW}
    assert not await rig.good(bearer)
    assert (await login(rig)).code == "invalid_credentials"
    assert ("revoked", "", told["user"]["user_id"]) in await news(rig)
    assert (await trail(rig))[-2:] == ["user.deleted", "login.failed"]
    await register(rig)  # the address is free again


# Passwords


async def test_reauth_tells_the_edges_and_a_wrong_password_proves_nothing(rig: Rig) -> None:
    told = (await register(rig)).body
    bearer = told["access_token"]
    await rig.clock.move(800)
    wrong = await rig.api("POST", "/reauth", {"password": "wrong password, and long"}, bearer=bearer)
    assert (wrong.status, wrong.code) == (401, "invalid_credentials")
    assert (await rig.session(told["session_id"])).proved_at == rig.clock.now - 800_000
    assert (await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer)).status == 200
    assert (await rig.session(told["session_id"])).proved_at == rig.clock.now
    assert await news(rig) == [("changed", told["session_id"], "")]


async def test_T28_a_new_password_ends_every_session_and_opens_one(rig: Rig) -> None:
    first = (await register(rig)).body
    second = (await login(rig)).body
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    answer = await rig.api("POST", "/password/change", body, bearer=second["access_token"])
    assert answer.status == 200 and answer.body["propagated"] == ALL_KNOW
    for old in (first, second):
        assert not await rig.good(old["access_token"])
        assert (await rig.refresh(old["refresh_token"])).code == "invalid_refresh_token"
    assert await rig.good(answer.body["access_token"])
    assert (await login(rig)).code == "invalid_credentials"
    assert (await login(rig, password="another long password")).status == 200
    assert await news(rig) == [("revoked", "", first["user"]["user_id"])]
    assert "password.changed" in await trail(rig)


async def test_a_session_in_a_cookie_goes_on_in_a_cookie(rig: Rig) -> None:
    await register(rig)
    body = {"username": "ada", "password": PASSWORD, "cookie": True}
    signed = await rig.api("POST", "/login", body, headers=SAME)
    change = {"current_password": PASSWORD, "new_password": "another long password"}
    old = cookie_of(signed.headers["Set-Cookie"])
    answer = await rig.api("POST", "/password/change", change, cookie=old, headers=SAME)
    assert answer.status == 200 and "access_token" not in answer.body
    new = cookie_of(answer.headers["Set-Cookie"])
    assert (await rig.api("GET", "/me", cookie=new)).status == 200
    assert (await rig.api("GET", "/me", cookie=old)).status == 401


async def test_a_password_change_wants_the_current_one_and_a_good_new_one(rig: Rig) -> None:
    bearer = (await register(rig)).body["access_token"]
    wrong = {"current_password": "wrong password, and long", "new_password": "another long password"}
    assert (await rig.api("POST", "/password/change", wrong, bearer=bearer)).code == "invalid_credentials"
    weak = {"current_password": PASSWORD, "new_password": "short"}
    answer = await rig.api("POST", "/password/change", weak, bearer=bearer)
    assert answer.status == 422 and list(answer.body["errors"]) == ["new_password"]
    assert await rig.good(bearer)


# The trail, and accounts made for somebody


async def test_events_are_ones_own_newest_first_page_by_page(rig: Rig) -> None:
    await register(rig, "eve")
    bearer = (await register(rig)).body["access_token"]
    await login(rig, password="wrong password, and long", address="198.51.100.9")
    first = (await rig.api("GET", "/events?limit=2", bearer=bearer)).body
    assert [each["event"] for each in first["events"]] == ["login.failed", "session.created"]
    assert first["events"][0]["address"] == "198.51.100.9"
    rest = (await rig.api("GET", f"/events?limit=2&before={first['next']}", bearer=bearer)).body
    assert [each["event"] for each in rest["events"]] == ["user.registered"] and rest["next"] is None
    assert (await rig.api("GET", "/events?limit=0", bearer=bearer)).status == 422


async def test_an_account_made_for_somebody_is_confirmed_and_has_its_roles(rig: Rig) -> None:
    made = await accounts.add_user(rig.context, "Root@Example.test", "root", PASSWORD, ["admin"])
    assert made.user.confirmed and made.rights.roles == ("admin", "user")
    assert (await login(rig, "root")).body["user"]["permissions"] == ["postern:admin"]
    assert (await accounts.find(rig.context, "ROOT@example.test")).user.user_id == made.user.user_id
    for email, name, password, roles, field in [
        ("no", "abc", PASSWORD, [], "email"), ("a@b.test", "-", PASSWORD, [], "username"),
        ("a@b.test", None, "short", [], "password"), ("a@b.test", None, PASSWORD, ["king"], "roles"),
    ]:  # fmt: skip
        with pytest.raises(Refused) as refused:
            await accounts.add_user(rig.context, email, name, password, roles)
        assert refused.value.errors and list(refused.value.errors) == [field]
    with pytest.raises(Refused) as refused:
        await accounts.add_user(rig.context, "root@example.test", None, PASSWORD)
    assert refused.value.fault.code == "email_taken"
