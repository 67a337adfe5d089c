"""Postern beside nginx on this machine, in about two minutes: CPU per request, rate, latency."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import interpreter, measure, peers

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/bench"
RESULTS = ROOT / "bench/results-quick.md"
WARM_UP = 3  # seconds: each of the tokens once at least

# name, authorizer (see peers.start_nginx), access log
NGINX_ROWS = (
    ("nginx plain", "no", True),
    ("nginx auth_request", "own", True),
    ("nginx auth_request, log off", "own", False),
    ("nginx auth_request, authorizer uncounted", "elsewhere", True),
)


def main() -> None:
    options = arguments()
    nginx, wrk = program("nginx"), program("wrk")
    python = interpreter.choose()
    programs = interpreter.environment(python)
    print(f"Postern runs on {python.path}: {python.build}", flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    running: list[peers.Peer] = []
    try:
        running.append(peers.start_upstream(nginx, FOLDER))
        upstream = running[0].port
        for name, authorizer, logged in NGINX_ROWS:
            running.append(peers.start_nginx(nginx, FOLDER, upstream, name, authorizer, logged))
        if options.nginx_only:
            some = "".join(f"psa_{number:068}\n" for number in range(measure.TOKENS))
            (FOLDER / measure.TOKENS_FILE).write_text(some)
        else:
            judging = "" if options.only_authenticate else peers.JUDGING
            running.append(peers.start_postern(programs, FOLDER, upstream, judging=judging))
        token = (FOLDER / measure.TOKENS_FILE).read_text().split("\n", 1)[0]
        for peer in running:
            peers.check(peer, token)
        results = measured(wrk, running[1:], options.rounds, options.seconds)
    finally:
        for peer in running:
            peers.stop(peer)
    report = rendered(results, options, python.build, nginx)
    print(report)
    if not (options.nginx_only or options.only_authenticate):
        RESULTS.write_text(report)
    shutil.rmtree(FOLDER)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each peer in each round")
    parser.add_argument("--nginx-only", action="store_true", help="leave Postern out; writes no file")
    parser.add_argument(
        "--only-authenticate", action="store_true",
        help="without bind, require and rate_limit; writes no file, and its head still tells of all",
    )  # fmt: skip
    return parser.parse_args()


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if not path:
        sys.exit(f"{name} is not installed: apt-get install {name}")
    return path


def measured(
    wrk: str, running: list[peers.Peer], rounds: int, seconds: int
) -> dict[str, list[measure.Round]]:
    """Rounds in turn, each beginning with another peer, so that the machine's moods meet all alike."""
    results: dict[str, list[measure.Round]] = {peer.name: [] for peer in running}
    for peer in running:
        measure.load(wrk, FOLDER, peer.port, peer.process.pid, WARM_UP)
    for number in range(rounds):
        start = number % len(running)
        for peer in running[start:] + running[:start]:
            if peer.log:
                os.truncate(peer.log, 0)
            result = measure.load(wrk, FOLDER, peer.port, peer.process.pid, seconds)
            results[peer.name].append(result)
            if result.failed:
                sys.exit(f"{peer.name}: {result.failed} of {result.requests} requests failed")
            print(
                f"round {number + 1}  {peer.name:42}{result.cpu:7.1f} us  {result.rps:8.0f} rps", flush=True
            )
            if peer.log and (lines := log_lines(peer.log, result.requests)) < result.requests:
                print(f"  {peer.name} wrote only {lines} log lines for {result.requests} requests")
    return results


def log_lines(path: Path, expected: int) -> int:
    """How many lines the round has left; a log that is written by a thread may need a moment more."""
    deadline = time.monotonic() + 2
    while True:
        with path.open("rb") as log:
            count = sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))
        if count >= expected or time.monotonic() > deadline:
            return count
        time.sleep(0.1)


HEAD = """# bench-quick

One run on one machine ({cores} cores, {system}): medians of {rounds} alternating rounds of {seconds} s.
wrk with 1 thread and {connections} connections kept alive, 8 browser headers and Authorization
({tokens:,} tokens in rotation); an upstream (nginx) that returns 200 B of JSON; one worker each.
Postern has everything on: it authenticates (the tokens are of {tokens:,} sessions of 1,000 users in SQLite,
known to the edge after the warm-up), binds sessions to the network and program of their sign-in, requires a
role, counts a limit of each user over all workers, and tells the ten X-User headers. nginx only asks.
All write the same headers, and their access log to a file unless "log off" is said. CPU is the user and
system time of the gateway's whole tree of processes. The authorizer of auth_request, without which there
is no auth_request, is a static 204 of the same nginx: that flatters nginx. In the row "authorizer uncounted"
another process answers it, which is left out of the sum.

Postern ran on CPython {build}; nginx is {nginx}.

| | CPU, µs per request | requests/s | p50, ms | p99, ms |
|---|---|---|---|---|
"""
RATIOS = """
Postern's CPU per request, divided by that of

| | ratio of the medians | the rounds' ratios, least to greatest |
|---|---|---|
"""


def rendered(
    results: dict[str, list[measure.Round]], options: argparse.Namespace, build: str, nginx: str
) -> str:
    medians = {name: measure.median(rounds) for name, rounds in results.items()}
    report = HEAD.format(
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        rounds=options.rounds,
        seconds=options.seconds,
        connections=measure.CONNECTIONS,
        tokens=measure.TOKENS,
        build=build,
        nginx=subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True)
        .stderr.split("/")[-1]
        .strip(),
    )
    for name, row in medians.items():
        report += f"| {name} | {row.cpu:.1f} | {row.rps:,.0f} | {row.p50:.2f} | {row.p99:.2f} |\n"
    if "Postern" not in medians:
        return report
    report += RATIOS
    for name, _, _ in NGINX_ROWS:
        pairs = zip(results["Postern"], results[name], strict=True)
        ratios = ", ".join(
            f"{ratio:.2f}" for ratio in sorted(ours.cpu / theirs.cpu for ours, theirs in pairs)
        )
        report += f"| {name} | **{medians['Postern'].cpu / medians[name].cpu:.2f}** | {ratios} |\n"
    return report


if __name__ == "__main__":
    main()
