"""The supervisor: binds the sockets, runs the workers, reloads routes.yaml, drains; without asyncio."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.children import (
    Captured,
    Children,
    how_it_ended,
    raise_file_limit,
    worker_count,
)
from gateway.config.environment import with_our_packages, worker_environment
from gateway.config.service import Compiled, decode_compiled
from gateway.config.snapshot import Drain, Snapshot, decode, encode
from gateway.desk import Desk
from gateway.fixed import Fixed, changed_keys, fixed, with_fixed
from gateway.fleet import Fleet
from gateway.identity_process import IdentityProcess
from gateway.loop import Loop, Timer
from gateway.service_log import ServiceLog
from gateway.sockets import CannotListen, Listeners
from gateway.status import Result, Status
from gateway.watch import Watch, watched

if TYPE_CHECKING:
    from gateway.admin import Admin

COMPILE_WITHIN = 30.0  # seconds
LOOK_EVERY = 1.0  # at the files of the configuration
LOOK_AGAIN = 0.25  # while they are changing
HANDSHAKES = 0.2  # seconds for those that have begun to connect, after nobody new may
PLAIN_COOKIE = "postern"  # its name where it can't be Secure
LAST_MOMENT = 0.25  # workers are told to end so much before they would be killed


class Options(msgspec.Struct, frozen=True):
    """What the command line says."""

    routes: str = "routes.yaml"
    role: str = "all"
    workers: int = 0  # 0: as routes.yaml says
    data: str = "data"
    on_ready: Callable[[], None] | None = None
    compiler: tuple[str, ...] = (sys.executable, "-m", "gateway.config.compile")
    worker: tuple[str, ...] = (sys.executable, "-m", "gateway.edge.worker")
    identity: tuple[str, ...] = (sys.executable, "-m", "gateway.identity.service")  # empty: none is run


class Supervisor:
    """One gateway on this machine."""

    def __init__(self, options: Options, log: ServiceLog) -> None:
        self._options, self._log = options, log
        self._loop, self._children = Loop(), Children()
        self._watch = Watch([options.routes])
        self._interactive = os.isatty(0) and os.isatty(1)
        self._fleet: Fleet | None = None
        self._identity: IdentityProcess | None = None  # where this role runs one
        self._listeners: Listeners | None = None
        self._admin: Admin | None = None
        self._fixed: Fixed | None = None
        self._drain = Drain()
        self._reloading: list[Callable[[Result], None]] | None = None  # who waits for the one under way
        self._next_reload: list[Callable[[Result], None]] = []
        self._deadline: Timer | None = None
        self.status = Status()

    def run(self) -> int:
        for number, callback in {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._interrupt,
            signal.SIGHUP: self._hang_up,
            signal.SIGCHLD: self._children.reap,
        }.items():
            self._loop.on_signal(number, callback)
        raise_file_limit()
        try:
            self._compile(self._first)
            # While the child compiles there is time to import this.
            import gateway.admin  # noqa: F401

            return self._loop.run()
        finally:
            self._children.kill_all()
            if self._admin is not None:
                self._admin.stop()
            if self._listeners is not None:
                self._listeners.close()
            if self._identity is not None:
                self._identity.close()
            self._loop.close()

    # Start

    def _compile(self, then: Callable[[Compiled | None, tuple[str, ...]], None]) -> None:
        def done(code: int, out: bytes, err: bytes) -> None:
            if code == 0:
                try:
                    then(decode_compiled(out), ())
                except msgspec.DecodeError as error:
                    then(None, (f"the compiled configuration can't be read: {error}",))
                return
            faults = tuple(line for line in err.decode("utf-8", "replace").splitlines() if line.strip())
            then(None, faults or (f"reading {self._options.routes} failed: {how_it_ended(code)}",))

        self._watch.seen()
        argv = [*self._options.compiler, self._options.routes, "--role", self._options.role]
        environment = with_our_packages({**os.environ, "POSTERN_DATA": self._options.data})
        Captured(self._loop, self._children, argv, environment, COMPILE_WITHIN, done)

    def _first(self, compiled: Compiled | None, faults: tuple[str, ...]) -> None:
        if compiled is None:
            self._log.error(f"{self._options.routes} has faults; the gateway can't start", faults=faults)
            self._loop.stop(1)
            return
        try:
            self._open(decode(compiled.snapshot), compiled.service)
        except CannotListen as error:
            self._log.error(str(error))
            self._loop.stop(1)

    def _open(self, snapshot: Snapshot, service: bytes) -> None:
        from gateway.admin import Admin

        self._fixed = fixed(snapshot, self._options.workers)
        size = worker_count(self._fixed.workers)
        self._listeners = listeners = Listeners(size)
        listeners.open(snapshot.listen, "public", "listen")
        if self._fixed.redirect is not None:
            listeners.open([self._fixed.redirect], "redirect", "tls.redirect_http")
        for number, asked in enumerate(snapshot.forward_auth):
            listeners.open([asked.listen], "forward_auth", "forward_auth", number)
        environment = worker_environment(os.environ)
        self._fleet = fleet = Fleet(
            self._loop, self._children, self._log, listeners, self._options.worker, environment, size,
            encode(snapshot),
        )  # fmt: skip
        fleet.on_change, fleet.on_hopeless, fleet.on_drained = self._changed, self._hopeless, self._drained
        if service:
            self._identity = self._make_identity(fleet, environment, service)
        desk = Desk(
            self._loop, fleet, self._identity, lambda: self.status, self._reload, self._options.role,
            listeners.addresses[0],
        )  # fmt: skip
        self._admin = Admin(desk, snapshot.admin, self._options.data, self._log)
        self._took(snapshot, Result(True, snapshot.hash))
        self._log.info(
            "listening", on=listeners.addresses, admin=self._admin.address, workers=size, pid=os.getpid()
        )
        if self._identity is not None:
            self._identity.start()
            self._log_cookie(snapshot)
        else:
            self._log.warning(
                "no identity service belongs to this gateway: whoever shows a credential gets 503"
            )
        fleet.start()
        self._admin.start()
        self._loop.after(LOOK_EVERY, self._look)

    def _make_identity(self, fleet: Fleet, environment: Mapping[str, str], service: bytes) -> IdentityProcess:
        made = IdentityProcess(
            self._loop, self._children, self._log, self._options.identity, environment, fleet.totals, service
        )
        fleet.identity = made.paths
        made.on_change, made.on_drained = self._changed, self._all_drained
        made.on_hopeless = self._no_identity
        return made

    def _log_cookie(self, snapshot: Snapshot) -> None:
        if PLAIN_COOKIE in snapshot.identity.cookie_names:
            url = snapshot.identity.base_url
            self._log.info(
                f"{url or 'the public address'} is plain http, so the session cookie is `{PLAIN_COOKIE}`,"
                " without Secure. For more than trying it on one machine, set BASE_URL to the https address"
            )

    def _took(self, snapshot: Snapshot, result: Result) -> None:
        """This snapshot is in force now."""
        self._log.config = snapshot.hash
        self._drain = snapshot.drain
        self._watch.follow(watched(snapshot) | {self._options.routes})
        stale = snapshot.identity.serve_stale
        self._set_status(config=snapshot.hash, loaded_at=time.time(), reload=result, serve_stale=stale)

    def _hopeless(self, error: str) -> None:
        self._log.error("no worker can start; the gateway ends", error=error)
        self._loop.stop(1)

    def _no_identity(self, error: str) -> None:
        self._log.error("the identity service can't start; the gateway ends", error=error.splitlines())
        self._loop.stop(1)

    def _changed(self) -> None:
        assert self._fleet is not None
        fleet, identity, before = self._fleet, self._identity, self.status
        linked = identity is not None and fleet.linked()
        self._set_status(
            workers=fleet.states(),
            identity=identity.state() if identity is not None else None,
            linked=linked,
            linked_until=time.monotonic() if linked or before.linked else before.linked_until,
        )
        if before.phase == "starting" and fleet.ready() > 0 and (identity is None or linked):
            self._set_status(phase="running")
            self._log.info("ready")
            if self._options.on_ready is not None:
                self._options.on_ready()

    def _set_status(self, **changes: object) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)

    # Reload

    def _look(self) -> None:
        if self._reloading is None and self._watch.changed():
            self._reload("its files changed", lambda result: None)
        self._loop.after(LOOK_AGAIN if self._watch.restless else LOOK_EVERY, self._look)

    def _hang_up(self) -> None:
        if self._interactive and not os.isatty(0):
            self._log.info("the terminal is gone")
            self._end(skip_delay=True)
            return
        self._reload("SIGHUP", lambda result: None)

    def _reload(self, reason: str, answer: Callable[[Result], None]) -> None:
        if self._fleet is None or self.status.phase == "draining":
            answer(Result(False, self.status.config, ("the gateway is starting or about to stop",)))
            return
        if self._reloading is not None:  # it may have read the files before they were changed: once more then
            self._next_reload.append(answer)
            return
        self._log.info(f"loading {self._options.routes}: {reason}")
        self._reloading = [answer]
        self._compile(self._compiled)

    def _compiled(self, compiled: Compiled | None, faults: tuple[str, ...]) -> None:
        """The identity service first, then the workers; if one of them refuses it, all keep the old one."""
        fleet, identity, before = self._fleet, self._identity, self._fixed
        assert fleet is not None and before is not None
        if compiled is None:
            self._refuse(faults)
            return
        snapshot = decode(compiled.snapshot)
        changed = changed_keys(before, fixed(snapshot, self._options.workers))
        kept = with_fixed(snapshot, decode(fleet.snapshot))
        old = identity.service if identity is not None else b""

        def workers_done(error: str) -> None:
            if error and identity is not None:
                identity.reload(old, lambda again: self._refuse((error, again) if again else (error,)))
            elif error:
                self._refuse((error,))
            else:
                result = Result(True, kept.hash, needs_restart=changed)
                self._took(kept, result)
                self._reloaded(result)

        def identity_done(error: str) -> None:
            if error:
                self._refuse(tuple(error.splitlines()))
            else:
                fleet.reload(encode(kept), workers_done)

        if identity is None:
            identity_done("")
        else:
            identity.reload(compiled.service, identity_done)

    def _refuse(self, faults: tuple[str, ...]) -> None:
        self._reloaded(Result(False, self.status.config, faults))

    def _reloaded(self, result: Result) -> None:
        if result.loaded:
            self._log.info("the new configuration is in force")
        else:
            self._log.error("the new configuration is refused; the old one stays", faults=result.faults)
        if result.needs_restart:
            keys = ", ".join(f"`{key}`" for key in result.needs_restart)
            self._log.warning(f"{keys} changed: that needs a restart; the old value stays until then")
        self._set_status(reload=result)
        answers, self._reloading = self._reloading or [], None
        _tell(answers, result)
        waiting, self._next_reload = self._next_reload, []
        if waiting:
            self._reload("asked meanwhile", lambda again: _tell(waiting, again))

    # The end

    def _terminate(self) -> None:
        self._end(skip_delay=False)

    def _interrupt(self) -> None:
        self._end(
            skip_delay=self._interactive
        )  # a person who presses Ctrl-C has no load balancer to wait for

    def _end(self, skip_delay: bool) -> None:
        if self.status.phase == "draining":
            self._log.warning("asked again to end: ending at once")
            self._loop.stop(1)
            return
        self._set_status(phase="draining")
        if self._fleet is None:
            self._loop.stop(0)
            return
        delay = 0.0 if skip_delay else min(self._drain.delay, self._drain.timeout)
        self._log.info(f"ending: accepting for {delay:g} s more, over in {self._drain.timeout:g} s at most")
        self._fleet.announce()
        self._deadline = self._loop.after(self._drain.timeout, self._overdue)
        self._loop.after(delay, self._stop_accepting)

    def _stop_accepting(self) -> None:
        assert self._listeners is not None and self._deadline is not None
        self._listeners.take_no_new()
        left = self._deadline.when - self._loop.clock()
        self._loop.after(min(HANDSHAKES, left / 10), self._begin_drain)

    def _begin_drain(self) -> None:
        assert self._fleet is not None and self._listeners is not None and self._deadline is not None
        # The workers' copies must be the last ones: when they close, nobody can queue up any more.
        self._listeners.close()
        left = self._deadline.when - self._loop.clock()
        self._fleet.drain(max(0.0, left - min(LAST_MOMENT, left / 10)))

    def _drained(self) -> None:
        """Workers needed the identity service until now."""
        self._log.info("every worker has ended what it had begun")
        if self._identity is None:
            self._all_drained()
            return
        assert self._deadline is not None
        left = self._deadline.when - self._loop.clock()
        self._identity.drain(max(0.0, left - min(LAST_MOMENT, left / 10)))

    def _all_drained(self) -> None:
        self._loop.stop(0)

    def _overdue(self) -> None:
        assert self._fleet is not None
        self._log.warning("drain.timeout is over: ending what is left", workers=self._fleet.left())
        self._loop.stop(0)


def run(options: Options) -> int:
    """Run the gateway until it is told to end; the exit code."""
    log = ServiceLog()
    if not os.path.exists(options.routes):
        log.error(
            f"{options.routes} is not here ({os.getcwd()}). Name it: postern run -c FILE;"
            " or write a first one: postern init --upstream http://127.0.0.1:5000"
        )
        return 1
    return Supervisor(options, log).run()


def _tell(answers: list[Callable[[Result], None]], result: Result) -> None:
    for answer in answers:
        answer(result)
