"""The edge workers: started, spoken with, given every new snapshot, started again when they end, drained."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import msgspec

from gateway.children import Backoff, Children, Control, how_it_ended
from gateway.link.frames import Message
from gateway.loop import Callback, Loop, Timer
from gateway.model.metrics import Sample
from gateway.searches import Searches
from gateway.service_log import ServiceLog
from gateway.sockets import Listeners
from gateway.status import WorkerState
from gateway.totals import Totals

START_WITHIN = 30.0  # seconds until a started worker must accept, or a reload must be answered
GIVE_UP_AFTER = 5  # failures in a row of a worker, while none has ever been ready


class Worker:
    """One place in the fleet. Its process may change, its place and its sockets stay."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.life = 0  # differs for each process that was ever here
        self.pid = 0
        self.state = "ended"
        self.born = 0.0
        self.restarts = 0
        self.version = 0  # of the snapshot that it was last given
        self.error = ""  # what it said before it ended
        self.asked: float | None = None  # when the counters were asked for, and not answered yet
        self.latency = 0.0
        self.link = False  # to the identity service: as it says itself
        self.backoff = Backoff()
        self.control: Control | None = None
        self.timer: Timer | None = None
        self.kill: Callback | None = None

    def send(self, message: Message) -> None:
        if self.control is not None:
            self.control.send(message)

    def set_timer(self, timer: Timer | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


class Roll:
    """One reload on its way through the fleet, worker by worker: the first that refuses stops it."""

    def __init__(self, number: int, snapshot: bytes, todo: list[Worker], done: Callable[[str], None]) -> None:
        self.number, self.snapshot, self.todo, self.done = number, snapshot, todo, done
        self.asked: Worker | None = None  # its answer is awaited
        self.told: list[Worker] = []
        self.timer: Timer | None = None


class Fleet:
    """All workers of this gateway."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        log: ServiceLog,
        listeners: Listeners,
        argv: Sequence[str],
        environment: Mapping[str, str],
        size: int,
        snapshot: bytes,
    ) -> None:
        self._loop, self._children, self._log = loop, children, log
        self._listeners, self._argv, self._environment = listeners, tuple(argv), environment
        self.snapshot = snapshot  # the latest good one
        self.identity: dict[str, str] = {}  # where workers find the identity service; empty: nowhere
        self.totals = Totals()
        self.on_change: Callback = lambda: None
        self.on_hopeless: Callable[[str], None] = lambda error: None
        self.on_drained: Callback = lambda: None
        self.was_ready = False  # some worker, some time
        self._version = 1
        self._workers = [Worker(index) for index in range(size)]
        self._numbers = count(1)
        self._lives = count(1)
        self._roll: Roll | None = None
        self._collections: list[tuple[set[int], Timer, Callback]] = []
        self._searches = Searches(loop)
        self._leaving = False  # "draining" was said
        self._draining = False

    def start(self) -> None:
        for worker in self._workers:
            self._start(worker)

    def states(self) -> tuple[WorkerState, ...]:
        return tuple(
            WorkerState(w.index, w.pid, w.state, w.restarts, round(w.latency * 1000, 3), w.link)
            for w in self._workers
        )

    def linked(self) -> bool:
        """Whether every worker that is ready has its link to the identity service."""
        links = [worker.link for worker in self._workers if worker.state == "ready"]
        return bool(links) and all(links)

    def ready(self) -> int:
        return sum(worker.state == "ready" for worker in self._workers)

    # Start and end of one worker

    def _start(self, worker: Worker) -> None:
        life = worker.life = next(self._lives)
        control = Control(self._loop, lambda m: self._said(worker, m), lambda: self._silent(worker, life))
        listeners = self._listeners.of(worker.index)
        fds = [control.theirs.fileno(), *(each.sock.fileno() for each in listeners)]
        argv = [*self._argv, "--control", str(fds[0])]
        try:
            process = self._children.start(argv, self._environment, lambda c: self._ended(worker, c), fds)
        except OSError as error:  # no memory, or too many processes: it may pass
            worker.error = str(error)
            control.close()
            self._start_again(worker, 1, 0.0)
            return
        finally:
            control.theirs.close()
        worker.control, worker.pid, worker.kill = control, process.pid, process.kill
        worker.born, worker.state, worker.error, worker.asked = self._loop.clock(), "starting", "", None
        worker.version, worker.link = self._version, False
        worker.set_timer(self._loop.after(START_WITHIN, lambda: self._overdue(worker)))
        given = [{"fd": each.sock.fileno(), "role": each.role, "number": each.number} for each in listeners]
        start: Message = {"t": "start", "worker": worker.index, "workers": len(self._workers),
                          "snapshot": self.snapshot, "listeners": given}  # fmt: skip
        control.send(start | ({"identity": self.identity} if self.identity else {}))
        if self._leaving:
            control.send({"t": "draining"})
        self.on_change()

    def _overdue(self, worker: Worker) -> None:
        worker.error = f"it did not accept connections within {START_WITHIN:.0f} s"
        if worker.kill:
            worker.kill()

    def _silent(self, worker: Worker, life: int) -> None:
        """It closed its control socket: it is ending. If not, it is out of control."""
        worker.set_timer(self._loop.after(5.0, lambda: worker.kill() if worker.kill else None))

    def _ended(self, worker: Worker, code: int) -> None:
        if worker.control is not None:
            worker.control.read_rest()
            worker.control.close()
        worker.set_timer(None)
        lived = self._loop.clock() - worker.born
        worker.control, worker.kill, worker.pid, worker.state = None, None, 0, "ended"
        worker.link = False
        self.totals.bury(worker.life)
        self._answered(worker)
        self._searches.left(worker.index)
        if self._roll is not None and self._roll.asked is worker:
            self._roll_refused(f"worker {worker.index} ended while it loaded the configuration")
        if self._draining:
            self._check_drained()
        else:
            self._start_again(worker, code, lived)
        self.on_change()

    def _start_again(self, worker: Worker, code: int, lived: float) -> None:
        wait = worker.backoff.after(lived)
        reason = worker.error or how_it_ended(code)
        if not self.was_ready and (worker.error or worker.backoff.failures >= GIVE_UP_AFTER):
            self.on_hopeless(reason)
            return
        self._log.warning(f"worker {worker.index} ended ({reason}); starting it again in {wait:g} s")
        worker.restarts += 1
        worker.state = "waiting"
        worker.set_timer(self._loop.after(wait, lambda: self._start(worker)))

    # What workers say

    def _said(self, worker: Worker, message: Message) -> None:
        kind = message.get("t")
        if kind == "ready":
            self._became_ready(worker)
        elif kind == "counters":
            self._counted(worker, message)
        elif kind == "reloaded":
            self._reloaded(worker, message.get("id"), str(message.get("error") or ""))
        elif kind == "failed":
            self._failed(worker, str(message.get("error") or "no reason given"))
        elif kind == "link":
            worker.link = bool(message.get("up"))
            self.on_change()
        elif kind == "found":
            self._searches.answered(worker.index, message)
        elif kind == "drained":
            worker.state = "draining"

    def _became_ready(self, worker: Worker) -> None:
        worker.set_timer(None)
        self.was_ready = True
        worker.state = "draining" if self._draining else "ready"
        self._log.info(f"worker {worker.index} is ready", pid=worker.pid)
        if worker.version != self._version:
            self._give(worker)
        self.on_change()

    def _failed(self, worker: Worker, error: str) -> None:
        if worker.state == "starting":
            worker.error = error  # it ends by itself now
        else:
            self._reloaded(worker, self._roll.number if self._roll else None, error)

    # Counters

    def collect(self, timeout: float, done: Callback) -> None:
        """Ask every worker for its counters; `done` when all have answered, or time is over."""
        asked: set[int] = set()
        for worker in self._workers:
            if worker.state not in ("ready", "draining") or worker.control is None:
                continue
            asked.add(worker.index)
            if worker.asked is None:  # a worker that hangs isn't asked again and again
                worker.asked = self._loop.clock()
                worker.send({"t": "collect", "id": next(self._numbers)})
        self._collections.append((asked, self._loop.after(timeout, self._finish_late), done))
        self._finish_collections(late=False)

    def _counted(self, worker: Worker, message: Message) -> None:
        samples = message.get("samples")
        try:
            self.totals.remember(worker.life, samples if isinstance(samples, list) else [])
        except msgspec.ValidationError as error:
            self._log.error(f"worker {worker.index} sent counters that can't be read", error=str(error))
        if worker.asked is not None:
            worker.latency = self._loop.clock() - worker.asked
            self.on_change()
        self._answered(worker)

    def _answered(self, worker: Worker) -> None:
        worker.asked = None
        for waiting, _, _ in self._collections:
            waiting.discard(worker.index)
        self._finish_collections(late=False)

    def _finish_late(self) -> None:
        self._finish_collections(late=True)

    def _finish_collections(self, late: bool) -> None:
        now = self._loop.clock()
        over = [each for each in self._collections if not each[0] or (late and each[1].when <= now)]
        self._collections = [each for each in self._collections if each not in over]
        for _, timer, done in over:
            timer.cancel()
            done()

    def sums(self) -> list[Sample]:
        return self.totals.sums()

    def find(self, request_id: str, timeout: float, done: Callable[[list[bytes]], None]) -> None:
        """The access-log lines of a request, as far as the workers still have them."""
        asked = [w for w in self._workers if w.state in ("ready", "draining") and w.control is not None]
        number = self._searches.begin([worker.index for worker in asked], timeout, done)
        for worker in asked:
            worker.send({"t": "find", "id": number, "request_id": request_id})

    # Reload

    def reload(self, snapshot: bytes, done: Callable[[str], None]) -> None:
        """Give the new snapshot to one worker after the other. If one refuses it, all keep the old one.

        `done` gets the reason, or an empty text. Workers not ready just now get the outcome when they are.
        """
        todo = [worker for worker in self._workers if worker.state == "ready"]
        self._roll = Roll(next(self._numbers), snapshot, todo, done)
        self._roll_on()

    def _roll_on(self) -> None:
        roll = self._roll
        assert roll is not None
        roll.todo = [worker for worker in roll.todo if worker.state == "ready"]
        if roll.todo:
            roll.asked = roll.todo.pop(0)
            roll.asked.send({"t": "reload", "id": roll.number, "snapshot": roll.snapshot})
            silent = f"worker {roll.asked.index} did not answer within {START_WITHIN:.0f} s"
            roll.timer = self._loop.after(START_WITHIN, lambda: self._roll_refused(silent))
            return
        self._roll = None
        self.snapshot = roll.snapshot
        self._version += 1
        for worker in roll.told:
            worker.version = self._version
        for worker in self._workers:
            if worker.state == "ready" and worker.version != self._version:
                self._give(worker)
        roll.done("")

    def _reloaded(self, worker: Worker, number: object, error: str) -> None:
        roll = self._roll
        if roll is None or number != roll.number or roll.asked is not worker:
            if error:
                self._log.error(f"worker {worker.index} could not load the configuration", error=error)
            return
        roll.asked = None
        if error:
            self._roll_refused(error)
            return
        if roll.timer is not None:
            roll.timer.cancel()
        roll.told.append(worker)
        self._roll_on()

    def _roll_refused(self, error: str) -> None:
        roll, self._roll = self._roll, None
        assert roll is not None
        if roll.timer is not None:
            roll.timer.cancel()
        for worker in [*roll.told, *([roll.asked] if roll.asked else [])]:
            self._give(worker)
        roll.done(error)

    def _give(self, worker: Worker) -> None:
        """The snapshot in force, to a worker that has another one."""
        worker.version = self._version
        worker.send({"t": "reload", "id": next(self._numbers), "snapshot": self.snapshot})

    # The end

    def announce(self) -> None:
        """The gateway is about to stop; workers still accept."""
        self._leaving = True
        for worker in self._workers:
            worker.send({"t": "draining"})

    def drain(self, timeout: float) -> None:
        """Let every worker end what it has begun; `on_drained` when none is left."""
        self._draining = True
        for worker in self._workers:
            if worker.state == "waiting":
                worker.set_timer(None)
                worker.state = "ended"
            elif worker.state == "ready":
                worker.state = "draining"
            worker.send({"t": "drain", "timeout": timeout})
        self.on_change()
        self._check_drained()

    def _check_drained(self) -> None:
        if all(worker.state == "ended" for worker in self._workers):
            self.on_drained()

    def left(self) -> int:
        return sum(worker.pid != 0 for worker in self._workers)
