"""Thousands of connections on one worker: what an idle one costs, and that all are served, others too."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kit.certs import Authority
from tests.kit.gateway import Gateway, run_gateway
from tests.kit.raw import Client, exchange, request
from tests.kit.upstream import RecordingUpstream
from tests.load.memory import KIB, open_files, pss
from tests.load.wrk import workers

YAML = """
access_log: {to: none}
limits: {connections: LIMIT, keepalive: 900s}
upstreams: {app: "URL"}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""
# What a browser sends: a connection keeps its last request until the next one comes.
REQUEST = request(
    "/orders/list?page=2&sort=date",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"Accept-Language: en-GB,en;q=0.5",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Cookie: theme=dark; last=" + b"0123456789abcdef" * 8,
    b"Referer: http://gateway.test/orders",
    host=b"localhost",
)
OTHERS = 100
HARD = pytest.mark.hard


@contextmanager
def one_worker(count: int, tls: str = "") -> Iterator[Gateway]:
    """A gateway that takes `count` connections and some others, warm."""
    with open_files(count + 1000), RecordingUpstream() as upstream:
        text = tls + YAML.replace("LIMIT", str(count + OTHERS)).replace("URL", upstream.url)
        with run_gateway(text) as gateway:
            yield gateway


def connect(gateway: Gateway, number: int, tls: ssl.SSLContext | None) -> Client:
    """From many addresses: one alone would run out of ports."""
    return Client(gateway.port, source=f"127.0.2.{number % 50 + 1}", tls=tls)


def visit(gateway: Gateway, count: int, tls: ssl.SSLContext | None) -> None:
    """So many come, are served and leave."""
    for number in range(count):
        with connect(gateway, number, tls) as client:
            assert client.send(REQUEST).reply().status == 200


def hold(gateway: Gateway, count: int, tls: ssl.SSLContext | None, most: int) -> None:
    """So many connections idle, each costs less than `most` bytes, and all are served again."""
    visit(gateway, OTHERS, tls)
    pids = workers(gateway)
    assert len(pids) == 1
    with ExitStack() as stack:
        before = pss(pids)
        held = []
        for number in range(count):
            client = stack.enter_context(connect(gateway, number, tls))
            assert client.send(REQUEST).reply().status == 200
            held.append(client)
        assert gateway.metrics()["postern_connections"] == count
        each = (pss(pids) - before) / count
        print(f"figure: {count} idle connections{' with TLS' if tls else ''}, {each / KIB:.1f} KiB each")
        assert each < most
        visit(gateway, OTHERS, tls)
        for client in held:
            assert client.is_open()
            assert client.send(REQUEST).reply().status == 200
    visit(gateway, OTHERS, tls)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=HARD)])
def test_idle_connections(count: int) -> None:
    with one_worker(count) as gateway:
        hold(gateway, count, None, 12 * KIB)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=HARD)])
def test_idle_connections_with_tls(tmp_path: Path, count: int) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    with one_worker(count, f"tls: {{cert: {pair.cert}, key: {pair.key}}}\n") as gateway:
        hold(gateway, count, authority.client_context(), 40 * KIB)


@pytest.mark.hard
def test_fifteen_thousand_connections_beyond_the_limit() -> None:
    """Each gets a 503 and is closed; those inside are served all the while."""
    with one_worker(1_000) as gateway, ExitStack() as stack:
        inside = [stack.enter_context(connect(gateway, number, None)) for number in range(1_000 + OTHERS)]
        for client in inside:
            assert client.send(REQUEST).reply().status == 200
        for number in range(15_000):
            talk = exchange(gateway.port, REQUEST, source=f"127.0.3.{number % 50 + 1}")
            assert talk.closed and talk.statuses == [503] and talk.only.code == "too_many_connections"
            assert number % 15 or inside[number // 15].send(REQUEST).reply().status == 200
