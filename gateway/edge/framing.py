"""Where a body ends: by length, by chunks, or with the connection. Strict, and told to the byte.

llhttp can't say at which byte a message ended, so what follows a chunked body could not be told from it:
hence this decoder. RFC 9112 section 7.1; chunk extensions and trailers are read, bounded and dropped.
"""

import re

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_LONGEST_LINE = 8 * 1024

SIZE, DATA, DATA_END, TRAILER, DONE = range(5)


class BadChunk(Exception):
    """The chunked coding is broken."""


class ChunkDecoder:
    """Takes the bytes of a chunked body as they come; gives its payload and, at the end, what follows it."""

    __slots__ = ("_buffer", "_left", "_overhead", "_state")

    def __init__(self, overhead: int) -> None:
        self._buffer = b""  # an incomplete line
        self._left = 0
        self._overhead = overhead  # bytes of extensions and trailers that may still come
        self._state = SIZE

    @property
    def done(self) -> bool:
        return self._state == DONE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(payload, rest): rest is what follows the body, once `done`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        payload: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._state == DATA:
                piece = data[at : at + self._left] if at or self._left < end else data
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = DATA_END
                continue
            if self._state == DATA_END:
                if data[at : at + 2] != b"\r\n":
                    if end - at == 1 and data[at] == 13:
                        break
                    raise BadChunk("a chunk is longer than its size")
                at += 2
                self._state = SIZE
                continue
            line_end = data.find(b"\n", at)
            if line_end < 0:
                if end - at > _LONGEST_LINE:
                    raise BadChunk("a line is too long")
                break
            if line_end == at or data[line_end - 1] != 13:
                raise BadChunk("a line ends without CR")
            at = self._line(data[at : line_end - 1], line_end + 1)
            if self._state == DONE:
                return b"".join(payload), data[at:]
        self._buffer = data[at:]
        return payload[0] if len(payload) == 1 else b"".join(payload), b""

    def _line(self, line: bytes, after: int) -> int:
        if self._state == SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise BadChunk("a chunk's size is not a hexadecimal number")
            self._spend(len(line) - len(match[1]))
            self._left = int(match[1], 16)
            self._state = DATA if self._left else TRAILER
        elif line:
            if _TRAILER_LINE.fullmatch(line) is None:
                raise BadChunk("a trailer is not a header line")
            self._spend(len(line))
        else:
            self._state = DONE
        return after

    def _spend(self, count: int) -> None:
        self._overhead -= count
        if self._overhead < 0:
            raise BadChunk("extensions and trailers are too large")


def as_chunk(payload: bytes) -> bytes:
    """One chunk; never called with nothing, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"
