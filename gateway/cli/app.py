"""The command `postern`: its groups, each imported only when it is needed."""

import sys
from typing import TYPE_CHECKING, Annotated

from gateway import __version__

if TYPE_CHECKING:
    import typer


def main() -> None:
    """Entry point of the console script. `run` stays alive, so it loads no command-line library."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # no terminal's encoding may break a message
    if sys.argv[1:2] == ["run"]:
        from gateway.cli.run import run_fast

        sys.exit(run_fast(sys.argv[2:]))
    app()()


def app() -> "typer.Typer":
    """All commands."""
    import typer

    from gateway.cli import config, doctor, explain, importing, run, sessions, setup, tokens, users

    made = typer.Typer(
        name="postern",
        help="The gate beside your backend.",
        epilog="Example: postern init --upstream http://127.0.0.1:5000, then: postern run",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for each in (config, explain, run, setup, doctor, importing):
        each.register(made)
    made.add_typer(users.group(), name="users")
    made.add_typer(sessions.group(), name="sessions")
    made.add_typer(tokens.tokens(), name="tokens")
    made.add_typer(tokens.keys(), name="keys")

    @made.callback()
    def _postern(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        """The gate beside your backend."""

    return made


def _version(wanted: bool) -> None:
    import typer

    if wanted:
        print(f"postern {__version__}")
        raise typer.Exit(0)


if __name__ == "__main__":
    main()
