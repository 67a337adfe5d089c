"""What a recording upstream can be told to answer: small functions over one connection and one request."""

import threading
from collections.abc import Callable, Iterable

from tests.kit.line import Line, Received

Script = Callable[[Line, Received], None]


def message(status: int, body: bytes, *lines: bytes, reason: bytes = b"Fine") -> bytes:
    """A whole reply with Content-Length."""
    head = [b"HTTP/1.1 %d %b" % (status, reason), *lines]
    if status >= 200 and status != 204:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def answer(body: bytes = b"ok", *lines: bytes, status: int = 200) -> Script:
    """A plain reply; to HEAD without the body."""

    def script(line: Line, request: Received) -> None:
        whole = message(status, body, *lines)
        line.send(whole[: len(whole) - len(body)] if request.method == b"HEAD" else whole)

    return script


def raw(*pieces: bytes, then: str = "keep", pause: float = 0.0) -> Script:
    """Exactly these bytes, piece by piece; then keep, close or reset the connection, or wait for its end."""

    def script(line: Line, request: Received) -> None:
        for piece in pieces:
            line.send(piece)
            if pause:
                threading.Event().wait(pause)
        if then == "close":
            line.close()
        elif then == "reset":
            line.reset()
        elif then == "wait":
            line.wait_gone()

    return script


def chunked(*parts: bytes, lines: Iterable[bytes] = (), trailer: bytes = b"") -> Script:
    """A chunked reply, each part a chunk sent by itself."""
    head = b"\r\n".join([b"HTTP/1.1 200 Fine", *lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return raw(head, *chunks, b"0\r\n" + trailer + b"\r\n")


def until_close(body: bytes, *lines: bytes, version: bytes = b"HTTP/1.1") -> Script:
    """A reply that ends with the connection."""
    return raw(b"\r\n".join([version + b" 200 Fine", *lines]) + b"\r\n\r\n" + body, then="close")


def silent() -> Script:
    """No reply; waits until the gateway gives up."""
    return raw(then="wait")


def gated(before: bytes, gate: threading.Event, after: bytes) -> Script:
    """Some bytes, and the others once the test opens the gate."""

    def script(line: Line, request: Received) -> None:
        line.send(before)
        gate.wait(10)
        line.send(after)

    return script


def endless(head: bytes, piece: bytes, most: int = 1 << 30) -> Script:
    """A head, then the same piece again and again until the peer leaves, or `most` bytes are sent."""

    def script(line: Line, request: Received) -> None:
        line.send(head)
        for _ in range(most // len(piece)):
            line.send(piece)
        line.close()

    return script


def in_turn(*scripts: Script) -> Script:
    """One script per request; the last one stays."""
    left = list(scripts)

    def script(line: Line, request: Received) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(line, request)

    return script


def switch(*lines: bytes, protocol: bytes = b"websocket", greeting: bytes = b"") -> Script:
    """101, then every byte comes back."""
    head = [b"HTTP/1.1 101 Switching", b"Connection: Upgrade", b"Upgrade: " + protocol, *lines]

    def script(line: Line, request: Received) -> None:
        line.send(b"\r\n".join(head) + b"\r\n\r\n" + greeting)
        line.echo()

    return script
