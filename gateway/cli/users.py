"""The commands `postern users`: who has an account, and what they may do."""

import sys
from typing import Annotated, Any

import typer

from gateway.cli import groups
from gateway.cli.acting import act
from gateway.cli.output import (
    ConfigOption,
    JsonOption,
    fail,
    print_fields,
    print_json,
    print_records,
    print_settled,
    wrong_usage,
)

Who = Annotated[str, typer.Argument(metavar="WHO", help="A user's id, e-mail address or name.")]


def group() -> typer.Typer:
    return groups.group(
        "Accounts",
        "users add ann@example.com --role admin",
        {
            "list": (list_users, "users list --search ann"),
            "add": (add, "users add ann@example.com --name ann --role admin"),
            "show": (show, "users show ann@example.com"),
            "confirm": (confirm, "users confirm ann@example.com"),
            "lock": (lock, "users lock ann --why 'left the house'"),
            "unlock": (unlock, "users unlock ann"),
            "roles": (roles, "users roles ann --add admin --remove clerk"),
        },
    )


def list_users(
    search: Annotated[str, typer.Option(help="Part of a name or an address.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """List accounts, the newest first."""
    found = act(config, "users.list", search=search, limit=limit)["users"]
    if as_json:
        print_json({"users": found})
        return
    columns = ("user_id", "username", "email", "roles", "confirmed", "locked", "last_login")
    print_records(columns, found, empty="no such account")


def add(
    email: Annotated[str, typer.Argument(metavar="[EMAIL]", help="The address; asked for without it.")] = "",
    name: Annotated[str, typer.Option("--name", help="A user name, to sign in with too.")] = "",
    role: Annotated[list[str] | None, typer.Option("--role", help="Beside `user`; may be repeated.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for one (or read it from stdin). Default: make one.")
    ] = False,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Add an account. Its password is made, and shown once, unless you give one."""
    email = email or _asked_email()
    chosen = _asked_password() if password else ""
    answer = act(config, "users.add", email=email, username=name, roles=list(role or ()), password=chosen)
    if as_json:
        print_json(answer)
        return
    print_fields(_shown(answer["user"]))
    if not chosen:
        print(f"\npassword: {answer['password']}\nIt is shown this once.")


def show(who: Who, config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Show one account and its sessions."""
    answer = act(config, "users.show", who=who)
    if as_json:
        print_json(answer)
        return
    print_fields(_shown(answer["user"]))
    print()
    columns = ("session_id", "address", "agent", "methods", "created_at", "last_seen_at")
    print_records(columns, answer["sessions"], empty="no session")


def confirm(who: Who, config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Vouch for an account: where confirmation is required, it can sign in then."""
    _changed(act(config, "users.confirm", who=who), as_json, "confirmed")


def lock(
    who: Who,
    why: Annotated[str, typer.Option(help="Kept with the account, for the next admin.")] = "",
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Lock an account and end its sessions."""
    _changed(act(config, "users.lock", who=who, why=why), as_json, "locked")


def unlock(who: Who, config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Unlock an account."""
    _changed(act(config, "users.unlock", who=who), as_json, "unlocked")


def roles(
    who: Who,
    add: Annotated[list[str] | None, typer.Option("--add", help="May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="May be repeated.")] = None,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Show or change the roles of an account."""
    if set(add or ()) & set(remove or ()):
        wrong_usage("one role is to be added and removed", "--add")
    answer = act(config, "users.roles", who=who, add=list(add or ()), remove=list(remove or ()))
    _changed(answer, as_json, f"has the roles {', '.join(answer['user']['roles']) or '(none)'}")


def _changed(answer: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        print_json(answer)
        return
    user = answer["user"]
    print(f"{user['email']} {what}")
    print_settled(answer)


def _shown(user: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in user.items() if value not in ({}, "")}


def _asked_email() -> str:
    if not sys.stdin.isatty():
        wrong_usage("name the e-mail address", "EMAIL")
    return str(typer.prompt("e-mail address"))


def _asked_password() -> str:
    """From a prompt, or one line of stdin; never from the command line, which others can see."""
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    found = sys.stdin.readline().rstrip("\r\n")
    if not found:
        fail("there is no password on stdin")
    return found
