"""How little the gateway takes: the memory of all its processes, and the time until it is ready."""

import time

import pytest

from tests.kit.gateway import run_gateway
from tests.kit.raw import get
from tests.kit.upstream import RecordingUpstream
from tests.load.memory import MIB, alone, pss

YAML = """
identity: {serve: [api]}
upstreams: {app: "URL"}
defaults: {policies: {authenticate: none, security_headers: standard}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""


@pytest.mark.parametrize(("role", "processes", "most"), [("edge", 2, 60), ("all", 3, 160)])
def test_with_one_worker_it_takes_little(role: str, processes: int, most: int) -> None:
    with (
        RecordingUpstream() as upstream,
        run_gateway(YAML.replace("URL", upstream.url), role=role) as gateway,
    ):
        for _ in range(200):
            assert get(gateway.port, "/x").status == 200
        assert gateway.metrics()
        pids = gateway.pids()
        assert len(pids) == processes
        together, by_itself = pss(pids), alone(pids)
        print(
            f"figure: --role {role}: {together / MIB:.1f} MiB PSS, {by_itself / MIB:.1f} if nothing is shared"
        )
        assert together < most * MIB


@pytest.mark.hard
@pytest.mark.parametrize("role", ["edge", "all"])
def test_how_soon_it_is_ready(role: str) -> None:
    """Printed, not judged: the machine may be busy."""
    with (
        RecordingUpstream() as upstream,
        run_gateway(YAML.replace("URL", upstream.url), role=role) as gateway,
    ):
        took = []
        for _ in range(10):
            assert gateway.stop() == 0
            began = time.perf_counter()
            gateway.start()
            took.append(time.perf_counter() - began)
            assert get(gateway.port, "/x").status == 200
        took.sort()
        print(f"figure: --role {role}: ready after {took[0]:.2f} s at best, {took[5]:.2f} s in the median")
