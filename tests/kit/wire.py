"""HTTP/1.1 messages read from a socket by the letter of RFC 9112, apart from all code of the gateway."""

import re
import socket

Headers = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
DIGITS = re.compile(rb"[0-9]{1,19}")


class WireError(Exception):
    """The bytes are not a valid message."""


class Ended(WireError):
    """The peer closed, or the connection broke, in the middle of a message or before it."""

    def __init__(self, got: bytes, reset: bool) -> None:
        super().__init__(f"{'reset' if reset else 'closed'} after {got[-200:]!r}")
        self.got, self.reset = got, reset


class Source:
    """A socket with the bytes read ahead of use; `taken` collects what was used since it was last emptied."""

    def __init__(self, sock: socket.socket, keep: int = 64 * 1024 * 1024) -> None:
        self.sock, self.keep = sock, keep
        self.ahead = bytearray()
        self.taken = bytearray()
        self.ended = self.reset = False

    def fill(self) -> bool:
        """Read once more; False when the peer has ended."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(256 * 1024)
        except (ConnectionResetError, BrokenPipeError):
            data, self.reset = b"", True
        except TimeoutError:
            raise TimeoutError(f"nothing came; waiting after {bytes(self.ahead[-300:])!r}") from None
        self.ended = not data
        self.ahead += data
        return bool(data)

    def take(self, count: int) -> bytes:
        part = bytes(self.ahead[:count])
        del self.ahead[:count]
        self.taken += part[: max(0, self.keep - len(self.taken))]
        return part

    def until(self, mark: bytes, limit: int = 1024 * 1024) -> bytes:
        """All up to and with `mark`."""
        while (at := self.ahead.find(mark)) < 0:
            if len(self.ahead) > limit:
                raise WireError(f"no {mark!r} within {limit} bytes")
            if not self.fill():
                raise Ended(bytes(self.ahead), self.reset)
        return self.take(at + len(mark))

    def some(self, most: int) -> bytes:
        """Between 1 and `most` bytes."""
        if not self.ahead and not self.fill():
            raise Ended(b"", self.reset)
        return self.take(min(most, len(self.ahead)))

    def exactly(self, count: int) -> bytes:
        while len(self.ahead) < count:
            if not self.fill():
                raise Ended(bytes(self.ahead), self.reset)
        return self.take(count)


def parse_head(block: bytes) -> tuple[bytes, Headers]:
    """The start line and the fields of a head that still has its final empty line."""
    if not block.endswith(b"\r\n\r\n"):
        raise WireError("the head does not end in an empty line")
    lines = block[:-4].split(b"\r\n")
    for line in lines:
        if not VALUE.fullmatch(line):
            raise WireError(f"control character in {line!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise WireError(f"not a field: {line!r}")
        headers.append((name, value.strip(b" \t")))
    return lines[0], headers


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a field, in order; names compare without case."""
    return [value for key, value in headers if key.lower() == name.lower()]


def body_length(headers: Headers) -> int | None:
    """The length that the head states; None for chunked, -1 when it states none."""
    lengths = values(headers, b"content-length")
    codings = values(headers, b"transfer-encoding")
    if codings:
        if codings != [b"chunked"] or lengths:
            raise WireError(f"framing is not clear: {codings} {lengths}")
        return None
    if not lengths:
        return -1
    if len(lengths) > 1 or not DIGITS.fullmatch(lengths[0]):
        raise WireError(f"Content-Length is not clear: {lengths}")
    return int(lengths[0])


def chunk(source: Source) -> bytes:
    """The data of the next chunk, empty for the last one, whose trailers follow."""
    size = source.until(b"\r\n", limit=4096)[:-2]
    if not CHUNK_SIZE.fullmatch(size):
        raise WireError(f"not a chunk size: {size!r}")
    data = source.exactly(int(size, 16))
    if data and source.exactly(2) != b"\r\n":
        raise WireError("chunk data runs over its size")
    return data


def trailers(source: Source) -> Headers:
    """The fields after the last chunk."""
    block = b""
    while (line := source.until(b"\r\n")) != b"\r\n":
        block += line
    return parse_head(b"\r\n" + block + b"\r\n")[1]
