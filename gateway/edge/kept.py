"""The last lines of the access log, which each worker keeps so that a request can be explained afterwards."""

from collections import deque

ALL = 10_000  # lines of all workers together
LONG = 1024  # bytes; of longer lines an eighth as many are kept, so that nobody fills the memory with them
_GIVEN = 8


class Kept:
    """Those of one worker. They were made for the log anyway: to keep some is to keep the piece that is
    written."""

    __slots__ = ("_count", "_long", "_most", "_pieces")

    def __init__(self, workers: int = 1) -> None:
        self._most = max(ALL // workers, 1)
        self._count = 0
        self._pieces: deque[tuple[int, bytes]] = deque()  # how many lines, and the lines
        self._long: deque[bytes] = deque(maxlen=max(self._most // 8, 1))

    def add(self, lines: list[bytes], piece: bytes) -> None:
        """Some lines, the oldest first; `piece` is all of them."""
        if max(map(len, lines)) > LONG:
            self._long += [line for line in lines if len(line) > LONG]
            lines = [line for line in lines if len(line) <= LONG]
            piece = b"".join(lines)
        if lines:
            self._count += len(lines)
            self._pieces.append((len(lines), piece))
            while self._count - self._pieces[0][0] >= self._most:
                self._count -= self._pieces.popleft()[0]

    def find(self, request_id: str) -> list[bytes]:
        """The lines of this request, the newest first: a client behind a trusted proxy may choose its id, and
        use it again."""
        wanted = b'"request_id":"%b"' % request_id.encode()
        pieces = [piece for _, piece in self._pieces if wanted in piece]
        lines = [line for piece in pieces for line in piece.splitlines(keepends=True)]
        found = [line for line in (*lines, *self._long) if wanted in line]
        return sorted(found, reverse=True)[:_GIVEN]  # a line begins with its time
