"""Ways back in by mail: who proves an address, what it undoes, and that nobody learns who has an account."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.model import credentials
from tests.identity.house import NEW, PASSWORD, Work, house, login, register, told, trail
from tests.identity.postbox import Postbox
from tests.identity.rig import Rig

ADA, NOBODY = "ada@example.test", "nobody@example.test"


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with house(database) as made:
        yield made


@pytest.fixture
def box(rig: Rig) -> Postbox:
    return Postbox(rig)


async def confirmed(rig: Rig) -> tuple[bool, bool]:
    async with rig.context.store.reading() as db:
        user = await rig.accounts.by_identifier(db, ADA)
    assert user is not None
    return user.confirmed, user.email_proved_at is not None


async def test_who_registers_is_written_to_and_confirms(rig: Rig, box: Postbox) -> None:
    await register(rig)
    [letter] = await box.letters()
    assert (letter["name"], letter["to"], letter["user_name"]) == ("confirm", ADA, "ada")
    assert "Firefox on Linux, 203.0.113.7" in letter["values"]["place"]
    key = letter["values"]["link"].partition("?key=")[2]
    assert key.startswith("psc_") and letter["values"]["link"].startswith("/auth/confirm?key=")
    assert await confirmed(rig) == (False, False)
    answer = await rig.api("POST", "/confirm", {"key": key})
    assert answer.status == 200 and await confirmed(rig) == (True, True)
    assert (await login(rig)).body["user"]["confirmed"] is True
    again = await rig.api("POST", "/confirm", {"key": key})
    assert (again.status, again.code) == (400, "invalid_key")
    assert "user.confirmed" in await trail(rig)


async def test_a_confirmation_keeps_the_password_and_the_sessions(rig: Rig, box: Postbox) -> None:
    access = (await register(rig)).body["access_token"]
    await rig.api("POST", "/confirm", {"key": await box.key("confirm")})
    assert await rig.good(access) and (await login(rig)).status == 200


async def test_t29_of_twenty_who_use_a_key_one_succeeds(rig: Rig, box: Postbox) -> None:
    await register(rig)
    key = await box.key("confirm")
    answers = await asyncio.gather(*(rig.api("POST", "/confirm", {"key": key}) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [400] * 19
    await rig.api("POST", "/password/forgot", {"email": ADA})
    reset = await box.key("reset")
    body = {"key": reset, "new_password": NEW}
    answers = await asyncio.gather(*(rig.api("POST", "/password/reset", body) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [400] * 19


async def test_keys_are_good_for_their_time_only(rig: Rig, box: Postbox) -> None:
    await register(rig)
    key = await box.key("confirm")
    await rig.api("POST", "/password/forgot", {"email": ADA})
    reset = await box.key("reset")
    await rig.clock.move(3600)
    answer = await rig.api("POST", "/password/reset", {"key": reset, "new_password": NEW})
    assert answer.code == "invalid_key"
    await rig.clock.move(23 * 3600 - 1)
    assert (await rig.api("POST", "/confirm", {"key": key})).status == 200


async def test_a_letter_can_be_asked_for_again_until_it_is_confirmed(rig: Rig, box: Postbox) -> None:
    await register(rig)
    first = await box.key("confirm")
    for _ in range(2):
        assert (await rig.api("POST", "/confirm/resend", {"email": "ADA@example.test"})).status == 202
    second, third = [
        each["values"]["link"].partition("?key=")[2] for each in await box.letters("confirm", ADA)
    ]
    assert (await rig.api("POST", "/confirm", {"key": second})).status == 200
    await rig.api("POST", "/confirm/resend", {"email": ADA})
    assert await box.letters() == []
    assert len({first, second, third}) == 3


async def test_a_forgotten_password_is_chosen_anew_and_ends_everything(rig: Rig, box: Postbox) -> None:
    told = (await register(rig)).body
    await box.letters()
    assert (await rig.api("POST", "/password/forgot", {"email": ADA})).status == 202
    key = await box.key("reset", ADA)
    assert (await login(rig)).status == 200  # the old one is good until then
    short = await rig.api("POST", "/password/reset", {"key": key, "new_password": "short"})
    assert short.status == 422
    answer = await rig.api("POST", "/password/reset", {"key": key, "new_password": NEW})
    assert answer.status == 200 and "access_token" not in answer.body
    assert not await rig.good(told["access_token"])
    assert (await login(rig)).status == 401 and (await login(rig, password=NEW)).status == 200
    [letter] = await box.letters("password_changed")
    assert letter["to"] == ADA
    assert (await rig.api("POST", "/password/reset", {"key": key, "new_password": NEW})).code == "invalid_key"


async def test_t32_a_reset_proves_the_address_and_takes_what_was_there_before(rig: Rig, box: Postbox) -> None:
    """Somebody registered the victim's address; the victim comes by a reset."""
    theirs = (await register(rig)).body
    confirm = await box.key("confirm")
    await rig.api("POST", "/password/forgot", {"email": ADA})
    key = await box.key("reset")
    await rig.api("POST", "/password/reset", {"key": key, "new_password": NEW})
    assert await confirmed(rig) == (True, True)
    assert not await rig.good(theirs["access_token"])
    assert (await rig.refresh(theirs["refresh_token"])).status == 400
    assert (await rig.api("POST", "/confirm", {"key": confirm})).code == "invalid_key"
    assert "user.credentials_removed" in await trail(rig)
    assert (await login(rig, password=NEW)).status == 200


