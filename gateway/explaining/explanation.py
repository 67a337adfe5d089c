"""What a rehearsal tells, as an object for programs and for print: policy by policy, then the rest."""

import json
from typing import Any, Literal

import msgspec

from gateway.admin_pages import plain
from gateway.config.snapshot import Route as Record
from gateway.config.snapshot import Snapshot
from gateway.edge.live import Route, judges
from gateway.edge.servers import resolvable
from gateway.explaining import hiding
from gateway.explaining.asked import Asked
from gateway.explaining.rehearsal import Rehearsed, Sent
from gateway.explaining.trace import Step, names_of
from gateway.model.credentials import redacted
from gateway.model.exchange import Exchange
from gateway.model.faults import METHOD_NOT_ALLOWED, NO_ROUTE, Fault
from gateway.model.policy import Effects
from gateway.model.verdict import Answer, Refuse

Outcome = Literal["passes", "answered", "refused", "unknown"]
Verdict = Literal[
    "allowed", "refused", "would_refuse", "answered", "unknown", "not_asked", "off", "applies"
]  # fmt: skip
_OF_THE_PLAIN_REPLY = ("date", "content-length", "connection", "upgrade")


class Said(msgspec.Struct, frozen=True):
    """One policy's part in it."""

    policy: str
    verdict: Verdict
    why: list[str]
    code: str | None = None
    status: int | None = None
    settings: Any = None


class Refusal(msgspec.Struct, frozen=True):
    by: str  # a policy; or `request`, `routes`, `route`, where no policy did
    code: str
    status: int
    title: str
    detail: str


class Taken(msgspec.Struct, frozen=True):
    """The route."""

    name: str
    path: str
    hosts: list[str]
    methods: list[str]
    mode: str


class Upstream(msgspec.Struct, frozen=True):
    name: str
    server: str | None  # None: it depends on what the workers do at that moment
    servers: list[str]
    chosen: str


class Reply(msgspec.Struct, frozen=True):
    """Made by the gateway itself."""

    status: int
    headers: list[str]
    body: str


class Explanation(msgspec.Struct, frozen=True):
    """Everything; None for what there is not."""

    request: dict[str, str]
    configuration: str
    outcome: Outcome
    refusal: Refusal | None
    path: str | None  # canonical
    route: Taken | None
    policies: list[Said]
    user: str | None
    upstream: Upstream | None
    head: list[str] | None  # as the upstream would receive it
    added_to_reply: list[str] | None  # to whatever the upstream answers
    reply: Reply | None
    notes: list[str]


def explained(snapshot: Snapshot, asked: Asked, rehearsed: Rehearsed) -> Explanation:
    """The rehearsal, put in words."""
    exchange, sent = rehearsed.exchange, rehearsed.sent
    route: Route = exchange.route
    record = next((each for each in snapshot.routes if each.name == route.name), None)
    policies = _said(route, record, rehearsed.trace.steps)
    outcome = _outcome(exchange, sent, policies)
    reply = _reply(rehearsed.answered) if outcome in ("answered", "refused") else None
    return Explanation(
        request={
            "method": asked.method, "target": redacted(asked.target), "host": asked.host,
            "from": asked.address, "agent": redacted(asked.value("user-agent")),
        },
        configuration=snapshot.hash,
        outcome=outcome,
        refusal=_refusal(exchange, policies, reply),
        path=None if exchange.path == b"-" else redacted(exchange.path.decode("ascii", "replace")),
        route=_taken(record) if record is not None else None,
        policies=policies,
        user=exchange.who.identity.id if exchange.who is not None else None,
        upstream=_upstream(snapshot, exchange, sent) if sent is not None else None,
        head=_lines(sent.head) if sent is not None else None,
        added_to_reply=_added(rehearsed.answered) if sent is not None else None,
        reply=reply,
        notes=list(_notes(exchange, sent)),
    )  # fmt: skip


def _outcome(exchange: Exchange, sent: Sent | None, policies: list[Said]) -> Outcome:
    if sent is not None:
        return "passes"
    if any(each.verdict == "unknown" for each in policies):
        return "unknown"
    return "refused" if exchange.failed is not None else "answered"


def _said(route: Route, record: Record | None, steps: list[Step]) -> list[Said]:
    """Every policy of the route, in its order: those asked, those not asked, those without a say."""
    asked = {step.place: step for step in steps}
    said = []
    place = 0
    for policy in route.policies:
        settings = plain(record.policies.get(policy.name)) if record is not None else None
        if judges(policy):
            said.append(_judged(policy.name, settings, asked.get(place), report=route.report))
            place += 1
        elif getattr(policy, "idle", False):
            said.append(Said(policy.name, "off", ["it has nothing to ask on this route"], settings=settings))
        else:
            said.append(Said(policy.name, "applies", _effects(policy), settings=settings))
    return said


