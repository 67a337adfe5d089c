"""The policy assertion: a line for the upstream of whoever is known, and nobody without it."""

from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from gateway.model.exchange import Exchange
from gateway.model.verdict import Refuse
from policies.assertion import Assertion
from tests.policies.made import UNAVAILABLE, build, exchange, who

LINE = b"X-User-Assertion: e30.e30.c2ln\r\n"


class Signs:
    """Assertions that gives what the test says, and remembers what it was asked."""

    def __init__(self, said: bytes | Refuse = LINE, *, later: bool = False) -> None:
        self.said, self.later = said, later
        self.asked: list[tuple[str, float, Exchange]] = []

    def line(
        self, audience: str, ttl: float, exchange: Exchange
    ) -> bytes | Refuse | Awaitable[bytes | Refuse]:
        self.asked.append((audience, ttl, exchange))
        return self._later() if self.later else self.said

    async def _later(self) -> bytes | Refuse:
        return self.said


def policy(signs: Signs, **settings: Any) -> Any:
    return build(Assertion, {"audience": "orders", **settings}, assertions=signs)


async def judged(signs: Signs, asked: Exchange) -> Any:
    verdict = policy(signs).on_request(asked)
    return await verdict if isinstance(verdict, Awaitable) else verdict


@pytest.mark.parametrize("later", [False, True])
async def test_whoever_is_known_is_asserted_beside_their_claims(later: bool) -> None:
    signs = Signs(later=later)
    asked = exchange(who=who(), request_add=b"X-User-Id: u1\r\n")
    assert await judged(signs, asked) is None
    assert asked.request_add == b"X-User-Id: u1\r\n" + LINE
    assert signs.asked == [("orders", 60.0, asked)]


async def test_the_anonymous_have_none_and_nobody_is_asked() -> None:
    signs = Signs()
    asked = exchange()
    assert await judged(signs, asked) is None
    assert (asked.request_add, signs.asked) == (b"", [])


@pytest.mark.parametrize("later", [False, True])
async def test_T18_without_one_the_request_goes_nowhere(later: bool) -> None:
    asked = exchange(who=who())
    assert await judged(Signs(UNAVAILABLE, later=later), asked) is UNAVAILABLE
    assert asked.request_add == b""


def test_what_is_kept_costs_no_waiting() -> None:
    assert policy(Signs()).on_request(exchange(who=who())) is None


def test_the_settings_are_passed_on() -> None:
    signs = Signs()
    policy(signs, audience="shop", ttl=300).on_request(exchange(who=who()))
    assert [each[:2] for each in signs.asked] == [("shop", 300.0)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"audience": ""}, "name the upstream"),
        ({"ttl": 4.9}, "5 to 300 seconds"),
        ({"ttl": 301}, "5 to 300 seconds"),
        ({"ttl": "1m"}, "float"),
        ({"audiences": "x"}, "unknown field"),
    ],
)
def test_settings_that_make_no_sense_are_faults(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        policy(Signs(), **settings)


def test_where_nobody_signs_it_can_t_be_used() -> None:
    with pytest.raises(ValueError, match="nobody here makes assertions"):
        build(Assertion, {"audience": "orders"}, assertions=None)