async def test_a_key_that_an_admin_made_proves_no_address(rig: Rig, box: Postbox) -> None:
    from gateway.identity import password_change
    from gateway.identity.actors import OPERATOR

    user = (await register(rig)).body["user"]
    key, _ = await password_change.make_reset(rig.context, user["user_id"], OPERATOR)
    assert (await rig.api("POST", "/password/reset", {"key": key, "new_password": NEW})).status == 200
    assert await confirmed(rig) == (False, False)


async def test_this_was_not_me_removes_an_account_that_nobody_confirmed(rig: Rig, box: Postbox) -> None:
    from gateway.identity import recovery
    from gateway.identity.web import Asker, Refused

    told = (await register(rig)).body
    [letter] = await box.letters("confirm")
    not_me = letter["values"]["not_me"].partition("?key=")[2]
    assert not_me.startswith("psd_")
    await recovery.not_me(rig.context, Asker("203.0.113.9"), not_me)
    assert not await rig.good(told["access_token"])
    assert (await login(rig)).status == 401
    key = letter["values"]["link"].partition("?key=")[2]
    assert (await rig.api("POST", "/confirm", {"key": key})).code == "invalid_key"

    await register(rig)  # the address is free again
    [letter] = await box.letters("confirm")
    not_me = letter["values"]["not_me"].partition("?key=")[2]
    await rig.api("POST", "/confirm", {"key": letter["values"]["link"].partition("?key=")[2]})
    with pytest.raises(Refused):
        await recovery.not_me(rig.context, Asker("203.0.113.9"), not_me)
    assert (await login(rig)).status == 200


async def test_a_forgotten_user_name_is_mailed(rig: Rig, box: Postbox) -> None:
    await register(rig)
    await box.letters()
    assert (await rig.api("POST", "/username/forgot", {"email": ADA})).status == 202
    [letter] = await box.letters("username", ADA)
    assert letter["values"]["username"] == "ada"


@pytest.mark.parametrize("path", ["/password/forgot", "/username/forgot", "/confirm/resend"])
async def test_t19_known_and_unknown_are_the_same_work_and_answer(rig: Rig, box: Postbox, path: str) -> None:
    await register(rig)
    await box.letters()
    work = Work(rig)
    known = await work.of(lambda: rig.api("POST", path, {"email": ADA}))
    unknown = await work.of(lambda: rig.api("POST", path, {"email": NOBODY}))
    none = await work.of(lambda: rig.api("POST", path, {"email": "no address"}))
    assert told(known[0]) == told(unknown[0]) == told(none[0]) and known[0].body == {}
    assert known[1:] == unknown[1:] == none[1:]
    assert [each["to"] for each in await box.letters()] == [ADA]


