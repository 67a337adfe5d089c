"""Faults between who may come and what is said of them: issuers, and assertions that nobody could use."""

from collections.abc import Iterator

from gateway.config.checks import Raw
from gateway.config.faults import ConfigFault, shown
from gateway.config.loader import Place, Source, at
from gateway.config.merge import effective, merged, settings_of
from gateway.config.schema_policies import Policies
from gateway.config.schema_routes import Route

_JWKS = "the upstream verifies it by the keys at /.well-known/jwks.json, which identity.serve leaves out"


def issuer_faults(source: Source, base_url: str) -> Iterator[ConfigFault]:
    """One place for each issuer's tokens, and none for our own."""
    issuers = at(source.data, "issuers")
    first: dict[str, str] = {}
    for name, settings in issuers.items() if isinstance(issuers, dict) else ():
        issuer = at(settings, "issuer")
        if not isinstance(issuer, str):
            continue
        path = ("issuers", name, "issuer")
        if base_url and issuer.rstrip("/") == base_url:
            problem = f"{shown(issuer)} is this gateway's own base_url"
            yield source.fault(path, problem, "its own tokens are bearer, and need no issuer")
        other = first.setdefault(issuer, name)
        if other != name:
            problem = f"issuer {shown(other)} has this iss already"
            yield source.fault(path, problem, "put its audiences and roles there")


def assertion_faults(
    main: Source, routes: list[tuple[Raw, Route]], defaults: Policies, serve: list[str], base_url: str
) -> Iterator[ConfigFault]:
    """What the policy can't do on a route, and what would make an assertion worthless or dangerous."""
    for raw, route in routes:
        policies = settings_of(route.policies)
        own = policies.get("assertion")
        if own is None:
            continue
        path = ("policies", "assertion")
        if not route.upstream:
            yield raw.fault(path, "this goes with an upstream", "remove it")
        elif "assertion" not in effective(route, defaults):
            problem = "nobody is known on this route, since authenticate is none"
            yield raw.fault(path, problem, "remove this, or set authenticate: required")
        audience = merged(settings_of(defaults), policies)["assertion"].get("audience")
        if audience is None:
            yield raw.fault(path, "an assertion needs an audience", "write audience: NAME")
        yield from _worthless(raw.source, (*raw.path, *path), audience, serve, base_url)
    default = settings_of(defaults).get("assertion")
    if default is not None:
        used = [route for _, route in routes if "assertion" in effective(route, defaults)]
        alone = any(route.policies.assertion is None for route in used)
        place = ("defaults", "policies", "assertion")
        if alone and "audience" not in default:
            yield main.fault(place, "an assertion needs an audience", "write audience: NAME")
        if used:
            yield from _worthless(main, place, default.get("audience"), serve, base_url)


def _worthless(
    source: Source, path: Place, audience: object, serve: list[str], base_url: str
) -> Iterator[ConfigFault]:
    if "jwks" not in serve:
        yield source.fault(path, _JWKS, "add jwks to identity.serve")
    if base_url and audience == base_url:
        problem = f"{shown(audience)} is the audience of this gateway's own access tokens"
        yield source.fault((*path, "audience"), problem, "name the upstream")
