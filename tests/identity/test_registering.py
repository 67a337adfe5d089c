"""Registering: what is taken of what is sent, who may, and that nobody learns who has an account."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.config.service import Password
from gateway.model import credentials
from gateway.store import onetime
from tests.identity.house import PASSWORD, SAME, Work, house, login, register, told, trail
from tests.identity.rig import Rig, cookie_of


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
    async with house(database, password=Password(on=False)) as rig:
        assert (await register(rig, status=403)).code == "password_off"
        assert (await login(rig)).code == "password_off"


# Confirmation required: nobody learns who has an account


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
