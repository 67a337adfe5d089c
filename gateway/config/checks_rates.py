"""Faults between rate limits: rules of one name are one count, so they have to be the same."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gateway.config.faults import ConfigFault, shown
from gateway.config.loader import Place, Source
from gateway.config.schema_policies import Policies
from gateway.config.schema_rates import RateRule
from gateway.config.schema_routes import Route

if TYPE_CHECKING:
    from gateway.config.checks import Raw


def rate_faults(main: Source, routes: "list[tuple[Raw, Route]]", defaults: Policies) -> Iterator[ConfigFault]:
    """At each rule that differs from the first of its name, with the place of that one."""
    first: dict[str, tuple[RateRule, str]] = {}
    for source, place, rule in _rules(main, routes, defaults):
        if rule.name is None:
            continue
        where = f"{source.name}:{source.line(place)}"
        other, elsewhere = first.setdefault(rule.name, (rule, where))
        mine, its = _what_counts(rule), _what_counts(other)
        differing = next((each for each in mine if mine[each] != its[each]), "")
        if differing:
            problem = f"rate limit {shown(rule.name)} has another {differing} at {elsewhere}"
            yield source.fault(place, problem, "rules of one name are one count: write them alike, or rename")


def _what_counts(rule: RateRule) -> dict[str, Any]:
    limit = rule.limit if isinstance(rule.limit, dict) else {"default": rule.limit}
    return {
        "limit": {role: sorted(rates) for role, rates in limit.items()}, "key": rule.key or ["user"],
        "algorithm": rule.algorithm, "on_store_failure": rule.on_store_failure,
    }  # fmt: skip


def _rules(
    main: Source, routes: "list[tuple[Raw, Route]]", defaults: Policies
) -> Iterator[tuple[Source, Place, RateRule]]:
    found: list[tuple[Source, Place, Policies]] = [(main, ("defaults", "policies"), defaults)]
    found += [(raw.source, (*raw.path, "policies"), route.policies) for raw, route in routes]
    for source, place, policies in found:
        rules = policies.rate_limit
        if isinstance(rules, RateRule):
            yield source, (*place, "rate_limit"), rules
        elif isinstance(rules, list):
            for index, rule in enumerate(rules):
                yield source, (*place, "rate_limit", index), rule
