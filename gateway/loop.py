"""The supervisor's event loop: descriptors, timers, signals and calls from other threads. No asyncio."""

import heapq
import itertools
import queue
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

Callback = Callable[[], None]


class Timer:
    """Something to be done at a time; cancel it and it is not done."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Both:
    """Calls back when two things are done."""

    def __init__(self, done: Callback) -> None:
        self._done, self._left = done, 2

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done()


class Loop:
    """Runs callbacks in one thread until `stop`. Only `call` may be used by other threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: queue.SimpleQueue[Callback] = queue.SimpleQueue()
        self._on_signal: dict[int, Callback] = {}
        self._handlers_before: dict[int, Any] = {}
        self._exit: int | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.watch(self._wake_read, self._woken)

    def watch(self, sock: Any, on_read: Callback, on_write: Callback | None = None) -> None:
        """Call back while `sock` can be read (and written, with `on_write`). Replaces an earlier watch."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_write else 0)
        if sock in self._selector.get_map():
            self._selector.modify(sock, events, (on_read, on_write))
        else:
            self._selector.register(sock, events, (on_read, on_write))

    def forget(self, sock: Any) -> None:
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def after(self, seconds: float, callback: Callback) -> Timer:
        timer = Timer(self.clock() + seconds, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        return timer

    def call(self, callback: Callback) -> None:
        """Have `callback` run in the loop's thread. From any thread."""
        self._calls.put(callback)
        self._wake()

    def on_signal(self, number: signal.Signals, callback: Callback) -> None:
        if not self._on_signal:
            signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        self._on_signal[number] = callback
        # the handler itself does nothing: the wake-up byte is the signal's number and is handled in the loop
        self._handlers_before[number] = signal.signal(number, _nothing)

    def stop(self, code: int) -> None:
        self._exit = code

    def run(self) -> int:
        while self._exit is None:
            for key, events in self._selector.select(self._wait()):
                on_read, on_write = key.data
                if events & selectors.EVENT_WRITE and on_write is not None:
                    on_write()
                if events & selectors.EVENT_READ:
                    on_read()
            self._run_timers()
        return self._exit

    def close(self) -> None:
        if self._on_signal:
            signal.set_wakeup_fd(-1)
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _wait(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.clock()) if self._timers else None

    def _run_timers(self) -> None:
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it is awake already; closed: nobody waits
            self._wake_write.send(b"\0")

    def _woken(self) -> None:
        try:
            numbers = self._wake_read.recv(4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            if number in self._on_signal:
                self._on_signal[number]()
        while True:
            try:
                callback = self._calls.get_nowait()
            except queue.Empty:
                return
            callback()


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
