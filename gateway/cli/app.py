"""The command `postern`: its groups, each imported only when it is needed."""

import sys
from typing import TYPE_CHECKING

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

    from gateway.cli import config, run

    made = typer.Typer(
        name="postern",
        help="The gate beside your backend.",
        epilog="Example: postern init --upstream http://127.0.0.1:5000, then: postern run",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    config.register(made)
    run.register(made)
    return made


if __name__ == "__main__":
    main()
