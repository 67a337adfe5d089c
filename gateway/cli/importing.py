"""The commands `postern import`: the users of another system move in, from its table or a CSV file."""

import asyncio
import csv
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.acting import settings_or_exit
from gateway.cli.output import ConfigOption, JsonOption, complain, fail, print_json, print_table, wrong_usage

if TYPE_CHECKING:
    from gateway.config.service import Service
    from gateway.identity.importing.moving import Report

SHOWN = 20  # refused rows, on a terminal; the report has them all
LONGEST_FIELD = 1024 * 1024
_COLUMNS = (
    "user_id", "email", "username", "password_hash", "confirmed", "first_name", "last_name", "meta",
    "successful_login_attempts",
)  # fmt: skip

DryOption = Annotated[bool, typer.Option("--dry-run", help="Only tell what would become of each row.")]
ReportOption = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write all refused rows as CSV.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    made = typer.Typer(
        help="Import: the users of another system move in.",
        epilog="Example: postern import accesspass postgresql://app@db/app --dry-run",
        no_args_is_help=True,
    )
    made.command("accesspass", epilog="Example: postern import accesspass users.csv")(accesspass)
    made.command("csv", epilog="Example: postern import csv users.csv --dry-run")(from_csv)
    app.add_typer(made, name="import")


def accesspass(
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE.csv", envvar="ACCESSPASS_URL", help="Its database, or its table as CSV."
        ),
    ],
    table: Annotated[str, typer.Option(help="Its table; with a schema: app.users.")] = "users",
    dry_run: DryOption = False,
    report: ReportOption = None,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Take in AccessPass's users with their passwords. Run again, it goes on where it stopped."""
    from gateway.store import foreign

    if not source.startswith(("postgresql://", "postgres://")):
        _import(config, _file(Path(source)), Path(source).name, dry_run, report, as_json)
        return
    if not foreign.is_table(table):
        wrong_usage("this is no table's name", "--table")
    _import(config, lambda: foreign.rows(source, table), f"table {table}", dry_run, report, as_json)


def from_csv(
    file: Annotated[Path, typer.Argument(help=f"With a header line; columns: {', '.join(_COLUMNS)}.")],
    dry_run: DryOption = False,
    report: ReportOption = None,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Take in users from a CSV file; of its columns only email has to be there."""
    _import(config, _file(file), file.name, dry_run, report, as_json)


def _file(path: Path) -> Callable[[], AsyncIterator[dict[str, Any]]]:
    if not path.is_file():
        wrong_usage(f"{path} is not a file")
    return lambda: _rows(path)


async def _rows(path: Path) -> AsyncIterator[dict[str, Any]]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if "email" not in columns:
            fail(f"{path.name} has no column email; its first line names the columns: {', '.join(_COLUMNS)}")
        for row in reader:
            yield {name: value for name, value in row.items() if name in _COLUMNS}


def _import(
    config: str,
    rows: Callable[[], AsyncIterator[dict[str, Any]]],
    source: str,
    dry: bool,
    written: Path | None,
    as_json: bool,
) -> None:
    from gateway.store.faults import StoreFault

    service = settings_or_exit(config)
    try:
        with _progress(as_json) as progress:
            report = asyncio.run(_move(service, rows(), source, dry, progress))
    except StoreFault as fault:
        fail(f"a database can't be used: {fault}; what was kept stays, run it again to go on")
    except (csv.Error, UnicodeDecodeError) as fault:
        fail(f"{source} can't be read: {fault}; what was kept stays")
    if written is not None:
        _write(written, report)
    if as_json:
        print_json(_as_json(report, dry))
    else:
        _show(report, dry)
    if any(not each.taken for each in report.refused):
        raise typer.Exit(1)


async def _move(
    service: "Service",
    rows: AsyncIterator[dict[str, Any]],
    source: str,
    dry: bool,
    progress: "Callable[[Report], None]",
) -> "Report":
    from gateway.identity.importing.moving import Mover
    from gateway.store.database import Store

    store = await Store.open(service.database_url, service.migrate)
    try:
        return await Mover(store, dry=dry, progress=progress).move(rows, source)
    finally:
        await store.close()


@contextmanager
def _progress(quiet: bool) -> "Iterator[Callable[[Report], None]]":
    """On a terminal a line that grows; else nothing."""
    if quiet or not sys.stderr.isatty():
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("reading")
        yield lambda report: shown.update(
            task,
            description=f"{report.read:,} read, {report.imported:,} taken, {len(report.refused):,} refused",
        )


def _as_json(report: "Report", dry: bool) -> dict[str, Any]:
    import msgspec

    return {"dry_run": dry, **msgspec.to_builtins(report)}


def _show(report: "Report", dry: bool) -> None:
    said = "would be taken in" if dry else "taken in"
    left = [each for each in report.refused if each.taken]
    refused = [each for each in report.refused if not each.taken]
    print(
        f"{report.read} rows: {report.imported} {said}, {report.already} here already, {len(refused)} refused"
    )
    for title, some in (("refused", refused), ("taken, but", left)):
        if some:
            print_table(("row", title, "why"), ((each.row, each.who, each.why) for each in some[:SHOWN]))
        if len(some) > SHOWN:
            complain(f"{len(some) - SHOWN} more: --report FILE has them all")


def _write(path: Path, report: "Report") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "who", "why", "taken"))
        writer.writerows(
            (each.row, each.who, each.why, "yes" if each.taken else "no") for each in report.refused
        )
