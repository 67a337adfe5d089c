"""Who is counted together, under which limit, and what the client is told of it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from gateway.model.exchange import Exchange
from gateway.model.faults import RATE_LIMIT_UNAVAILABLE, RATE_LIMITED
from gateway.model.policy import Spent, merge
from gateway.model.rates import Limit, Rule
from gateway.model.verdict import Refuse
from policies import STEPS
from policies.rate_limit import RateLimit
from tests.policies.made import exchange, header, ports, who

SIXTY = {"default": [[60, 60]]}
V6 = b"2001:db8:1:2:aaaa::1"


class Counts:
    """Leases that remember who was counted, and say what the test tells them to."""

    def __init__(self, *, later: bool = False, **said: Any) -> None:
        self.rules: list[Rule] = []
        self.counted: list[tuple[str, bytes]] = []
        self.later, self.said = later, said

    def of(self, rule: Rule) -> "Count":
        self.rules.append(rule)
        return Count(self, rule)


class Count:
    def __init__(self, counts: Counts, rule: Rule) -> None:
        self.counts, self.rule = counts, rule

    def spend(self, key: bytes) -> Spent | Awaitable[Spent]:
        self.counts.counted.append((self.rule.name, key))
        said: dict[str, Any] = {"allowed": True, "remaining": 41, "reset": 29.2, **self.counts.said}
        spent = Spent(**{"limit": self.rule.limits[0], **said})
        return _later(spent) if self.counts.later else spent


async def _later(spent: Spent) -> Spent:
    await asyncio.sleep(0)
    return spent


def built(counts: Counts, *rules: dict[str, Any], part: str = "") -> list[Any]:
    given = ports(leases=counts, route="orders", counted_as="shop")
    steps = [step for step in STEPS if step.policy is RateLimit and part in ("", step.part)]
    return [policy for step in steps for policy in step.build({"rules": list(rules)}, given)]


def one(counts: Counts, **rule: Any) -> Any:
    [policy] = built(counts, {"limits": SIXTY} | rule)
    return policy


def key_of(words: list[str], made: Exchange) -> bytes:
    counts = Counts()
    one(counts, key=words).on_request(made)
    return counts.counted[0][1]


def somebody(**fields: Any) -> Exchange:
    return exchange(who=who(**fields))


# Where a rule is judged


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (["ip"], "by_address"),
        (["ip", "route"], "by_address"),
        (["header:x-tenant", "ip"], "by_address"),
        ([], "rest"),
        (["user"], "rest"),
        (["ip", "user"], "rest"),
        (["session"], "rest"),
        (["api_key"], "rest"),
        (["route"], "rest"),
        (["header:x-tenant"], "rest"),
    ],
)
def test_a_count_by_address_comes_before_anybody_is_known(key: list[str], part: str) -> None:
    rule = {"limits": SIXTY, "key": key}
    for each in ("by_address", "rest"):
        assert len(built(Counts(), rule, part=each)) == (each == part)


def test_a_limit_by_role_is_judged_when_roles_are_known() -> None:
    limits = SIXTY | {"role:pro": [[600, 60]]}
    assert not built(Counts(), {"limits": limits, "key": ["ip"]}, part="by_address")
    assert built(Counts(), {"limits": limits, "key": ["ip"]}, part="rest")


def test_it_stands_at_two_places_of_the_order() -> None:
    names = [f"{step.policy.name} {step.part}".strip() for step in STEPS]
    early, late = names.index("rate_limit by_address"), names.index("rate_limit rest")
    assert names.index("cors") < early < names.index("authenticate")
    assert names.index("csrf") < late < names.index("body_limit")


def test_unnamed_rules_are_called_after_their_route_and_their_place_in_the_file() -> None:
    counts = Counts()
    built(counts, {"limits": SIXTY}, {"limits": SIXTY, "name": "mine"}, {"limits": SIXTY, "key": ["ip"]})
    assert sorted(rule.name for rule in counts.rules) == ["shop/mine", "shop/orders.1", "shop/orders.3"]


# What is counted together


def test_the_usual_key_is_the_user_or_else_the_address() -> None:
    assert key_of([], somebody(id="u7")) == key_of(["user"], somebody(id="u7")) == b"u:u7"
    assert key_of([], exchange()) == key_of(["ip"], exchange()) == b"192.0.2.7"


def test_v6_is_counted_by_its_network_of_64_bits() -> None:
    made = [key_of(["ip"], exchange(client=client)) for client in (V6, b"2001:db8:1:2:bbbb::9")]
    assert made == [b"2001:db8:1:2::/64"] * 2
    assert key_of(["ip"], exchange(client=b"2001:db8:1:3::1")) != made[0]


@pytest.mark.parametrize("word", ["user", "session", "api_key", "header:x-tenant"])
def test_who_lacks_what_is_counted_by_goes_by_address(word: str) -> None:
    """So that nobody goes uncounted, and nobody is counted with strangers elsewhere."""
    bare = exchange(who=who(session="")) if word in ("session", "api_key") else exchange()
    assert key_of([word], bare) == b"192.0.2.7"
    assert key_of([word], exchange(client=b"192.0.2.8")) == b"192.0.2.8"


def test_each_word_counts_by_what_it_says() -> None:
    made = exchange(who=who(id="u7", session="s9", api_key="k3"), noted={b"x-tenant": b"acme"})
    keys = [key_of([word], made) for word in ("ip", "user", "session", "api_key", "route", "header:X-Tenant")]
    assert keys[:5] == [b"192.0.2.7", b"u:u7", b"s:s9", b"k:k3", b"r:orders"]
    assert keys[5].startswith(b"h:") and b"acme" not in keys[5]  # it may be a secret
    assert len(set(keys)) == 6


def test_what_one_is_called_can_not_be_taken_for_what_another_is() -> None:
    """An external identity may be called like an address; a header may say anything."""
    address = key_of(["user"], exchange(client=b"2001:db8::1"))
    assert key_of(["user"], somebody(id="2001:db8::/64")) != address
    pairs = [(b"a", b"bc"), (b"ab", b"c")]
    composed = {
        key_of(["user", "session"], exchange(who=who(id=a.decode(), session=b.decode()))) for a, b in pairs
    }
    assert len(composed) == 2


def test_several_words_count_each_combination() -> None:
    made = exchange(who=who(id="u7"), noted={b"x-tenant": b"acme"})
    other = exchange(who=who(id="u7"), noted={b"x-tenant": b"bee"})
    assert key_of(["user", "header:x-tenant"], made) != key_of(["user", "header:x-tenant"], other)
    assert one(Counts(), key=["ip", "header:X-Tenant"]).effects().reads == {b"x-tenant"}


# Which limit


@pytest.mark.parametrize(
    ("roles", "amount"),
    [
        ((), 60),
        (("clerk",), 60),
        (("pro",), 600),
        (("clerk", "pro"), 600),
        (("slow",), 1),
        (("slow", "clerk"), 1),
        (("slow", "pro"), 600),
        (None, 60),
    ],
)
def test_by_role_the_most_generous_that_fits_counts(roles: tuple[str, ...] | None, amount: int) -> None:
    counts = Counts()
    limits = SIXTY | {"role:pro": [[600, 60]], "role:slow": [[1, 60]]}
    policy = one(counts, limits=limits, name="mine")
    made = exchange() if roles is None else somebody(roles=roles)
    assert policy.on_request(made) is None
    assert header(made.reply_add, b"ratelimit-policy") == b'"mine";q=%d;w=60' % amount
    assert {rule.name for rule in counts.rules} == {"shop/mine"}


def test_generous_is_who_may_do_more_in_the_long_run_then_who_may_at_once() -> None:
    limits = {"default": [[60, 60]], "role:day": [[5000, 86400]], "role:hour": [[3600, 3600]]}
    made = somebody(roles=("day", "hour"))
    one(Counts(), limits=limits, name="mine").on_request(made)
    assert header(made.reply_add, b"ratelimit-policy") == b'"mine";q=3600;w=3600'


# What the client is told


def test_every_reply_tells_the_policy_and_what_is_left() -> None:
    policy, made = one(Counts(), name="mine"), exchange()
    assert policy.on_request(made) is None
    assert header(policy.effects().reply_add, b"ratelimit-policy") == b'"mine";q=60;w=60'
    assert header(made.reply_add, b"ratelimit") == b'"mine";r=41;t=30'
    assert b"no-store" not in made.reply_add


def test_a_refusal_tells_when_to_come_back() -> None:
    policy, made = one(Counts(allowed=False, remaining=0, reset=12.1), name="mine"), exchange()
    refused = policy.on_request(made)
    assert isinstance(refused, Refuse) and refused.fault is RATE_LIMITED
    assert refused.headers == ((b"Retry-After", b"13"),)
    assert "mine" in refused.detail and "60 per minute" in refused.detail
    assert header(made.reply_add, b"ratelimit") == b'"mine";r=0;t=13'


def test_nobody_is_told_to_come_back_in_no_time() -> None:
    refused = one(Counts(allowed=False, remaining=0, reset=0.004)).on_request(exchange())
    assert refused.headers == ((b"Retry-After", b"1"),)


def test_of_several_limits_each_is_a_policy_and_the_nearest_is_told() -> None:
    day = Limit(1000, 86400)
    policy = one(Counts(limit=day), limits={"default": [[60, 60], [1000, 86400]]}, name="mine")
    made = exchange()
    assert policy.on_request(made) is None
    assert header(policy.effects().reply_add, b"ratelimit-policy") == (
        b'"mine/minute";q=60;w=60, "mine/day";q=1000;w=86400'
    )
    assert header(made.reply_add, b"ratelimit") == b'"mine/day";r=41;t=30'


def test_several_rules_add_up_and_the_upstream_is_not_heard() -> None:
    rules = built(Counts(), {"limits": SIXTY, "name": "a"}, {"limits": SIXTY, "name": "b", "key": ["ip"]})
    made = exchange()
    assert [policy.on_request(made) for policy in rules] == [None, None]
    told = merge([policy.effects() for policy in rules])
    assert told.reply_add.count(b"RateLimit-Policy: ") == 2 and made.reply_add.count(b"RateLimit: ") == 2
    assert told.reply_drop >= {b"ratelimit", b"ratelimit-policy", b"ratelimit-remaining"}


def test_waiting_changes_nothing_of_it() -> None:
    async def run(counts: Counts) -> tuple[Any, bytes]:
        made = exchange()
        return await one(counts, name="mine").on_request(made), made.reply_add

    verdict, told = asyncio.run(run(Counts(later=True)))
    assert verdict is None and told == b'RateLimit: "mine";r=41;t=30\r\n'
    verdict, told = asyncio.run(run(Counts(later=True, allowed=False, remaining=0, reset=2.0)))
    assert verdict.fault is RATE_LIMITED and told == b'RateLimit: "mine";r=0;t=2\r\n'


# The count is out of reach


@pytest.mark.parametrize(
    ("how", "allowed", "fault", "told"),
    [
        ("local", True, None, b'"mine";r=41;t=30'),
        ("local", False, RATE_LIMITED, b'"mine";r=41;t=30'),
        ("allow", True, None, None),
        ("deny", False, RATE_LIMIT_UNAVAILABLE, None),
    ],
)
def test_without_the_count_the_rule_decides(how: str, allowed: bool, fault: Any, told: bytes | None) -> None:
    policy = one(Counts(allowed=allowed, known=False), on_store_failure=how, name="mine")
    made = exchange()
    verdict = policy.on_request(made)
    assert (verdict.fault if verdict is not None else None) is fault
    assert header(made.reply_add, b"ratelimit") == told
    if fault is not None:
        assert dict(verdict.headers)[b"Retry-After"].isdigit()


# Settings


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"limits": {"role:pro": [[1, 1]]}}, "default"),
        ({"limits": {"default": []}}, "empty"),
        ({"limits": SIXTY, "key": ["adress"]}, "is no key"),
        ({"limits": SIXTY, "key": ["header:Authorization"]}, "count by user"),
        ({"limits": SIXTY, "key": ["header:X-User-Id"]}, "backends trust"),
        ({"limits": SIXTY, "algorithm": "leaky"}, "leaky"),
        ({"limits": SIXTY, "more": 1}, "more"),
    ],
)
def test_what_can_not_be_is_said(rule: dict[str, Any], fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=fault):
        msgspec.convert({"rules": [rule]}, RateLimit.Settings)
