"""One configuration, compiled for one worker: everything a request looks up is made here, once."""

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.config import snapshot as config
from gateway.edge.access_log import AccessLog
from gateway.edge.asked_heads import AskedHeads
from gateway.edge.built_in import BuiltIn
from gateway.edge.counters import RouteCounters
from gateway.edge.forward_auth import PREFIX, Answered, Asked
from gateway.edge.heads import RequestReader
from gateway.edge.memory import Memory
from gateway.edge.pool import Pool
from gateway.edge.rewrites import Rewrite, rewriter
from gateway.edge.routes import RouteTable
from gateway.model import paths
from gateway.model.addresses import TrustedProxies
from gateway.model.headers import AUTHORIZATION, COOKIE, DROPPABLE, OURS, ReplyNames, RequestNames, cleared
from gateway.model.originals import AskedNames
from gateway.model.policy import Effects, Ports, merge
from gateway.model.verdict import Answer, Refuse, Reply
from policies import STEPS

if TYPE_CHECKING:
    from gateway.edge.worker import Worker


IDENTITY = "identity"  # the name of the identity service as an upstream: in logs and metrics


class Route:
    """One route, ready: what its policies do, where it goes, what is the same in each of its log lines."""

    __slots__ = (
        "carried", "counters", "fixed", "forward_credential", "headers", "hosts", "identity", "judge_names",
        "judges", "lasting", "log", "log_query", "log_sample", "log_start", "methods", "name",
        "on_responses", "opt_ins", "pattern", "policies", "pool", "reads", "reply_add", "reply_names",
        "report", "request_add", "request_drop", "rewrite", "serve_stale", "straight", "upgrades",
    )  # fmt: skip

    def __init__(self, record: config.Route, policies: list[Any], counters: RouteCounters) -> None:
        self.name = record.name
        self.counters = counters
        self.pattern = record.path.encode()
        self.methods = frozenset(method.encode() for method in record.methods) or None
        self.hosts = tuple(host.encode() for host in record.hosts)
        self.headers = tuple((name.encode(), value.encode()) for name, value in record.headers.items())
        self.upgrades = frozenset(word.lower().encode() for word in record.upgrade)
        self.opt_ins = _opt_ins(record.paths)
        self.report = record.mode == "report"
        self.identity = record.identity  # goes to the identity service
        self.serve_stale = record.serve_stale
        self.policies = tuple(policies)  # in their order, those without a say in a request too
        judging = [policy for policy in policies if judges(policy)]
        self.judges = tuple(policy.on_request for policy in judging)
        self.judge_names = tuple(policy.name for policy in judging)
        self.lasting = tuple(policy.on_request for policy in judging if getattr(policy, "lasting", False))
        self.on_responses = tuple(
            policy.on_response for policy in reversed(policies) if hasattr(policy, "on_response")
        )
        effects = merge([policy.effects() for policy in policies if hasattr(policy, "effects")])
        self._apply(effects)
        self.forward_credential = self.identity or any(
            getattr(policy, "forward_credential", False) for policy in policies
        )
        # heads with one of these need a look before they are sent on
        self.carried = AUTHORIZATION | COOKIE | DROPPABLE | (OURS if self.forward_credential else 0)
        self.pool: Pool | None = None
        self.fixed: Refuse | Answer | None = _fixed(record)
        self.rewrite: Rewrite | None = rewriter(record)
        self.straight = self.fixed is None and self.rewrite is None and not self.identity
        self.log: AccessLog | None = None
        self.log_sample = 1.0
        self.log_query = False
        self.log_start = b""

    def _apply(self, effects: Effects) -> None:
        self.request_drop = effects.request_drop
        self.request_add = effects.request_add
        self.reply_names = ReplyNames(effects.reply_drop, Memory(), ours=self.identity)
        self.reply_add = effects.reply_add
        self.reads = effects.reads


