"""Accepting connections: plain ones by uvloop itself, those with TLS or a PROXY protocol header by us."""

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from gateway.edge.proxy_protocol import (
    MAX_HEADER,
    BadProxyHeader,
    Header,
    Mode,
    Source,
    parse,
)
from gateway.edge.redirect import refusal
from gateway.edge.tls import ServerTls
from gateway.model.addresses import of_peer
from gateway.model.faults import BAD_PROXY_HEADER

BACKLOG = 4096
_AT_ONCE = 16
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Factory = Callable[[Source | None], asyncio.Protocol]


class Trusted(Protocol):
    def contains(self, address: str) -> bool: ...


class Listener:
    """One listening socket of a worker. It is ours from here on; its duplicates elsewhere are not touched.

    Plain connections are accepted within uvloop (20 µs less each). With TLS or PROXY protocol we accept:
    each handshake uses the certificate of the moment, and draining waits for those that are under way.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        factory: Factory,
        tls: ServerTls | None,
        proxy: Mode,
        trusted: Trusted,
        *,
        timeout: float = 10.0,
        pause: float = 0.5,
        log: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._tls = tls
        self._proxy = proxy
        self._trusted = trusted
        self._timeout = timeout
        self._pause = pause
        self._log = log
        self._unix = sock.family == socket.AF_UNIX
        # a Unix socket is shared by all workers: one at a time, or a burst falls to whoever wakes first
        self._at_once = 1 if self._unix else _AT_ONCE
        self._server: asyncio.Server | None = None
        self._paused: asyncio.TimerHandle | None = None
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Connections whose PROXY header or TLS handshake is under way: no protocol counts them yet."""
        return len(self._pending)

    def trust(self, trusted: Trusted) -> None:
        """From the next connection on, these peers' headers count."""
        self._trusted = trusted

    async def start(self) -> None:
        self._sock.setblocking(False)
        if self._tls is None and self._proxy == "none":
            # uvloop closes what it is given, and drain() needs the queue after that. A factory that raises
            # would stop this server for good: libuv waits until the connection is taken.
            sock, factory = self._sock.dup(), partial(self._factory, None)
            self._server = await self._loop.create_server(factory, sock=sock, backlog=BACKLOG)
            return
        self._sock.listen(BACKLOG)
        self._loop.add_reader(self._sock, self._accept_some)

    async def drain(self) -> None:
        """Take what the kernel has queued, close the socket, wait until each has its protocol or failed."""
        if self._sock.fileno() < 0:
            return
        self._stop_accepting()
        while self._accept_one():
            pass
        if self._paused is not None:  # no room: they stay with the socket's other holders
            self._paused.cancel()
        self._sock.close()
        while self._pending:
            await asyncio.wait(self._pending)

    def close(self) -> None:
        """At once: connections that have a protocol live on, all others end."""
        if self._sock.fileno() < 0:
            return
        self._stop_accepting()
        self._sock.close()
        for task in self._pending:
            task.cancel()

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            return
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._sock)

    def _accept_some(self) -> None:
        for _ in range(self._at_once):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """False: nothing is queued, or there is no room for it."""
        try:
            connection, peer = self._sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_ROOM:
                return True  # accept(2): an error of the connection itself, which is gone
            self._rest(error)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._welcome(connection, of_peer(peer)))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return True

    def _rest(self, error: OSError) -> None:
        """The socket stays readable while it can't be accepted from: look away, or the loop spins."""
        self._log(f"can't accept connections: {error.strerror}; raise the limit of open files (ulimit -n)")
        self._loop.remove_reader(self._sock)
        self._paused = self._loop.call_later(self._pause, self._go_on)

    def _go_on(self) -> None:
        self._paused = None
        self._loop.add_reader(self._sock, self._accept_some)

    async def _welcome(self, connection: socket.socket, address: str) -> None:
        try:
            origin = None
            if self._expects_header(address):
                async with asyncio.timeout(self._timeout):
                    origin = await self._read_header(connection)
            await self._hand_over(connection, origin)
        except BadProxyHeader as error:
            self._refuse(connection, address, error)
        except OSError:  # a handshake that failed or took too long, a client that went away
            connection.close()
        except BaseException:
            connection.close()
            raise

    def _expects_header(self, address: str) -> bool:
        """A header from anyone else is not believed: it is left to the protocol, for which it is bad HTTP."""
        return self._proxy != "none" and self._trusted.contains(address)

    async def _read_header(self, connection: socket.socket) -> Source | None:
        """Takes exactly the header: a ClientHello in the same packet must stay in the socket for uvloop."""
        held = b""
        while True:
            await _readable(self._loop, connection)
            try:
                seen = connection.recv(MAX_HEADER, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not seen:
                raise ConnectionResetError
            found = parse(held + seen, self._proxy)
            if isinstance(found, Header):
                connection.recv(found.consumed - len(held))
                return found.source
            # all of it is header; left in the socket it would wake us again and again
            held += connection.recv(len(seen))

    async def _hand_over(self, connection: socket.socket, origin: Source | None) -> None:
        factory = partial(self._factory, origin)
        if self._tls is None:
            await self._loop.connect_accepted_socket(factory, connection)
            return
        await self._loop.connect_accepted_socket(
            factory, connection, ssl=self._tls.context, ssl_handshake_timeout=self._timeout
        )

    def _refuse(self, connection: socket.socket, address: str, error: BadProxyHeader) -> None:
        self._log(f"refused a connection from {address}: {error}")
        try:
            if self._tls is None:
                connection.recv(65536)  # closing with bytes unread would destroy the reply on its way
                connection.send(refusal(BAD_PROXY_HEADER))
        except OSError:
            pass
        connection.close()


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
