"""The access log: one JSON line a request, written whole by a thread, so that a slow log never slows a request."""

import collections
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gateway.model.exchange import Exchange

if TYPE_CHECKING:
    from gateway.edge.live import Route

LONGEST_LINE = 4096  # what the kernel writes to a pipe in one piece (PIPE_BUF)
_LONGEST_PATH, _LONGEST_AGENT, _LONGEST_QUERY = 1500, 200, 120
_FLUSH_AFTER_LINES = 512
_QUEUED_AT_MOST = 8 * 1024 * 1024
_to_json = msgspec.json.Encoder().encode


class Text:
    """JSON text of values that recur (agents, hosts), remembered, bounded."""

    __slots__ = ("_known", "_longest")

    def __init__(self, longest: int) -> None:
        self._known: dict[bytes, bytes] = {}
        self._longest = longest

    def __call__(self, value: bytes) -> bytes:
        known = self._known.get(value)
        if known is None:
            known = _to_json(value[: self._longest].decode("utf-8", "replace"))
            if len(self._known) >= 1024:
                self._known.clear()
            if len(value) <= 1024:
                self._known[value] = known
        return known


class AccessLog:
    """Where the lines of one worker go."""

    def __init__(self, to: str, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._fd = (
            1 if to == "stdout" else os.open(to, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        )
        self._to = to
        self._whole = stat.S_ISREG(os.fstat(self._fd).st_mode)  # a file takes larger pieces without tearing
        self._later = later
        self._lines: list[bytes] = []
        self._pieces: collections.deque[bytes] = collections.deque()
        self._queued = 0
        self._wake = threading.Semaphore(0)
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        lines = self._lines
        lines.append(line)
        if len(lines) == 1:
            self._later(0.05, self.flush)
        elif len(lines) >= _FLUSH_AFTER_LINES:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._queued > _QUEUED_AT_MOST:
            self.dropped += len(lines)
            return
        for piece in [b"".join(lines)] if self._whole else _packed(lines):
            self._queued += len(piece)
            self._pieces.append(piece)
            self._wake.release()

    def _write(self) -> None:
        while True:
            self._wake.acquire()
            if not self._pieces:
                return
            piece = self._pieces.popleft()
            self._queued -= len(piece)
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:
                self.dropped += piece.count(b"\n")

    def close(self) -> None:
        """Write what is waiting, for at most two seconds."""
        if self._closing:
            return
        self._closing = True
        self.flush()
        self._wake.release()
        self._thread.join(2.0)
        if self._fd != 1:
            os.close(self._fd)


def _packed(lines: list[bytes]) -> list[bytes]:
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > LONGEST_LINE:
            pieces.append(b"".join(piece))
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    pieces.append(b"".join(piece))
    return [piece for piece in pieces if piece]


class LineWriter:
    """Makes the lines; one per worker. What is the same for a route or a second is made once."""

    __slots__ = ("_agent", "_json", "_second", "_second_text", "wall")

    def __init__(self) -> None:
        self._agent = Text(_LONGEST_AGENT)
        self._json = Text(_LONGEST_QUERY)
        self._second = 0
        self._second_text = b""
        self.wall = time.time() - time.monotonic()  # set anew now and then: clocks are adjusted

    def line(self, exchange: Exchange, route: "Route", status: int, now: float) -> bytes:
        at = self.wall + now
        second = int(at)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        path = exchange.path
        if len(path) > _LONGEST_PATH:
            path = path[:_LONGEST_PATH] + b"..."
        agent = exchange.noted.get(b"user-agent")
        replied = exchange.replied
        return (
            b'{"time":"%b.%03dZ",%b"method":"%b","path":"%b","status":%d,"ms":%.2f%b,"client":"%b",%b"request_id":"%b","trace_id":"%b","bytes_in":%d,"bytes_out":%d%b}\n'
            % (  # noqa: E501
                self._second_text,
                int((at - second) * 1000),
                route.log_start,
                exchange.method,
                path,
                status,
                (now - exchange.began) * 1000.0,
                b',"upstream_ms":%.2f,"server":"%b"' % ((replied - exchange.sent) * 1000.0, exchange.server)
                if replied
                else b"",
                exchange.client,
                b'"agent":%b,' % self._agent(agent) if agent is not None else b"",
                exchange.request_id,
                exchange.trace_id,
                exchange.bytes_in,
                exchange.bytes_out,
                self._rare(exchange, route) if exchange.rare or route.log_query else b"",
            )
        )

    def _rare(self, exchange: Exchange, route: "Route") -> bytes:
        more = b""
        if exchange.failed is not None:
            more += b',"code":"%b"' % exchange.failed.code.encode()
        if exchange.reports:
            more += b',"verdicts":' + _to_json(
                [{"policy": name, "code": code} for name, code in exchange.reports[:8]]
            )
        if exchange.why:
            more += b',"why":' + _to_json(exchange.why[:200])
        if route.log_query and exchange.query:
            more += b',"query":' + self._json(exchange.query)
        return more
