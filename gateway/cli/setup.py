"""The commands that prepare a gateway: secret, settings, migrate."""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.acting import settings_or_exit
from gateway.cli.output import ConfigOption, JsonOption, fail, print_json, print_table
from gateway.config.durations import SECONDS
from gateway.config.settings import is_postgres

if TYPE_CHECKING:
    from gateway.config.service import Service
    from gateway.config.serving import Chosen

HIDDEN = "(hidden)"
_SECRET = ("POSTERN_SECRET", "POSTERN_ADMIN_TOKEN", "SMTP_URL")
_SPANS = ("TOKEN_TTL", "REFRESH_TTL", "SESSION_TTL", "LOCKOUT_DURATION")
# Settings of the older service that stand for something else here.
REPLACED = {
    "JWT_SECRET": "POSTERN_SECRET: all keys are made from it",
    "ENABLE_CLUSTERING": "nothing to switch on: replicas that share one PostgreSQL are one cluster",
    "CLUSTER_STRATEGY": "nothing: replicas find each other through the database that they share",
    "CLUSTER_SECRET": "POSTERN_SECRET, the same for every replica",
}


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: POSTERN_SECRET=$(postern secret) postern run")(secret)
    app.command(epilog="Example: postern settings --json")(settings)
    app.command(epilog="Example: postern migrate --dry-run")(migrate)


def secret(as_json: JsonOption = False) -> None:
    """Make a master secret, for POSTERN_SECRET."""
    from gateway.identity.secrets import make

    made = make()
    if as_json:
        print_json({"secret": made})
    else:
        print(made)


def settings(config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Show each setting in force, and where it comes from. Secrets are hidden."""
    from gateway.config.compile import compiled
    from gateway.config.faults import ConfigFaults
    from gateway.config.load import check
    from gateway.config.serving import chosen

    try:
        checked = check(config)
    except ConfigFaults as faults:
        fail(f"there are faults:\n{faults}")
    base_url = compiled(checked).identity.base_url
    found = chosen(checked.document, checked.settings, base_url)
    shown: list[dict[str, Any]] = [
        {"setting": name, "value": _shown(name, one), "from": one.source} for name, one in found.items()
    ]
    for name, value in (("PORT", checked.settings.port), ("POSTERN_DATA", checked.settings.data)):
        source = f"environment: {name}" if os.environ.get(name) else "default"
        shown.append({"setting": name, "value": value, "from": source})
    instead = [{"setting": name, "instead": text} for name, text in REPLACED.items() if os.environ.get(name)]
    if as_json:
        print_json({"settings": shown, "replaced": instead})
        return
    print_table(("setting", "value", "from"), ([row["setting"], row["value"], row["from"]] for row in shown))
    for row in instead:
        print(f"{row['setting']} is set and has no effect here. In its place: {row['instead']}")


def _shown(name: str, one: "Chosen") -> Any:
    if name in _SECRET:
        where = "admin-token" if name == "POSTERN_ADMIN_TOKEN" else "secret"
        return HIDDEN if one.value else f"(the data folder's {where}, made at the first start)"
    if name == "DATABASE_URL":
        return re.sub(r"(?<=://)([^/@\s:]*):[^/@\s]*@", rf"\1:{HIDDEN}@", one.value)
    if name in _SPANS:
        return "never" if name == "SESSION_TTL" and not one.value else _span(one.value)
    return list(one.value) if isinstance(one.value, (tuple, list)) else one.value


def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Bring the database's tables up to this version. Others keep running on it meanwhile."""
    from gateway.store.faults import StoreFault

    service = settings_or_exit(config)
    try:
        found = asyncio.run(_migrate(service, dry_run))
    except StoreFault as fault:
        fail(f"the database can't be migrated: {fault}")
    if as_json:
        print_json({"migrations": found, "done": not dry_run})
    elif not found:
        print("the database is up to date")
    else:
        print(f"{'needed' if dry_run else 'done'}: {', '.join(found)}")


async def _migrate(service: "Service", dry_run: bool) -> list[str]:
    from gateway.store.database import migrate as bring_up
    from gateway.store.migrating import known

    path = service.database_url.removeprefix("sqlite:")
    if dry_run and not is_postgres(service.database_url) and not os.path.exists(path):
        return [each.name for each in known("sqlite")]  # a look at it must not make it
    return [each.name for each in await bring_up(service.database_url, dry_run)]


def _span(seconds: float) -> str:
    """In the largest unit in which it is a whole number."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds / SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"
