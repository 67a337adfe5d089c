"""The last lines of the access log, which each worker keeps so that a request can be explained afterwards."""

from collections import deque

ALL = 10_000  # lines of all workers together
LONG = 1024  # bytes; of longer lines an eighth as many are kept, so that nobody fills the memory with them
_GIVEN = 8


class Kept:
    """Those of one worker. They were made for the log anyway: to keep one is to keep a reference."""

    __slots__ = ("_lines", "_long", "add", "add_long")

    def __init__(self, workers: int = 1) -> None:
        most = max(ALL // workers, 1)
        self._lines: deque[bytes] = deque(maxlen=most)
        self._long: deque[bytes] = deque(maxlen=max(most // 8, 1))
        self.add = self._lines.append  # as they are, since they are called for each request
        self.add_long = self._long.append

    def find(self, request_id: str) -> list[bytes]:
        """The lines of this request, the newest first: a client behind a trusted proxy may choose its id, and
        use it again."""
        wanted = b'"request_id":"%b"' % request_id.encode()
        found = [line for lines in (self._lines, self._long) for line in lines if wanted in line]
        return sorted(found, reverse=True)[:_GIVEN]  # a line begins with its time
