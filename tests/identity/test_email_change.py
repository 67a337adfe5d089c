"""Another address: it proves itself, the old one can take the account back, and nobody gets in between."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.config.service import Password
from gateway.identity import email_change, purge
from gateway.identity.web import Asker, Refused
from gateway.model import credentials
from gateway.store import former_addresses, onetime
from tests.identity.house import (
    ALL_KNOW,
    NEW,
    PASSWORD,
    SAME,
    Work,
    house,
    login,
    news,
    register,
    told,
    trail,
)
from tests.identity.postbox import Postbox
from tests.identity.rig import Answer, Rig, cookie_of

ADA, NEXT, THIRD = "ada@example.test", "ada@next.test", "ada@third.test"
FORGED = {"X-Forwarded-Host": "evil.example", "Host": "evil.example"}
DAY = 86400


class Ada:
    """Who has an account, and its letters."""

    def __init__(self, rig: Rig, box: Postbox, told: Answer) -> None:
        self.rig, self.box = rig, box
        self.id: str = told.body["user"]["user_id"]
        self.bearer: str = told.body["access_token"]
        self.refresh: str = told.body["refresh_token"]

    async def begin(self, email: str = NEXT, bearer: str = "") -> str:
        """The key that the new address gets."""
        answer = await self.rig.api("POST", "/email/change", {"email": email}, bearer=bearer or self.bearer)
        assert (answer.status, answer.body) == (202, {})
        return await self.box.key("email_new", email)

    async def change(self, email: str = NEXT, old: str = ADA) -> str:
        """Done; the key with which the old address can undo it."""
        answer = await self.confirm(await self.begin(email))
        assert answer.status == 200 and answer.body["propagated"] == ALL_KNOW
        await self.renew()
        return await self.box.key("email_old", old, "undo")

    async def confirm(self, key: str, bearer: str = "") -> Answer:
        return await self.rig.api("POST", "/email/change/confirm", {"key": key}, bearer=bearer or self.bearer)

    async def renew(self) -> None:
        told = await self.rig.refresh(self.refresh)
        assert told.status == 200
        self.bearer, self.refresh = told.body["access_token"], told.body["refresh_token"]

    async def address(self) -> tuple[str, bool, bool]:
        async with self.rig.context.store.reading() as db:
            user = await self.rig.accounts.by_id(db, self.id)
        assert user is not None and user.email == user.email_key
        return user.email, user.confirmed, user.email_proved_at is not None


@pytest.fixture
async def ada(rig: Rig) -> AsyncIterator[Ada]:
    box = Postbox(rig)
    made = Ada(rig, box, await register(rig))
    await box.letters()
    yield made


async def undo(rig: Rig, key: str, **how: str) -> Answer:
    return await rig.api("POST", "/email/change/undo", {"key": key}, **how)


def refused(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "invalid_key")


async def test_the_new_address_proves_itself_and_the_old_one_is_told(rig: Rig, ada: Ada) -> None:
    begun = await rig.api(
        "POST", "/email/change", {"email": "Ada@Next.test"}, bearer=ada.bearer, headers=FORGED
    )
    assert (begun.status, begun.body) == (202, {})
    [letter] = await ada.box.letters()
    assert (letter["name"], letter["to"], letter["user_name"]) == ("email_new", "Ada@next.test", "ada")
    assert letter["values"]["link"].startswith("/auth/email?key=psn_") and "evil" not in str(letter)
    assert await ada.address() == (ADA, False, False)  # nothing yet
    assert (await login(rig, ADA)).status == 200
    answer = await ada.confirm(letter["values"]["link"].partition("?key=")[2])
    assert (answer.status, answer.body) == (200, {"propagated": ALL_KNOW})
    async with rig.context.store.reading() as db:
        user = await rig.accounts.by_id(db, ada.id)
    assert user and (user.email, user.email_key) == ("Ada@next.test", NEXT)
    assert user.confirmed and user.email_proved_at == rig.clock.now
    [told] = await ada.box.letters()
    assert (told["name"], told["to"]) == ("email_old", ADA)
    assert told["values"]["new"] == "A…@next.test" and told["values"]["undo"].startswith(
        "/auth/undo?key=psu_"
    )
    assert "203.0.113.7" in told["values"]["place"]
    assert (await login(rig, ADA)).status == 401
    assert (await login(rig, NEXT)).status == (await login(rig, "ada")).status == 200
    assert (await news(rig))[-1] == ("changed", "", ada.id)
    assert [each for each in await trail(rig) if "email" in each] == [
        "user.email_asked",
        "user.email_changed",
    ]


async def test_access_tokens_die_and_one_refresh_gives_new_ones(rig: Rig, ada: Ada) -> None:
    by_cookie = {"username": "ada", "password": PASSWORD, "cookie": True}
    cookie = cookie_of((await rig.api("POST", "/login", by_cookie, headers=SAME)).headers["Set-Cookie"])
    other = (await login(rig)).body
    lost = (await rig.refresh(other["refresh_token"])).body  # whose owner never gets it
    await ada.confirm(await ada.begin())
    for access in (ada.bearer, lost["access_token"]):
        assert not await rig.good(access)
    await ada.renew()
    assert await rig.good(ada.bearer)
    # asked for again, it is the very same (rule 3); the next refresh brings what works, and nobody is out
    again = (await rig.refresh(other["refresh_token"])).body
    assert again["refresh_token"] == lost["refresh_token"]
    assert await rig.good((await rig.refresh(again["refresh_token"])).body["access_token"])
    assert (await rig.api("GET", "/me", cookie=cookie)).body["email"] == NEXT


async def test_only_a_fresh_caller_may_and_only_with_a_key_of_his_own(rig: Rig, ada: Ada) -> None:
    key = await ada.begin()
    eve = Ada(rig, ada.box, await register(rig, "eve"))
    assert refused(await eve.confirm(key))
    with pytest.raises(Refused):
        await email_change.finish(rig.context, Asker("203.0.113.7"), "psn_nothing")
    assert (await rig.api("POST", "/email/change/confirm", {"key": key})).status == 401
    await rig.clock.move(901)
    await ada.renew()
    stale = await rig.api("POST", "/email/change", {"email": THIRD}, bearer=ada.bearer)
    assert (stale.status, stale.code) == (401, "insufficient_user_authentication")
    assert (await ada.confirm(key)).code == "insufficient_user_authentication"
    await email_change.finish(rig.context, Asker("203.0.113.7"), key)  # as the page does
    assert (await ada.address())[0] == NEXT


async def test_what_can_be_no_address_of_the_account_is_told(database: str) -> None:
    async with house(database, email_domains=("example.test",)) as rig:
        bearer = (await register(rig)).body["access_token"]
        for email in (ADA, "ADA@example.test", "no address", "ada@elsewhere.test"):
            answer = await rig.api("POST", "/email/change", {"email": email}, bearer=bearer)
            assert (answer.status, list(answer.body["errors"])) == (422, ["email"]), email


async def test_a_key_works_once_for_a_day_and_the_newest_only(rig: Rig, ada: Ada) -> None:
    first, second = await ada.begin(), await ada.begin(THIRD)
    assert refused(await ada.confirm(first))
    answers = await asyncio.gather(
        *(_finish(rig, second) for _ in range(20))  # T29
    )
    assert sorted(answers) == [False] * 19 + [True]
    await ada.renew()
    third = await ada.begin(NEXT)
    await rig.clock.move(DAY)
    assert not await _finish(rig, third)
    assert (await ada.address())[0] == THIRD


async def _finish(rig: Rig, key: str) -> bool:
    try:
        await email_change.finish(rig.context, Asker("203.0.113.7"), key)
    except Refused:
        return False
    return True


async def test_t19_an_address_that_is_taken_is_the_same_work_and_answer(rig: Rig, ada: Ada) -> None:
    await register(rig, "eve")
    eves = Ada(rig, ada.box, await register(rig, "mallory"))
    await ada.box.letters()
    await eves.confirm(await eves.begin("m@next.test"))
    await rig.api("GET", "/me", bearer=ada.bearer)  # seen for the first time, which is kept
    await ada.box.letters()
    work = Work(rig)

    async def asked(email: str) -> tuple[Answer, int, int]:
        return await work.of(lambda: rig.api("POST", "/email/change", {"email": email}, bearer=ada.bearer))

    free, taken = await asked(NEXT), await asked("eve@example.test")
    reserved = await asked("mallory@example.test")
    assert told(free[0]) == told(taken[0]) == told(reserved[0])
    assert free[1:] == taken[1:] == reserved[1:]
    letters = await ada.box.letters()
    assert [(each["name"], each["to"]) for each in letters] == [
        ("email_new", NEXT), ("taken", "eve@example.test"),
    ]  # fmt: skip


async def test_an_address_taken_meanwhile_is_not_given(rig: Rig, ada: Ada) -> None:
    key = await ada.begin()
    other = {"email": NEXT, "password": PASSWORD, "username": "other"}
    assert (await rig.api("POST", "/register", other)).status == 201
    assert refused(await ada.confirm(key))
    assert await ada.address() == (ADA, False, False)


async def test_keys_that_were_mailed_to_the_old_address_prove_nothing_any_more(rig: Rig, ada: Ada) -> None:
    await rig.api("POST", "/confirm/resend", {"email": ADA})
    await rig.api("POST", "/password/forgot", {"email": ADA})
    letters = {each["name"]: each["values"]["link"] for each in await ada.box.letters()}
    keys = {name: link.partition("?key=")[2] for name, link in letters.items()}
    await ada.change()
    assert refused(await rig.api("POST", "/confirm", {"key": keys["confirm"]}))
    assert refused(await rig.api("POST", "/password/reset", {"key": keys["reset"], "new_password": NEW}))
    assert (await login(rig)).status == 200


async def test_another_password_or_a_reset_ends_a_change_that_was_begun(rig: Rig, ada: Ada) -> None:
    key = await ada.begin()
    body = {"current_password": PASSWORD, "new_password": NEW}
    changed = await rig.api("POST", "/password/change", body, bearer=ada.bearer)
    assert not await _finish(rig, key)
    key = await ada.begin(bearer=changed.body["access_token"])
    await rig.api("POST", "/password/forgot", {"email": ADA})
    reset = {"key": await ada.box.key("reset"), "new_password": PASSWORD}
    assert (await rig.api("POST", "/password/reset", reset)).status == 200
    assert not await _finish(rig, key)


# Undoing


async def test_the_old_address_takes_the_account_back_from_whoever_changed_it(rig: Rig, ada: Ada) -> None:
    """Somebody got into a session: an address and a password of theirs, a reset of it, sessions, a change in
    the air; the owner has nothing but the mail."""
    key = await ada.change()
    await rig.api("POST", "/password/forgot", {"email": NEXT})
    theirs = {"key": await ada.box.key("reset", NEXT), "new_password": NEW}
    assert (await rig.api("POST", "/password/reset", theirs)).status == 200  # which drops the user's keys
    thief = (await login(rig, NEXT, NEW)).body
    begun = await ada.begin(THIRD, bearer=thief["access_token"])
    await rig.api("POST", "/password/forgot", {"email": NEXT})
    reset = await ada.box.key("reset", NEXT)

    answer = await undo(rig, key)
    assert (answer.status, answer.body) == (200, {"propagated": ALL_KNOW})
    assert await ada.address() == (ADA, True, True)
    assert ("revoked", "", ada.id) in await news(rig)
    assert not await rig.good(thief["access_token"])
    assert refused(await rig.api("POST", "/password/reset", {"key": reset, "new_password": NEW}))
    assert (await rig.refresh(thief["refresh_token"])).status == 400
    assert not await _finish(rig, begun)
    for password in (PASSWORD, NEW):
        assert (await login(rig, password=password)).status == 401
    letters = {each["name"]: each for each in await ada.box.letters()}
    assert (letters["email_old"]["to"], letters["email_old"]["values"]["undo"]) == (NEXT, "")
    assert letters["reset"]["to"] == ADA
    own = {"key": letters["reset"]["values"]["link"].partition("?key=")[2], "new_password": "a new beginning"}
    assert (await rig.api("POST", "/password/reset", own)).status == 200
    assert (await login(rig, password="a new beginning")).status == 200
    assert refused(await undo(rig, key))
    assert "user.email_undone" in await trail(rig)
    await register(rig, "next", email=NEXT)  # nobody's any more


async def test_undoing_works_once_and_for_seven_days(rig: Rig, ada: Ada) -> None:
    key = await ada.change()
    await rig.clock.move(7 * DAY - 1)
    answers = await asyncio.gather(*(undo(rig, key) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [400] * 19
    later = Ada(rig, ada.box, await register(rig, "eve"))
    await ada.box.letters()
    key = await later.change("eve@next.test", "eve@example.test")
    await rig.clock.move(7 * DAY)
    assert refused(await undo(rig, key))
    assert (await later.address())[0] == "eve@next.test"


async def test_of_several_changes_the_oldest_undo_wins(rig: Rig, ada: Ada) -> None:
    first = await ada.change()
    second = await ada.change(THIRD, NEXT)
    third = await ada.change("ada@fourth.test", THIRD)
    assert (await undo(rig, second)).status == 200
    assert (await ada.address())[0] == NEXT
    assert refused(await undo(rig, third)) and refused(await undo(rig, second))
    assert (await undo(rig, first)).status == 200
    assert (await ada.address())[0] == ADA
    async with rig.context.store.reading() as db:
        for email in (ADA, NEXT, THIRD):
            assert await former_addresses.by_key(db, email) is None


async def test_who_goes_back_needs_not_fear_the_address_in_between(rig: Rig, ada: Ada) -> None:
    """The thief's own address gets no key: else he could take the account back from its owner."""
    first = await ada.change()
    await ada.confirm(await ada.begin(ADA))
    [told] = await ada.box.letters("email_old", NEXT)
    assert told["values"]["undo"] == "" and refused(await undo(rig, first))
    await ada.renew()
    assert await ada.address() == (ADA, True, True)
    await register(rig, "next", email=NEXT)


