"""Child processes: how they are started, spoken with over a control socket, reaped and started again."""

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from gateway.link import frames
from gateway.loop import Loop


class Backoff:
    """How long to wait before a process that ended is started again."""

    def __init__(self, first: float = 0.1, longest: float = 10.0, forgiven_after: float = 10.0) -> None:
        self._first, self._longest, self._forgiven_after = first, longest, forgiven_after
        self.failures = 0  # in a row, each after a short life

    def after(self, lived: float) -> float:
        """The wait after a process that lived so many seconds."""
        self.failures = 1 if lived >= self._forgiven_after else self.failures + 1
        return float(min(self._longest, self._first * 2 ** min(self.failures - 1, 30)))


class Children:
    """Starts processes and reaps all that end, orphans handed to us as process 1 too."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[subprocess.Popen[bytes], Callable[[int], None]]] = {}

    def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_exit: Callable[[int], None],
        pass_fds: Iterable[int] = (),
        captured: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own: a terminal's Ctrl-C is for the supervisor to handle."""
        process = subprocess.Popen(
            list(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.PIPE if captured else None,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        self._known[process.pid] = process, on_exit
        return process

    def reap(self) -> None:
        """On SIGCHLD: one signal may stand for many ends."""
        while self._known or os.getpid() == 1:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._known:
                process, on_exit = self._known.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                on_exit(process.returncode)

    def kill_all(self) -> None:
        """The end without delay, for what still lives."""
        for process, _ in list(self._known.values()):
            process.kill()
        for process, _ in list(self._known.values()):
            process.wait()
        self._known.clear()


class Control:
    """Our end of a worker's control socket: whole messages in and out, never blocking."""

    def __init__(
        self, loop: Loop, on_message: Callable[[frames.Message], None], on_close: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_message, self._on_close = on_message, on_close
        self._sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._reader = frames.FrameReader()
        self._out = bytearray()
        self._open = True
        loop.watch(self._sock, self._read)

    def send(self, message: frames.Message) -> None:
        if not self._open:
            return
        was_waiting = bool(self._out)
        self._out += frames.encode(message)
        if not was_waiting:
            self._write()

    def read_rest(self) -> None:
        """What a process that ended had still said."""
        while self._open and self._read_some():
            pass

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.forget(self._sock)
            self._sock.close()

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is gone; the reading side and SIGCHLD tell the rest
            self._out.clear()
            return
        del self._out[:sent]
        self._loop.watch(self._sock, self._read, self._write if self._out else None)

    def _read(self) -> None:
        self._read_some()

    def _read_some(self) -> bool:
        """Whether there may be more."""
        try:
            data = self._sock.recv(256 * 1024)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            messages = self._reader.feed(data)
        except frames.BadFrame:
            messages, data = [], b""
        for message in messages:
            self._on_message(message)
        if not data and self._open:
            self.close()
            self._on_close()
        return bool(data)


class Captured:
    """A short-lived child whose output is wanted whole: the compilation of routes.yaml."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        argv: Sequence[str],
        environment: Mapping[str, str],
        timeout: float,
        on_done: Callable[[int, bytes, bytes], None],
    ) -> None:
        self._loop, self._on_done = loop, on_done
        self._code: int | None = None
        self._process = children.start(argv, environment, self._exited, captured=True)
        self._timer = loop.after(timeout, self._process.kill)
        self._parts: dict[int, tuple[IO[bytes], bytearray]] = {}
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._parts[pipe.fileno()] = pipe, bytearray()
            loop.watch(pipe, lambda pipe=pipe: self._read(pipe))  # type: ignore[misc]
        self._outputs = [buffer for _, buffer in self._parts.values()]

    def _read(self, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), 1024 * 1024)
        if data:
            self._parts[pipe.fileno()][1].extend(data)
            return
        self._loop.forget(pipe)
        del self._parts[pipe.fileno()]
        pipe.close()
        self._finish()

    def _exited(self, code: int) -> None:
        self._code = code
        self._finish()

    def _finish(self) -> None:
        if self._code is None or self._parts:
            return
        self._timer.cancel()
        self._on_done(self._code, bytes(self._outputs[0]), bytes(self._outputs[1]))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def worker_count(wanted: int, root: Path = Path("/")) -> int:
    """The number of workers: as asked, or as many as the processors that this process may use."""
    if wanted:
        return wanted
    quota = cpu_quota(root)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, int(quota)) if quota else cores)


def cpu_quota(root: Path = Path("/")) -> float:
    """How many processors the control groups of this process allow; 0 without a limit. Versions 1 and 2."""
    quotas: list[float] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
        else:
            continue
        steps = [step for step in path.split("/") if step not in ("", "..")]
        # inside a container the path may be the host's, and the container's own group is the mount itself
        folders = [mount.joinpath(*steps[:depth]) for mount in mounts for depth in range(len(steps) + 1)]
        quotas += [quota for quota in map(_quota_of, folders) if quota > 0]
    return min(quotas, default=0.0)


def _quota_of(folder: Path) -> float:
    both = _text(folder / "cpu.max").split()
    if not both:
        both = [_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()]
    try:
        return float(both[0]) / float(both[1])
    except (ValueError, IndexError, ZeroDivisionError):  # "max", "-1" or nothing: no limit
        return 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def raise_file_limit() -> None:
    """Each connection takes a descriptor; the usual soft limit of 1024 is soon reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS names a limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
