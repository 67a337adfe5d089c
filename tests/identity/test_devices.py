"""Known browsers: their cookie, what it is good for while an account is guessed at, and mail of new ones."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.config.service import Cookie, Mail
from gateway.identity import accounts, devices, purge
from gateway.identity.actors import OPERATOR
from gateway.identity.lockout import FROM_EVERYWHERE, account
from gateway.model import credentials
from gateway.store import onetime
from tests.identity.house import NEW, PASSWORD, SAME, WRONG, Work, house, login, register, told, trail
from tests.identity.postbox import Postbox
from tests.identity.rig import ADDRESS, CURL, FIREFOX, MANY, Answer, Rig, cookie_of

ADA = "ada@example.test"
ELSEWHERE = "198.51.100.1"
NAME = "__Host-postern-device"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"


@pytest.fixture
def box(rig: Rig) -> Postbox:
    return Postbox(rig)


@pytest.fixture
async def ada(rig: Rig, box: Postbox) -> AsyncIterator[str]:
    """Her id."""
    told = (await register(rig)).body
    await box.letters()
    yield told["user"]["user_id"]


def lines(answer: Answer) -> list[str]:
    return [str(line) for line in answer.headers.getall("Set-Cookie", [])]


def device_of(answer: Answer) -> str:
    """The cookie that it sets."""
    [line] = [line for line in lines(answer) if line.startswith(f"{NAME}=")]
    return cookie_of(line)


def having(*cookies: str) -> dict[str, str]:
    return SAME | {"Cookie": "; ".join(f"{NAME}={each}" for each in cookies)}


async def sign_in(
    rig: Rig, device: Sequence[str] = (), password: str = PASSWORD, name: str = "ada", **how: str
) -> Answer:
    """By a browser."""
    body = {"username": name, "password": password, "cookie": True}
    return await rig.api("POST", "/login", body, headers=having(*device), **how)


async def guessed_at(rig: Rig, key: str = ADA, failures: int = FROM_EVERYWHERE) -> None:
    """As after so many wrong passwords from everywhere."""
    for _ in range(failures):
        await rig.context.limits.lockout._counter.incr(f"failures {account(key)}", 86400)


async def test_a_full_sign_in_by_cookie_makes_a_browser_known(rig: Rig, ada: str) -> None:
    answer = await sign_in(rig)
    session, device = lines(answer)
    assert session.startswith("__Host-postern=pss_")
    assert device.startswith(f"{NAME}=psv_")
    assert device.endswith("; Max-Age=31536000; Path=/; HttpOnly; Secure; SameSite=Lax")
    assert lines(await login(rig)) == []  # a program keeps none
    body = {"email": "eve@example.test", "password": PASSWORD, "cookie": True}
    registered = await rig.api("POST", "/register", body, headers=SAME)
    assert device_of(registered).startswith("psv_")
    again = await sign_in(rig, [device_of(answer)])
    assert device_of(again) != device_of(answer)  # nobody can have planted it


async def test_on_plain_http_and_for_subdomains_it_is_of_this_host_alone(database: str) -> None:
    for cookie, wanted in (
        (Cookie(name="postern", secure=False), "postern-device="),
        (Cookie(name="__Secure-postern", domain="example.com"), f"{NAME}="),
    ):
        async with house(database, cookie=cookie) as rig:
            body = {"email": f"{cookie.name}@example.test", "password": PASSWORD, "cookie": True}
            session, device = lines(await rig.api("POST", "/register", body, headers=SAME))
            assert device.startswith(wanted) and "Domain" not in device
            assert ("Domain" in session) is bool(cookie.domain) and ("Secure" in device) is cookie.secure


async def test_while_an_account_is_guessed_at_only_known_browsers_get_in(rig: Rig, ada: str) -> None:
    device = device_of(await sign_in(rig))
    other = device_of(await _register_by_cookie(rig, "eve"))
    await guessed_at(rig)
    for stranger in ([], [other], [device, other], [device[:-1]], ["psv_x"], [credentials.new("psv_")]):
        refused = await sign_in(rig, stranger)
        assert (refused.status, refused.code) == (401, "invalid_credentials"), stranger
        assert lines(refused) == []
    assert (await sign_in(rig, [device], address=ELSEWHERE)).status == 200
    assert (await sign_in(rig, [], name="eve", address="203.0.114.1")).status == 200


async def _register_by_cookie(rig: Rig, name: str) -> Answer:
    body = {"email": f"{name}@example.test", "password": PASSWORD, "username": name, "cookie": True}
    return await rig.api("POST", "/register", body, headers=SAME)


async def test_one_browser_may_be_known_to_several(rig: Rig, ada: str) -> None:
    device = device_of(await sign_in(rig))
    await register(rig, "eve")
    device = device_of(await sign_in(rig, [device], name="eve"))
    await guessed_at(rig)
    await guessed_at(rig, "eve@example.test")
    device = device_of(await sign_in(rig, [device]))
    assert (await sign_in(rig, [device], name="eve")).status == 200


async def test_a_cookie_is_void_after_ten_failures_with_it(rig: Rig, ada: str) -> None:
    device = device_of(await sign_in(rig))
    for _ in range(2):
        for number in range(9):
            assert (await sign_in(rig, [device], WRONG, address=f"10.0.{number}.1")).status == 401
        device = device_of(await sign_in(rig, [device]))  # which takes them back
    for number in range(10):
        await sign_in(rig, [device], WRONG, address=f"10.1.{number}.1")
    await guessed_at(rig)
    assert (await sign_in(rig, [device], address=ELSEWHERE)).status == 401


async def test_of_guesses_side_by_side_ten_are_heard(rig: Rig, ada: str) -> None:
    device = device_of(await sign_in(rig))
    await guessed_at(rig)
    heard = []
    compared = rig.context.limits.lockout.waits

    async def waits(tried: object) -> bool:
        refused = await compared(tried)  # type: ignore[arg-type]
        heard.append(refused)
        return refused

    rig.context.limits.lockout.waits = waits  # type: ignore[method-assign]
    await asyncio.gather(*(sign_in(rig, [device], WRONG, address=f"10.2.{n}.1") for n in range(20)))
    assert heard.count(False) == 20  # each that is heard looks twice


async def test_a_password_of_its_own_or_a_reset_forgets_every_browser(
    rig: Rig, ada: str, box: Postbox
) -> None:
    other, own = await sign_in(rig), await sign_in(rig)
    body = {"current_password": PASSWORD, "new_password": NEW}
    session = cookie_of(own.headers["Set-Cookie"])
    both = having(device_of(own)) | {"Cookie": f"{NAME}={device_of(own)}; __Host-postern={session}"}
    changed = await rig.api("POST", "/password/change", body, headers=both)
    assert changed.status == 200
    await guessed_at(rig)
    assert (await sign_in(rig, [device_of(other)], NEW)).status == 401
    assert (await sign_in(rig, [device_of(own)], NEW)).status == 401
    device = device_of(await sign_in(rig, [device_of(changed)], NEW))
    await rig.api("POST", "/password/forgot", {"email": ADA})
    reset = {"key": await box.key("reset"), "new_password": PASSWORD}
    assert (await rig.api("POST", "/password/reset", reset)).status == 200
    assert (await sign_in(rig, [device])).status == 401


# The mailed link


async def fails(rig: Rig, password: str = WRONG, name: str = "ada", address: str = ELSEWHERE) -> None:
    assert (await login(rig, name, password, address=address)).code == "invalid_credentials"


async def test_the_hundredth_failure_mails_a_link_that_lets_a_browser_in(
    rig: Rig, ada: str, box: Postbox
) -> None:
    await guessed_at(rig, failures=FROM_EVERYWHERE - 2)
    await fails(rig)
    assert await box.letters() == []
    await fails(rig)
    [letter] = await box.letters()
    assert (letter["name"], letter["to"]) == ("unlock", ADA)
    assert letter["values"]["link"].startswith("/auth/unlock?key=psl_")
    await fails(rig, PASSWORD, address=ADDRESS)
    key = letter["values"]["link"].partition("?key=")[2]
    unlocked = await rig.api("POST", "/unlock", {"key": key}, address=ADDRESS, headers=SAME)
    assert (unlocked.status, unlocked.body) == (200, {})
    [line] = lines(unlocked)
    assert line.startswith(f"{NAME}=psv_")
    # the link alone opens nothing; with it the password does, from anywhere
    assert (await sign_in(rig, [cookie_of(line)], WRONG, address="192.0.2.9")).status == 401
    assert (await sign_in(rig, [cookie_of(line)], address="192.0.2.9")).status == 200
    # programs that keep no cookie: from the network where the link was opened
    assert (await login(rig, address=ADDRESS)).status == 200
    await fails(rig, PASSWORD, address="192.0.2.9")
    again = await rig.api("POST", "/unlock", {"key": key})
    assert (again.status, again.code) == (400, "invalid_key")
    assert "user.let_in" in await trail(rig)


async def test_t29_of_twenty_who_use_a_link_one_succeeds(rig: Rig, ada: str, box: Postbox) -> None:
    await guessed_at(rig)
    await fails(rig, PASSWORD)
    key = await box.key("unlock")
    answers = await asyncio.gather(*(rig.api("POST", "/unlock", {"key": key}) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [400] * 19


async def test_another_link_comes_when_the_right_password_is_tried(rig: Rig, ada: str, box: Postbox) -> None:
    await guessed_at(rig)
    await fails(rig)
    assert await box.letters() == []
    await fails(rig, PASSWORD)
    [letter] = await box.letters()
    assert (letter["name"], letter["to"]) == ("unlock", ADA)
    await accounts.unlock(rig.context, ada, OPERATOR)
    assert (await login(rig, address="192.0.2.9")).status == 200


async def test_letters_to_unlock_are_limited_apart_from_those_that_are_asked_for(database: str) -> None:
    limits = dict.fromkeys(("login", "register", "refresh", "mail"), MANY) | {"mail_account": (2, 3600)}
    async with house(database, limits=limits, max_login_attempts=1000) as rig:
        box = Postbox(rig)
        await register(rig)
        await box.letters()
        await guessed_at(rig)
        for _ in range(4):
            await fails(rig, PASSWORD)
        assert len(await box.letters("unlock", ADA)) == 2
        await fails(rig, PASSWORD, address="192.0.2.9")
        assert len(await box.letters("unlock", ADA)) == 1
        for _ in range(2):  # what is left of it would tell that the password was right
            answer = await rig.api("POST", "/password/forgot", {"email": ADA}, address=ELSEWHERE)
            assert answer.status == 202


async def test_t19_right_wrong_and_unknown_are_the_same_work_while_guessed_at(rig: Rig, ada: str) -> None:
    await register(rig, "bob")
    work = Work(rig)
    for failures in (0, FROM_EVERYWHERE - 1, FROM_EVERYWHERE):
        found = []
        for number, (name, password) in enumerate((("ada", WRONG), ("nobody", WRONG), ("bob", PASSWORD))):
            key = name if name == "nobody" else f"{name}@example.test"
            await rig.context.limits.lockout.forget(key)
            await guessed_at(rig, key, failures)
            if name == "bob" and failures < FROM_EVERYWHERE:
                password = WRONG
            address = f"10.{failures}.{number}.1"
            found.append(await work.of(lambda n=name, p=password, a=address: login(rig, n, p, address=a)))  # type: ignore[misc]
        assert {each[0].code for each in found} == {"invalid_credentials"}
        assert all(told(each[0]) == told(found[0][0]) for each in found)
        assert {each[1:] for each in found} == {found[0][1:]} and found[0][1] == 1, failures


async def test_t19_a_known_browser_of_another_is_the_same_work_for_known_and_unknown(
    rig: Rig, ada: str
) -> None:
    eves = device_of(await _register_by_cookie(rig, "eve"))
    work = Work(rig)
    known = await work.of(lambda: sign_in(rig, [eves], WRONG))
    unknown = await work.of(lambda: sign_in(rig, [eves], WRONG, "nobody"))
    assert told(known[0]) == told(unknown[0]) and known[1:] == unknown[1:]


@pytest.mark.parametrize("kind", credentials.KINDS)
async def test_t30_no_other_key_unlocks(rig: Rig, ada: str, kind: str) -> None:
    key = credentials.new(kind)
    if kind == credentials.UNLOCK:
        kind = credentials.RESET
    async with rig.context.store.writing() as db:
        await onetime.insert(db, credentials.stored(key), kind, 2**53, ada)
    answer = await rig.api("POST", "/unlock", {"key": key})
    assert (answer.status, answer.code) == (400, "invalid_key")


async def test_another_sites_page_gets_no_cookie_by_a_link(rig: Rig) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = await rig.api("POST", "/unlock", {"key": "psl_x"}, headers=headers)
    assert (answer.status, answer.code) == (403, "origin_refused")


async def test_who_is_signed_in_proves_it_from_where_he_is_or_by_a_known_browser(rig: Rig, ada: str) -> None:
    answer = await sign_in(rig)
    session = cookie_of(answer.headers["Set-Cookie"])
    await guessed_at(rig)
    body = {"password": PASSWORD}

    async def reauth(address: str, cookies: str) -> int:
        headers = SAME | {"Cookie": cookies}
        return (await rig.api("POST", "/reauth", body, address=address, headers=headers)).status

    alone, both = f"__Host-postern={session}", f"__Host-postern={session}; {NAME}={device_of(answer)}"
    assert await reauth(ADDRESS, alone) == 200
    assert await reauth(ELSEWHERE, alone) == 401
    for _ in range(12):  # none of them is counted as a failure
        assert await reauth(ELSEWHERE, both) == 200


# New devices


async def signs_in(rig: Rig, address: str = ADDRESS, agent: str = FIREFOX) -> None:
    assert (await login(rig, address=address, agent=agent)).status == 200


async def test_a_sign_in_from_a_new_device_is_told(rig: Rig, ada: str, box: Postbox) -> None:
    await signs_in(rig)
    await signs_in(rig, "203.0.113.200", FIREFOX.replace("128", "131"))  # the network and the program
    assert await box.letters() == []
    await signs_in(rig, ELSEWHERE)
    [letter] = await box.letters()
    assert (letter["name"], letter["to"]) == ("new_device", ADA)
    assert letter["values"]["place"] == f"Firefox on Linux, {ELSEWHERE}"
    assert letter["values"]["link"] == "/auth/sessions"
    await signs_in(rig, ELSEWHERE)
    assert await box.letters() == []
    for agent in (CHROME, CURL):
        await signs_in(rig, ELSEWHERE, agent)
        assert [each["name"] for each in await box.letters()] == ["new_device"]


async def test_a_known_browser_is_never_new(rig: Rig, ada: str, box: Postbox) -> None:
    device = device_of(await sign_in(rig))
    for number in range(3):
        device = device_of(await sign_in(rig, [device], address=f"10.{number}.0.1", agent=CHROME))
        body = {"username": "ada", "password": PASSWORD}
        address = f"10.{number}.9.1"
        answer = await rig.api("POST", "/login", body, address=address, headers=having(device))
        assert answer.status == 200
    assert await box.letters() == []


async def test_nobody_is_told_of_the_first_sign_in_of_all(database: str) -> None:
    async with house(database, confirmation="required") as rig:
        box = Postbox(rig)
        await register(rig, status=202)
        await rig.api("POST", "/confirm", {"key": await box.key("confirm")})
        await signs_in(rig, ELSEWHERE)
        assert await box.letters() == []
        await signs_in(rig, ADDRESS)
        assert [each["name"] for each in await box.letters()] == ["new_device"]


async def test_a_house_may_do_without(database: str) -> None:
    async with house(database, mail=Mail(new_device=False)) as rig:
        box = Postbox(rig)
        await register(rig)
        await box.letters()
        await signs_in(rig, ELSEWHERE, CURL)
        assert await box.letters() == []


async def test_an_account_has_so_many_known_browsers_at_most(
    rig: Rig, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "MOST", 2)
    known = []
    for _ in range(3):
        await rig.clock.move(1)
        known.append(device_of(await sign_in(rig)))
    await guessed_at(rig)
    statuses = [(await sign_in(rig, [each])).status for each in known]
    assert statuses == [401, 200, 200]


async def test_a_browser_not_used_for_a_year_is_forgotten(rig: Rig, ada: str) -> None:
    await sign_in(rig)
    await rig.clock.move(devices.KEPT / 2)
    await sign_in(rig)
    assert (await purge.purge(rig.context)).devices == 0
    await rig.clock.move(devices.KEPT / 2 + 1)
    assert (await purge.purge(rig.context)).devices == 1
