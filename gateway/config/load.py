"""routes.yaml and the environment to a checked configuration: every fault at once, or none."""

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.config import checks, checks_credentials, checks_gateway, checks_rights, serving
from gateway.config.checks_plugins import plugin_faults
from gateway.config.checks_rates import rate_faults
from gateway.config.faults import ConfigFault, ConfigFaults, shown
from gateway.config.loader import Place, Source, at, read_source
from gateway.config.places import built_in
from gateway.config.schema import Document, Included
from gateway.config.schema_identity import EDGE_KEYS, Identity, identity_names
from gateway.config.schema_policies import Policies
from gateway.config.schema_routes import Route
from gateway.config.settings import Settings, read_settings
from gateway.config.translate import faults_of
from gateway.config.types import Context

Role = Literal["all", "edge", "identity"]
ROLES = ("all", "edge", "identity")
MOST_FILES = 1000

# What a process that runs no edge makes no use of.
_EDGE_ONLY = ("upstreams", "routes", "defaults", "tls", "forward_auth", "proxy_protocol")

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Checked:
    """A configuration without faults, as its files have it."""

    document: Document
    source: Source
    included: list[tuple[Source, Included]]
    settings: Settings
    files: list[str] = field(default_factory=list)


def check(path: str, role: Role = "all", environ: Mapping[str, str] | None = None) -> Checked:
    """Reads and checks everything; raises ConfigFaults."""
    environ = os.environ if environ is None else environ
    settings, faults = read_settings(environ, edge=role == "edge")
    main = read_source(Path(path), path, environ)
    sources = [main]
    if main.data is not None:
        sources += _included(main, environ)
    for source in sources:
        faults += source.faults
        faults += _absent(source, role)
    checked = None
    if main.data is not None:
        checked, found = _check_all(sources, settings, role)
        faults += found
    faults = _in_order(sources, faults)
    if checked is not None and role != "edge":
        faults += serving.faults(checked.document, settings)
    if faults or checked is None:
        raise ConfigFaults(faults)
    return checked


def _included(main: Source, environ: Mapping[str, str]) -> Iterator[Source]:
    patterns = main.data.get("include")
    folder = main.path.parent
    seen = {os.path.realpath(main.path)}
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
        place: Place = ("include", index) if isinstance(patterns, list) else ("include",)
        if not isinstance(pattern, str) or not pattern or "\0" in pattern:
            continue
        names = sorted(glob.glob(os.path.join(glob.escape(str(folder)), pattern)))
        if glob.has_magic(pattern):
            main.files.append(str((folder / pattern).parent.absolute()))  # a new file shows in its folder
            names = [name for name in names if os.path.isfile(name)]
        elif not names:
            names = [str(folder / pattern)]
        if len(names) > MOST_FILES:
            main.faults.append(main.fault(place, f"{shown(pattern)} names more than {MOST_FILES:,} files"))
            continue
        for name in map(os.path.normpath, names):
            if os.path.realpath(name) in seen:
                main.faults.append(
                    main.fault(place, f"{shown(name)} is included twice, or is this file", "include it once")
                )
                continue
            seen.add(os.path.realpath(name))
            yield _read_included(main, place, name, environ)


def _read_included(main: Source, place: Place, name: str, environ: Mapping[str, str]) -> Source:
    source = read_source(Path(name), name, environ)
    if source.faults and source.data is None and not source.lines and source.faults[0].line == 0:
        problem = f"{shown(name)} {source.faults[0].problem}"
        source.faults = [main.fault(place, problem, "paths are relative to this file's folder")]
    return source


def _absent(source: Source, role: Role) -> Iterator[ConfigFault]:
    """Missing variables where the role uses them; elsewhere the setting is left out, as if not written."""
    unused: set[Place] = set()
    for path, absent in source.absent:
        if role == "edge" and path[0] == "identity" and len(path) > 1 and path[1] not in EDGE_KEYS:
            unused.add(path[:2])
        elif role == "identity" and path[0] in _EDGE_ONLY:
            unused.update((key,) for key in _EDGE_ONLY)
        else:
            yield source.fault(path, absent.problem, absent.hint)
    for path in unused:
        around = source.data
        for key in path[:-1]:
            around = around[key]
        around.pop(path[-1], None)


