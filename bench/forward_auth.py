"""nginx that asks Postern about each request, beside nginx that asks for a static answer: CPU per request."""

import argparse
import shutil
import sys
from pathlib import Path

from bench import interpreter, measure, peers
from bench.quick import FOLDER, WARM_UP, program

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results-forward-auth.md"
TARGET = 1.3
STATIC, ASKING = "nginx auth_request, a static answer", "nginx auth_request, Postern"

# As examples/nginx/nginx.conf asks.
ASKED = """
    location = /authorize {{
      internal;
      proxy_pass http://verify/verify;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Uri $request_uri;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Original-Method "";
      proxy_set_header X-Original-URI "";
      proxy_set_header X-Original-URL "";
    }}
"""
VERIFY = """
  upstream verify {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
"""
LISTENER = """
trusted_proxies: [127.0.0.1]
forward_auth: [{{listen: 127.0.0.1:{port}, deny_status: 403}}]
"""
HEAD = """# bench-forward-auth

Medians of {rounds} alternating rounds of {seconds} s on one machine: wrk with {connections} connections kept
alive and {tokens:,} tokens in rotation, nginx with `auth_request` before an nginx that returns 200 B of JSON.
CPU is the user and system time of that nginx and, where it asks Postern, of Postern's whole tree of
processes. The static answer is a 204 of the same nginx. The target is at most {target} times its CPU.

| nginx asks for | CPU, µs per request | requests/s | p50, ms | p99, ms |
|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each in each round")
    options = parser.parse_args()
    nginx, wrk = program("nginx"), program("wrk")
    programs = interpreter.environment(interpreter.choose())
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    running: list[peers.Peer] = []
    try:
        running.append(peers.start_upstream(nginx, FOLDER))
        upstream, verify = running[0].port, peers.free_port()
        running.append(peers.start_postern(programs, FOLDER, upstream, LISTENER.format(port=verify)))
        running.append(peers.start_nginx(nginx, FOLDER, upstream, STATIC, "own", True))
        running.append(start_asking(nginx, upstream, verify))
        token = (FOLDER / measure.TOKENS_FILE).read_text().split("\n", 1)[0]
        for peer in running:
            peers.check(peer, token)
        if peers.ask(running[3], token[:-1])[0].status != 401:
            sys.exit("nginx lets a token pass that Postern does not know")
        results = measured(wrk, running, options.rounds, options.seconds)
    finally:
        for peer in reversed(running):
            peers.stop(peer)
    report = rendered(results, options)
    print(report)
    RESULTS.write_text(report)
    shutil.rmtree(FOLDER)


def start_asking(nginx: str, upstream: int, verify: int) -> peers.Peer:
    port = peers.free_port()
    log = FOLDER / "asking.access.log"
    body = peers.PROXY.format(
        port=port, upstream=upstream, log=log, auth=peers.AUTH, authorizer=ASKED.format()
    )
    return peers.start_conf(nginx, FOLDER, ASKING, body + VERIFY.format(port=verify), port, log)


def measured(
    wrk: str, running: list[peers.Peer], rounds: int, seconds: int
) -> dict[str, list[measure.Round]]:
    """In turn, so that the machine's moods meet both alike."""
    _, postern, static, asking = running
    rows = [(static, ()), (asking, (postern.process.pid,))]
    results: dict[str, list[measure.Round]] = {STATIC: [], ASKING: []}
    for peer, more in rows:
        warmed = 0
        while warmed < 2 * measure.TOKENS:  # each of the tokens has been seen
            warmed += measure.load(wrk, FOLDER, peer.port, peer.process.pid, WARM_UP, *more).requests
    for number in range(rounds):
        for peer, more in rows if number % 2 else reversed(rows):
            result = measure.load(wrk, FOLDER, peer.port, peer.process.pid, seconds, *more)
            results[peer.name].append(result)
            if result.failed:
                sys.exit(f"{peer.name}: {result.failed} of {result.requests} requests failed")
            print(
                f"round {number + 1}  {peer.name:38}{result.cpu:7.1f} us  {result.rps:8.0f} rps", flush=True
            )
    return results


def rendered(results: dict[str, list[measure.Round]], options: argparse.Namespace) -> str:
    report = HEAD.format(
        rounds=options.rounds, seconds=options.seconds, connections=measure.CONNECTIONS,
        tokens=measure.TOKENS, target=TARGET,
    )  # fmt: skip
    medians = {name: measure.median(rounds) for name, rounds in results.items()}
    for name, row in medians.items():
        report += f"| {name} | {row.cpu:.1f} | {row.rps:,.0f} | {row.p50:.2f} | {row.p99:.2f} |\n"
    ratios = [ours.cpu / theirs.cpu for theirs, ours in zip(results[STATIC], results[ASKING], strict=True)]
    spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    return (
        report
        + f"\nRatio of the medians: **{medians[ASKING].cpu / medians[STATIC].cpu:.2f}** (rounds: {spread})\n"
    )


if __name__ == "__main__":
    main()
