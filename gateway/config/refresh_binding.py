"""What a refresh is judged by: it belongs to no route, so all that ask for a sign-in have a say."""

from collections.abc import Iterable

import msgspec

from gateway.config.merge import Settings, settings_of
from gateway.config.schema_policies import Policies
from gateway.config.snapshot import Route
from gateway.model.binding import Binding


def refresh_binding(defaults: Policies, routes: Iterable[Route]) -> Binding | None:
    """The defaults' bind; where they have none, that which all routes share that require sign-in. Where all
    of these only report, so does a refresh."""
    guarded = [route for route in routes if route.policies.get("authenticate", {}).get("mode") == "required"]
    enforcing = [route for route in guarded if route.mode == "enforce"]
    binding = _read(settings_of(defaults).get("bind")) or _shared(guarded)
    if binding is None or enforcing or not guarded:
        return binding
    return msgspec.structs.replace(binding, on_mismatch="log")


def _shared(guarded: list[Route]) -> Binding | None:
    """One that only reports is no reason to refuse the refreshes of all."""
    if len({route.mode for route in guarded}) != 1:
        return None
    each = {_read(route.policies.get("bind")) for route in guarded}
    return each.pop() if len(each) == 1 else None


def _read(settings: Settings | None) -> Binding | None:
    """None, too, for what only a route's own keys would complete."""
    if not settings or all(settings.get(key, "off") == "off" for key in ("address", "agent")):
        return None
    return msgspec.convert(settings, Binding)