async def test_t19_registering_a_taken_address_is_the_same_work_and_its_owner_is_told(database: str) -> None:
    async with house(database, confirmation="required") as rig:
        box, work = Postbox(rig), Work(rig)
        free = await work.of(lambda: register(rig, status=202))
        [first] = await box.letters()
        taken = await work.of(lambda: register(rig, status=202))
        [second] = await box.letters()
        assert told(free[0]) == told(taken[0]) and free[1:] == taken[1:]
        assert (first["name"], second["name"]) == ("confirm", "taken")
        assert first["to"] == second["to"] == ADA
        assert (await login(rig)).status == 401
        key = first["values"]["link"].partition("?key=")[2]
        assert (await rig.api("POST", "/confirm", {"key": key})).status == 200
        assert (await login(rig)).status == 200


async def test_a_locked_user_gets_no_letter(rig: Rig, box: Postbox) -> None:
    user = (await register(rig)).body["user"]
    await box.letters()
    async with rig.context.store.writing() as db:
        await rig.accounts.lock(db, user["user_id"], "a test")
    for path in ("/password/forgot", "/username/forgot", "/confirm/resend"):
        assert (await rig.api("POST", path, {"email": ADA})).status == 202
    assert await box.letters() == []


async def test_an_account_is_not_flooded_with_letters(database: str) -> None:
    from tests.identity.rig import MANY

    limits = dict.fromkeys(("login", "register", "refresh", "mail"), MANY) | {"mail_account": (2, 3600)}
    async with house(database, limits=limits) as rig:
        await register(rig)
        for email in (ADA, NOBODY):
            answers = [await rig.api("POST", "/password/forgot", {"email": email}) for _ in range(3)]
            assert [each.status for each in answers] == [202, 202, 429]
            assert int(answers[2].headers["Retry-After"]) > 0
        other = await rig.api("POST", "/password/forgot", {"email": ADA}, address="198.51.100.1")
        assert other.status == 202  # the owner, from elsewhere, is not kept out by who asks too often


async def test_t34_a_forged_host_is_in_no_letter_and_a_twin_gets_none(rig: Rig, box: Postbox) -> None:
    await register(rig)
    await box.letters()
    forged = {"X-Forwarded-Host": "evil.example", "Host": "evil.example"}
    await rig.api("POST", "/password/forgot", {"email": ADA}, headers=forged)
    [letter] = await box.letters()
    assert "evil" not in str(letter)
    for twin in (
        "ad\u0430@example.test",
        "ada@ex\u0430mple.test",
        "\u00e0da@example.test",
    ):  # Cyrillic a; a with grave
        await rig.api("POST", "/password/forgot", {"email": twin})
    assert await box.letters() == []
    await rig.api(
        "POST", "/password/forgot", {"email": "\uff21da@example.test"}
    )  # full-width A: the plain letter
    assert [each["to"] for each in await box.letters()] == [ADA]


@pytest.mark.parametrize(
    "kind", [credentials.RESET, credentials.NOT_ME, credentials.INVITE, credentials.MAGIC]
)
async def test_t30_a_key_of_another_purpose_confirms_nothing(rig: Rig, kind: str) -> None:
    from gateway.store import onetime

    user = (await register(rig)).body["user"]
    key = credentials.new(kind)
    async with rig.context.store.writing() as db:
        await onetime.insert(db, credentials.stored(key), kind, db.now + 1000_000, user["user_id"])
    assert (await rig.api("POST", "/confirm", {"key": key})).code == "invalid_key"


async def test_changing_the_password_is_told_to_its_owner(rig: Rig, box: Postbox) -> None:
    told = (await register(rig)).body
    await box.letters()
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert (await rig.api("POST", "/password/change", body, bearer=told["access_token"])).status == 200
    [letter] = await box.letters("password_changed")
    assert letter["to"] == ADA and "203.0.113.7" in letter["values"]["place"]
