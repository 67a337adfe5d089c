"""What the supervisor knows of itself, as plain values that any thread may read."""

import math
import time

import msgspec


class WorkerState(msgspec.Struct, frozen=True):
    """What is known of one worker."""

    worker: int
    pid: int
    state: str  # starting, ready, draining, waiting (to be started again), ended
    restarts: int
    latency_ms: float  # of its last answer over the control socket
    link: bool = False  # to the identity service


class IdentityState(msgspec.Struct, frozen=True):
    """What is known of the identity service's process."""

    pid: int
    state: str  # as of workers
    restarts: int
    latency_ms: float


class Node(msgspec.Struct, frozen=True):
    """What is said of this gateway among others."""

    id: str
    role: str
    version: str
    address: str
    started: float  # wall clock
    pid: int


class Result(msgspec.Struct, frozen=True):
    """How a reload ended."""

    loaded: bool
    config: str = ""  # hash of the configuration in force
    faults: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()  # keys of routes.yaml that changed, and were left as they are


class Status(msgspec.Struct, frozen=True):
    """Replaced whole at each change."""

    phase: str = "starting"  # starting, running, draining
    config: str = ""
    loaded_at: float = 0.0  # wall clock
    reload: Result = Result(True)  # the last one
    workers: tuple[WorkerState, ...] = ()
    identity: IdentityState | None = None  # None: this gateway runs none
    linked: bool = False  # every worker that is ready has its link
    linked_until: float = -math.inf  # by the monotonic clock: when that was so last, if it is not so now
    serve_stale: float = 0.0  # seconds for which cached identities bridge a link that is down

    def not_ready_because(self, now: float | None = None) -> list[str]:
        reasons = [] if self.config else ["the configuration is not loaded"]
        if not any(worker.state == "ready" for worker in self.workers):
            reasons.append("no worker is ready")
        if self.identity is not None and not self.linked:
            gone = (time.monotonic() if now is None else now) - self.linked_until
            if gone > self.serve_stale or self.linked_until == -math.inf:
                reasons.append(self._what_is_missing(self.identity))
        if self.phase == "draining":
            reasons.append("draining")
        return reasons

    def _what_is_missing(self, identity: IdentityState) -> str:
        if identity.state != "ready":
            return "the identity service is not ready"
        return "the link to the identity service is down"
