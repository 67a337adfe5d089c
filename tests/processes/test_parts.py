"""The supervisor's parts by themselves: back-off, quotas, environment, watching, timers, addresses, sums."""

import errno
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway import sockets
from gateway.children import Backoff, cpu_quota, worker_count
from gateway.config.environment import with_our_packages, worker_environment
from gateway.config.snapshot import Listen, Snapshot, Tls, Upstream, UpstreamTls
from gateway.loop import Loop
from gateway.model.metrics import Sample
from gateway.totals import Totals
from gateway.watch import Watch, watched


def test_the_wait_doubles_and_a_longer_life_is_forgiven() -> None:
    backoff = Backoff(first=0.1, longest=1.0, forgiven_after=10)
    assert [backoff.after(0.5) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.after(11) == 0.1


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_smallest_quota_on_the_way_to_the_group_counts(tmp_path: Path) -> None:
    put(tmp_path / "proc/self/cgroup", "0::/pods/ours\n")
    assert cpu_quota(tmp_path) == 0
    put(tmp_path / "sys/fs/cgroup/pods/ours/cpu.max", "max 100000\n")
    assert cpu_quota(tmp_path) == 0
    put(tmp_path / "sys/fs/cgroup/pods/cpu.max", "250000 100000\n")
    assert cpu_quota(tmp_path) == 2.5
    put(tmp_path / "sys/fs/cgroup/pods/ours/cpu.max", "50000 100000\n")
    assert cpu_quota(tmp_path) == 0.5
    assert worker_count(0, tmp_path) == 1  # never none
    assert worker_count(7, tmp_path) == 7  # as asked


def test_the_quota_of_control_groups_version_1(tmp_path: Path) -> None:
    """In a container the path is the host's, and the group is the mount itself."""
    put(tmp_path / "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    put(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    put(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(tmp_path) == 0
    assert worker_count(0, tmp_path) == len(os.sched_getaffinity(0))
    put(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n")
    assert cpu_quota(tmp_path) == 1.5


def test_only_what_a_worker_needs_is_passed_on() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "DATABASE_URL": "x",
        "POSTERN_ADMIN_TOKEN": "x",
        "SSLKEYLOGFILE": "x",
    }
    passed = worker_environment(given)
    assert passed["PATH"] == "/bin" and passed["LC_ALL"] == "C"
    assert not {"DATABASE_URL", "POSTERN_ADMIN_TOKEN", "SSLKEYLOGFILE"} & set(passed)


def test_a_strangers_package_in_the_working_directory_is_not_ours() -> None:
    assert with_our_packages({})["PYTHONSAFEPATH"] == "1"
    assert with_our_packages({"PYTHONPATH": "/theirs"})["PYTHONPATH"].endswith("/theirs")


def test_a_change_is_told_once_and_only_when_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    put(path, "one")
    watch = Watch([str(path)])
    assert not watch.changed()
    put(path, "other")
    assert not watch.changed() and watch.restless  # it may still be written
    assert watch.changed()
    watch.seen()
    assert not watch.changed() and not watch.restless


def test_a_file_that_goes_and_comes_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    put(path, "one")
    watch = Watch([str(path)])
    path.unlink()
    assert [watch.changed(), watch.changed()] == [False, True]


def test_other_files_to_watch_do_not_hide_a_change_of_those_before(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    put(first, "one")
    put(second, "one")
    watch = Watch([str(first)])
    put(first, "other")
    watch.follow([str(first), str(second)])
    assert watch.changed() or watch.changed()


def test_certificates_are_watched_too() -> None:
    upstream = Upstream("app", (), tls=UpstreamTls(ca="ca.crt"))
    snapshot = Snapshot("h", tls=Tls("a.crt", "a.key"), upstreams=(upstream,), files=("routes.yaml",))
    assert watched(snapshot) == {"routes.yaml", "a.crt", "a.key", "ca.crt"}


def test_timers_run_in_order_and_not_when_cancelled() -> None:
    now = 100.0
    loop = Loop(clock=lambda: now)
    ran: list[str] = []
    loop.after(2, lambda: ran.append("later"))
    loop.after(1, lambda: ran.append("sooner"))
    loop.after(0, lambda: ran.append("never")).cancel()
    now += 3
    loop.after(0, lambda: loop.stop(5))
    assert loop.run() == 5
    loop.close()
    assert ran == ["sooner", "later"]


def test_sums_keep_what_dead_workers_counted() -> None:
    totals = Totals()
    counted = ["requests_total", ["r", "GET", "200"], 5, [], 0]
    took = ["request_duration_seconds", ["r"], 0, [1, 2], 0.5]
    totals.remember(1, [counted, took, ["connections", [], 3, [], 0]])
    totals.remember(2, [counted, took, ["connections", [], 4, [], 0]])
    totals.bury(1)
    assert totals.sums() == [
        Sample("connections", (), 4),
        Sample("request_duration_seconds", ("r",), 0, (2, 4), 1.0),
        Sample("requests_total", ("r", "GET", "200"), 10),
    ]
    totals.bury(2)
    assert [sample.name for sample in totals.sums()] == ["request_duration_seconds", "requests_total"]


@pytest.mark.parametrize(
    ("listen", "code", "said"),
    [
        (Listen("127.0.0.1", 80), errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (Listen("192.0.2.1", 80), errno.EADDRNOTAVAIL, "does not have the address 192.0.2.1"),
        (Listen("127.0.0.1", 80), errno.EADDRINUSE, "ss -ltnp 'sport = :80'"),
        (Listen(path="/no/where.sock"), errno.ENOENT, "/no does not exist"),
        (Listen(path="/no/where.sock"), errno.EACCES, "may not write to the folder /no"),
        (Listen(path="gate.sock"), errno.ENOTSOCK, "not a socket"),
        (Listen(path="gate.sock"), errno.EADDRINUSE, "ss -lxp 'src gate.sock'"),
    ],
)
def test_what_keeps_us_from_listening_is_explained(listen: Listen, code: int, said: str) -> None:
    text = sockets.explain(OSError(code, os.strerror(code)), listen, "listen")
    assert said in text and "`listen:` in routes.yaml" in text


def test_a_real_address_that_is_not_ours_is_explained() -> None:
    with pytest.raises(sockets.CannotListen, match="does not have the address 192.0.2.1"):
        sockets.Listeners(1).open([Listen("192.0.2.1", 0)], "public", "listen")


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(sockets.CannotListen, match="not a socket"):
        sockets.Listeners(1).open([Listen(path=str(path))], "public", "listen")
    assert path.read_text() == "mine"


def test_a_socket_in_use_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(sockets.CannotListen, match="another program listens"):
            sockets.Listeners(1).open([Listen(path=str(path))], "public", "listen")
        assert path.exists()


def private(folder: Path, monkeypatch: pytest.MonkeyPatch) -> sockets.PrivateSockets:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return sockets.PrivateSockets(("http", "link"))


def test_what_a_killed_supervisor_left_is_removed_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(prefix="p-") as name:
        living = private(Path(name), monkeypatch)
        for folder, files in (
            ("postern-deadbeef", ("http", "link")),
            ("postern-notours_", ("link", "notes")),
        ):
            (Path(name) / folder).mkdir()
            for file in files:
                (Path(name) / folder / file).touch()
        fresh = Path(name) / "postern-_startin"
        fresh.mkdir()
        for each in Path(name).iterdir():
            if each != fresh:
                os.utime(each, (0, 0))
        another = private(Path(name), monkeypatch)
        left = {path.name for path in Path(name).iterdir()}
        places = {Path(made.paths["link"]).parent.name for made in (living, another)}
        assert left == places | {"postern-notours_", "postern-_startin"}
        living.close()
        another.close()
        assert {path.name for path in Path(name).iterdir()} == left - places


def test_a_private_socket_has_a_path_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    made = private(deep, monkeypatch)
    try:
        assert all(len(path) < 100 for path in made.paths.values())
    finally:
        made.close()


def loopbacks() -> list[str]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


@pytest.mark.parametrize("host", loopbacks())
def test_at_the_end_nobody_new_connects_and_who_queues_is_kept(host: str) -> None:
    listeners = sockets.Listeners(1)
    listeners.open([Listen(host, 0)], "public", "listen")
    sock = listeners.of(0)[0].sock
    with socket.create_connection(sock.getsockname()[:2], timeout=10) as early:
        listeners.take_no_new()
        with pytest.raises(TimeoutError):
            socket.create_connection(sock.getsockname()[:2], timeout=0.3)
        sock.accept()[0].sendall(b"hello")
        assert early.recv(5) == b"hello"
        address = sock.getsockname()[:2]
        listeners.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


def test_a_port_shared_by_reuseport_counts_as_taken() -> None:
    """A second gateway of the same user would otherwise get half of the connections."""
    first = sockets.Listeners(2)
    first.open([Listen("127.0.0.1", 0)], "public", "listen")
    port = int(first.addresses[0].rpartition(":")[2])
    try:
        assert [len(first.of(worker)) for worker in (0, 1)] == [1, 1]
        with pytest.raises(sockets.CannotListen, match=f"sport = :{port}"):
            sockets.Listeners(1).open([Listen("127.0.0.1", port)], "public", "listen")
    finally:
        first.close()
