"""TLS and PROXY protocol through the whole gateway: who the client is, and certificates that change."""

import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certs import Authority, Pair
from tests.kit.gateway import Gateway, free_port, run_gateway
from tests.kit.raw import Client, exchange, request
from tests.kit.upstream import RecordingUpstream

BALANCER = "127.0.0.9"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
ROUTES = """
trusted_proxies: [127.0.0.9/32]
upstreams: {app: "URL"}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


@pytest.fixture(scope="module")
def plain_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def text(upstream: RecordingUpstream, pair: Pair, plain_port: int) -> str:
    tls = f"tls: {{cert: {pair.cert}, key: {pair.key}, redirect_http: '127.0.0.1:{plain_port}'}}\n"
    return tls + ROUTES.replace("URL", upstream.url)


@pytest.fixture(scope="module")
def secure(text: str) -> Iterator[Gateway]:
    with run_gateway(text, workers=2) as running:
        # ready is said of the first worker; the second must not start while a test has spoilt its files
        while sum(" is ready" in line for line in running.log_lines()) < 2:
            time.sleep(0.01)
        yield running


def serial(client: Client) -> str:
    assert isinstance(client.sock, ssl.SSLSocket)
    certificate = client.sock.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_the_upstream_learns_that_the_client_came_by_tls(
    secure: Gateway, authority: Authority, upstream: RecordingUpstream
) -> None:
    upstream.clear()
    with Client(secure.port, tls=authority.client_context()) as client:
        assert client.send(request("/x", host=b"localhost")).reply().status == 200
        assert client.send(request("/y", host=b"localhost")).reply().status == 200
    assert [seen.value(b"x-forwarded-proto") for seen in upstream.requests] == [b"https", b"https"]


def test_a_plain_request_is_sent_to_the_tls_port(secure: Gateway, plain_port: int) -> None:
    talk = exchange(plain_port, request("/x?y=1", host=b"localhost:80"))
    assert talk.statuses == [308] and talk.closed
    assert talk.only.value(b"location") == b"https://localhost:%d/x?y=1" % secure.port


def test_plain_http_on_the_tls_port_harms_nobody(secure: Gateway, authority: Authority) -> None:
    assert exchange(secure.port, request("/x")).replies == []
    with Client(secure.port, tls=authority.client_context()) as client:
        assert client.send(request("/x")).reply().status == 200


def test_a_certificate_is_changed_without_dropping_a_connection(
    secure: Gateway, authority: Authority, pair: Pair, text: str
) -> None:
    context = authority.client_context()
    with Client(secure.port, tls=context) as early:
        before = serial(early)
        fresh = authority.issue("fresh")
        os.replace(fresh.cert, pair.cert)
        refused = secure.reload(text)
        assert refused.status == 422 and b"does not belong to the certificate" in refused.body, refused
        with Client(secure.port, tls=context) as client:
            assert serial(client) == before
        os.replace(fresh.key, pair.key)
        assert secure.reload(text).status == 200
        for _ in range(8):
            with Client(secure.port, tls=context) as client:
                assert serial(client) != before
                assert client.send(request("/x")).reply().status == 200
        assert early.send(request("/x")).reply().status == 200


def test_client_certificates_can_be_demanded(upstream: RecordingUpstream, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, own = authority.issue("server"), authority.client_context(authority.issue("client"))
    tls = f"tls: {{cert: {pair.cert}, key: {pair.key}, client_ca: {authority.ca}, client_auth: required}}\n"
    with run_gateway(tls + ROUTES.replace("URL", upstream.url)) as gateway:
        with Client(gateway.port, tls=own) as client:
            assert client.send(request("/x")).reply().status == 200
        with Client(gateway.port, tls=authority.client_context()) as client:
            assert client.send(request("/x")).ends(), "uvloop closes without a word"
        with Client(gateway.port, tls=own) as client:
            assert client.send(request("/x")).reply().status == 200


@pytest.fixture(scope="module")
def behind(upstream: RecordingUpstream) -> Iterator[Gateway]:
    with run_gateway("proxy_protocol: any\n" + ROUTES.replace("URL", upstream.url)) as running:
        yield running


def test_a_balancer_tells_the_client(behind: Gateway, upstream: RecordingUpstream) -> None:
    upstream.clear()
    forged = b"X-Forwarded-For: 203.0.113.9"
    talk = exchange(behind.port, V1 + request("/x", forged), source=BALANCER, most=1)
    assert talk.only.status == 200
    (seen,) = upstream.requests
    assert seen.value(b"x-forwarded-for") == b"192.0.2.7", (
        "the client behind the balancer is not a trusted proxy"
    )
    line = behind.wait_logged(talk.only.value(b"x-request-id").decode())
    assert line["client"] == "192.0.2.7"


def test_the_plain_port_behind_a_balancer_redirects_too(upstream: RecordingUpstream, pair: Pair) -> None:
    port = free_port()
    tls = f"tls: {{cert: {pair.cert}, key: {pair.key}, redirect_http: '127.0.0.1:{port}'}}\n"
    with run_gateway("proxy_protocol: v1\n" + tls + ROUTES.replace("URL", upstream.url)):
        assert exchange(port, V1 + request("/x"), source=BALANCER).statuses == [308]
        assert exchange(port, request("/x"), source=BALANCER).statuses == [400]


def test_nobody_else_is_believed(behind: Gateway, upstream: RecordingUpstream) -> None:
    upstream.clear()
    talk = exchange(behind.port, V1 + request("/x"))
    assert talk.statuses == [400] and talk.closed
    assert exchange(behind.port, request("/y"), most=1).statuses == [200]
    assert [seen.target for seen in upstream.requests] == [b"/y"]


def test_a_balancer_without_a_header_is_refused_in_words(behind: Gateway) -> None:
    talk = exchange(behind.port, request("/x"), source=BALANCER)
    assert talk.statuses == [400] and talk.closed and talk.only.code == "bad_proxy_header"
    assert any("refused a connection from 127.0.0.9" in line for line in behind.log_lines())


def test_a_unix_socket_serves_like_a_port(upstream: RecordingUpstream, tmp_path: Path) -> None:
    listen = f"listen: unix:{tmp_path}/s\n"
    with run_gateway(listen + ROUTES.replace("URL", upstream.url), workers=2):
        for _ in range(20):
            with Client(0, unix=f"{tmp_path}/s") as client:
                assert client.send(request("/x")).reply().status == 200
