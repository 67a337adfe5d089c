"""The policies of a route as settings: short forms written out, defaults merged in key by key."""

from typing import Any

from gateway.config.schema_policies import Assertion, Cors, Csrf, HeaderChanges, Policies
from gateway.config.schema_rates import settings_of_rules
from gateway.config.schema_rights import Bind, Require
from gateway.config.schema_routes import Route

Settings = dict[str, Any]
REMOVED: None = None

# The order of the table in policies/__init__.py, so that equal configurations have equal snapshots.
_ORDER = (
    "cors", "rate_limit", "authenticate", "csrf", "bind", "require", "body_limit", "plugins", "assertion",
    "request_headers", "response_headers", "security_headers",
)  # fmt: skip


def settings_of(policies: Policies) -> dict[str, Settings | None]:
    """Settings by policy; REMOVED for one that is set to none."""
    found: dict[str, Settings | None] = {}
    for name in _ORDER:
        value = getattr(policies, name)
        if value is not None:
            found[name] = _written_out(name, value)
    return found


def _written_out(name: str, value: Any) -> Settings | None:
    if name == "authenticate":
        return {"mode": value} if isinstance(value, str) else value.model_dump(exclude_none=True)
    if value == "none":
        return REMOVED
    if name == "body_limit":
        return {"limit": value}
    if name == "rate_limit":
        return settings_of_rules(value)
    if name == "security_headers":
        return {"headers": value}
    if name == "plugins":
        return {"classes": [plugin.model_dump(by_alias=True) for plugin in value]}
    kinds = (Assertion, Bind, Cors, Csrf, HeaderChanges, Require)
    return value.model_dump(exclude_none=True) if isinstance(value, kinds) else {}


def effective(route: Route, defaults: Policies) -> dict[str, Settings]:
    """All policies of a route. One with an upstream requires sign-in unless it says otherwise; others are
    public. Where a cookie signs in, csrf works by itself; a default assertion is only for upstreams of people
    who are known."""
    found = merged(settings_of(defaults), settings_of(route.policies))
    usual = "required" if route.upstream else "none"
    found["authenticate"] = {"mode": usual, **found.get("authenticate", {})}
    csrf = found.pop("csrf", {})
    if cookie_signs_in(found["authenticate"]):
        found["csrf"] = csrf
    if found["authenticate"]["mode"] == "none":
        found.pop("bind", None)  # a route's own is a fault; so is a required right where there is an upstream
        if not route.upstream:
            found.pop("require", None)
    if found["authenticate"]["mode"] == "none" or not route.upstream:
        found.pop("assertion", None)
    return {name: found[name] for name in _ORDER if name in found}


def cookie_signs_in(authenticate: Settings) -> bool:
    return authenticate["mode"] != "none" and "cookie" in authenticate.get("accept", ("cookie",))


def merged(defaults: dict[str, Settings | None], own: dict[str, Settings | None]) -> dict[str, Settings]:
    """The defaults with the route's own over them: maps key by key, at every depth; all else is replaced."""
    result: dict[str, Settings] = {}
    for name in _ORDER:
        default, mine = defaults.get(name), own.get(name)
        if name in own and mine is REMOVED:
            continue
        settings = merged_maps(default or {}, mine or {})
        if name.endswith("_headers"):
            _drop_removed(settings, mine or {})
        if name in own or default is not None:
            result[name] = settings
    return result


def merged_maps(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Keys are compared without case, since they may be header names."""
    spelled = {key.lower(): key for key in above}
    result = {key: value for key, value in below.items() if key.lower() not in spelled}
    for key, value in above.items():
        under = below.get(key)
        result[key] = (
            merged_maps(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
        )
    return result


def _drop_removed(settings: Settings, own: Settings) -> None:
    """What a route removes, it also does not want from the defaults."""
    removed = {name.lower() for name in own.get("remove", ())}
    for kind in ("set", "add"):
        if kind in settings and removed:
            mine = own.get(kind, {})
            settings[kind] = {
                name: value
                for name, value in settings[kind].items()
                if name in mine or name.lower() not in removed
            }
