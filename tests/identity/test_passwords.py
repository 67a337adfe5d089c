"""Passwords: which may be set, equal work for known and unknown, few threads and a bounded queue."""

import asyncio
import threading
from collections.abc import Iterator

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.service import Password, Service
from gateway.identity import password_rules
from gateway.identity.passwords import Busy, Matches, Passwords, Wrong

QUICK = Password(memory=8 * 1024 * 1024 // 1024, time=1)  # 8 KiB
GOOD = "an otter under the bridge"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(Service(password=QUICK), cores=2)
    yield made
    made.close()


async def hashed(passwords: Passwords, password: str = GOOD) -> str:
    made = await passwords.hash(password)
    assert isinstance(made, str)
    return made


# Hashing


async def test_the_right_password_matches_and_no_other(passwords: Passwords) -> None:
    kept = await hashed(passwords)
    assert await passwords.verify(GOOD, kept) == Matches(needs_rehash=False)
    assert await passwords.verify(GOOD + " ", kept) == Wrong()
    assert await passwords.verify("", kept) == Wrong()
    assert await hashed(passwords) != kept


async def test_the_default_is_argon2id_with_19_mib_two_passes_one_lane() -> None:
    made = Passwords(Service(), cores=1)
    kept = await hashed(made)
    made.close()
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert argon2.PasswordHasher().verify(kept, GOOD)


async def test_unknown_users_cost_the_same_call(passwords: Passwords) -> None:
    """T19: nobody, somebody without a password, and somebody with another: one argon2 call each."""
    kept = await hashed(passwords)
    for stored in (kept, None, "", "!", "$2b$12$" + "x" * 53):
        before = passwords.calls
        assert await passwords.verify("wrong", stored) == Wrong()
        assert passwords.calls == before + 1


async def test_the_dummy_has_the_parameters_of_a_real_hash(passwords: Passwords) -> None:
    """T19: what unknown users are compared with costs what a user's hash costs."""
    dummy = passwords._argon2.dummy
    assert argon2.extract_parameters(dummy) == argon2.extract_parameters(await hashed(passwords))
    assert len(dummy) == len(await hashed(passwords))


async def test_older_parameters_match_and_ask_for_a_new_hash(passwords: Passwords) -> None:
    kept = await hashed(passwords)
    passwords.use(Service(password=Password(memory=16 * 1024, time=1)))
    assert await passwords.verify(GOOD, kept) == Matches(needs_rehash=True)
    assert await passwords.verify(GOOD, await hashed(passwords)) == Matches(needs_rehash=False)


async def test_what_looks_the_same_is_the_same(passwords: Passwords) -> None:
    kept = await hashed(passwords, "cafe\u0301 au lait in the morning")
    assert isinstance(await passwords.verify("caf\u00e9 au lait in the morning", kept), Matches)


@pytest.mark.parametrize("password", ["\ud800" * 20, "\0" * 20, "x" * 60_000, "🦦" * 200])
async def test_any_text_can_be_compared(passwords: Passwords, password: str) -> None:
    assert await passwords.verify(password, None) == Wrong()


@pytest.mark.parametrize("kept", ["$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$$", "$argon2id$v=19$m=x$a$b"])
async def test_a_broken_hash_matches_nothing(passwords: Passwords, kept: str) -> None:
    assert await passwords.verify("", kept) == Wrong()


class Reversed:
    """A foreign scheme: the password backwards."""

    def knows(self, kept: str) -> bool:
        return kept.startswith("reversed:")

    def compare(self, kept: str, password: bytes) -> bool:
        return kept == "reversed:" + password.decode()[::-1]


async def test_an_imported_hash_is_compared_by_its_scheme_and_to_be_replaced() -> None:
    made = Passwords(Service(password=QUICK), cores=1, others=[Reversed()])
    assert await made.verify("abc", "reversed:cba") == Matches(needs_rehash=True)
    assert await made.verify("abd", "reversed:cba") == Wrong()
    made.close()


# Few threads


class Held:
    """A scheme that waits until it is let go, and counts how many wait at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def knows(self, kept: str) -> bool:
        return kept == "held"

    def compare(self, kept: str, password: bytes) -> bool:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.go.wait(30)
        with self._lock:
            self.inside -= 1
        return True


async def test_no_more_than_the_cores_at_once_and_a_bounded_queue() -> None:
    held = Held()
    made = Passwords(Service(password=QUICK), cores=2, waiting=1, others=[held])
    accepted = [asyncio.create_task(made.verify("x", "held")) for _ in range(4)]
    await asyncio.sleep(0)
    calls = made.calls
    refused = await made.verify("x", "held")
    assert isinstance(refused, Busy) and refused.retry_after >= 1
    assert isinstance(await made.hash("x"), Busy)
    assert made.calls == calls == 4
    held.go.set()
    assert [isinstance(each, Matches) for each in await asyncio.gather(*accepted)] == [True] * 4
    assert held.most <= 2
    assert isinstance(await made.verify("x", "held"), Matches)
    made.close()


async def test_who_goes_away_leaves_no_place_before_the_thread_is_free() -> None:
    """Else somebody who hangs up at once fills the threads without end."""
    held = Held()
    made = Passwords(Service(password=QUICK), cores=1, waiting=0, others=[held])
    gone = asyncio.create_task(made.verify("x", "held"))
    await asyncio.sleep(0)
    while not held.inside:
        await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert isinstance(await made.verify("x", "held"), Busy)
    held.go.set()
    made.close()
    assert made._under_way == 0


# Rules


def refused(password: str, username: str = "", email: str = "", shortest: int = 15) -> list[str]:
    return password_rules.Rules(shortest, "Example Shop Online").refused(password, username, email)


@pytest.mark.parametrize(
    "password",
    [
        GOOD, "Tr0ub4dor&3 and more", "пароль для выдры и моста", "水獭在桥下游泳" + "吃鱼喝水睡觉晒太阳",
        "x9!kQ2#vL7@pZ4$", "a" * 14 + "bcd", " leading and trailing ", "🦦🐟🌉🌊🌧🌈🪨🌿🍃🍂🍁🌾🌱🌲🌳",
    ],
)  # fmt: skip
def test_long_uncommon_ones_may_be_set(password: str) -> None:
    assert refused(password) == []


def test_length_is_of_characters_as_normalised() -> None:
    assert refused("n\u0303ooter under it") == []
    assert refused("n\u0303ter under it") == ["Use at least 15 characters."]
    assert refused("an otter n\u0303" + "o\u0308" * 3) == ["Use at least 15 characters."]
    assert refused("otters in rain", shortest=8) == []
    assert refused("an otter's tale" * 17) == []
    assert refused("an otter's tale" * 17 + "xy") == ["Use at most 256 characters."]


def test_halves_of_characters_are_refused() -> None:
    [said] = refused("an otter \ud83e under the bridge")
    assert "UTF-8" in said


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword", "PasswordPassword", "Password12345678", "correcthorsebatterystaple",
        "Correct Horse Battery Staple", "1234567890123456", "qwertyuiopasdfghjkl", "qwertyuiop1234567890",
        "aaaaaaaaaaaaaaa", "abcabcabcabcabca", "MonkeyMonkeyMonkey", "abcdefghijklmnopqrstuvwxyz",
        "zyxwvutsrqponmlkj", "0987654321098765", "letmeinletmeinletmein", "iloveyouiloveyou",
        "thisismypassword", "administrator123", "maytheforcebewithyou", "1qaz2wsx3edc4rfv", "\uff21" * 15,
    ],
)  # fmt: skip
def test_common_ones_are_refused(password: str) -> None:
    assert refused(password) == ["This is among the most common passwords. Choose another."]


@pytest.mark.parametrize(
    "password",
    ["password", "Password1", "iloveyou", "trustno1", "qwertyui", "12345678", "sunshine", "abcd1234"],
)
def test_shorter_common_ones_are_refused_where_shorter_ones_are_allowed(password: str) -> None:
    assert refused(password, shortest=8) == ["This is among the most common passwords. Choose another."]


@pytest.mark.parametrize(
    ("password", "username", "email"),
    [
        ("Otter.Under.Bridge", "otter.under.bridge", ""),
        ("OTTER@bridge.example", "", "otter@bridge.example"),
        ("The.Otter.Of.Bath", "", "the.otter.of.bath@bridge.example"),
        ("EXAMPLE shop online", "", ""),
        ("STRASSENOTTER-BAD", "straßenotter-bad", ""),
    ],
)
def test_ones_own_name_is_refused_whatever_its_case(password: str, username: str, email: str) -> None:
    assert refused(password, username, email) == [
        "Do not use your user name, your e-mail address or this site's name."
    ]


def test_names_that_are_not_given_forbid_nothing() -> None:
    assert password_rules.Rules(1).refused("x7") == []


def test_the_list_is_folded_unique_and_of_8_and_more() -> None:
    words = password_rules._FILE.read_text("utf-8").splitlines()
    assert words == sorted(set(words))
    assert all(word == password_rules.folded(word) for word in words)
    assert min(map(len, words)) >= 8
    assert sum(len(word) >= 15 for word in words) > 3000


@given(st.text(min_size=15, max_size=60))
def test_any_text_is_judged_and_hashes_alike_once_normalised(password: str) -> None:
    told = refused(password)
    assert told == refused(password_rules.normal(password))
    assert all(each.endswith(".") for each in told)
