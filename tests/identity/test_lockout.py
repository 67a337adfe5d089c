"""Lockout: how long, for whom, and that it looks like a wrong password; with a clock that is moved."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.config.service import Password
from gateway.identity import lockout
from gateway.identity.limits import Limits
from gateway.identity.lockout import FROM_EVERYWHERE, Lockout, attempt, wait_after
from gateway.identity.passwords import Passwords
from gateway.store.limiters import Limiters
from tests.identity.rig import SETTINGS, Answer, Rig, running

PASSWORD, WRONG = "a long enough password", "not the password at all"


class Seconds:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def rig(database: str, seconds: Seconds) -> AsyncIterator[Rig]:
    settings = msgspec.structs.replace(SETTINGS, password=Password(memory=64 * 1024, time=1))
    async with running(database, settings) as rig:
        rig.context.limits = Limits(Limiters(seconds), rig.context.settings)
        body = {"email": "ada@example.test", "password": PASSWORD, "username": "ada"}
        assert (await rig.api("POST", "/register", body)).status == 201
        yield rig


async def login(rig: Rig, password: str, name: str = "ada", address: str = "203.0.113.7") -> Answer:
    field = "email" if "@" in name else "username"
    return await rig.api("POST", "/login", {field: name, "password": password}, address=address)


async def fail(rig: Rig, times: int, name: str = "ada", address: str = "203.0.113.7") -> None:
    for _ in range(times):
        assert (await login(rig, WRONG, name, address)).code == "invalid_credentials"


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (4, 0), (5, 2), (6, 4), (7, 8), (13, 512), (14, 900), (5000, 900)]
)
def test_the_wait_doubles_with_each_failure_from_the_fifth_on(failures: int, seconds: int) -> None:
    assert wait_after(failures, free=5, longest=900) == seconds


async def test_four_failures_make_nobody_wait_and_five_do(rig: Rig, seconds: Seconds) -> None:
    await fail(rig, 4)
    assert (await login(rig, PASSWORD)).status == 200  # and they are forgotten
    await fail(rig, 5)
    seconds.now = 1.9
    locked = await login(rig, PASSWORD)
    assert (locked.status, locked.code) == (401, "invalid_credentials")
    assert rig.count("lockouts_total") == 1
    seconds.now = 1.9 + 3.9  # that one counted, too: 4 seconds from then
    assert (await login(rig, PASSWORD)).status == 401
    seconds.now += 8.1
    assert (await login(rig, PASSWORD)).status == 200
    await fail(rig, 4)
    assert (await login(rig, PASSWORD)).status == 200


async def test_nobody_waits_longer_than_the_lockout_duration(rig: Rig, seconds: Seconds) -> None:
    await fail(rig, 40)
    seconds.now = 899.9
    waiting = attempt("ada@example.test", "203.0.113.7")
    assert await rig.context.limits.lockout.waits(waiting)
    seconds.now = 900.1
    assert (await login(rig, PASSWORD)).status == 200


async def test_T20_all_names_of_an_account_are_one_counter(rig: Rig) -> None:
    for name in ("ada", "ADA", "ada@example.test", "ADA@example.TEST", "Ａda@example.test"):
        await fail(rig, 1, name)
    for name in ("ada", "ada@example.test"):
        assert (await login(rig, PASSWORD, name)).status == 401


async def test_T20_guessing_by_reauth_and_password_change_is_counted_with_it(rig: Rig) -> None:
    bearer = (await login(rig, PASSWORD)).body["access_token"]
    change = {"current_password": WRONG, "new_password": "another long password"}
    for _ in range(3):
        assert (await rig.api("POST", "/reauth", {"password": WRONG}, bearer=bearer)).status == 401
        assert (await rig.api("POST", "/password/change", change, bearer=bearer)).status == 401
    assert (await login(rig, PASSWORD)).status == 401
    assert (await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer)).status == 401


async def test_a_network_waits_and_others_do_not(rig: Rig) -> None:
    await fail(rig, 5, address="198.51.100.1")
    assert (await login(rig, PASSWORD, address="198.51.100.200")).status == 401  # the same /24
    assert (await login(rig, PASSWORD, address="198.51.101.1")).status == 200
    await fail(rig, 5, address="2001:db8::1")
    assert (await login(rig, PASSWORD, address="2001:db8::ffff:1")).status == 401  # the same /64
    assert (await login(rig, PASSWORD, address="2001:db8:0:1::1")).status == 200


async def test_a_name_that_nobody_has_is_counted_alike(rig: Rig, seconds: Seconds) -> None:
    """And goes on being counted when somebody registers it."""
    await fail(rig, 5, "nobody@example.test")
    body = {"email": "Nobody@example.test", "password": PASSWORD}
    assert (await rig.api("POST", "/register", body)).status == 201
    assert (await login(rig, PASSWORD, "nobody@example.test")).status == 401
    seconds.now = 4.1
    assert (await login(rig, PASSWORD, "nobody@example.test")).status == 200


async def test_a_guess_made_beside_others_does_not_count_after_the_one_that_began_the_wait(rig: Rig) -> None:
    """Its comparison began before they had failed, and ends after: even the right password is refused."""
    passwords = rig.context.passwords = Passwords(SETTINGS, cores=1)  # one at a time, each some 20 ms
    in_front = asyncio.create_task(passwords.hash(PASSWORD))
    right = asyncio.create_task(login(rig, PASSWORD))
    while passwords.calls < 2:
        await asyncio.sleep(0)
    for _ in range(5):
        await rig.context.limits.lockout.failed(attempt("ada@example.test", "203.0.113.7"))
    assert (await right).code == "invalid_credentials"
    await in_front


async def test_failures_are_forgotten_after_a_day() -> None:
    seconds = Seconds()
    counts = Lockout(Limiters(seconds), SETTINGS)
    tried = attempt("ada@example.test", "203.0.113.7")
    for number in range(1, 5):
        assert (await counts.failed(tried)).failures == number
    seconds.now = lockout.REMEMBERED + 1.0
    assert (await counts.failed(tried)).failures == 1


async def from_everywhere(counts: Lockout, failures: int = FROM_EVERYWHERE) -> list[bool]:
    """Whether each of these failures brought it about that a mailed link is needed."""
    return [
        (await counts.failed(attempt("ada@example.test", f"10.{number}.0.1"))).first
        for number in range(failures)
    ]


async def test_the_hundredth_failure_from_everywhere_shuts_strangers_out() -> None:
    seconds = Seconds()
    counts = Lockout(Limiters(seconds), SETTINGS)
    stranger, known = (attempt("ada@example.test", "192.0.2.1", known) for known in (False, True))
    assert await from_everywhere(counts) == [False] * 99 + [True]
    assert await counts.waits(stranger) and not await counts.waits(known)
    assert await counts.needs_link(stranger) and not await counts.needs_link(known)
    failed = await counts.failed(stranger)
    assert (failed.failures, failed.first, failed.link) == (1, False, True)
    assert not (await counts.failed(known)).link
    assert not await counts.waits(attempt("eve@example.test", "192.0.2.1"))
    seconds.now = lockout.REMEMBERED - 1.0
    assert await counts.waits(stranger)
    seconds.now = lockout.REMEMBERED + 1.0
    assert not await counts.waits(stranger)


async def test_a_known_browser_waits_where_too_many_have_failed_like_anybody() -> None:
    counts = Lockout(Limiters(Seconds()), SETTINGS)
    for _ in range(5):
        await counts.failed(attempt("ada@example.test", "192.0.2.1", known=True))
    assert await counts.waits(attempt("ada@example.test", "192.0.2.1", known=True))


async def test_who_came_by_the_mailed_link_is_let_in_from_that_network_for_a_day() -> None:
    seconds = Seconds()
    counts = Lockout(Limiters(seconds), SETTINGS)
    await from_everywhere(counts)
    await counts.let_in(attempt("ada@example.test", "192.0.2.1"))
    for address, shut_out in (("192.0.2.200", False), ("192.0.3.1", True)):
        assert await counts.waits(attempt("ada@example.test", address)) is shut_out
    assert not (await counts.failed(attempt("ada@example.test", "192.0.2.1"))).link


async def test_unlocking_forgets_what_was_counted_from_everywhere() -> None:
    counts = Lockout(Limiters(Seconds()), SETTINGS)
    await from_everywhere(counts)
    fresh = attempt("ada@example.test", "192.0.2.1")
    assert await counts.waits(fresh)
    await counts.forget("ada@example.test")
    assert not await counts.waits(fresh)
