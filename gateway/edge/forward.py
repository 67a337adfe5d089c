"""Sending a request upstream: its head as the upstream reads it, a server, dialling, trying again."""

from time import monotonic
from typing import TYPE_CHECKING

from gateway.edge import sending
from gateway.edge.answers import refuse
from gateway.edge.pool import DialFailed, Pool
from gateway.edge.servers import authority
from gateway.edge.states import JUDGING, SENT
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.headers import (
    AUTHORIZATION,
    COOKIE,
    DROPPABLE,
    LENGTH,
    OURS,
    dropped,
    is_our_token,
    without_our_cookies,
)

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.live import Route
    from gateway.edge.servers import ServerState
    from gateway.edge.upstream import Upstream


def begin(down: "Downstream", exchange: Exchange) -> None:
    """The policies have said yes: send at once when a server and a warm connection are there, else dial."""
    route = exchange.route
    if exchange.flags & route.carried:
        _carry(exchange, route)
    pool: Pool = route.pool
    server = pool.group.pick(exchange, exchange.tried)
    if server is not None:
        connection = pool.warm(server)
        if connection is not None:
            _send(down, exchange, pool, server, connection)
            return
        exchange.picked = server
    down.dial(exchange)


def _carry(exchange: Exchange, route: "Route") -> None:
    """What is the same for every attempt: credentials that go on, and lines that this route takes away."""
    flags = exchange.flags
    value = exchange.authorization
    if (
        value
        and flags & (AUTHORIZATION | OURS)
        and (route.forward_credential or not (flags & OURS or is_our_token(value)))
    ):
        exchange.lines += b"Authorization: %b\r\n" % value
    value = exchange.cookie
    if value and flags & COOKIE:
        if not route.forward_credential:
            value = without_our_cookies(value)
        if value:
            exchange.lines += b"Cookie: %b\r\n" % value
    if flags & DROPPABLE and route.request_drop:
        exchange.lines = dropped(exchange.lines, route.request_drop)


def message(exchange: Exchange, host: bytes) -> bytes:
    """The head that goes upstream. What the gateway sets comes after the client's lines, each once."""
    route = exchange.route
    length = exchange.content_length
    ending = b"\r\n\r\n"
    if length is None:
        ending = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    elif exchange.flags & LENGTH:
        ending = b"\r\nContent-Length: %d\r\n\r\n" % length
    elif exchange.upgrade:
        ending = b"\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % exchange.upgrade
    return b"".join((
        exchange.method, b" ", exchange.path if route.rewrite is None else exchange.rewritten, exchange.query,
        b" HTTP/1.1\r\nHost: ", host, b"\r\n", exchange.lines, route.request_add, exchange.request_add,
        exchange.forwarded, exchange.forwarded_host, b"\r\nX-Request-Id: ", exchange.request_id,
        b"\r\ntraceparent: ", exchange.traceparent, ending,
    ))  # fmt: skip


async def dial(down: "Downstream", exchange: Exchange) -> Fault | None:
    """Find a server, connect to it and send; where one refuses, try another, since nothing was sent yet."""
    pool: Pool = exchange.route.pool
    group = pool.group
    if group.resolving:
        await group.ready()
    fault = faults.UPSTREAM_UNAVAILABLE
    while True:
        server = exchange.picked or group.pick(exchange, exchange.tried)
        exchange.picked = None
        if server is None:
            return fault
        try:
            connection = await pool.connection(server, fresh=exchange.sent > 0)
        except DialFailed as failure:
            exchange.note(f"{server.name}: {failure.kind}")
            fault = failure.fault
            if failure.kind == "busy":
                pool.counters.fail("busy")
                return fault
            pool.failed(server, failure.kind)
            exchange.tried += (server,)
            exchange.attempts += 1
            if not pool.retry_connect or exchange.attempts >= max(pool.attempts, 1):
                return fault
            continue
        _send(down, exchange, pool, server, connection)
        return None


def may_retry(down: "Downstream") -> bool:
    """Whether this request can be sent once more: the method allows it and its body is still there."""
    exchange = down.exchange
    pool: Pool = exchange.route.pool
    if exchange.attempts >= pool.attempts or exchange.method not in pool.retry_methods or exchange.upgrade:
        return False
    return down.body is None or down.body.can_be_replayed


def upstream_failed(
    down: "Downstream", server: "ServerState", fault: Fault, kind: str, *, seen: bool, raced: bool
) -> None:
    """The connection failed while it served this request: try again where that is safe, else tell the client.

    `seen`: something of a reply came. `raced`: the server closed a kept connection just as it was used again.
    """
    down.upstream = None
    exchange = down.exchange
    pool: Pool = exchange.route.pool
    retries = (kind == "reset" and pool.retry_reset and not seen) or kind.isdigit()
    if retries and not down.replying and may_retry(down):
        if raced:
            exchange.attempts -= 1  # it was dead already; the next one is fresh and can't race again
        elif len(pool.group.usable()) > 1:
            exchange.tried += (server,)
        down.phase = JUDGING
        down.deadline = float("inf")
        down.dial(exchange)
        return
    refuse(down, fault)


def _send(
    down: "Downstream", exchange: Exchange, pool: Pool, server: "ServerState", connection: "Upstream"
) -> None:
    host = exchange.host
    if pool.host:
        host = authority(server.record).encode() if pool.host == b"upstream" else pool.host
    exchange.sent = now = monotonic()
    exchange.server = server.log_name
    exchange.attempts += 1
    down.upstream = connection
    connection.send(down, message(exchange, host))
    if down.request_is_over and down.body is None:  # the usual case: nothing more to send
        down.phase = SENT
        down.deadline = now + pool.first_byte
    else:
        sending.begin(down)