async def test_nobody_else_gets_an_address_that_can_be_taken_back(rig: Rig, ada: Ada) -> None:
    eve = Ada(rig, ada.box, await register(rig, "eve"))
    await ada.box.letters()
    await ada.change()
    taken = await register(rig, "other", 409, email="ADA@example.test")
    assert taken.code == "email_taken"
    await rig.api("POST", "/email/change", {"email": ADA}, bearer=eve.bearer)
    assert await ada.box.letters() == []
    # also when the key had been mailed before it was reserved, as to one who had it in between
    async with rig.context.store.writing() as db:
        data = '{"email": "ada@example.test", "email_key": "ada@example.test"}'
        await onetime.insert(db, credentials.stored("x"), "psn_", 2**53, eve.id, data)
    assert not await _finish(rig, "x")
    await rig.clock.move(7 * DAY)
    await register(rig, "other", email=ADA)


async def test_who_registers_it_at_the_moment_of_the_change_waits_and_is_refused(rig: Rig, ada: Ada) -> None:
    async with rig.context.store.writing() as db:
        user = await rig.accounts.locked(db, ada.id)
        assert user is not None
        await rig.accounts.save(db, msgspec.structs.replace(user, email=NEXT, email_key=NEXT))
        other = asyncio.create_task(register(rig, "other", 409, email=ADA))
        await asyncio.wait([other], timeout=0.5)
        assert not other.done()
        await former_addresses.insert(db, b"hash", ada.id, ADA, ADA, 2**53)
    assert (await other).code == "email_taken"


