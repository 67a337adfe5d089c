"""The access log: one JSON line a request, written whole, and aside: a slow log never slows a request."""

import asyncio
import collections
import os
import queue
import select
import stat
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.edge.kept import Kept
from gateway.model.credentials import SHORTEST_TOKEN, redacted
from gateway.model.exchange import Exchange

if TYPE_CHECKING:
    from gateway.edge.live import Route

LONGEST_LINE = 4096  # what the kernel writes to a pipe in one piece (PIPE_BUF)
_LONGEST_PATH, _LONGEST_AGENT, _LONGEST_QUERY = 1500, 200, 500
_FLUSH_AFTER = 0.05
_TOGETHER = 64  # lines: as many as stay in the processor's cache until they are one piece
_FLUSH_AFTER_LINES = 4096
_LAST_WORDS = 2.0  # seconds for what is waiting when the worker ends
_QUEUED_AT_MOST = 8 * 1024 * 1024
_LINE = (
    b'{"time":"%b.%bZ",%b"method":"%b","path":"%b","status":%d,"ms":%d.%b,"upstream_ms":%d.%b,"server":%b,'
    b'"client":"%b","agent":%b,"request_id":"%b","trace_id":"%b","bytes_in":%d,"bytes_out":%d%b%b}\n'
)
_THREE = [b"%03d" % number for number in range(1000)]
_to_json = msgspec.json.Encoder().encode


class Text:
    """JSON text of values that recur (agents, hosts), remembered, bounded."""

    __slots__ = ("_longest", "known")

    def __init__(self, longest: int) -> None:
        self.known: dict[bytes, bytes] = {}
        self._longest = longest

    def __call__(self, value: bytes) -> bytes:
        known = self.known.get(value)
        if known is None:
            known = _to_json(redacted(value[: self._longest].decode("utf-8", "replace")))
            if len(self.known) >= 1024:
                self.known.clear()
            if len(value) <= 1024:
                self.known[value] = known
        return known


class AccessLog:
    """Where the lines of one worker go: gathered for a moment, then handed to a sink that never blocks the
    loop."""

    def __init__(self, to: str, loop: asyncio.AbstractEventLoop, kept: Kept) -> None:
        self._to = to
        self._loop = loop
        self._kept = kept
        self._lines: list[bytes] = []
        self._pieces: list[bytes] = []  # of the same moment, but earlier
        self._gathered = 0  # lines in them
        self._sink = _sink(to, loop)
        self._dropped = 0  # by sinks that are no more

    @property
    def dropped(self) -> int:
        return self._dropped + self._sink.dropped

    def reopen(self) -> None:
        """The file may have been moved away (log rotation): what comes now goes to a new one of that name."""
        if isinstance(self._sink, FileSink) and self._to != "stdout":
            fresh = _sink(self._to, self._loop)
            self.flush()
            self._dropped += self._sink.dropped
            self._sink.retire()
            self._sink = fresh

    def add(self, line: bytes) -> None:
        lines = self._lines
        lines.append(line)
        count = len(lines)
        if count == _TOGETHER:
            self.gather()
        elif count == 1 and not self._pieces:
            self._loop.call_later(_FLUSH_AFTER, self.flush)

    def gather(self) -> None:
        """Put the last lines together. They are kept for a while, too."""
        lines, self._lines = self._lines, []
        if lines:
            piece = b"".join(lines)
            self._kept.add(lines, piece)
            self._pieces += [piece] if self._sink.whole else _packed(lines)
            self._gathered += len(lines)
            if self._gathered >= _FLUSH_AFTER_LINES:
                self.flush()

    def flush(self) -> None:
        self.gather()
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        if pieces:
            self._sink.write(pieces)

    def close(self) -> None:
        """Write what is waiting, for at most two seconds."""
        self.flush()
        self._sink.close()


class Sink(Protocol):
    dropped: int  # lines
    whole: bool  # takes pieces longer than LONGEST_LINE without tearing

    def write(self, pieces: list[bytes]) -> None: ...
    def close(self) -> None: ...


