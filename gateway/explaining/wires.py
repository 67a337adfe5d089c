"""Connections with nobody at their other end: what is written to them is kept, and goes nowhere."""

from collections.abc import Callable
from typing import Any


class Wire:
    """As far as the edge uses a transport."""

    def __init__(
        self,
        peer: object = None,
        here: object = None,
        written: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        self._named = {"peername": peer, "sockname": here}
        self._told = written
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._named.get(name, default)

    def write(self, data: bytes) -> None:
        self.written += data
        self._told(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes."""

    resume_reading = pause_reading
