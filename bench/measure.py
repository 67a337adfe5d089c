"""One round of load: wrk in front, the CPU time of a whole process tree from /proc beside it."""

import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple

CONNECTIONS = 32
TOKENS = 10_000
TOKENS_FILE = "tokens.txt"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

# 8 headers of a browser and a credential out of 10,000, one a line of the file TOKENS; the requests are
# written once, before the clock runs.
WRK_SCRIPT = """
local requests, at = {}, 0
function init(args)
  local head = "GET /api/orders/42?page=2 HTTP/1.1\\r\\nHost: shop.example.com\\r\\n"
    .. "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\\r\\n"
    .. "Accept: application/json, text/plain, */*\\r\\nAccept-Language: en-GB,en;q=0.7,de;q=0.3\\r\\n"
    .. "Accept-Encoding: gzip, deflate, br\\r\\nReferer: https://shop.example.com/orders\\r\\n"
    .. "Sec-Fetch-Dest: empty\\r\\nSec-Fetch-Mode: cors\\r\\nSec-Fetch-Site: same-origin\\r\\n"
  for token in io.lines("%s") do
    requests[#requests + 1] = head .. "Authorization: Bearer " .. token .. "\\r\\n\\r\\n"
  end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %%d, "us": %%d, "failed": %%d, "p50": %%d, "p99": %%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Round(NamedTuple):
    requests: int
    failed: int
    rps: float
    p50: float  # milliseconds
    p99: float
    cpu: float  # microseconds per request


def load(wrk: str, folder: Path, port: int, tree: int, seconds: int, *more: int) -> Round:
    """wrk for so long against the port, and what the processes under `tree` and `more` spent on it."""
    script = folder / "load.lua"
    if not script.is_file():
        script.write_text(WRK_SCRIPT % (folder / TOKENS_FILE))
    before = sum(map(cpu_seconds, (tree, *more)))
    command = [
        wrk,
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}/",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent = sum(map(cpu_seconds, (tree, *more))) - before
    result = json.loads(done.stdout.splitlines()[-1])
    requests = result["requests"] or 1
    return Round(
        requests=result["requests"],
        failed=result["failed"],
        rps=result["requests"] / (result["us"] / 1e6),
        p50=result["p50"] / 1000,
        p99=result["p99"] / 1000,
        cpu=spent / requests * 1e6,
    )


def cpu_seconds(root: int) -> float:
    """User and system time so far of a process and of all its descendants, those that ended included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # the name, field 2, may hold blanks: count from its closing parenthesis
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(entry.name)] = int(fields[1])
        ticks[int(entry.name)] = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    total = 0
    for process in ticks:
        ancestor = process
        while ancestor not in (0, root):
            ancestor = parents.get(ancestor, 0)
        if ancestor == root:
            total += ticks[process]
    return total / os.sysconf("SC_CLK_TCK")


def median(rounds: list[Round]) -> Round:
    """Of each column by itself."""
    return Round(*(statistics.median(column) for column in zip(*rounds, strict=True)))
