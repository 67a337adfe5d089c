"""How commands say things: tables on a terminal, JSON for programs, complaints on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

ConfigOption = Annotated[str, typer.Option("--config", "-c", metavar="FILE", help="The routes file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print("".join(letter if letter.isprintable() or letter == "\n" else _escaped(letter) for letter in text))


def _escaped(letter: str) -> str:
    """As JSON may write any letter: those that a terminal would obey, or not show."""
    return json.dumps(letter)[1:-1]


def complain(message: str) -> None:
    print(f"postern: {message}", file=sys.stderr)


def fail(message: str) -> NoReturn:
    complain(message)
    raise typer.Exit(1)


def wrong_usage(message: str, param: str = "") -> NoReturn:
    raise typer.BadParameter(message, param_hint=param or None)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "") -> None:
    """`empty` is what is said instead of a table without rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [[cell(value) for value in row] for row in rows]
    if not shown and empty:
        print(empty)
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_records(columns: Sequence[str], records: Iterable[Mapping[str, Any]], empty: str) -> None:
    """A table of these fields of each."""
    print_table(columns, ([each[name] for name in columns] for each in records), empty)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each of its fields."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        print(f"{name.replace('_', ' '):<{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """What a user chose may hold control characters, which must not reach a terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) or "-" if isinstance(value, (list, tuple)) else str(value)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def print_settled(answer: Mapping[str, Any]) -> None:
    """Whether every edge knows of what was just done."""
    spread = answer.get("propagated") or {}
    if spread.get("edges"):
        print(f"{spread['acknowledged']} of {spread['edges']} edges have acknowledged it")
    for pending in answer.get("pending") or ():
        print(f"not yet: {cell(pending['edge'])}; safe from {pending['safe_at']}")
