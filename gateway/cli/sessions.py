"""The commands `postern sessions`: who is signed in, and the end of it."""

from typing import Annotated

import typer

from gateway.cli import groups
from gateway.cli.acting import act
from gateway.cli.output import (
    ConfigOption,
    JsonOption,
    print_fields,
    print_json,
    print_records,
    print_settled,
    wrong_usage,
)


def group() -> typer.Typer:
    return groups.group(
        "Sessions",
        "sessions list --user ann@example.com",
        {
            "list": (list_sessions, "sessions list --user ann"),
            "show": (show, "sessions show 3AwTcePuCRU7uOju3GJJQV"),
            "revoke": (revoke, "sessions revoke --user ann"),
        },
    )


def list_sessions(
    user: Annotated[
        str, typer.Option("--user", metavar="WHO", help="Those of one: an id, address or name.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of everybody's, so many at most.")] = 50,
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """List the live sessions, of one user or of everybody."""
    found = act(config, "sessions.list", who=user, limit=limit)["sessions"]
    if as_json:
        print_json({"sessions": found})
        return
    columns = ("session_id", "user_id", "address", "agent", "methods", "level", "created_at", "last_seen_at")
    print_records(columns, found, empty="no session")


def show(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The id of the session.")],
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Show one session, and when and from where it was refreshed."""
    answer = act(config, "sessions.show", session=session)
    if as_json:
        print_json(answer)
        return
    print_fields({name: value for name, value in answer["session"].items() if name != "current"})
    print()
    columns = ("generation", "at", "address", "agent")
    print_records(columns, answer["rotations"], empty="not refreshed yet")


def revoke(
    session: Annotated[str, typer.Argument(metavar="[SESSION]", help="The id of one session.")] = "",
    user: Annotated[str, typer.Option("--user", metavar="WHO", help="All sessions of this user.")] = "",
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """End one session, or all of a user, at every edge."""
    if bool(session) == bool(user):
        wrong_usage("name a session, or --user")
    answer = act(config, "sessions.revoke", session=session, who=user)
    if as_json:
        print_json(answer)
        return
    ended = answer["ended"]
    print(f"{ended} session{'' if ended == 1 else 's'} ended")
    print_settled(answer)
