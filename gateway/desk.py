"""What the admin listener may ask the supervisor, from any of its threads."""

import os
import queue
import socket
import time
from collections.abc import Callable

from gateway import __version__
from gateway.config.snapshot import Snapshot, decode
from gateway.fleet import Fleet
from gateway.identity_process import IdentityProcess
from gateway.loop import Both, Loop
from gateway.model.metrics import Sample
from gateway.status import Node, Result, Status

Reload = Callable[[str, Callable[[Result], None]], None]


class Desk:
    """Every method may be called from any thread; the work is done in the supervisor's loop."""

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        identity: IdentityProcess | None,
        status: Callable[[], Status],
        reload: Reload,
        role: str,
        address: str,
    ) -> None:
        self._loop, self._fleet, self._identity = loop, fleet, identity
        self._status, self._reload = status, reload
        pid = os.getpid()
        self._node = Node(f"{socket.gethostname()}:{pid}", role, __version__, address, time.time(), pid)

    @property
    def status(self) -> Status:
        return self._status()

    def node(self) -> Node:
        return self._node

    def snapshot(self) -> Snapshot:
        return decode(self._fleet.snapshot)

    def collect(self, timeout: float) -> list[Sample]:
        """The counters of all processes, as fresh as they answer within the time."""
        answer: queue.SimpleQueue[list[Sample]] = queue.SimpleQueue()

        def ask() -> None:
            both = Both(lambda: answer.put(self._fleet.sums()))
            self._fleet.collect(timeout, both.one)
            if self._identity is not None:
                self._identity.collect(timeout, both.one)
            else:
                both.one()

        self._loop.call(ask)
        try:
            return answer.get(timeout=timeout + 1)
        except queue.Empty:
            return []

    def find(self, request_id: str, timeout: float) -> list[bytes]:
        """The access-log lines of a request that the workers still have, the newest first."""
        answer: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._loop.call(lambda: self._fleet.find(request_id, timeout, answer.put))
        try:
            return answer.get(timeout=timeout + 1)
        except queue.Empty:
            return []

    def reload(self, timeout: float) -> Result:
        answer: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._loop.call(lambda: self._reload("asked over the admin listener", answer.put))
        try:
            return answer.get(timeout=timeout)
        except queue.Empty:
            config = self.status.config
            return Result(False, config, ("it takes too long; see the service log",))
