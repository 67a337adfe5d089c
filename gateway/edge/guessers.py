"""Addresses that keep presenting unknown credentials: slowed without asking anybody, in bounded memory."""

from gateway.model.addresses import prefix

ALLOWED = 30  # unknown credentials in one window
WINDOW = 10.0  # seconds
MOST = 10_000  # addresses remembered


class Guessers:
    """Counts by address (IPv6: its /64), in windows."""

    __slots__ = ("_counts", "_ends")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._ends = 0.0

    def guessed(self, client: bytes, now: float) -> None:
        self._turn(now)
        place = _place(client)
        if place in self._counts or len(self._counts) < MOST:
            self._counts[place] = self._counts.get(place, 0) + 1

    def is_slowed(self, client: bytes, now: float) -> bool:
        if not self._counts:
            return False
        self._turn(now)
        return self._counts.get(_place(client), 0) >= ALLOWED

    def _turn(self, now: float) -> None:
        if now >= self._ends:
            self._counts.clear()
            self._ends = now + WINDOW


def _place(client: bytes) -> str:
    return prefix(client.decode("ascii", "replace"), 32, 64)
