"""What the supervisor knows of itself, as plain values that any thread may read."""

import msgspec


class WorkerState(msgspec.Struct, frozen=True):
    """What is known of one worker."""

    worker: int
    pid: int
    state: str  # starting, ready, draining, waiting (to be started again), ended
    restarts: int
    latency_ms: float  # of its last answer over the control socket


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

    def not_ready_because(self) -> list[str]:
        reasons = [] if self.config else ["the configuration is not loaded"]
        if not any(worker.state == "ready" for worker in self.workers):
            reasons.append("no worker is ready")
        if self.phase == "draining":
            reasons.append("draining")
        return reasons
