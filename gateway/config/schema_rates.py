"""The schema of rate limits: how many in how long, for whom, counted by what."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gateway.config import durations
from gateway.config.faults import NotRight, did_you_mean, shown
from gateway.config.types import Label, Strict, forms, free_header, many, one_of, parsed, text, wrong

_KEYS = ("ip", "user", "session", "api_key", "route")


_PERIODS = {seconds: word for word, seconds in durations.PERIODS.items()}


def _rate(value: Any) -> str:
    amount, seconds = durations.rate(value)
    return f"{amount}/{_PERIODS[seconds]}"


def _one_per_period(rates: list[str]) -> list[str]:
    seen: set[int] = set()
    for one in rates:
        seconds = durations.rate(one)[1]
        if seconds in seen:
            raise wrong(f"there are two limits per {_PERIODS[seconds]}", "keep the smaller one")
        seen.add(seconds)
    return rates


Rate = Annotated[str, parsed(_rate, type="string", title="rate")]
Rates = Annotated[list[Rate], many(), AfterValidator(_one_per_period)]


def _role_key(value: Any) -> str:
    key = text(value)
    if key != "default" and not re.fullmatch(r"role:[^\s]+", key):
        raise NotRight(f"{shown(key)} is not default or role:NAME", did_you_mean(key, ("default",)))
    return key


def _has_default(by_role: dict[str, list[str]]) -> dict[str, list[str]]:
    if "default" not in by_role:
        raise wrong("there is no limit for all others", "add default: 60/minute, or what they may")
    return by_role


ByRole = Annotated[
    dict[Annotated[str, parsed(_role_key, type="string")], Rates], AfterValidator(_has_default)
]


def _key(value: Any) -> str:
    word = text(value, "a key to count by")
    kind, colon, name = word.partition(":")
    if kind == "header" and colon:
        if free_header(name).lower() in ("authorization", "cookie"):
            raise NotRight(f"{word} is different for one and the same user", "count by user or session")
        return f"header:{name.lower()}"
    if word not in _KEYS:
        near = did_you_mean(word, _KEYS, "write ip, user, session, api_key, route or header:NAME")
        raise NotRight(f"{shown(value)} is not a key to count by", near)
    return word


RateKey = Annotated[str, parsed(_key, type="string")]


class RateRule(Strict):
    name: Label | None = Field(default=None, description="rules of one name are one count, over all routes")
    limit: Annotated[Rates | ByRole, forms("items", "map")] = Field(
        description="100/minute, several, or by role: {default: …, 'role:pro': …}"
    )
    key: Annotated[list[RateKey], many()] | None = Field(
        default=None,
        description="ip, user, session, api_key, route, header:NAME, or several; "
        "default: user when signed in, else ip",
    )
    algorithm: Annotated[str, one_of("sliding_window", "moving_window", "fixed_window")] = Field(
        default="sliding_window", description="how it is counted: sliding_window, fixed_window, moving_window"
    )
    on_store_failure: Annotated[str, one_of("local", "deny", "allow")] = Field(
        default="local", description="when the shared count can't be reached: local, deny or allow"
    )


def settings_of_rules(rules: RateRule | list[RateRule]) -> dict[str, Any]:
    """As the snapshot has them: rates as (how many, in how many seconds), by role."""
    return {"rules": [_written_out(rule) for rule in (rules if isinstance(rules, list) else [rules])]}


def _written_out(rule: RateRule) -> dict[str, Any]:
    by_role = rule.limit if isinstance(rule.limit, dict) else {"default": rule.limit}
    settings = rule.model_dump(exclude_unset=True, exclude_none=True, exclude={"limit"})
    limits = {role: [list(each) for each in sorted(map(durations.rate, rates), key=_length)]
              for role, rates in by_role.items()}  # fmt: skip
    return {"limits": limits, **settings}


def _length(rate: tuple[int, int]) -> int:
    return rate[1]
