"""The identity service's process comes and goes; its sockets stay, and its secrets go nowhere else."""

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.status import IdentityState, Status, WorkerState
from tests.processes.supervised import Supervised, alive, supervised, until

SECRET = "hunter2-of-the-identity-service"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Supervised]:
    with supervised(tmp_path, workers=2, service_of_identity=SECRET) as running:
        until(lambda: [worker["link"] for worker in running.workers()] == [True, True])
        yield running


def identity(gateway: Supervised) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.admin("/health")[1])["parts"]["identity"]
    return found


def folder_of(gateway: Supervised) -> Path:
    """The private one of the sockets."""
    assert gateway.process is not None
    inodes = {os.readlink(fd) for fd in Path(f"/proc/{gateway.process.pid}/fd").iterdir()}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[7].endswith("/link") and f"socket:[{words[6]}]" in inodes:
            return Path(words[7]).parent
    raise AssertionError("it has no such socket")


def test_workers_find_it_and_its_environment_is_scrubbed(gateway: Supervised) -> None:
    pid, word, *environment = gateway.ask("identity")
    assert (int(pid), word) == (identity(gateway)["pid"], SECRET)
    assert {"PATH", "MALLOC_MMAP_THRESHOLD_"} <= set(environment)
    assert not {"POSTERN_SECRET", "POSTERN_ADMIN_TOKEN", "POSTERN_DATA"} & set(environment)


def test_it_is_ready_when_the_service_and_every_link_is(gateway: Supervised) -> None:
    assert identity(gateway)["state"] == "ready"
    assert gateway.code("/ready") == 200
    assert any("the identity service is ready" in line for line in gateway.messages())


def test_its_configuration_is_shown_nowhere(gateway: Supervised) -> None:
    shown = [
        gateway.admin(path)[1] for path in ("/config", "/routes", "/health", "/cluster/status", "/metrics")
    ]
    assert not any(SECRET.encode() in page for page in shown)
    assert SECRET not in gateway.log()
    assert SECRET not in gateway.ask("environment")


def test_its_sockets_are_in_a_folder_of_its_own_that_goes_with_it(gateway: Supervised) -> None:
    folder = folder_of(gateway)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["http", "link"]
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert not folder.exists()


def test_a_killed_one_is_started_again_on_the_same_sockets(gateway: Supervised) -> None:
    first, folder = identity(gateway)["pid"], folder_of(gateway)
    os.kill(first, signal.SIGSTOP)  # so that what is asked now stays in the queue
    with gateway.connect() as client:
        client.sendall(b"identity")
        os.kill(first, signal.SIGKILL)
        assert gateway.read(client)[0] != str(first)
    until(lambda: [worker["link"] for worker in gateway.workers()] == [True, True])
    again = identity(gateway)
    assert (again["state"], again["restarts"]) == ("ready", 1)
    assert folder_of(gateway) == folder
    assert gateway.metrics()["postern_identity_restarts_total"] == 1
    assert [worker["restarts"] for worker in gateway.workers()] == [0, 0]


def test_its_counters_are_added_and_survive_it(gateway: Supervised) -> None:
    for _ in range(3):
        gateway.ask("identity")
    before = gateway.metrics()
    assert before['postern_logins_total{result="ok"}'] == 3
    assert before["postern_sessions_active"] == 5
    os.kill(identity(gateway)["pid"], signal.SIGKILL)
    until(lambda: identity(gateway)["restarts"] == 1 and identity(gateway)["state"] == "ready")
    gateway.ask("identity")
    after = gateway.metrics()
    assert after['postern_logins_total{result="ok"}'] == 4
    assert after["postern_sessions_active"] == 5


def test_a_hanging_one_does_not_hang_the_scrape(gateway: Supervised) -> None:
    gateway.ask("identity")
    assert gateway.metrics()['postern_logins_total{result="ok"}'] == 1
    pid = identity(gateway)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert gateway.metrics()['postern_logins_total{result="ok"}'] == 1
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_cluster_page_shows_nodes_links_and_how_fast_news_travel(gateway: Supervised) -> None:
    assert gateway.admin("/cluster/status", token=None)[0] == 401
    gateway.ask("identity")
    page = json.loads(gateway.admin("/cluster/status")[1])
    (node,) = page["nodes"]
    assert [edge["link"] for edge in node["edges"]] == [True, True]
    assert (node["role"], node["identity"]["state"]) == ("all", "ready")
    assert node["address"] == f"127.0.0.1:{gateway.port}"
    assert page["propagation"] == {"revocations": 1, "p50_ms": 0.5, "p99_ms": 0.5}


