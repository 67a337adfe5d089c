"""Verdicts for other proxies: a connection on which they ask whether a request may pass, and as whom.

The route's own policies judge, as they would the request itself: nothing is decided here but what the proxy
is told. A status below 300 lets the request through, so only `_allow` writes one.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from gateway.config import snapshot as config
from gateway.edge import answers, arrival, chain, replies
from gateway.edge.body import RequestBody
from gateway.edge.clock import NEVER
from gateway.edge.downstream import Downstream
from gateway.edge.states import JUDGING, WAITING
from gateway.edge.tokens import is_traceparent
from gateway.model import faults, originals
from gateway.model.addresses import MAX_HOPS, parse, walk
from gateway.model.exchange import Exchange
from gateway.model.headers import (
    CONNECTION,
    CREDENTIAL,
    REQUEST_ID,
    TRACE,
    is_our_token,
    is_request_id,
    without_our_cookies,
)
from gateway.model.identity import header_names, with_all
from gateway.model.originals import FORGED, Original, Untold
from gateway.model.paths import valid_host
from gateway.model.verdict import Answer, Refuse, Reply, Verdict

if TYPE_CHECKING:
    from gateway.edge.live import Live, Route
    from gateway.edge.worker import Worker

VERIFY = b"/verify"
PREFIX = b"/ext-authz"  # before the original's own path
STATUS, CODE = b"X-Postern-Status", b"X-Postern-Code"  # what a deny_status stands for
_NO_ROUTE = Refuse(faults.NO_ROUTE)
_BAD_HOST = Refuse(faults.BAD_HOST)
_CONNECT = Refuse(faults.CONNECT_REFUSED)
_TOO_LONG = Refuse(faults.TARGET_TOO_LONG)
_NOT_TRUSTED = Refuse(faults.PROXY_NOT_TRUSTED)
_NOT_HERE = Refuse(faults.NOT_BY_FORWARD_AUTH)
_NO_UPGRADE = Refuse(faults.BAD_UPGRADE, "This route does not offer that upgrade.")
_NO_METHOD = Refuse(faults.ORIGINAL_UNCLEAR, "X-Forwarded-Method or X-Original-Method is no method.")
_NOWHERE = b'null,"forward_auth":true'  # the server in the log line, and what to know of the line
_TAKEN = b"Authorization: \r\n"  # from the backend: it was a credential of ours
_YES = Answer(Reply(200))
_YES_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\nDate: "


class Asked:
    """What one configuration says of one such listener."""

    __slots__ = ("deny_status", "finds")

    def __init__(self, record: config.ForwardAuth, live: "Live") -> None:
        self.deny_status = record.deny_status
        route = next((each for each in live.routes if each.name == record.route), None)
        self.finds: arrival.Finds = _OneRoute(route) if record.route else live


class _OneRoute:
    """Every request is of this route, whatever its path; of none while there is none of that name."""

    __slots__ = ("_route",)

    def __init__(self, route: "Route | None") -> None:
        self._route = route

    @property
    def table(self) -> "_OneRoute":
        return self

    def find(self, exchange: Exchange, method: bytes) -> "Route | None":
        return self._route

    def opt_ins_under(self, path: bytes) -> int:
        return self._route.opt_ins if self._route is not None else 0


class Question(Exchange):
    """A request that another proxy asks about."""

    forward_auth = True
    __slots__ = ()


class Answered:
    """The identity headers of one configuration: an answer has all of them, so that copying one overwrites
    a forged one."""

    __slots__ = ("_head", "_second", "names", "nobody")

    def __init__(self, settings: config.Identity) -> None:
        self.names = header_names(settings.headers, settings.forward_meta)
        self.nobody = with_all(b"", self.names)
        self._second = -1
        self._head = b""

    def head(self, now: float) -> bytes:
        """What every yes of a second begins with."""
        second = int(now)
        if second != self._second:
            self._second, self._head = second, _YES_HEAD + replies.http_date() + b"\r\n"
        return self._head

    def lines(self, exchange: Exchange) -> bytes:
        who, added = exchange.who, exchange.request_add
        if who is None:
            return with_all(added, self.names) if added else self.nobody
        if added is not who.block:  # an assertion, or what a plug-in adds
            return with_all(added, self.names)
        if not who.answer:
            who.answer = with_all(added, self.names)
        return who.answer


class Verifier(Downstream):
    """One connection of another proxy."""

    __slots__ = ("_allowed", "_by_head", "_number", "_trusted")

    def __init__(self, worker: "Worker", origin: tuple[str, int] | None, number: int) -> None:
        super().__init__(worker, origin, secure=False)
        self._number = number
        self._allowed = self._by_head = self._trusted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._settle()

    def _settle(self) -> None:
        trusted = self.live.trusted
        self._trusted = trusted is not None and trusted.contains(self.peer.decode())

    def serve(self, head: bytes) -> None:
        """One question."""
        self.phase = JUDGING
        self.replying = self._allowed = self._by_head = False
        self.deadline = NEVER
        if self.worker.live is not self.live:
            arrival.settle(self, self.worker.live)
            self._settle()
        trace_id, traceparent = self.worker.ids.take()
        exchange = self.exchange = Question(
            monotonic(), self.peer, self.live.nowhere, False, b"", trace_id, trace_id, traceparent
        )
        exchange.server = _NOWHERE
        try:
            verdict: Verdict = self._read(exchange, head)
            length = exchange.content_length  # of the question; the original's can't be known
            self.request_is_over = length == 0
            if length != 0:
                self.body = RequestBody(length, self.live.limits.header_bytes)
                exchange.content_length = 0
            if verdict is None:
                verdict = chain.judge(exchange)
            if verdict is None:
                self._allow(exchange)
            elif isinstance(verdict, Refuse | Answer):
                answers.conclude(self, verdict)
            else:
                self.task = self.worker.loop.create_task(self.wait(exchange, verdict))
        except Exception:
            self.crashed()

    def _read(self, exchange: Exchange, head: bytes) -> Refuse | Answer | None:
        """Who asks, about what, and of which route it is; None when its policies may judge it."""
        live = self.live
        exchange.bytes_in = len(head)
        heads = live.asked_heads
        apart = heads.cut(head) if self._trusted else None
        if apart is not None:
            known = heads.fill(exchange, apart)
            if known is not None:
                exchange.body_limit = live.limits.body_bytes
                self._by_head = known.by_head
                self.keep = self.keep and known.keep
                return self._find(exchange, apart[1])
        reader = live.asked_reader
        fault = reader.read(head, exchange)
        if fault is not None:
            exchange.content_length = None  # unknown: a body may follow
            return Refuse(fault)
        self._by_head = exchange.method == b"HEAD"
        noted, flags = exchange.noted, exchange.flags
        if flags & CONNECTION or not exchange.version:
            tokens = {token.strip() for token in noted.get(b"connection", b"").lower().split(b",")}
            if b"close" in tokens or (not exchange.version and b"keep-alive" not in tokens):
                self.keep = False
        if not valid_host(noted.get(b"host", b"")):
            return _BAD_HOST
        if not self._trusted:
            return _NOT_TRUSTED
        path = reader.target.partition(b"?")[0]
        try:
            if path == VERIFY:
                original = originals.told(noted)
                if not reader.knows(original.method):
                    return _NO_METHOD
            elif path.startswith(PREFIX + b"/"):
                proto = originals.protocol(noted)
                original = Original(exchange.method, proto, noted[b"host"], reader.target[len(PREFIX) :])
            else:
                return _NO_ROUTE
            addresses = originals.chain(noted)
        except Untold as untold:
            exchange.note(untold.detail)
            return Refuse(untold.fault, untold.detail)
        if flags & FORGED:
            names = live.asked_names.forged(noted)
            exchange.note(f"forged: {names}")
            return Refuse(faults.FORGED_HEADER, f"Not by a client: {names}. Let the proxy remove it.")
        exchange.client = self._client(addresses)
        self._fill(exchange, original)
        if apart is not None and path == VERIFY and original.target == apart[1]:
            heads.remember(apart[0], exchange, keep=self.keep, by_head=self._by_head)
        refusal = self._find(exchange, original.target)
        if refusal is None and (b"upgrade" in noted or any(name in noted for name in originals.WEBSOCKET)):
            exchange.upgrade = noted.get(b"upgrade", b"websocket").strip().lower()
            if exchange.upgrade not in exchange.route.upgrades:
                return _NO_UPGRADE  # it can't be taken out of the request here
        return refusal

    def _client(self, addresses: bytes) -> bytes:
        """The first that is not trusted, from the right."""
        trusted = self.live.trusted
        if b"," not in addresses or trusted is None:
            return (parse(addresses) or self.peer.decode()).encode()
        hops = addresses.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]
        return walk(self.peer.decode(), hops, trusted).encode()

    def _fill(self, exchange: Exchange, original: Original) -> None:
        """As if it had come here itself."""
        noted, flags = exchange.noted, exchange.flags
        exchange.method = original.method
        exchange.host = exchange.forwarded_host = original.host
        exchange.secure = original.proto == b"https"
        exchange.body_limit = self.live.limits.body_bytes
        if flags & REQUEST_ID and is_request_id(noted[b"x-request-id"]):
            exchange.request_id = noted[b"x-request-id"]
        if flags & TRACE and is_traceparent(noted[b"traceparent"]):
            exchange.traceparent = noted[b"traceparent"]
            exchange.trace_id = exchange.traceparent[3:35]

    def _find(self, exchange: Exchange, target: bytes) -> Refuse | Answer | None:
        if exchange.method == b"CONNECT":
            return _CONNECT
        if len(target) > self.live.limits.target_bytes:
            return _TOO_LONG
        refusal = arrival.find_route(self.live.asked[self._number].finds, exchange, target)
        if refusal is None and exchange.route.identity:
            return _NOT_HERE  # the proxy is to pass it to our own listener, not to its backend
        return refusal

    def proceed(self, exchange: Exchange) -> None:
        """The policies have said yes, after something had to be waited for."""
        self._allow(exchange)

    def _allow(self, exchange: Exchange) -> None:
        route = exchange.route
        if route.fixed is not None:
            answers.conclude(self, route.fixed)
            return
        self._allowed = True
        if route.on_responses or not self.request_is_over or self.worker.draining or not self.keep:
            exchange.upgrade = b""  # whatever the client sends next goes to the proxy
            answers.conclude(self, _YES)
            return
        exchange.status = 200
        self.transport.write(self._yes(exchange))
        now = self.worker.record(exchange)
        if self.buffer or self.paused or self.half_closed:
            self.next(self.buffer)
            return
        self.phase = WAITING  # the usual case
        self.body = None
        self.deadline = now + self.live.limits.keepalive

    def _yes(self, exchange: Exchange) -> bytes:
        who, value = exchange.who, exchange.authorization
        answered = self.live.answered
        usual = who is not None and exchange.request_add is who.block and who.answer
        lines = who.answer if who is not None and usual else answered.lines(exchange)
        elsewhere = exchange.cookie or exchange.flags & CREDENTIAL
        simple = value[:11] == b"Bearer psa_" and not (elsewhere or exchange.route.forward_credential)
        return b"%b%b%b%bX-Request-Id: %b\r\n%b\r\n" % (
            answered.head(exchange.began), lines,
            _TAKEN if simple else _credentials(exchange, self.live.asked_names),
            exchange.reply_add, exchange.request_id,
            b"" if self.keep and exchange.version else replies.connection_line(exchange, keep=self.keep),
        )  # fmt: skip

    def written(self, reply: Reply) -> bytes:
        """Any other answer. One that the proxy would take for a yes is none, unless it is one."""
        exchange = self.exchange
        exchange.bytes_out = 0
        if reply.status < 300:
            if self._allowed:
                exchange.reply_add += b"".join(b"%b: %b\r\n" % line for line in reply.headers)
                return self._yes(exchange)
            exchange.failed = faults.NOT_BY_FORWARD_AUTH
            reply = replies.of_fault(exchange, faults.NOT_BY_FORWARD_AUTH, "")
        headers = [
            (name, _absolute(exchange, value) if name == b"Location" else value)
            for name, value in reply.headers
        ]
        status = self._denied(exchange, reply.status, headers)
        exchange.status = status
        exchange.bytes_out = 0 if self._by_head else len(reply.body)
        denied = Reply(status, headers, reply.body)
        return replies.to_bytes(exchange, denied, keep=self.keep, bodyless=self._by_head)

    def _denied(self, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]]) -> int:
        """What a proxy that knows only 401 and one other status is told, and beside it what it stands for."""
        deny = self.live.asked[self._number].deny_status
        if not deny:
            return status
        code = exchange.failed.code if exchange.failed is not None else ""
        headers += [(STATUS, b"%d" % status), (CODE, code.encode())]
        # a redirect to sign-in stands for a 401
        meant = exchange.failed.status if exchange.failed is not None else status
        return 401 if 401 in (status, meant) else deny


def _credentials(exchange: Exchange, names: originals.AskedNames) -> bytes:
    """What the backend may see of the headers that can hold a credential: all but ours, as always."""
    forward = exchange.route.forward_credential
    value = exchange.authorization
    lines = b""
    if value:
        ours = not forward and is_our_token(value)
        lines = _TAKEN if ours else b"Authorization: %b\r\n" % value
    value = exchange.cookie
    if value:
        if b"postern" in value and not forward:
            value = without_our_cookies(value)
        lines += b"Cookie: %b\r\n" % value
    if exchange.flags & CREDENTIAL and not forward:
        for name, value in exchange.noted.items():
            if names.judge(name) & CREDENTIAL and is_our_token(value):
                lines += b"%b: \r\n" % name
    return lines


def _absolute(exchange: Exchange, location: bytes) -> bytes:
    """Some proxies would take a path as one of the server that they asked."""
    if location[:1] != b"/" or location[:2] == b"//":
        return location
    return (b"https://" if exchange.secure else b"http://") + exchange.forwarded_host + location
