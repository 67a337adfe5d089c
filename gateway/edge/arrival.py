"""From a head's bytes to a request that policies can judge: its target, host, client and route."""

import re
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gateway.edge.routes import NotAllowed
from gateway.edge.tokens import is_traceparent
from gateway.model import faults
from gateway.model.addresses import UNIX, of_peer, origin
from gateway.model.exchange import Exchange
from gateway.model.headers import (
    AUTHORIZATION,
    CONNECTION,
    COOKIE,
    FORWARDED,
    OURS,
    REQUEST_ID,
    TRACE,
    UPGRADE,
    is_request_id,
    without_nominated,
)
from gateway.model.paths import (
    QUERY,
    Ambiguous,
    BadAuthority,
    canonical,
    plain_target,
    reduce_absolute,
)
from gateway.model.verdict import Answer, Refuse, Reply

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.live import Live, Route

_OPTIONS_STAR = Answer(Reply(204, [(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]))
_NO_ADDRESS = UNIX.encode()  # a Unix socket's peer
_BAD_HOST = Refuse(faults.BAD_HOST)
_NO_ROUTE = Refuse(faults.NO_ROUTE)
_BAD_AUTHORITY = Refuse(faults.BAD_AUTHORITY)
_BAD_QUERY = Refuse(faults.AMBIGUOUS_PATH, "The query has a character that must be percent-encoded.")
_is_query = re.compile(QUERY).fullmatch
_TOLD = CONNECTION | FORWARDED | TRACE | REQUEST_ID


class Finds(Protocol):
    """Where routes are found: the whole configuration, or another proxy's one route."""

    @property
    def table(self) -> "Table": ...
    def opt_ins_under(self, path: bytes) -> int: ...


class Table(Protocol):
    def find(self, exchange: Exchange, method: bytes) -> "Route | NotAllowed | None": ...


def settle(down: "Downstream", live: "Live") -> None:
    """What is the same for every request of a connection, under one configuration."""
    down.live = live
    transport = down.transport
    name = transport.get_extra_info("sockname")
    port = name[1] if isinstance(name, tuple) else 0
    down.peer = (down.origin[0] if down.origin else of_peer(transport.get_extra_info("peername"))).encode()
    down.forwarded = forwarded_lines(
        down.peer, b"https" if down.secure else b"http", b"%d" % port if port else b""
    )


def forwarded_lines(client: bytes, proto: bytes, port: bytes) -> bytes:
    """All but the value of the last, which is the request's host."""
    return b"%bX-Forwarded-Proto: %b\r\n%bX-Forwarded-Host: " % (
        b"X-Forwarded-For: %b\r\n" % client if client != _NO_ADDRESS else b"", proto,
        b"X-Forwarded-Port: %b\r\n" % port if port else b"",
    )  # fmt: skip


def blank(down: "Downstream") -> Exchange:
    """A request of which nothing is known yet but who sends it."""
    trace_id, traceparent = down.worker.ids.take()
    return Exchange(
        monotonic(),
        down.peer,
        down.live.nowhere,
        down.secure,
        down.forwarded,
        trace_id,
        trace_id,
        traceparent,
    )


def read(down: "Downstream", exchange: Exchange, head: bytes) -> Refuse | Answer | None:
    """Fill the exchange from the head; None when its route's policies may judge it."""
    live = down.live
    reader = live.reader
    exchange.bytes_in = len(head)
    fault = reader.read(head, exchange)
    if fault is not None:
        exchange.content_length = None  # unknown: a body may follow
        return Refuse(fault)
    exchange.body_limit = live.limits.body_bytes
    host = exchange.host
    if not host:
        return _BAD_HOST
    exchange.forwarded_host = host
    flags = exchange.flags
    if flags & _TOLD or not exchange.version:
        if flags & CONNECTION or not exchange.version:
            _connection(down, exchange, exchange.noted.get(b"connection", b""))
        if flags & (FORWARDED | TRACE | REQUEST_ID):
            _said_by_others(down, exchange, flags)
    target = reader.target
    if exchange.method == b"CONNECT":
        return Refuse(faults.CONNECT_REFUSED)
    if target[0] != 47:  # "/"
        if target == b"*" and exchange.method == b"OPTIONS":
            return _OPTIONS_STAR
        try:
            target = reduce_absolute(target, host)
        except BadAuthority:
            return _BAD_AUTHORITY
    return find_route(live, exchange, target)


def find_route(live: "Finds", exchange: Exchange, target: bytes) -> Refuse | Answer | None:
    """Its canonical path and query, and the route that they lead to; None when all is well."""
    plain = plain_target(target)
    if plain is not None:
        exchange.path, exchange.query = plain.groups(b"")
        opted = 0
    else:
        path, mark, query = target.partition(b"?")
        if not _is_query(query):
            return _BAD_QUERY
        exchange.query = mark + query
        try:
            opted = _canonical(live, exchange, path)
        except Ambiguous as error:
            exchange.note(f"{error.reason} It was: {path[:100].decode('ascii', 'backslashreplace')}")
            return Refuse(faults.AMBIGUOUS_PATH, error.reason)
    method = exchange.method
    if method == b"OPTIONS" and exchange.header(b"origin"):  # a preflight: judged by what it asks about
        method = exchange.header(b"access-control-request-method") or method
    route = live.table.find(exchange, method)
    if route is None:
        return _NO_ROUTE
    if isinstance(route, NotAllowed):
        return Refuse(faults.METHOD_NOT_ALLOWED, headers=((b"Allow", route.allow),))
    if opted and route.opt_ins != opted:
        try:  # a more specific route below the one that opted in has not agreed to this spelling
            canonical(path, route.opt_ins)
        except Ambiguous as error:
            return Refuse(faults.AMBIGUOUS_PATH, error.reason)
    exchange.route = route
    if exchange.flags & UPGRADE:
        _upgrade(exchange)
    return None


def _canonical(live: "Finds", exchange: Exchange, path: bytes) -> int:
    """Set the path; what its place had to let through for that."""
    try:
        exchange.path = canonical(path)
    except Ambiguous:
        opted = live.opt_ins_under(path)
        if not opted:
            raise
        exchange.path = canonical(path, opted)
        return opted
    return 0


def _connection(down: "Downstream", exchange: Exchange, connection: bytes) -> None:
    """What Connection says: whether to keep it, and names that must go no further (RFC 9110 section
    7.6.1)."""
    tokens = {token.strip() for token in connection.lower().split(b",")}
    if b"close" in tokens or (not exchange.version and b"keep-alive" not in tokens):
        down.keep = False
    exchange.lines = without_nominated(exchange.lines, connection.lower())
    if b"cookie" in tokens:
        exchange.flags &= ~COOKIE
    if b"authorization" in tokens:
        exchange.flags &= ~(AUTHORIZATION | OURS)


def _said_by_others(down: "Downstream", exchange: Exchange, flags: int) -> None:
    """Forwarding headers, request ids and traces: what trusted proxies say counts, the rest is forgotten."""
    noted = exchange.noted
    if flags & TRACE and is_traceparent(noted[b"traceparent"]):
        exchange.traceparent = noted[b"traceparent"]
        exchange.trace_id = exchange.traceparent[3:35]
    trusted = down.live.trusted
    if trusted is None or not trusted.contains(down.peer.decode()):
        return
    if flags & REQUEST_ID and is_request_id(noted[b"x-request-id"]):
        exchange.request_id = noted[b"x-request-id"]
    if not flags & FORWARDED:
        return
    get = noted.get
    said = origin(
        down.peer.decode(), get(b"x-forwarded-for"), get(b"forwarded"), get(b"x-forwarded-proto"),
        get(b"x-forwarded-host"), get(b"x-forwarded-port"), trusted,
    )  # fmt: skip
    exchange.client = said.client.encode()
    proto = said.proto or (b"https" if down.secure else b"http")
    exchange.secure = proto == b"https"
    if said.host:
        exchange.forwarded_host = said.host
    exchange.forwarded = forwarded_lines(
        exchange.client, proto, said.port or (b"443" if exchange.secure else b"80")
    )


def _upgrade(exchange: Exchange) -> None:
    """An upgrade the route offers is kept; any other is dropped, and the request goes on without it."""
    offered = exchange.noted[b"upgrade"].strip().lower()
    wants = b"upgrade" in exchange.noted.get(b"connection", b"").lower()
    if wants and exchange.version and offered in exchange.route.upgrades:
        exchange.upgrade = offered


def rewrite(exchange: Exchange) -> bool:
    """The path towards the upstream on a route that rewrites; False when it would not be canonical."""
    route = exchange.route
    try:
        path = route.rewrite(exchange.path)
        if path.startswith(b"//") or canonical(path, route.opt_ins) != path:
            return False
    except Ambiguous:
        return False
    exchange.rewritten = path
    return True
