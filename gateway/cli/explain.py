"""The command `postern explain`: why a request passes or fails, before or after it happened."""

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from gateway.cli.output import ConfigOption, JsonOption, complain, fail, print_json, wrong_usage

if TYPE_CHECKING:
    from gateway.config.snapshot import Snapshot
    from gateway.explaining.asked import Asked
    from gateway.explaining.explanation import Explanation

PASSES = ("passes", "answered")
_FIND_WITHIN = 5.0  # seconds


class Options(msgspec.Struct, frozen=True):
    """Whose the request is, beside what it asks for."""

    config: str
    headers: list[str]
    token: str
    user: str
    address: str
    agent: str

    def __repr__(self) -> str:
        return "Options(…)"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: postern explain GET /orders/7 --user ann@example.com")(explain)


def explain(
    what: Annotated[str, typer.Argument(metavar="METHOD|REQUEST_ID", help="GET, POST, …; or an id.")],
    where: Annotated[str, typer.Argument(metavar="[URL|PATH]", help="What the method is for.")] = "",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="LINE", help="'Name: value'; several.")
    ] = None,
    token: Annotated[str, typer.Option(metavar="TOKEN", help="A credential; - reads it from stdin.")] = "",
    user: Annotated[
        str, typer.Option(metavar="WHO", help="As if they had just signed in: an id, address or name.")
    ] = "",
    address: Annotated[str, typer.Option("--from", metavar="IP", help="The address that connects.")] = "",
    agent: Annotated[str, typer.Option(metavar="TEXT", help="The User-Agent.")] = "",
    config: ConfigOption = "routes.yaml",
    as_json: JsonOption = False,
) -> None:
    """Show why a request passes or is refused, policy by policy, and the head that its upstream receives; or,
    by the id of one that was, what its log line tells. Nothing is sent, and nothing is counted.

    The exit code is 0 when the request passes, 1 when it is refused or can't be judged.
    """
    from gateway.explaining.asked import BadQuestion

    logging.getLogger("gateway").addHandler(logging.NullHandler())  # what there is to tell is in the answer
    if token and user:
        wrong_usage("give --token or --user, not both")
    token = sys.stdin.readline().strip() if token == "-" else token
    options = Options(config, header or [], token, user, address, agent)
    try:
        if where:
            _before(what, where, options, as_json)
        else:
            _after(what, options, as_json)
    except BadQuestion as reason:
        wrong_usage(str(reason))


def _before(method: str, where: str, options: Options, as_json: bool) -> None:
    from gateway.cli.explain_text import print_explanation

    snapshot, note = _configuration(options.config)
    found = _explained(snapshot, _asked(snapshot, method, where, options), options)
    found = msgspec.structs.replace(found, notes=[*note, *found.notes])
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print_explanation(found)
    raise typer.Exit(0 if found.outcome in PASSES else 1)


def _after(request_id: str, options: Options, as_json: bool) -> None:
    from gateway.cli.explain_text import print_line
    from gateway.explaining import afterwards
    from gateway.model.headers import is_request_id

    if not is_request_id(request_id.encode()):
        wrong_usage("name a method and a path, such as GET /orders/7, or the id of a request")
    snapshot, note = _configuration(options.config)
    line, place = _line_of(snapshot, request_id)
    asked = afterwards.again(snapshot, line, options.headers, _host(snapshot))
    now = None if asked is None else _explained(snapshot, asked, options)
    same = line.get("config") == snapshot.hash
    known = same and now is not None and now.route is not None and now.route.name == line.get("route")
    said = afterwards.told(line, now.policies) if known and now is not None else None
    told = {
        "request": line,
        "found_in": place,
        "configuration": {"then": line.get("config"), "now": snapshot.hash, "same": same},
        "policies": None if said is None else msgspec.to_builtins(said),
        "now": None if now is None else msgspec.to_builtins(now),
        "notes": note,
    }
    if as_json:
        print_json(told)
    else:
        print_line(told, said, now)


def _configuration(config: str) -> "tuple[Snapshot, list[str]]":
    """As the gateway compiles it. What only the identity service needs, secrets above all, may be out of
    reach here: then the configuration's hash can't be known."""
    from gateway.config.compile import load
    from gateway.config.faults import ConfigFaults

    try:
        return load(config), []
    except ConfigFaults as faults:
        try:
            snapshot = load(config, "edge")
        except ConfigFaults:
            print(faults, file=sys.stderr)
            raise typer.Exit(1) from None
        note = f"without the identity service's settings, since they are not whole here: {faults.faults[0]}"
        return msgspec.structs.replace(snapshot, hash=""), [note]


def _asked(snapshot: "Snapshot", method: str, where: str, options: Options) -> "Asked":
    from gateway.explaining.asked import LOCAL, asked
    from gateway.model.addresses import UNIX

    address = options.address or (UNIX if snapshot.listen[0].path else LOCAL)
    return asked(method, where, options.headers, address=address, agent=options.agent, host=_host(snapshot))


def _host(snapshot: "Snapshot") -> str:
    """Where clients find this gateway, as far as it is told."""
    listen = snapshot.listen[0]
    return urlsplit(snapshot.identity.base_url).netloc or ("localhost" if listen.path else str(listen))


def _explained(snapshot: "Snapshot", asked: "Asked", options: Options) -> "Explanation":
    from gateway.cli.explain_knowledge import Running
    from gateway.explaining.explain import explain as explained
    from gateway.identity.control_client import ActRefused

    knowledge = Running(options.config)
    somebody = None
    if options.user:
        try:
            somebody = knowledge.user(options.user, asked.address, asked.value("user-agent"))
        except ActRefused as reason:
            fail(str(reason))
    return asyncio.run(explained(snapshot, asked, knowledge, token=options.token, somebody=somebody))


def _line_of(snapshot: "Snapshot", request_id: str) -> tuple[dict[str, Any], str]:
    """The line, and where it was; it ends the command when there is none."""
    from gateway.cli import admin_client
    from gateway.explaining import lines

    for path in lines.files(snapshot):
        try:
            line = lines.find(path, request_id)
        except OSError as error:
            complain(f"{path} can't be read: {(error.strerror or str(error)).lower()}")
            continue
        if line is not None:
            return line, path
    try:
        status, answer = admin_client.ask(snapshot.admin, "GET", f"/requests/{request_id}", _FIND_WITHIN)
    except admin_client.NoAnswer as reason:
        fail(f"no line of this request was found in a file, and the workers can't be asked: {reason}")
    if status == 200 and answer.get("requests"):
        return answer["requests"][0], "the running gateway"
    if status == 401:
        fail("the running gateway has another admin token: set POSTERN_ADMIN_TOKEN to its own")
    if not lines.writes_lines(snapshot):
        fail("there are no lines: access_log.to is none, so nothing is known of requests that were")
    fail(
        "no line of this request was found: it is older than the last 10,000, was not sampled, or never came"
    )
