"""Signing in: by every name; refusals that look and cost the same (T19); new hashes, limits, cookies."""

import asyncio
import os
import re

import msgspec
import pytest

from gateway.config.service import Password
from gateway.identity import accounts, sessions
from gateway.identity.actors import OPERATOR
from gateway.identity.limits import Limits
from gateway.identity.passwords import Passwords
from gateway.link import frames
from gateway.link.server import Hello
from gateway.model.credentials import new_id
from gateway.store.limiters import Limiters
from tests.identity.house import PASSWORD, SAME, WRONG, Work, login, register, told
from tests.identity.rig import Rig
from tests.identity.test_passwords import Held


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
    await register(rig)
    await register(rig, "eve")
    bob = (await register(rig, "bob")).body["user"]["user_id"]
    await accounts.lock(rig.context, bob, "test", OPERATOR)
    for _ in range(5):
        await login(rig, "eve", WRONG)
    work = Work(rig)
    found = [
        await work.of(lambda: login(rig, "ada", WRONG)),
        await work.of(lambda: login(rig, "nobody", WRONG)),
        await work.of(lambda: login(rig, "nobody@example.test", WRONG)),
        await work.of(lambda: login(rig, "no@address@", WRONG)),
        await work.of(lambda: login(rig, "bob", PASSWORD)),
        await work.of(lambda: login(rig, "eve", PASSWORD)),
    ]
    assert {each[0].code for each in found} == {"invalid_credentials"}
    assert all(told(each[0]) == told(found[0][0]) for each in found)
    assert {each[1:] for each in found} == {found[0][1:]} and found[0][1] == 1


async def test_a_sign_in_answers_when_every_edge_knows_whom_it_crowded_out(rig: Rig) -> None:
    opened = (await register(rig)).body
    kept = await rig.session(opened["session_id"])
    async with rig.context.store.writing() as db:
        for _ in range(sessions.MOST - 1):
            await rig.rows.insert(db, msgspec.structs.replace(kept, session_id=new_id(), last_seen_at=1))
    told: list[frames.Message] = []

    def push(message: frames.Message) -> None:
        told.append(message)
        asyncio.get_running_loop().call_soon(lambda: edge.acknowledge(message["n"]))

    propagation = rig.context.propagation
    edge = propagation.join(Hello([1], "worker-1", os.getpid()), os.getpid(), push, lambda: None)
    assert (await login(rig)).status == 200
    (message,) = told
    assert message["kind"] == "revoked" and (await rig.session(message["session"])).ended_why == "crowded"
    assert [each.lag for each in propagation.edges()] == [0.0]


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
    held = Held()
    rig.context.passwords = Passwords(rig.context.settings, cores=1, waiting=1, others=[held])
    slow = [asyncio.create_task(rig.context.passwords.verify("x", "held")) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(10):
        answer = await login(rig)
        assert (answer.status, answer.code) == (503, "sign_in_busy")
        assert int(answer.headers["Retry-After"]) > 0
    held.go.set()
    await asyncio.gather(*slow)
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
    for password in (PASSWORD, WRONG):
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
