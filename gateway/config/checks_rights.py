"""Faults of bind and require, as merged with the defaults: each asks for something, of somebody known."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gateway.config.faults import ConfigFault
from gateway.config.loader import Source
from gateway.config.merge import effective
from gateway.config.schema_policies import Policies
from gateway.config.schema_routes import Route

if TYPE_CHECKING:
    from gateway.config.checks import Raw

_NOTHING = {
    "bind": (
        "this binds nothing",
        "compare the address (prefix, exact), the agent (family, exact) or both, or write bind: none",
    ),
    "require": ("this requires nothing", "say what, such as roles: [clerk], or write require: none"),
}


def rights_faults(
    main: Source, routes: "list[tuple[Raw, Route]]", defaults: Policies
) -> Iterator[ConfigFault]:
    """Of what the defaults alone say, at the defaults."""
    for raw, route in routes:
        policies = effective(route, defaults)
        public = policies["authenticate"]["mode"] == "none"
        for name, (problem, hint) in _NOTHING.items():
            own = getattr(route.policies, name) not in (None, "none")
            if public and (own or name in policies):
                place = ("policies", name) if own else ("policies", "authenticate")
                yield raw.fault(place, *_public(name, own))
            elif not public and name in policies and not _asks(name, policies[name]):
                at_defaults = main.fault(("defaults", "policies", name), problem, hint)
                yield raw.fault(("policies", name), problem, hint) if own else at_defaults


def _public(name: str, own: bool) -> tuple[str, str]:
    if own:
        return (
            "this route is public, so nobody is known here",
            f"remove {name}, or let the route authenticate",
        )
    problem = "this route is public, and the defaults require something of whoever comes"
    return problem, "write require: none beside it if anybody may come, else remove this"


def _asks(name: str, settings: dict[str, Any]) -> bool:
    if name == "bind":
        return any(settings.get(key, "off") != "off" for key in ("address", "agent"))
    asked = any(settings.get(key) for key in ("roles", "permissions", "fresh", "confirmed", "meta"))
    return asked or settings.get("level", 1) > 1
