"""Questions to all workers for the log lines that they keep: each ends with their answers, or in time."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from gateway.loop import Loop, Timer

Done = Callable[[list[bytes]], None]


class _Search:
    def __init__(self, waiting: set[int], done: Done) -> None:
        self.waiting, self.done = waiting, done
        self.found: list[bytes] = []
        self.timer: Timer | None = None


class Searches:
    """Those that are under way."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._numbers = count(1)
        self._running: dict[int, _Search] = {}

    def begin(self, workers: Sequence[int], timeout: float, done: Done) -> int:
        """The number under which these workers are to answer; `done` gets what they have found."""
        number = next(self._numbers)
        search = _Search(set(workers), done)
        self._running[number] = search
        search.timer = self._loop.after(timeout, lambda: self._end(number))
        if not search.waiting:
            self._end(number)
        return number

    def answered(self, worker: int, message: dict[str, Any]) -> None:
        """One worker's answer; what is not a list of lines counts as none."""
        number, lines = message.get("id"), message.get("lines")
        if not isinstance(number, int) or number not in self._running:
            return
        if isinstance(lines, list):
            self._running[number].found += [line for line in lines if isinstance(line, bytes)]
        self._without(worker, [number])

    def left(self, worker: int) -> None:
        """This worker has ended: it answers nothing any more."""
        self._without(worker, list(self._running))

    def _without(self, worker: int, numbers: Sequence[int]) -> None:
        for number in numbers:
            waiting = self._running[number].waiting
            waiting.discard(worker)
            if not waiting:
                self._end(number)

    def _end(self, number: int) -> None:
        search = self._running.pop(number, None)
        if search is None:
            return
        if search.timer is not None:
            search.timer.cancel()
        search.done(sorted(search.found, reverse=True))  # a line begins with its time: the newest first
