"""Streams: each piece goes on as it comes, and a slow reader costs the gateway next to no memory."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kit.gateway import Gateway, run_gateway
from tests.kit.line import Line, Received
from tests.kit.raw import Client, request
from tests.kit.scripts import message
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import Source, chunk

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 256  # 64 KiB
STREAMS = 4
GROWTH = 2 * MIB  # per stream
PATIENCE = 60.0
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
ROUTES = """
limits: {body_bytes: 3GiB, body_idle: 60s}
upstreams:
  app: {servers: ["URL"], timeouts: {first_byte: 60s, idle: 60s}}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""

SIZES = [64 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.hard)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream(keep=0, receive_buffer=64 * 1024) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RecordingUpstream) -> Iterator[Gateway]:
    with run_gateway(ROUTES.replace("URL", upstream.url)) as running:
        yield running


class Worker:
    """The memory of the one worker, by what the kernel counts."""

    def __init__(self, gateway: Gateway) -> None:
        workers = [pid for pid in gateway.pids() if b"gateway.edge.worker" in self._about(pid, "cmdline")]
        (self._pid,) = workers

    def _about(self, pid: int, what: str) -> bytes:
        return Path(f"/proc/{pid}/{what}").read_bytes()

    def _field(self, name: bytes) -> int:
        (line,) = [line for line in self._about(self._pid, "status").splitlines() if line.startswith(name)]
        return int(line.split()[1]) * 1024

    def begin(self) -> None:
        """Forget the peak so far."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._before = self._field(b"VmRSS:")

    def grown(self) -> int:
        """How far the peak since `begin` was above what it was then."""
        return self._field(b"VmHWM:") - self._before


class Flow:
    """Counts what one side has got rid of, and knows when it stands still."""

    def __init__(self) -> None:
        self.moved = 0
        self._news = threading.Condition()

    def add(self, count: int) -> None:
        with self._news:
            self.moved += count
            self._news.notify_all()

    def wait_still(self) -> int:
        """Until nothing moves for a moment: everything between the two ends is full."""
        with self._news:
            while self._news.wait(0.5):
                pass
            return self.moved


def pour(flow: Flow, sock: socket.socket, size: int) -> None:
    for _ in range(size // len(PIECE)):
        sock.sendall(PIECE)
        flow.add(len(PIECE))


def drink(ahead: bytes, sock: socket.socket, size: int) -> int:
    """Up to `size` bytes, all of them in their place; `ahead` has been read already."""
    got, buffer, pattern = len(ahead), bytearray(len(PIECE)), PIECE * 2
    assert (PIECE * (got // len(PIECE) + 1)).startswith(ahead)
    while got < size and (count := sock.recv_into(buffer)):
        at = got % len(PIECE)
        assert buffer[:count] == pattern[at : at + count], "bytes are lost or mixed"
        got += count
    return got


def rest(source: Source) -> bytes:
    return source.take(len(source.ahead))


def in_parallel(one: Callable[[int], tuple[int, int]], size: int) -> None:
    """Each stream stood still before its end, and in the end was whole."""
    with ThreadPoolExecutor(STREAMS) as threads:
        for held, got in threads.map(one, range(STREAMS)):
            assert held < size, "nothing pushed back: the kernel alone holds up to 40 MiB"
            assert got == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "close", "tunnel"])
def test_a_client_that_reads_slowly_costs_no_memory(
    gateway: Gateway, upstream: RecordingUpstream, framing: str, size: int
) -> None:
    flows = [Flow() for _ in range(STREAMS)]
    heads = {
        "length": b"HTTP/1.1 200 Fine\r\nContent-Length: %d\r\n\r\n" % size,
        "close": b"HTTP/1.1 200 Fine\r\n\r\n",
        "tunnel": SWITCH,
    }

    def pouring(line: Line, received: Received) -> None:
        line.send(heads[framing])
        pour(flows[int(received.path[1:])], line.sock, size)
        line.close()

    def one(number: int) -> tuple[int, int]:
        lines = UPGRADE if framing == "tunnel" else ()
        version = b"HTTP/1.0" if framing == "close" else b"HTTP/1.1"
        with Client(gateway.port, receive_buffer=64 * 1024, patience=PATIENCE) as client:
            client.send(request(f"/{number}", *lines, version=version))
            client.head()
            held = flows[number].wait_still()
            return held, drink(rest(client.source), client.sock, size)

    upstream.reply(pouring)
    worker = Worker(gateway)
    worker.begin()
    in_parallel(one, size)
    assert worker.grown() < STREAMS * GROWTH


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "tunnel"])
def test_an_upstream_that_reads_slowly_costs_no_memory(
    gateway: Gateway, upstream: RecordingUpstream, framing: str, size: int
) -> None:
    flows, gates = [Flow() for _ in range(STREAMS)], [threading.Event() for _ in range(STREAMS)]

    def drinking(line: Line, received: Received) -> None:
        if framing == "tunnel":
            line.send(SWITCH)
        gates[int(received.path[1:])].wait(PATIENCE)
        got = drink(rest(line.source), line.sock, size)
        told = b"%d\n" % got
        line.send(told if framing == "tunnel" else message(200, told, b"Connection: close"))
        line.wait_gone()

    def one(number: int) -> tuple[int, int]:
        flow = flows[number]
        with Client(gateway.port, patience=PATIENCE) as client:
            if framing == "tunnel":
                client.send(request(f"/{number}", *UPGRADE))
                client.head()
            else:
                client.send(request(f"/{number}", b"Content-Length: %d" % size, method=b"POST"))
            pouring = threading.Thread(target=pour, args=(flow, client.sock, size))
            pouring.start()
            held = flow.wait_still()
            gates[number].set()
            pouring.join()
            got = client.source.until(b"\n") if framing == "tunnel" else client.reply().body
            return held, int(got)

    upstream.reply(drinking, at_head=True)
    worker = Worker(gateway)
    worker.begin()
    in_parallel(one, size)
    assert worker.grown() < STREAMS * GROWTH


HEADS = {
    "chunked": b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "close": b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\n\r\n",
}


@pytest.mark.parametrize("framing", HEADS)
def test_each_event_of_a_stream_comes_before_the_next_is_sent(
    gateway: Gateway, upstream: RecordingUpstream, framing: str
) -> None:
    seen = threading.Semaphore(0)
    events = [b"id: %d\ndata: %b\n\n" % (number, b"x" * number * 100) for number in range(50)]

    def telling(line: Line, received: Received) -> None:
        line.send(HEADS[framing])
        for event in events:
            line.send(b"%x\r\n%b\r\n" % (len(event), event) if framing == "chunked" else event)
            assert seen.acquire(timeout=PATIENCE)
        line.send(b"0\r\n\r\n" if framing == "chunked" else b"")
        line.close()

    upstream.reply(telling)
    with Client(gateway.port) as client:
        client.send(request("/events"))
        head = client.head()
        assert head.value(b"content-type") == b"text/event-stream"
        assert head.value(b"transfer-encoding") == b"chunked"
        for event in events:
            assert chunk(client.source) == event
            seen.release()
        assert chunk(client.source) == b""


def test_a_body_of_a_request_goes_on_as_it_comes(gateway: Gateway, upstream: RecordingUpstream) -> None:
    pieces = [b"piece %d" % number for number in range(50)]

    def answering(line: Line, received: Received) -> None:
        line.send(HEADS["chunked"])
        while piece := chunk(line.source):
            line.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        line.send(b"0\r\n\r\n")
        line.close()

    upstream.reply(answering, at_head=True)
    with Client(gateway.port) as client:
        client.send(request("/both", b"Transfer-Encoding: chunked", method=b"POST"))
        for piece in pieces:
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if piece == pieces[0]:
                client.head()
            assert chunk(client.source) == piece
        client.send(b"0\r\n\r\n")
        assert chunk(client.source) == b""


def test_a_client_that_leaves_a_stream_ends_it_upstream(
    gateway: Gateway, upstream: RecordingUpstream
) -> None:
    gone = threading.Event()

    def endless(line: Line, received: Received) -> None:
        line.send(HEADS["close"] + b"data: first\n\n")
        line.wait_gone()
        gone.set()

    upstream.reply(endless)
    with Client(gateway.port) as client:
        client.send(request("/events"))
        client.head()
        assert chunk(client.source) == b"data: first\n\n"
        client.abort()
        assert gone.wait(PATIENCE)
