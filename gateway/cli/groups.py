"""Commands that share a first word, such as `postern users`."""

from collections.abc import Callable, Mapping
from typing import Any

import typer

Commands = Mapping[str, tuple[Callable[..., Any], str]]  # name -> the command, and an example of it


def group(what: str, example: str, commands: Commands) -> typer.Typer:
    """`what`: in a word; the help goes on with the commands' names."""
    about = f"{what}: {', '.join(commands)}."
    made = typer.Typer(help=about, epilog=_example(example), no_args_is_help=True)

    @made.callback(help=about)
    def _group() -> None:
        """Makes a group also of one command."""

    for name, (command, line) in commands.items():
        made.command(name, epilog=_example(line))(command)
    return made


def _example(line: str) -> str:
    return f"Example: postern {line}"
