"""Under load: reloads, killed workers, upstream servers that come and go, and the end of the gateway."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.gateway import Gateway
from tests.kit.raw import get
from tests.load.regulars import Regulars
from tests.load.servers import BODY, LARGE, Nginx
from tests.load.wrk import CONNECTIONS, Wrk, two_workers, workers
from tests.processes.supervised import until

YAML = """
access_log: {to: none}
drain: {delay: 0s, timeout: 20s}
upstreams:
  app: {servers: [SERVERS], outlier: {eject: 500ms}}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
  - {name: large, match: {path: /large}, upstream: app}
"""

few_or_many = pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.hard)])


def text(*servers: Nginx, number: int = 0) -> str:
    """A configuration; each number makes another one, by which a loaded one is known."""
    urls = ", ".join(f'"{server.url}"' for server in servers)
    route = f"  - {{name: new, match: {{path: /number-{number}}}, answer: {{status: 200}}}}\n"
    return YAML.replace("SERVERS", urls) + route


@pytest.fixture
def servers() -> Iterator[list[Nginx]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-")))
        folder.chmod(0o755)  # started by root, nginx reads as another user
        yield [stack.enter_context(Nginx(folder)) for _ in range(2)]


@pytest.fixture
def gateway(servers: list[Nginx]) -> Iterator[Gateway]:
    with two_workers(text(*servers)) as running:
        yield running


def in_force(gateway: Gateway, number: int) -> bool:
    """Whether every worker has that configuration; twenty connections meet both."""
    return all(get(gateway.port, f"/number-{number}").status == 200 for _ in range(20))


def unbroken(load: Wrk) -> None:
    """No request failed, and there were some."""
    result = load.end()
    print(f"figure: {result.good} requests, {result.broken} broken, {len(result.bad)} with another reply")
    assert result.bad == [] and result.broken == 0
    assert result.good > CONNECTIONS


@few_or_many
def test_reloads(gateway: Gateway, servers: list[Nginx], tmp_path: Path, times: int) -> None:
    """Each one changes the routes and the servers: connections to those that stay are kept."""
    one, other = servers
    sets = [(one,), (one, other), (other,)]
    with Wrk(gateway, tmp_path, "/app/x", BODY) as load:
        for number in range(1, times + 1):
            gateway.write(text(*sets[number % 3], number=number))
            gateway.signal(signal.SIGHUP)
            until(lambda number=number: in_force(gateway, number))  # type: ignore[misc]
            load.flow()
        unbroken(load)


@few_or_many
def test_reloads_that_follow_upon_each_other(
    gateway: Gateway, servers: list[Nginx], tmp_path: Path, times: int
) -> None:
    """Nobody waits for the one before; what was written last is what counts. A bad file changes nothing."""
    with Wrk(gateway, tmp_path, "/app/x", BODY) as load:
        for number in range(1, 5 * times):
            gateway.write(text(*servers, number=number))
            gateway.signal(signal.SIGHUP)
            load.flow(100)
        until(lambda: in_force(gateway, 5 * times - 1))
        assert gateway.reload("routes: none\n").status == 422
        gateway.signal(signal.SIGHUP)
        load.flow()
        unbroken(load)


# Fewer: after each one the supervisor waits longer before it starts the next.
@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.hard)])
def test_killed_workers(gateway: Gateway, tmp_path: Path, times: int) -> None:
    """Only what was in the killed worker's hands fails; who connects meanwhile waits for the next one."""
    lost = 0
    with Wrk(gateway, tmp_path, "/app/x", BODY) as load:
        for number in range(times):
            pid = workers(gateway)[number % 2]
            lost += held(gateway, pid)
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: len(set(workers(gateway)) - {pid}) == 2)  # type: ignore[misc]
            load.flow()
        result = load.end()
    print(f"figure: {result.good} requests, {result.broken} broken, {lost} connections were in killed hands")
    assert result.bad == [] and result.connect == 0
    assert result.broken <= lost
    assert result.good > CONNECTIONS
    assert get(gateway.port, "/app/x").status == 200


def held(gateway: Gateway, pid: int) -> int:
    """How many connections of clients this process has."""
    ours = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    local = f":{gateway.port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [line[9] for line in lines if line[1].endswith(local) and line[3] == "01"]
    return sum(f"socket:[{inode}]" in ours for inode in established)


@few_or_many
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_an_upstream_server_that_comes_and_goes(
    gateway: Gateway, servers: list[Nginx], tmp_path: Path, how: signal.Signals, times: int
) -> None:
    with Wrk(gateway, tmp_path, "/app/x", BODY) as load:
        for number in range(times):
            server = servers[number % 2]
            server.stop(how)
            load.flow()
            server.start()
            until(lambda server=server: serves(gateway, server))  # type: ignore[misc]
            load.flow()
        unbroken(load)


def serves(gateway: Gateway, server: Nginx) -> bool:
    return get(gateway.port, "/app/x").value(b"x-server") == b"%d" % server.port


@few_or_many
@pytest.mark.parametrize("delay", ["0s", "1s"])
def test_a_sigterm_fails_no_accepted_request(
    servers: list[Nginx], tmp_path: Path, delay: str, times: int
) -> None:
    """Whoever got a connection gets whole replies, large ones too.

    wrk is only the crowd: it can't tell a reset from a refusal; but what it is answered must be right.
    """
    yaml = text(*servers).replace("delay: 0s", f"delay: {delay}")
    visits = [("/app/x", BODY.encode())] * 12 + [("/large", bytes(LARGE))] * 8
    for _ in range(max(1, times // 3)):
        with (
            two_workers(yaml) as gateway,
            Wrk(gateway, tmp_path, "/app/x", BODY) as crowd,
            Regulars(gateway.port, visits) as regulars,
        ):
            regulars.flow(200)
            gateway.signal(signal.SIGTERM)
            regulars.wait()
            assert crowd.end().bad == []
            print(f"figure: {regulars.served} requests, {len(regulars.complaints)} broken")
            assert regulars.complaints == []
            assert regulars.turned_away == len(visits)
            assert gateway.wait() == 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
