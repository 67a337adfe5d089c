"""The commands that read or write routes.yaml: check, schema, routes, init."""

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import ConfigOption, JsonOption, fail, print_json, print_table
from gateway.config.faults import ConfigFaults

if TYPE_CHECKING:
    from gateway.config.snapshot import Route, Snapshot

ROLES = ("all", "edge", "identity")
RoleOption = Annotated[str, typer.Option(help="Whose settings are needed: all, edge or identity.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: postern check -c routes.yaml --json")(check)
    app.command(epilog="Example: postern schema > routes.schema.json")(schema)
    app.command(epilog="Example: postern routes -c routes.yaml")(routes)
    app.command(epilog="Example: postern init --upstream http://127.0.0.1:5000")(init)


def check(
    config: ConfigOption = "routes.yaml", role: RoleOption = "all", as_json: JsonOption = False
) -> None:
    """Check the routes file: every fault with its line and what would be right."""
    try:
        snapshot = _load(config, role)
    except ConfigFaults as faults:
        if as_json:
            print_json({"ok": False, "faults": [fault._asdict() for fault in faults.faults]})
        else:
            print(faults)
        raise typer.Exit(1) from None
    own = [route for route in snapshot.routes if not route.identity]
    if as_json:
        found = {"routes": len(own), "upstreams": len(snapshot.upstreams), "config": snapshot.hash}
        print_json({"ok": True, "faults": [], **found})
        return
    print(f"{config} is right: {_count(own, 'route')}, {_count(snapshot.upstreams, 'upstream')}")


def schema() -> None:
    """Print the JSON Schema of the routes file, for editors."""
    from gateway.config.schema import json_schema

    print_json(json_schema())


def routes(
    config: ConfigOption = "routes.yaml", role: RoleOption = "all", as_json: JsonOption = False
) -> None:
    """Show all routes: what they match, where they go, which policies they have."""
    snapshot = _load_or_exit(config, role)
    if as_json:
        print_json({"routes": [_described(route) for route in snapshot.routes]})
        return
    columns = ("route", "host", "path", "methods", "goes to", "sign-in", "policies")
    print_table(columns, (tuple(_row(route)) for route in snapshot.routes))


def init(
    upstream: Annotated[
        str, typer.Option(metavar="URL", help="Your backend, such as http://127.0.0.1:5000.")
    ],
    config: ConfigOption = "routes.yaml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a first routes file for a backend."""
    from gateway.config.faults import NotRight
    from gateway.config.types_net import server

    try:
        server(upstream)
    except NotRight as fault:
        raise typer.BadParameter(str(fault), param_hint="--upstream") from None
    try:
        with open(config, "w" if force else "x", encoding="utf-8") as file:
            file.write(FIRST_FILE.format(upstream=json.dumps(upstream)))
    except FileExistsError:
        fail(f"{config} exists already; use --force to overwrite it, or -c for another file")
    except OSError as error:
        fail(f"{config} can't be written: {(error.strerror or str(error)).lower()}")
    then = f"postern run{'' if config == 'routes.yaml' else f' -c {config}'}"
    if as_json:
        print_json({"wrote": config, "next": then})
    else:
        print(f"wrote {config}; now: {then}")


FIRST_FILE = """\
# What the gateway does. To check this file: postern check. Every key is in docs/configuration.md.
version: 1

upstreams:
  app: {upstream}

routes:
  # Everything goes to the backend, and everyone has to sign in: POST /api/auth/register and /api/auth/login.
  # For a public place, add a route such as
  #   - {{name: public, match: {{path: /public/**}}, upstream: app, policies: {{authenticate: none}}}}
  - name: app
    match: {{path: /**}}
    upstream: app
"""


def _load(config: str, role: str) -> "Snapshot":
    if role not in ROLES:
        raise typer.BadParameter("use all, edge or identity", param_hint="--role")
    from gateway.config.compile import load

    return load(config, role, os.environ)  # type: ignore[arg-type]  # checked above


def _load_or_exit(config: str, role: str) -> "Snapshot":
    try:
        return _load(config, role)
    except ConfigFaults as faults:
        print(faults, file=sys.stderr)
        raise typer.Exit(1) from None


def _described(route: "Route") -> dict[str, Any]:
    from gateway.admin_pages import plain

    return {
        "name": route.name,
        "path": route.path,
        "hosts": list(route.hosts),
        "methods": list(route.methods),
        "headers": route.headers,
        "goes_to": _goal(route),
        "mode": route.mode,
        "policies": plain(route.policies),
    }


def _row(route: "Route") -> Iterator[str]:
    yield route.name
    yield " ".join(route.hosts) or "any"
    yield route.path
    yield " ".join(route.methods) or "all"
    yield _goal(route)
    yield "its own" if route.identity else route.policies["authenticate"]["mode"]
    yield " ".join(name for name in route.policies if name != "authenticate") + (
        " (report)" if route.mode == "report" else ""
    )


def _goal(route: "Route") -> str:
    if route.identity:
        return "identity"
    if route.answer is not None:
        return f"answer {route.answer.status}"
    if route.redirect is not None:
        return f"{route.redirect.status} {route.redirect.to}"
    return f"upstream {route.upstream}"


def _count(things: Any, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
