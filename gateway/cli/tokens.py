"""The commands `postern tokens` and `postern keys`: what a token is, and what signs and seals."""

import sys
from typing import Annotated

import typer

from gateway.cli import groups
from gateway.cli.acting import act
from gateway.cli.output import ConfigOption, JsonOption, fail, print_fields, print_json, print_records


def tokens() -> typer.Typer:
    inspecting = "tokens inspect < token"
    return groups.group("Tokens", inspecting, {"inspect": (inspect, inspecting)})


def keys() -> typer.Typer:
    commands = {
        "list": (list_keys, "keys list"),
        "rotate": (rotate, "keys rotate"),
        "rewrap": (rewrap, "keys rewrap"),
    }
    return groups.group("Keys", "keys list", commands)


def inspect(
    token: Annotated[
        str, typer.Argument(metavar="[TOKEN]", help="Default: asked for, or read from stdin.")
    ] = "",
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Say what a token is, whose, and whether it is good. Nothing of it is used up."""
    given = token or (
        str(typer.prompt("token", hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline()
    )
    if not given.strip():
        fail("there is no token on stdin")
    answer = act(config, "tokens.inspect", token=given.strip())
    if as_json:
        print_json(answer)
    else:
        print_fields(answer)
    if not answer["good"]:
        raise typer.Exit(1)


def list_keys(config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """List the signing keys, and the secrets (by their key-id) under which they lie."""
    answer = act(config, "keys.list")
    if as_json:
        print_json(answer)
        return
    columns = ("kid", "algorithm", "sealed_with", "created_at", "retired_at", "expires_at")
    print_records(columns, answer["keys"], empty="no signing key: access tokens are opaque")
    print(f"secrets, newest first: {', '.join(answer['secrets'])}")


def rotate(config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Make a new signing key; the old ones verify until their last token has died."""
    answer = act(config, "keys.rotate")
    if as_json:
        print_json(answer)
    else:
        print(f"the new signing key is {answer['kid']}")


def rewrap(config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Seal everything that is encrypted anew under the newest secret."""
    answer = act(config, "keys.rewrap")
    if as_json:
        print_json(answer)
        return
    print(f"{answer['rewrapped']} sealed anew under the secret {answer['secret']}")
    for key_id in answer["still_needed"]:
        print(f"the secret {key_id} is still needed: sessions were made with it, and live")
