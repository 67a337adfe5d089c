"""How an explanation is printed for people: the verdict, then policy by policy, then what goes where."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.cli.output import cell, print_fields

if TYPE_CHECKING:
    from gateway.explaining.explanation import Explanation, Said

_STYLES = {
    "passes": "bold green", "allowed": "green", "answered": "green", "refused": "bold red",
    "would_refuse": "yellow", "unknown": "yellow", "not_asked": "dim", "off": "dim", "applies": "",
}  # fmt: skip
_WHERE = {"request": "the request itself", "routes": "the routes", "route": "the route"}
_SHOWN = ("time", "route", "method", "path", "status", "code", "why", "client", "user", "session", "ms")


def print_explanation(found: "Explanation") -> None:
    """All of it."""
    request = found.request
    _say(f"{request['method']} {request['target']}, Host {request['host']}, from {request['from']}")
    _say(_verdict(found), _STYLES[found.outcome])
    print()
    goes = f"upstream {found.upstream.name}" if found.upstream is not None else None
    route = found.route
    print_fields(
        {
            "path": found.path or "it has no canonical one",
            "route": f"{route.name} ({' '.join([*route.hosts, route.path])})" if route else "none",
            "user": found.user or "nobody",
            "goes to": goes and f"{goes}, server {_server(found)}",
            "configuration": found.configuration or "not known",
        }
    )
    if found.policies:
        print()
        _print_policies(found.policies)
    if found.head is not None:
        _print_block("What the upstream would receive", found.head)
    if found.added_to_reply:
        _print_block("What would be added to its reply", found.added_to_reply)
    if found.reply is not None:
        body = [line for line in found.reply.body.splitlines() if line]
        headers = [f"HTTP/1.1 {found.reply.status}", *found.reply.headers]
        _print_block("What would go back", [*headers, *([""] if body else []), *body])
    _print_notes(found.notes)


def print_line(told: dict[str, Any], policies: "Sequence[Said] | None", now: "Explanation | None") -> None:
    """What the log tells of a request, and then the same request as it would be judged now."""
    line, configuration = told["request"], told["configuration"]
    print_fields({name: line[name] for name in _SHOWN if line.get(name) not in (None, "")})
    print()
    _say(f"found in {told['found_in']}; its configuration was {configuration['then']}")
    if not configuration["same"]:
        other = configuration["now"] or "not known here"
        _say(f"that of the file is {other}: since then a policy may have changed", "yellow")
    if policies is not None:
        print()
        _print_policies(policies)
    else:
        for one in line.get("verdicts") or ():
            _say(f"{one['policy']} refused it, or would have: {one['code']}")
    _print_notes(told["notes"])
    if now is None:
        print("\nIt can't be asked again: its line has no whole path.")
        return
    print("\nThe same method, path, address and agent now, with no more than you gave beside them:\n")
    print_explanation(now)


def _verdict(found: "Explanation") -> str:
    refusal = found.refusal
    if found.outcome == "passes":
        return "passes"
    if found.outcome == "unknown":
        unknown = next(one for one in found.policies if one.verdict == "unknown")
        return f"can't be judged: {unknown.policy}: {unknown.why[0]}"
    if refusal is None:
        status = found.reply.status if found.reply is not None else ""
        return f"answered {status} by the gateway itself"
    by = _WHERE.get(refusal.by, f"the policy {refusal.by}")
    detail = f": {refusal.detail}" if refusal.detail else ""
    return f"refused by {by}: {refusal.status} {refusal.code}, {refusal.title}{detail}"


def _server(found: "Explanation") -> str:
    upstream = found.upstream
    assert upstream is not None
    if upstream.server is not None:
        return f"{upstream.server}: {upstream.chosen}"
    return f"{' or '.join(upstream.servers)}: {upstream.chosen}" if upstream.servers else upstream.chosen


def _print_policies(policies: "Sequence[Said]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("policy", "verdict", "why", box=None, pad_edge=False)
    for one in policies:
        why = "; ".join([*([one.code] if one.code else []), *one.why])
        verdict = one.verdict.replace("_", " ")
        table.add_row(Text(one.policy), Text(verdict, _STYLES[one.verdict]), Text(cell(why)))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def _print_block(title: str, lines: Iterable[str]) -> None:
    print()
    _say(title, "bold")
    for line in lines:
        print(f"  {cell(line)}" if line else "")


def _print_notes(notes: Iterable[str]) -> None:
    for place, note in enumerate(notes):
        print(f"{'' if place else chr(10)}note: {cell(note)}")


def _say(text: str, style: str = "") -> None:
    """A line with nothing in it that a terminal would obey."""
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() else 1 << 16
    Console(width=width, highlight=False).print(Text(cell(text), style), soft_wrap=True)
