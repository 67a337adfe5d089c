"""The commands that have to do with a running gateway: run, reload, demo, version."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from gateway import __version__

if TYPE_CHECKING:
    import typer

    from gateway.config.snapshot import Listen

RELOAD_WITHIN = 100.0  # seconds
Role = ("all", "edge", "identity")


def run_fast(argv: Sequence[str]) -> int:
    """`postern run`, without loading what the other commands need: the supervisor is to be small."""
    parser = argparse.ArgumentParser(
        prog="postern run",
        description="Run the gateway until SIGTERM or Ctrl-C.",
        epilog="Example: postern run -c routes.yaml --workers 2",
    )
    parser.add_argument("-c", "--config", default="routes.yaml", metavar="FILE", help="default: routes.yaml")
    parser.add_argument("--role", choices=Role, default="all", help="default: all")
    parser.add_argument(
        "--workers",
        type=_positive,
        default=0,
        metavar="N",
        help="default: as routes.yaml says, else one per core",
    )
    chosen = parser.parse_args(argv)
    return _run(chosen.config, chosen.role, chosen.workers)


def register(app: "typer.Typer") -> None:
    """Add these commands to the command line."""
    import typer

    config_option = typer.Option("--config", "-c", metavar="FILE", help="The routes file.")

    @app.command(epilog="Example: postern run -c routes.yaml --workers 2")
    def run(
        config: Annotated[str, config_option] = "routes.yaml",
        role: Annotated[str, typer.Option(help="all, edge or identity.")] = "all",
        workers: Annotated[int | None, typer.Option(min=1, help="Default: one per core.")] = None,
    ) -> None:
        """Run the gateway until SIGTERM or Ctrl-C."""
        if role not in Role:
            raise typer.BadParameter("use all, edge or identity", param_hint="--role")
        raise typer.Exit(_run(config, role, workers or 0))

    @app.command(epilog="Example: postern reload")
    def reload(
        config: Annotated[str, config_option] = "routes.yaml",
        as_json: Annotated[bool, typer.Option("--json", help="The answer for programs.")] = False,
    ) -> None:
        """Have the running gateway load its routes file anew, and say whether it did."""
        raise typer.Exit(_reload(config, as_json))

    @app.command(epilog="Example: POSTERN_DEMO_PORT=4100 postern demo")
    def demo() -> None:
        """Show the gateway at work before a small backend, on 127.0.0.1 only."""
        from gateway.demo import run_demo

        raise typer.Exit(run_demo())

    @app.command(epilog="Example: postern version")
    def version(
        as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    ) -> None:
        """Print the version."""
        print(json.dumps({"version": __version__}) if as_json else f"postern {__version__}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _run(config: str, role: str, workers: int) -> int:
    if role == "identity":
        _complain("an identity service by itself is not available in this version yet; use --role all")
        return 1
    from gateway.admin_token import data_folder
    from gateway.supervisor import Options, run

    return run(Options(routes=config, role=role, workers=workers, data=data_folder()))


def _reload(config: str, as_json: bool) -> int:
    from gateway.admin_token import VARIABLE
    from gateway.cli.admin_client import NoAnswer, ask

    admin = _admin_address(config)
    if admin is None:
        return 1
    try:
        status, answer = ask(admin, "POST", "/reload", RELOAD_WITHIN)
    except NoAnswer as reason:
        _complain(str(reason))
        return 1
    if as_json:
        print(json.dumps(answer))
    elif status == 401:
        _complain(f"the gateway on {admin} has another admin token: set {VARIABLE} to its own")
    else:
        _tell(answer)
    return 0 if status == 200 else 1


def _tell(answer: dict[str, Any]) -> None:
    if not answer.get("loaded"):
        _complain("refused; the old configuration stays in force:")
        for fault in answer.get("faults", []):
            print(f"  {fault}", file=sys.stderr)
        return
    print(f"loaded; the configuration in force is {answer.get('config')}")
    for key in answer.get("needs_restart", []):
        print(f"`{key}` changed: that needs a restart; the old value stays until then")


def _admin_address(config: str) -> "Listen | None":
    """Where the gateway's admin listener is, by its routes file."""
    from gateway.config.environment import with_our_packages
    from gateway.config.service import decode_compiled
    from gateway.config.snapshot import decode

    command = [sys.executable, "-m", "gateway.config.compile", config, "--role", "edge"]
    done = subprocess.run(command, env=with_our_packages(os.environ), capture_output=True)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
        return None
    return decode(decode_compiled(done.stdout).snapshot).admin


def _complain(message: str) -> None:
    print(f"postern: {message}", file=sys.stderr)
