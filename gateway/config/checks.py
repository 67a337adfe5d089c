"""Faults that lie between the keys, unseen by the schema of one value; found in the file's plain data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.config.checks_policies import cors_faults, policy_faults
from gateway.config.faults import ConfigFault, did_you_mean, listed, shown
from gateway.config.loader import Place, Source, at
from gateway.config.merge import cookie_signs_in, effective, merged_maps
from gateway.config.places import (
    OPT_INS,
    normal,
    params,
    redefines,
    shape,
    spelled,
    why_not,
    with_head,
)
from gateway.config.schema_policies import Policies
from gateway.config.schema_routes import Route
from gateway.config.variables import Filled
from gateway.model.paths import Ambiguous

GOALS = ("upstream", "answer", "redirect")
_MAY_BE_NULL = {("identity", "cookie", "domain")}


@dataclass(frozen=True, slots=True)
class Raw:
    """One route as it stands in its file."""

    source: Source
    path: Place
    data: dict[str, Any]

    def fault(self, key: Place, problem: str, hint: str = "") -> ConfigFault:
        return self.source.fault((*self.path, *key), problem, hint)

    def text(self, *keys: str) -> str | None:
        """The text at these keys, if there is text."""
        value = at(self.data, *keys)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Whole:
    """What a route is judged by besides itself."""

    built_in: list[tuple[str, str]]
    identity_names: frozenset[bytes]  # configured ones, folded
    default_cors: Any


def raw_routes(sources: list[Source]) -> list[Raw]:
    found = []
    for source in sources:
        routes = at(source.data, "routes")
        for index, data in enumerate(routes if isinstance(routes, list) else ()):
            if isinstance(data, dict):
                found.append(Raw(source, ("routes", index), data))
    return found


def empty_values(source: Source) -> Iterator[ConfigFault]:
    """A key without a value is a forgotten value."""
    waiting: list[tuple[Place, Any]] = [((), source.data)]
    while waiting:
        path, value = waiting.pop()
        if value is None and path and path not in _MAY_BE_NULL:
            yield source.fault(path, "this is empty", "give it a value, or remove it")
        elif isinstance(value, dict):
            waiting.extend(((*path, key), one) for key, one in value.items() if key != "settings")
        elif isinstance(value, list):
            waiting.extend(((*path, index), one) for index, one in enumerate(value))


def repeated_names(sources: list[Source]) -> Iterator[ConfigFault]:
    """Names of routes, and of upstreams over several files."""
    first: dict[tuple[str, str], str] = {}
    for raw in raw_routes(sources):
        name = raw.text("name")
        if name is not None:
            yield from _repeated(first, ("route", name), raw.source, (*raw.path, "name"))
    for source in sources:
        upstreams = at(source.data, "upstreams")
        for name in upstreams if isinstance(upstreams, dict) else ():
            yield from _repeated(first, ("upstream", name), source, ("upstreams", name))


def _repeated(
    first: dict[tuple[str, str], str], key: tuple[str, str], source: Source, path: Place
) -> Iterator[ConfigFault]:
    if key in first:
        kind, name = key
        yield source.fault(
            path, f"{kind} {shown(name)} is already defined at {first[key]}", "give it another name"
        )
    else:
        first[key] = f"{source.name}:{source.line(path)}"


def route_faults(raw: Raw, whole: Whole) -> Iterator[ConfigFault]:
    """The faults of one route that involve more than one of its keys."""
    yield from _goal(raw)
    yield from _path(raw, whole.built_in)
    yield from _rewrite(raw)
    if at(raw.data, "answer", "status") in (204, 304) and at(raw.data, "answer", "body"):
        yield raw.fault(
            ("answer", "body"), "an answer of this status has no body", "remove body, or choose 200"
        )
    policies = raw.data.get("policies")
    yield from policy_faults(raw.source, (*raw.path, "policies"), policies, whole.identity_names)
    cors = at(policies, "cors")
    if isinstance(cors, dict):
        default = whole.default_cors
        effective = merged_maps(default, cors) if isinstance(default, dict) else cors
        yield from cors_faults(raw.source, (*raw.path, "policies", "cors"), effective)


def _goal(raw: Raw) -> Iterator[ConfigFault]:
    given = [key for key in GOALS if raw.data.get(key) is not None]
    if not given and not any(key in raw.data for key in GOALS):
        wrong = next((key for key in raw.data if did_you_mean(key, GOALS)), "")
        if not wrong:  # a misspelt one is reported as an unknown key
            yield raw.fault((), "this route leads nowhere", "add one of upstream, answer, redirect")
    for key in given[1:]:
        yield raw.fault(
            (key,), f"a route has one goal, and this one has {given[0]} already", "keep one of them"
        )
    if given and given[0] != "upstream":
        for key in ("rewrite", "serve_stale", "upgrade"):
            if key in raw.data:
                yield raw.fault((key,), f"this goes with an upstream, not with {given[0]}", "remove it")


def opt_ins(data: dict[str, Any]) -> int:
    chosen = at(data, "paths")
    return sum(
        bit
        for name, bit in OPT_INS.items()
        if isinstance(chosen, dict) and chosen.get(name) in (True, "true")
    )


def _path(raw: Raw, built_in: list[tuple[str, str]]) -> Iterator[ConfigFault]:
    path = raw.text("match", "path")
    if path is None or not path.startswith("/"):
        return
    try:
        right = spelled(path, opt_ins(raw.data))
    except Ambiguous as ambiguous:
        hint = "" if isinstance(path, Filled) else why_not(path, opt_ins(raw.data), ambiguous)
        yield raw.fault(("match", "path"), f"{shown(path)} is not canonical", hint)
        return
    if right != path:
        hint = "" if isinstance(path, Filled) else f"write {right}"
        yield raw.fault(("match", "path"), f"{shown(path)} is not canonical", hint)
    for _, place in built_in:
        if redefines(path, place):
            problem = f"{shown(path)} belongs to the built-in route {place}"
            yield raw.fault(
                ("match", "path"), problem, "choose another path, or change identity.prefix or identity.serve"
            )


def _rewrite(raw: Raw) -> Iterator[ConfigFault]:
    rewrite = raw.data.get("rewrite")
    if not isinstance(rewrite, dict):
        return
    given = [key for key in ("strip_prefix", "path") if key in rewrite]
    if len(given) != 1 and len(given) == len(rewrite):
        yield raw.fault(("rewrite",), "a rewrite needs exactly one of strip_prefix and path", "keep one")
    pattern = raw.text("match", "path") or ""
    for key in given:
        value = raw.text("rewrite", key)
        if value is None:
            continue
        problem, hint = _not_a_path(value, opt_ins(raw.data))
        if not problem:
            problem, hint = (_not_a_prefix if key == "strip_prefix" else _not_a_template)(value, pattern)
        if problem:
            yield raw.fault(("rewrite", key), problem, "" if isinstance(value, Filled) else hint)


def _not_a_path(path: str, allowed: int) -> tuple[str, str]:
    if "*" in path.removesuffix("/**") or "?" in path or "#" in path:
        return f"{shown(path)} has a *, ? or #", "write a path, with {name}s of the match where needed"
    if not path.startswith("/"):
        return f"{shown(path)} does not begin with a slash", f"did you mean {shown('/' + path)}?"
    try:
        right = spelled(path, allowed)
    except Ambiguous as ambiguous:
        return f"{shown(path)} is not canonical", why_not(path, allowed, ambiguous)
    return ("", "") if right == path else (f"{shown(path)} is not canonical", f"write {right}")


def _not_a_prefix(prefix: str, pattern: str) -> tuple[str, str]:
    if "{" in prefix or "*" in prefix:
        return f"{shown(prefix)} has a name or a *", "only literal segments can be left out"
    literal = pattern.removesuffix("/**").partition("/{")[0]
    if pattern and not f"{literal}/".startswith(f"{normal(prefix)}/".replace("//", "/")):
        return (
            f"{shown(prefix)} is no leading part of {shown(pattern)}",
            f"it can be at most {literal or '/'}",
        )
    return "", ""


def _not_a_template(path: str, pattern: str) -> tuple[str, str]:
    """Segments are literal or a {name} of the match; a final /** stands for that of the match."""
    known = params(pattern)
    for segment in path.split("/"):
        name = segment.removeprefix("{").removesuffix("}")
        if segment == f"{{{name}}}" and name in known:
            continue
        if segment == f"{{{name}}}" and pattern:
            hint = did_you_mean(name, known, f"it has {listed(known)}" if known else "it has none")
            return f"{segment} is not in the match", hint
        if "{" in segment or "}" in segment:
            return f"{shown(segment)} is not a segment", "{name} stands for one whole segment"
    if path.endswith("/**") and not pattern.endswith("/**"):
        return (
            f"{shown(path)} ends with /**, and the match does not",
            "leave it out, or add it there",
        )
    return "", ""


def ties(routes: list[tuple[Raw, Route]]) -> Iterator[ConfigFault]:
    """Routes of one place, host and headers that share a method. Groups first, so the cost stays linear."""
    taken: dict[tuple[Any, ...], dict[str, Raw]] = {}
    for raw, route in routes:
        methods = with_head(route.match.methods) or [""]
        place = shape(route.match.path)
        conditions = frozenset((name.lower(), value) for name, value in (route.match.headers or {}).items())
        other: Raw | None = None
        for host in route.match.host or [""]:
            here = taken.setdefault((place, host, conditions), {})
            if "" in methods or "" in here:
                other = other or next(iter(here.values()), None)
            else:
                other = other or next((here[method] for method in methods if method in here), None)
            for method in methods:
                here.setdefault(method, raw)
        if other is not None:
            where = f"{shown(other.data.get('name'))} ({other.source.name}:{other.source.line(other.path)})"
            yield raw.fault(
                ("match",),
                f"this ties with route {where}: same path, host, headers and method",
                "change or remove one",
            )


def unguarded_cookies(routes: list[tuple[Raw, Route]], defaults: Policies) -> Iterator[ConfigFault]:
    """csrf can be left out only where no cookie signs in."""
    for raw, route in routes:
        if route.policies.csrf == "none" and cookie_signs_in(effective(route, defaults)["authenticate"]):
            problem = "a cookie signs in here, so pages of other sites could act as their visitor"
            hint = "remove this and name the origins you trust in csrf.trusted_origins, or accept no cookie"
            yield raw.fault(("policies", "csrf"), problem, hint)