class Live:
    """The whole configuration. Made anew at each reload; requests end on the one they began with."""

    __slots__ = (
        "answered",
        "asked",
        "asked_heads",
        "asked_names",
        "asked_reader",
        "limits",
        "logs",
        "nowhere",
        "opting_in",
        "pools",
        "reader",
        "routes",
        "snapshot",
        "table",
        "trusted",
    )

    def __init__(self, worker: "Worker", snapshot: config.Snapshot) -> None:
        self.snapshot = snapshot
        self.limits = snapshot.limits
        self.trusted = TrustedProxies(snapshot.trusted_proxies) if snapshot.trusted_proxies else None
        self.pools = {
            record.name: Pool(worker, record, worker.counters.upstream(record.name))
            for record in (*snapshot.upstreams, *worker.identity_upstream())
        }
        credential_names: frozenset[bytes] = frozenset()
        self.routes: list[Route] = []
        replies: dict[tuple[frozenset[bytes], bool], ReplyNames] = {}
        for record in snapshot.routes:
            policies = _policies(worker, record, snapshot)
            for policy in policies:
                credential_names |= getattr(policy, "credential_names", frozenset())
            route = Route(record, policies, worker.counters.route(record.name))
            if record.upstream or record.identity:
                route.pool = self.pools[IDENTITY if record.identity else record.upstream]
            if route.serve_stale < 0:
                route.serve_stale = snapshot.identity.serve_stale
            same = replies.setdefault((route.reply_names.drop, record.identity), route.reply_names)
            route.reply_names = same  # routes that treat replies alike remember their lines together
            self.routes.append(route)
        self.nowhere = Route(config.Route(name="-", path="/"), [], worker.counters.route("-"))
        self.table = RouteTable(self.routes)
        self.opting_in = _opting_in(snapshot.routes)
        names = self._request_names(credential_names)
        self.reader = RequestReader(names, self.limits.header_count, self.limits.target_bytes)
        self.answered = Answered(snapshot.identity)
        self.asked = tuple(Asked(record, self) for record in snapshot.forward_auth)
        self.asked_names = AskedNames(names, (name.encode() for name in self.answered.names))
        self.asked_heads = AskedHeads(self.asked_names)
        # a prefix is no part of the target
        longest = self.limits.target_bytes + len(PREFIX)
        self.asked_reader = RequestReader(self.asked_names, self.limits.header_count, longest)

    def _request_names(self, credential_names: frozenset[bytes]) -> RequestNames:
        return RequestNames(
            reads=frozenset[bytes]().union(
                *(route.reads for route in self.routes),
                *({name for name, _ in route.headers} for route in self.routes),
            ),
            identity_names=frozenset(name.encode() for name in self.snapshot.identity.headers.values()),
            credential_names=credential_names,
            droppable=frozenset[bytes]().union(*(route.request_drop for route in self.routes)),
            refuse_underscores=self.snapshot.underscores == "refuse",
        )

    def open_logs(self, worker: "Worker") -> None:
        """Once this configuration is sure to be used."""
        records = [*self.snapshot.routes, config.Route(name="-", path="/")]
        for route, record in zip([*self.routes, self.nowhere], records, strict=True):
            settings = record.access_log or self.snapshot.access_log
            route.log = None if settings.to == "none" else worker.log_to(settings.to)
            route.log_sample = settings.sample
            route.log_query = settings.query
            fields = {"service": self.snapshot.service, "config": self.snapshot.hash, "route": route.name}
            if record.upstream or record.identity:
                fields["upstream"] = IDENTITY if record.identity else record.upstream
            route.log_start = msgspec.json.encode(fields)[1:-1] + b","

    def opt_ins_under(self, path: bytes) -> int:
        """What the routes whose literal prefix this is let through."""
        path = paths.compared(path)
        for prefix, opt_ins in self.opting_in:
            if path == prefix or path.startswith(prefix + b"/"):
                return opt_ins
        return 0


def judges(policy: Any) -> bool:
    """Whether it is asked about each request."""
    return hasattr(policy, "on_request") and not getattr(policy, "idle", False)


def _policies(worker: "Worker", record: config.Route, snapshot: config.Snapshot) -> list[Any]:
    """The route's policies in the fixed order, whatever their order in the file."""
    if record.identity:
        return [BuiltIn(worker.identities.link)]
    identity = snapshot.identity
    names = tuple(name.encode() for name in identity.cookie_names)
    ports = Ports(
        identities=worker.identities,
        assertions=worker.assertions,
        leases=worker.leases,
        route=record.name,
        report=record.mode == "report",
        counted_as=snapshot.service,
        tls=snapshot.tls is not None,
        sign_in="/auth/sign-in" if "pages" in identity.serve else "",
        cookies=names,
        clear_cookie=cleared(names[0]) if names else b"",
        renewal=identity.renewal,
    )
    made: list[Any] = []
    for step in STEPS:
        settings = record.policies.get(step.policy.name)
        if settings is not None:
            made += step.build(settings, ports)
    return made


def _fixed(record: config.Route) -> Refuse | Answer | None:
    if record.answer is not None:
        headers = [(name.encode(), value.encode()) for name, value in record.answer.headers.items()]
        if not any(name.lower() == b"content-type" for name, _ in headers):
            headers.append((b"Content-Type", b"text/plain; charset=utf-8"))
        return Answer(Reply(record.answer.status, headers, record.answer.body.encode()))
    if record.redirect is not None:
        return Answer(Reply(record.redirect.status, [(b"Location", record.redirect.to.encode())]))
    return None


def _opt_ins(record: config.PathOptIns) -> int:
    return (
        (paths.ENCODED_SLASH if record.encoded_slash else 0)
        | (paths.PARAMETERS if record.parameters else 0)
        | (paths.DOUBLE_ENCODING if record.double_encoding else 0)
        | (paths.EMPTY_SEGMENTS if record.empty_segments else 0)
    )


def _opting_in(records: tuple[config.Route, ...]) -> list[tuple[bytes, int]]:
    """(literal prefix, what is let through), the longest prefix first."""
    found: dict[bytes, int] = {}
    for record in records:
        opt_ins = _opt_ins(record.paths)
        if opt_ins:
            literal = paths.compared(record.path.partition("{")[0].removesuffix("/**").rstrip("/").encode())
            found[literal] = found.get(literal, 0) | opt_ins
    return sorted(found.items(), key=lambda entry: -len(entry[0]))
