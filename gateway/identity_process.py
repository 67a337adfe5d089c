"""The identity service's process: started, given every new configuration, started again, drained last."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from gateway.children import Backoff, Children, Control, how_it_ended
from gateway.link.frames import Message
from gateway.loop import Callback, Loop, Timer
from gateway.service_log import ServiceLog
from gateway.sockets import PrivateSockets
from gateway.status import IdentityState
from gateway.totals import Totals

START_WITHIN = 120.0  # seconds: the database's migrations may be part of a start
RELOAD_WITHIN = 30.0
END_WITHIN = 5.0  # after it closed its control socket
GIVE_UP_AFTER = 5  # failures in a row, while it has never been ready


class IdentityProcess:
    """The one place of the identity service here. Its process may change, its sockets stay."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        log: ServiceLog,
        argv: Sequence[str],
        environment: Mapping[str, str],
        totals: Totals,
        service: bytes,
    ) -> None:
        self._loop, self._children, self._log, self._totals = loop, children, log, totals
        self._argv, self._environment = tuple(argv), environment
        self.service = service  # the latest good configuration; secrets are in it, and nobody here reads it
        self._sockets = PrivateSockets(("http", "link"))
        self.on_change: Callback = lambda: None
        self.on_hopeless: Callable[[str], None] = lambda error: None
        self.on_drained: Callback = lambda: None
        self.was_ready = False
        self._state = "ended"
        self._pid = self._restarts = self._life = 0
        self._born = self._latency = 0.0
        self._error = ""
        self._backoff = Backoff()
        self._control: Control | None = None
        self._kill: Callback | None = None
        self._timer: Timer | None = None
        self._numbers = count(1)
        self._reload: tuple[int, bytes, Callable[[str], None], Timer] | None = None
        self._asked: float | None = None  # when the counters were asked for
        self._collections: list[tuple[Timer, Callback]] = []
        self._draining: float | None = None  # how long it may take, once that was said

    @property
    def paths(self) -> dict[str, str]:
        """Where workers find it."""
        return self._sockets.paths

    def state(self) -> IdentityState:
        return IdentityState(self._pid, self._state, self._restarts, round(self._latency * 1000, 3))

    @property
    def ready(self) -> bool:
        return self._state == "ready"

    # Start and end of its process

    def start(self) -> None:
        self._life -= 1  # workers count upwards: their totals lie beside these
        life = self._life
        control = Control(self._loop, self._said, lambda: self._silent(life))
        fds = [control.theirs.fileno(), *self._sockets.fds.values()]
        argv = [*self._argv, "--control", str(fds[0])]
        try:
            process = self._children.start(argv, self._environment, self._ended, fds)
        except OSError as error:  # no memory, or too many processes: it may pass
            self._error = str(error)
            control.close()
            self._start_again(1, 0.0)
            return
        finally:
            control.theirs.close()
        self._control, self._pid, self._kill = control, process.pid, process.kill
        self._born, self._state, self._error, self._asked = self._loop.clock(), "starting", "", None
        self._set_timer(START_WITHIN, f"it was not ready within {START_WITHIN:.0f} s")
        control.send({"t": "start", "service": self.service, **self._sockets.fds})
        self.on_change()

    def _set_timer(self, seconds: float, otherwise: str) -> None:
        """Kill the process unless something happens in time."""
        self._stop_timer()
        self._timer = self._loop.after(seconds, lambda: self._overdue(otherwise))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _overdue(self, why: str) -> None:
        self._error = self._error or why
        if self._kill:
            self._kill()

    def _silent(self, life: int) -> None:
        """It closed its control socket: it is ending. If not, it is out of control."""
        if life == self._life:
            self._set_timer(END_WITHIN, "it did not end")

    def _ended(self, code: int) -> None:
        if self._control is not None:
            self._control.read_rest()
            self._control.close()
        self._stop_timer()
        lived = self._loop.clock() - self._born
        self._control, self._kill, self._pid, self._state = None, None, 0, "ended"
        self._totals.bury(self._life)
        self._counted_out()
        if self._reload is not None:
            self._answer_reload("the identity service ended while it loaded the configuration")
        if self._draining is not None:
            self.on_drained()
        else:
            self._start_again(code, lived)
        self.on_change()

    def _start_again(self, code: int, lived: float) -> None:
        wait = self._backoff.after(lived)
        reason = self._error or how_it_ended(code)
        if not self.was_ready and (self._error or self._backoff.failures >= GIVE_UP_AFTER):
            self.on_hopeless(reason)
            return
        self._log.warning(f"the identity service ended ({reason}); starting it again in {wait:g} s")
        self._restarts += 1
        self._state = "waiting"
        self._stop_timer()
        self._timer = self._loop.after(wait, self.start)

    # What it says

    def _said(self, message: Message) -> None:
        kind = message.get("t")
        if kind == "ready":
            self._stop_timer()
            self.was_ready, self._state = True, "ready"
            self._log.info("the identity service is ready", pid=self._pid)
            self.on_change()
        elif kind == "counters":
            self._counted(message.get("samples"))
        elif kind == "reloaded" and self._reload is not None and message.get("id") == self._reload[0]:
            self._answer_reload(str(message.get("error") or ""))
        elif kind == "failed":
            self._error = str(message.get("error") or "no reason given")  # it ends by itself now
        elif kind == "drained":
            self._state = "draining"

    # Counters

    def collect(self, timeout: float, done: Callback) -> None:
        """Ask it for its counters; `done` when it has answered, or time is over."""
        if self._state not in ("ready", "draining") or self._control is None:
            done()
            return
        self._collections.append((self._loop.after(timeout, self._too_late), done))
        if self._asked is None:  # one that hangs isn't asked again and again
            self._asked = self._loop.clock()
            self._control.send({"t": "collect", "id": next(self._numbers)})

    def _counted(self, samples: Any) -> None:
        try:
            self._totals.remember(self._life, samples if isinstance(samples, list) else [])
        except msgspec.ValidationError as error:
            self._log.error("the identity service sent counters that can't be read", error=str(error))
        if self._asked is not None:
            self._latency = self._loop.clock() - self._asked
            self.on_change()
        self._counted_out()

    def _counted_out(self) -> None:
        self._asked = None
        waiting, self._collections = self._collections, []
        for timer, done in waiting:
            timer.cancel()
            done()

    def _too_late(self) -> None:
        now = self._loop.clock()
        late = [each for each in self._collections if each[0].when <= now]
        self._collections = [each for each in self._collections if each not in late]
        for _, done in late:
            done()

    # Reload

    def reload(self, service: bytes, done: Callable[[str], None]) -> None:
        """Give it another configuration; `done` gets the reason against it, or an empty text.

        While it is not ready the next start has the new one.
        """
        if service == self.service:
            done("")
        elif self._state != "ready" or self._control is None:
            self.service = service
            done("")
        else:
            number = next(self._numbers)
            silent = f"the identity service did not answer within {RELOAD_WITHIN:.0f} s"
            timer = self._loop.after(RELOAD_WITHIN, lambda: self._answer_reload(silent))
            self._reload = number, service, done, timer
            self._control.send({"t": "reload", "id": number, "service": service})

    def _answer_reload(self, error: str) -> None:
        assert self._reload is not None
        _, service, done, timer = self._reload
        self._reload = None
        timer.cancel()
        if not error:
            self.service = service
        done(error)

    # The end

    def drain(self, timeout: float) -> None:
        """Let it end what it has begun; `on_drained` when it is gone."""
        self._draining = timeout
        if self._control is None:
            self._stop_timer()
            self._state = "ended"
            self.on_drained()
            return
        self._control.send({"t": "drain", "timeout": timeout})
        self.on_change()

    def close(self) -> None:
        """Let go of the sockets, and of their folder."""
        self._sockets.close()
