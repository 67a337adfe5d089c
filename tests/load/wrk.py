"""Load by wrk: begun, awaited until it flows, ended; every reply it got is counted by status."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.kit import amount
from tests.kit.gateway import Gateway, run_gateway
from tests.kit.programs import need
from tests.processes.supervised import until

CONNECTIONS = 16
BREATH = 2  # milliseconds that a connection rests after each reply, so that the tests beside it get on
LONGEST = 300  # seconds, should nobody end it

# wrk asks `response` once for each reply; each of its threads has variables of its own.
SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() good, bad = 0, {} end
function response(status, headers, body)
  if status == 200 and body == "GOOD" then good = good + 1 else bad[#bad + 1] = status .. " " .. body end
end
function done(summary)
  local good, bad = 0, {}
  for _, thread in ipairs(threads) do
    good = good + thread:get("good")
    for _, reply in ipairs(thread:get("bad")) do bad[#bad + 1] = string.format("%q", reply) end
  end
  local errors = summary.errors
  io.write("\\nRESULT ", good, " ", errors.connect, " ", errors.read, " ", errors.write, " ", #bad, "\\n")
  for _, reply in ipairs(bad) do io.write(reply, "\\n") end
end
"""


class Result(msgspec.Struct, frozen=True):
    """What wrk has seen."""

    good: int  # replies that were 200 with the body expected
    connect: int  # socket errors, by what was tried
    read: int
    write: int
    bad: list[str]  # status and body of all other replies

    @property
    def broken(self) -> int:
        """Requests that got no whole reply."""
        return self.connect + self.read + self.write


class Wrk:
    """Requests to one path over kept connections; in `make hard` as fast as they are answered."""

    def __init__(self, gateway: Gateway, folder: Path, path: str, body: str, *lines: str) -> None:
        self._gateway = gateway
        script = folder / "load.lua"
        pace = "" if amount.hard else f"function delay() return {BREATH} end\n"
        script.write_text(SCRIPT.replace("GOOD", body) + pace)
        self._command = [need("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{LONGEST}s", "--timeout", f"{LONGEST}s"]
        self._command += [word for line in lines for word in ("-H", line)]
        self._command += ["-s", str(script), f"http://127.0.0.1:{gateway.port}{path}"]
        self._result: Result | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            self.flow(2 * CONNECTIONS)
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._result is None:
            self.end()

    def flow(self, more: int = 1000) -> None:
        """Until so many more requests have been answered."""
        wanted = answered(self._gateway) + more
        until(
            lambda: answered(self._gateway) >= wanted or self._process.poll() is not None,
            "no request is answered any more",
        )
        assert self._process.poll() is None, self._process.communicate()

    def end(self) -> Result:
        """Stop, and see what there was."""
        if self._result is None:
            self._process.send_signal(signal.SIGINT)
            try:
                written, _ = self._process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            assert "RESULT " in written, written
            first, *bad = written.partition("RESULT ")[2].splitlines()
            good, connect, read, write, _ = map(int, first.split())
            self._result = Result(good, connect, read, write, bad)
        return self._result


def answered(gateway: Gateway) -> float:
    """The requests that all workers together have answered with 200."""
    return sum(
        value
        for name, value in gateway.metrics().items()
        if name.startswith("postern_requests_total{") and 'status="200"' in name
    )


@contextmanager
def two_workers(yaml: str) -> Iterator[Gateway]:
    """A gateway whose two workers both accept."""
    with run_gateway(yaml, workers=2) as gateway:
        until(lambda: gateway.metrics()["postern_workers_ready"] == 2)
        yield gateway


def workers(gateway: Gateway) -> list[int]:
    """The pids of the workers that accept now, by their place."""
    parts = json.loads(gateway.ask("/health").body)["parts"]
    return [worker["pid"] for worker in parts["workers"] if worker["state"] == "ready"]