def _sink(to: str, loop: asyncio.AbstractEventLoop) -> Sink:
    if to != "stdout":
        try:
            return FileSink(os.open(to, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(
                f"the access log can't be written to {to}: {reason}; make its folder writable, or choose "
                "another file in `access_log.to`"
            ) from error
    try:
        # our own opening of the same pipe: non-blocking for us, as it was for whoever else holds it
        own = os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # a socket, or no /proc
        return FileSink(os.dup(1))
    kind = os.fstat(own).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        return PipeSink(own, loop)
    os.close(own)
    return FileSink(os.dup(1))


class PipeSink:
    """A pipe or terminal: pieces of at most PIPE_BUF are written whole, or, when it is full, later."""

    whole = False

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._fd = fd
        self._loop = loop
        self._pieces: collections.deque[bytes] = collections.deque()
        self._full = False

    def write(self, pieces: list[bytes]) -> None:
        if len(self._pieces) * LONGEST_LINE > _QUEUED_AT_MOST:
            self.dropped += _count(pieces)
            return
        self._pieces += pieces
        if not self._full:
            self._drain()

    def _drain(self) -> None:
        pieces = self._pieces
        try:
            while pieces:
                written = os.write(self._fd, pieces[0])
                piece = pieces.popleft()
                if written < len(piece):  # a terminal; a pipe takes all or nothing
                    pieces.appendleft(piece[written:])
        except BlockingIOError:
            if not self._full and self._loop.is_running():
                self._full = True
                self._loop.add_writer(self._fd, self._drain)
            return
        except OSError:  # nobody reads it any more
            self.dropped += _count(pieces)
            pieces.clear()
        if self._full:
            self._full = False
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        until = time.monotonic() + _LAST_WORDS
        while self._pieces and (left := until - time.monotonic()) > 0:
            select.select((), (self._fd,), (), left)
            self._drain()
        if self._full:
            self._loop.remove_writer(self._fd)
        os.close(self._fd)


class FileSink:
    """A file or a socket, which may make its writer wait: so a thread does. It is woken seldom: handing the
    interpreter's lock from thread to thread costs more than the writing."""

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._fd = fd
        self.whole = stat.S_ISREG(os.fstat(fd).st_mode)
        self._pieces: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._queued = 0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, pieces: list[bytes]) -> None:
        if self._queued > _QUEUED_AT_MOST:
            self.dropped += _count(pieces)
            return
        self._queued += sum(map(len, pieces))
        self._pieces.put(pieces)

    def _run(self) -> None:
        while (pieces := self._pieces.get()) is not None:
            if self.whole:
                self._write(pieces)
            else:
                for piece in pieces:
                    self._write([piece])
            self._queued -= sum(map(len, pieces))
        os.close(self._fd)

    def _write(self, pieces: list[bytes]) -> None:
        try:
            while pieces:
                written = os.writev(self._fd, pieces)
                rest = b"".join(pieces)[written:] if written < sum(map(len, pieces)) else b""
                pieces = [rest] if rest else []
        except OSError:
            self.dropped += _count(pieces)

    def retire(self) -> None:
        """Nothing more comes: the thread writes what is there, closes, and ends."""
        self._pieces.put(None)

    def close(self) -> None:
        self.retire()
        self._thread.join(_LAST_WORDS)


def _count(pieces: Iterable[bytes]) -> int:
    """How many lines they are."""
    return sum(piece.count(b"\n") for piece in pieces)


def _packed(lines: list[bytes]) -> list[bytes]:
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > LONGEST_LINE and piece:
            pieces.append(b"".join(piece))
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    pieces.append(b"".join(piece))
    return pieces


class LineWriter:
    """Makes the lines; one per worker. What is the same for a route or a second is made once."""

    __slots__ = ("_agent", "_agents", "_json", "_second", "_second_text", "wall")

    def __init__(self) -> None:
        self._agent = Text(_LONGEST_AGENT)
        self._agents = self._agent.known
        self._json = Text(_LONGEST_QUERY)
        self._second = 0
        self._second_text = b""
        self.wall = time.time() - time.monotonic()  # set anew now and then: clocks are adjusted

    def line(self, exchange: Exchange, route: "Route", now: float) -> bytes:
        passed = self.wall + now - self._second  # since the second began
        if not 0.0 <= passed < 1.0:
            passed = self._begin_second(self.wall + now)
        path = exchange.path
        if len(path) >= SHORTEST_TOKEN:
            path = _told_path(path)
        agent = exchange.noted.get(b"user-agent")
        who = exchange.who
        micros = int((now - exchange.began) * 1e6)
        waited = exchange.replied - exchange.sent
        upstream = int(waited * 1e6) if waited > 0.0 else 0
        made = _LINE % (
            self._second_text, _THREE[int(passed * 1000)], route.log_start, exchange.method, path,
            exchange.status,
            micros // 1000, _THREE[micros % 1000], upstream // 1000, _THREE[upstream % 1000],
            exchange.server, exchange.client,
            b"null" if agent is None else self._agents.get(agent) or self._agent(agent),
            exchange.request_id, exchange.trace_id, exchange.bytes_in, exchange.bytes_out,
            exchange.told if who is None else who.log,
            self._rare(exchange, route) if exchange.rare or route.log_query else b"",
        )  # fmt: skip
        return made if len(made) <= LONGEST_LINE else self._shorter(exchange, route, now)

    def _begin_second(self, at: float) -> float:
        """Another one than that of the line before; how much of it has passed."""
        self._second = int(at)
        self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second)).encode()
        return at - self._second

    def _shorter(self, exchange: Exchange, route: "Route", now: float) -> bytes:
        """Escapes can make a value six times as long: then the line goes without its longest parts."""
        short = Exchange(
            exchange.began, exchange.client, request_id=exchange.request_id, trace_id=exchange.trace_id
        )
        short.method, short.path, short.status = exchange.method, exchange.path[:500], exchange.status
        short.failed, short.rare, short.server = exchange.failed, exchange.failed is not None, exchange.server
        short.sent, short.replied = exchange.sent, exchange.replied
        short.who, short.told = exchange.who, exchange.told
        short.bytes_in, short.bytes_out = exchange.bytes_in, exchange.bytes_out
        return self.line(short, route, now)

    def _rare(self, exchange: Exchange, route: "Route") -> bytes:
        more = b""
        if exchange.failed is not None:
            more += b',"code":"%b"' % exchange.failed.code.encode()
        if exchange.verdicts:
            more += b',"verdicts":' + _to_json(
                [{"policy": name, "code": code} for name, code in exchange.verdicts[:8]]
            )
        if exchange.why:
            more += b',"why":' + _to_json(redacted(exchange.why)[:200])
        if route.log_query and exchange.query:
            more += b',"query":' + self._json(exchange.query)
        return more


def _told_path(path: bytes) -> bytes:
    """Not longer than a line can bear, and without a token that may stand there by a client's mistake."""
    if len(path) > _LONGEST_PATH:
        path = path[:_LONGEST_PATH] + b"..."
    if b"ps" in path or b"eyJ" in path:
        path = redacted(path.decode("ascii", "replace")).encode()
    return path