@pytest.mark.parametrize(
    ("word", "said"),
    [("fail-at-start", "and the database is outdated"), ("crash-at-start", "exit code 7")],
)
def test_one_that_cannot_start_ends_the_gateway_and_says_why(tmp_path: Path, word: str, said: str) -> None:
    gateway = Supervised(tmp_path, service_of_identity=word)
    gateway.start()
    assert gateway.wait() == 1
    assert "the identity service can't start; the gateway ends" in gateway.messages()
    assert said in gateway.log()


def test_a_reload_reaches_it_and_the_workers(gateway: Supervised) -> None:
    gateway.write(hash="two", service_of_identity="other")
    assert gateway.admin("/reload", "POST")[0] == 200
    assert gateway.ask("identity")[1] == "other"
    until(lambda: gateway.ask_all() == {"0": "two", "1": "two"}, gateway.log())
    os.kill(identity(gateway)["pid"], signal.SIGKILL)
    until(lambda: gateway.ask("identity")[1] == "other")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("refused", "the database can't be reached"),
        ("deadly", "the identity service ended while it loaded the configuration"),
    ],
)
def test_what_it_refuses_is_in_force_nowhere(gateway: Supervised, word: str, said: str) -> None:
    gateway.write(hash="two", service_of_identity=word)
    status, body = gateway.admin("/reload", "POST")
    assert (status, json.loads(body)["faults"]) == (422, [said])
    until(lambda: gateway.ask("identity")[1] == SECRET)
    assert gateway.ask_all() == {"0": "one", "1": "one"}


def test_what_a_worker_refuses_it_gives_back(gateway: Supervised) -> None:
    gateway.write(hash="two", service="refused-by-1", service_of_identity="other")
    status, body = gateway.admin("/reload", "POST")
    assert (status, json.loads(body)["faults"]) == (422, ["the certificate can't be read"])
    assert gateway.ask("identity")[1] == SECRET


def test_it_is_drained_after_the_workers(gateway: Supervised) -> None:
    pids = [identity(gateway)["pid"], *gateway.pids()]
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    lines = gateway.log().splitlines()
    (workers,) = [at for at, line in enumerate(lines) if "every worker has ended" in line]
    (drained,) = [at for at, line in enumerate(lines) if "identity drained with 0 links" in line]
    assert workers < drained
    assert not any(alive(pid) for pid in pids)


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    drain = {"delay": 0, "timeout": 1}
    with supervised(tmp_path, drain=drain, service_of_identity="endless") as gateway:
        pid = identity(gateway)["pid"]
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert not alive(pid)


def test_it_ends_with_a_killed_supervisor(gateway: Supervised) -> None:
    pid = identity(gateway)["pid"]
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    until(lambda: not alive(pid), "it lives on without its supervisor")


READY = WorkerState(0, 1, "ready", 0, 0.0, link=True)


def test_a_link_that_is_down_is_bridged_for_serve_stale() -> None:
    up = Status("running", "hash", workers=(READY,), identity=IdentityState(9, "ready", 0, 0.0), linked=True)
    assert up.not_ready_because(now=100.0) == []
    cut = msgspec.structs.replace(up, linked=False, linked_until=100.0, serve_stale=10.0)
    assert cut.not_ready_because(now=109.0) == []
    assert cut.not_ready_because(now=111.0) == ["the link to the identity service is down"]
    away = msgspec.structs.replace(cut, identity=IdentityState(0, "waiting", 1, 0.0))
    assert away.not_ready_because(now=109.0) == []
    assert away.not_ready_because(now=111.0) == ["the identity service is not ready"]


def test_what_was_never_up_is_not_bridged() -> None:
    starting = Status(
        "starting", "hash", workers=(READY,), identity=IdentityState(9, "starting", 0, 0.0),
        serve_stale=float("inf"),
    )  # fmt: skip
    assert starting.not_ready_because(now=1.0) == ["the identity service is not ready"]


def test_without_one_nothing_of_it_is_asked(tmp_path: Path) -> None:
    with supervised(tmp_path) as gateway:
        assert identity(gateway) is None
        assert gateway.code("/ready") == 200
        assert any("no identity service belongs to this gateway" in line for line in gateway.messages())
        assert "postern_logins_total" not in gateway.admin("/metrics")[1].decode()
