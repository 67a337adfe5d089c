"""Rate limits at full speed: what is let through each second; 100,000 addresses in bounded memory."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.gateway import Gateway, run_gateway
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.line import Line, Received
from tests.kit.people import register
from tests.kit.programs import need
from tests.kit.scripts import answer
from tests.load.memory import MIB, alone

LIMIT = 100
ROUTES = """
access_log: {to: none}
upstreams: {app: {servers: ["URL"]}}
routes:
  - name: sliding_window
    match: {path: /sliding_window}
    upstream: app
    policies: {rate_limit: {limit: 100/second}}
  - name: fixed_window
    match: {path: /fixed_window}
    upstream: app
    policies: {rate_limit: {limit: 100/second, algorithm: fixed_window}}
"""
ADDRESSES = """
access_log: {to: none}
trusted_proxies: [127.0.0.1/32]
defaults: {policies: {authenticate: none}}
routes:
  - name: address
    match: {path: /address}
    answer: {status: 200}
    policies: {rate_limit: {limit: 300/hour, key: ip}}
"""
# Each request says when it was sent, by the clock of the machine.
SENT = """
local ffi = require("ffi")
ffi.cdef[[typedef struct { long seconds; long micros; } moment; int gettimeofday(moment *now, void *zone);]]
local now = ffi.new("moment")
function request()
  ffi.C.gettimeofday(now, nil)
  local sent = string.format("%d.%06d", tonumber(now.seconds), tonumber(now.micros))
  return wrk.format("GET", nil, {["Authorization"] = "BEARER", ["X-Sent"] = sent})
end
"""
# Each request comes from another address: FIRST, and so many that follow it, again and again.
FROM = """
local number = 0
function request()
  number = (number + 1) % 100000
  local from = string.format("%d.%d.%d.%d", FIRST, number / 65536, number / 256 % 256, number % 256)
  return wrk.format("GET", nil, {["X-Forwarded-For"] = from})
end
"""


class Seen(NamedTuple):
    """A request that was let through: somewhen between these two."""

    sent: float
    arrived: float


def wrk(folder: Path, script: str, url: str, seconds: int, connections: int = 16) -> None:
    """At full speed, for so long."""
    (folder / "load.lua").write_text(script)
    command = [need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(folder / "load.lua"), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def limited() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES) as world:
        yield world


def let_through(world: IdentityWorld, folder: Path, path: str, seconds: int) -> list[Seen]:
    seen: list[Seen] = []
    lock, plain = threading.Lock(), answer()

    def note(line: Line, request: Received) -> None:
        arrived = time.time()
        with lock:
            seen.append(Seen(float(request.value(b"x-sent")), arrived))
        plain(line, request)

    person = register(world)
    world.upstream.reply(note, path.encode())
    script = SENT.replace("BEARER", person.bearer.decode().partition(": ")[2])
    wrk(folder, script, f"http://127.0.0.1:{world.port}{path}", seconds)
    return seen


def by_second(seen: list[Seen]) -> list[tuple[int, int]]:
    """Of each whole second of the run: how many were let through in it for certain, and how many at most."""
    first, last = min(each.sent for each in seen), max(each.arrived for each in seen)
    return [
        (
            sum(second <= each.sent and each.arrived < second + 1 for each in seen),
            sum(second <= each.arrived and each.sent < second + 1 for each in seen),
        )
        for second in range(int(first) + 1, int(last))
    ]


def tried(world: IdentityWorld, path: str) -> float:
    name = path.strip("/")
    return sum(
        value
        for sample, value in world.gateway.metrics().items()
        if sample.startswith("postern_requests_total{") and f'route="{name}"' in sample
    )


@pytest.mark.parametrize(
    ("path", "seconds"),
    [
        ("/sliding_window", 4),
        pytest.param("/sliding_window", 12, marks=pytest.mark.hard),
        pytest.param("/fixed_window", 12, marks=pytest.mark.hard),
    ],
)
def test_two_workers_let_the_limit_through_each_second_and_no_more(
    limited: IdentityWorld, tmp_path: Path, path: str, seconds: int
) -> None:
    """One user, wrk at full speed. Windows are those of the wall clock."""
    counted = by_second(let_through(limited, tmp_path, path, seconds))
    print(f"figure: {path}: let through in each second {counted}; {tried(limited, path):.0f} tried")
    assert len(counted) >= seconds - 2
    assert max(certain for certain, _ in counted) <= LIMIT
    assert tried(limited, path) > 10 * LIMIT * seconds
    enough = [most for _, most in counted if most >= 0.95 * LIMIT]
    assert len(enough) == len(counted) if seconds > 10 else enough  # short: on however busy a machine


def pids(gateway: Gateway) -> tuple[int, list[int]]:
    parts = json.loads(gateway.ask("/health").body)["parts"]
    return parts["identity"]["pid"], [worker["pid"] for worker in parts["workers"]]


@contextmanager
def two_workers() -> Iterator[Gateway]:
    with run_gateway(ADDRESSES, workers=2) as gateway:
        yield gateway


def come(gateway: Gateway, folder: Path, first: int) -> None:
    """From 100,000 addresses, until each has come."""

    def allowed() -> float:
        return sum(
            value for name, value in gateway.metrics().items() if name.startswith("postern_rate_limit_total{")
        )

    wanted, until = allowed() + 110_000, time.monotonic() + 300
    while allowed() < wanted:
        assert time.monotonic() < until, f"{wanted - allowed()} are missing"
        wrk(folder, FROM.replace("FIRST", str(first)), f"http://127.0.0.1:{gateway.port}/address", 30, 32)


@pytest.mark.hard
def test_a_hundred_thousand_addresses_take_bounded_memory(tmp_path: Path) -> None:
    """And three times as many take no more of a worker."""
    with two_workers() as gateway:
        identity, workers = pids(gateway)
        wrk(tmp_path, FROM.replace("FIRST", "10"), f"http://127.0.0.1:{gateway.port}/address", 1)
        before = [alone([pid]) for pid in (identity, *workers)]
        grown: list[list[int]] = []
        for first in (11, 12, 13):
            come(gateway, tmp_path, first)
            now = [alone([pid]) for pid in (identity, *workers)]
            grown.append([after - then for after, then in zip(now, before, strict=True)])
        shown = [[f"{each / MIB:.1f}" for each in step] for step in grown]
        print(f"figure: MiB more for identity and workers after each 100,000 addresses: {shown}")
        assert max(step[0] for step in grown) < 100 * MIB
        assert max(max(step[1:]) for step in grown) < 40 * MIB
        last, one_before = grown[2][1:], grown[1][1:]
        assert all(end - then < 8 * MIB for end, then in zip(last, one_before, strict=True))