async def test_t19_registering_an_address_that_is_kept_is_the_same_work(database: str) -> None:
    async with house(database, confirmation="required") as rig:
        box, work = Postbox(rig), Work(rig)
        free = await work.of(lambda: register(rig, status=202))
        await rig.api("POST", "/confirm", {"key": await box.key("confirm")})
        ada = Ada(rig, box, await login(rig))
        await ada.change()
        kept = await work.of(lambda: register(rig, status=202))
        taken = await work.of(lambda: register(rig, status=202, email=NEXT))
        assert told(free[0]) == told(kept[0]) == told(taken[0])
        assert free[1:] == kept[1:] == taken[1:]
        assert [(each["name"], each["to"]) for each in await box.letters()] == [("taken", NEXT)]


async def test_what_nobody_can_take_back_any_more_is_purged(rig: Rig, ada: Ada) -> None:
    key = await ada.change()
    await rig.clock.move(7 * DAY - 1)
    assert (await purge.purge(rig.context)).addresses == 0
    await rig.clock.move(1)
    assert (await purge.purge(rig.context)).addresses == 1
    assert refused(await undo(rig, key))


async def test_an_account_with_no_password_is_only_given_back(database: str) -> None:
    async with house(database) as rig:
        ada = Ada(rig, Postbox(rig), await register(rig))
        await ada.box.letters()
        key = await ada.change()
        rig.context.settings = msgspec.structs.replace(rig.context.settings, password=Password(on=False))
        assert (await undo(rig, key)).status == 200
        assert [each["name"] for each in await ada.box.letters()] == ["email_old"]