def _effects(policy: Any) -> list[str]:
    """Of a policy that judges nothing: what it does to each request and reply alike."""
    effects: Effects = policy.effects() if hasattr(policy, "effects") else Effects()
    said = []
    for where, drop, add in (
        ("request", effects.request_drop, names_of(effects.request_add)),
        ("reply", effects.reply_drop, names_of(effects.reply_add)),
    ):
        taken = {name.decode("ascii", "replace") for name in drop} - {name.lower() for name in add}
        if taken:
            said.append(f"takes from the {where}: {', '.join(sorted(taken))}")
        if add:
            said.append(f"sets on the {where}: {', '.join(add)}")
    return said or ["judges nothing"]


def _judged(name: str, settings: Any, step: Step | None, *, report: bool) -> Said:
    if step is None:
        return Said(name, "not_asked", ["an earlier answer ended the round"], settings=settings)
    if step.unknown:
        return Said(name, "unknown", [step.unknown, *step.notes], settings=settings)
    outcome, notes = step.outcome, step.notes
    fault: Fault | None = None
    detail = ""
    if isinstance(outcome, Refuse):
        fault, detail = outcome.fault, outcome.detail
    elif isinstance(outcome, Answer):
        fault = outcome.instead_of
        if fault is None:
            return Said(name, "answered", ["the gateway itself answers", *notes], settings=settings)
        detail = f"answered by a redirect, {outcome.reply.status}"
    if fault is None:
        return Said(name, "allowed", notes or ["no objection"], settings=settings)
    why = [text for text in (fault.title, redacted(detail or fault.detail), *notes) if text]
    verdict: Verdict = "would_refuse" if report else "refused"
    return Said(name, verdict, why, fault.code, fault.status, settings)


def _refusal(exchange: Exchange, policies: list[Said], reply: Reply | None) -> Refusal | None:
    fault = exchange.failed
    if fault is None or reply is None:
        return None
    by = next((each.policy for each in policies if each.verdict == "refused"), "")
    if not by:
        by = "route" if policies else "routes" if fault in (NO_ROUTE, METHOD_NOT_ALLOWED) else "request"
    detail = _detail(reply.body) or exchange.why or fault.detail
    return Refusal(by, fault.code, fault.status, fault.title, redacted(detail))


def _detail(body: str) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    return str(problem.get("detail") or "") if isinstance(problem, dict) else ""


def _taken(record: Record) -> Taken:
    return Taken(record.name, record.path, list(record.hosts), list(record.methods), record.mode)


def _upstream(snapshot: Snapshot, exchange: Exchange, sent: Sent) -> Upstream:
    record = next((each for each in snapshot.upstreams if each.name == sent.upstream), None)
    if record is None:
        return Upstream(sent.upstream, None, [], "the identity service of this gateway")
    servers = [server.name for server in record.servers]
    chosen = sent.server.record.name
    if len(servers) == 1:
        return Upstream(record.name, chosen, servers, "it has no other")
    if record.balance.startswith("hash_") and not any(map(resolvable, record.servers)):
        by = "user" if record.balance == "hash_user" and exchange.who is not None else "address"
        return Upstream(record.name, chosen, servers, f"by the hash of the {by}, while it is healthy")
    return Upstream(record.name, None, servers, f"{record.balance}: which one shows when it is sent")


def _added(answered: bytes) -> list[str]:
    lines = _lines(answered.partition(b"\r\n\r\n")[0])[1:]
    return [line for line in lines if line.partition(":")[0].lower() not in _OF_THE_PLAIN_REPLY]


def _reply(answered: bytes) -> Reply:
    head, _, body = answered.partition(b"\r\n\r\n")
    lines = _lines(head)
    return Reply(int(lines[0].split(" ")[1]), lines[1:], redacted(body.decode("utf-8", "replace")))


def _lines(head: bytes) -> list[str]:
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [hiding.line(line.decode("utf-8", "backslashreplace")) for line in lines]


def _notes(exchange: Exchange, sent: Sent | None) -> Any:
    route: Route = exchange.route
    if route.report:
        yield "mode: report: what a policy refuses is only written to the log"
    if sent is not None:
        yield "X-Request-Id and traceparent are made for each request that brings none"
        if exchange.content_length is None:
            yield f"a body without a stated length is refused once it is over {exchange.body_limit:,} bytes"