def _check_all(
    sources: list[Source], settings: Settings, role: Role
) -> tuple[Checked | None, list[ConfigFault]]:
    main = sources[0]
    context = _context(sources)
    faults: list[ConfigFault] = []
    for source in sources:
        faults += checks.empty_values(source)
    document = _validated(Document, main, context, faults)
    included = [
        (source, _validated(Included, source, context, faults))
        for source in sources[1:]
        if source.data is not None
    ]
    faults += checks.repeated_names(sources)
    identity = document.identity if document else _identity(main, context)
    whole = checks.Whole(
        list(built_in(identity)), identity_names(identity), at(main.data, "defaults", "policies", "cors")
    )
    faults += checks_gateway.gateway_faults(main, settings.port, whole.identity_names)
    faults += checks_gateway.identity_faults(main, whole.built_in)
    for source in sources:
        faults += checks_gateway.upstream_faults(source)
    raws = checks.raw_routes(sources)
    for raw in raws:
        faults += checks.route_faults(raw, whole)
    if role != "identity":
        faults += plugin_faults(sources, whole.identity_names)
    answering = {raw.text("name") or "" for raw in raws if raw.data.get("upstream") is None}
    faults += checks_gateway.forward_auth_faults(main, frozenset(answering))
    plain = any(at(raw.data, "policies", "cors") is None for raw in raws)
    faults += checks_gateway.default_cors_faults(main, plain)
    models = [(source, model) for source, model in included if model is not None]
    if document is None or len(models) < len(included):
        routes, defaults = _valid_routes(raws, context), _defaults(main, context)
    else:
        valid = document.routes + [route for _, model in models for route in model.routes]
        routes, defaults = list(zip(raws, valid, strict=True)), document.defaults.policies
    faults += checks.ties(routes)
    faults += checks.unguarded_cookies(routes, defaults)
    faults += rate_faults(main, routes, defaults)
    faults += checks_rights.rights_faults(main, routes, defaults)
    base_url = (identity.base_url or settings.base_url or "").rstrip("/")
    faults += checks_credentials.issuer_faults(main, base_url)
    faults += checks_credentials.assertion_faults(main, routes, defaults, identity.serve, base_url)
    if faults or document is None:
        return None, faults
    files = [name for source in sources for name in source.files]
    return Checked(document, main, models, settings, list(dict.fromkeys(files))), []


def _context(sources: list[Source]) -> Context:
    def names(key: str) -> list[str]:
        found = [at(source.data, key) for source in sources]
        return [name for names in found if isinstance(names, dict) for name in names]

    routes = [name for raw in checks.raw_routes(sources) if (name := raw.text("name")) is not None]
    return Context(names("upstreams"), names("issuers"), routes)


def _validated(model: type[M], source: Source, context: Context, faults: list[ConfigFault]) -> M | None:
    try:
        return model.model_validate(source.data, context=context)
    except ValidationError as error:
        faults += faults_of(source, error, context)
        return None


def _identity(main: Source, context: Context) -> Identity:
    """For a file with faults elsewhere: its own identity if that is right, else the default."""
    try:
        return Identity.model_validate(main.data.get("identity", {}), context=context)
    except ValidationError:
        return Identity()


def _defaults(main: Source, context: Context) -> Policies:
    """Likewise."""
    try:
        return Policies.model_validate(at(main.data, "defaults", "policies") or {}, context=context)
    except ValidationError:
        return Policies()


def _valid_routes(raws: list[checks.Raw], context: Context) -> list[tuple[checks.Raw, Route]]:
    """Those that are right by themselves, so that ties show beside other faults."""
    found = []
    for raw in raws:
        try:
            found.append((raw, Route.model_validate(raw.data, context=context)))
        except ValidationError:
            continue
    return found


def _in_order(sources: list[Source], faults: list[ConfigFault]) -> list[ConfigFault]:
    """By file and line; of several faults at one key only the first that was found, the most basic one."""
    unique: dict[Any, ConfigFault] = {}
    for fault in faults:
        unique.setdefault((fault.file, fault.line, fault.path) if fault.path else fault, fault)
    rank = {source.name: index for index, source in enumerate(sources)}
    return sorted(unique.values(), key=lambda fault: (rank.get(fault.file, -1), fault.line))
