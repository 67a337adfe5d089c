"""T18: only a yes of all policies is a yes: nothing late, broken or answered otherwise lets a request in."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.asking import PROXY, Asked, Ports, original
from tests.kit.certs import Authority
from tests.kit.gateway import CRASHED, run_gateway
from tests.kit.identity import run_identity_gateway
from tests.kit.people import register
from tests.kit.raw import Answer, Client, exchange, request


@pytest.fixture(scope="module")
def shaky() -> Iterator[Asked]:
    """A gateway whose policies may crash, and whose identity service may stand still."""
    ports = Ports()
    with run_identity_gateway(ports.routes(), check=False, workers=1) as world:
        asked = Asked(world, ports, ports.verify)
        yield asked
        asked.verify("/acting", b"X-Do: raise")  # whichever of the tests ran in this process
        assert CRASHED.search(world.gateway.errors() + world.gateway.output())


@pytest.mark.parametrize("target", ["/acting", "/later"])
@pytest.mark.parametrize(
    ("do", "status", "code"),
    [
        ("answer", 403, "not_by_forward_auth"),
        ("refuse", 403, "not_today"),
        ("raise", 500, "policy_crashed"),
        ("exit", 500, "policy_crashed"),
        ("raise-back", 500, "policy_crashed"),
        ("true", 500, ""),
        ("ok", 500, ""),
        ("smuggle", 500, ""),
        ("split", 500, ""),
    ],
)
def test_T18_what_a_policy_does_wrong_is_a_no(
    shaky: Asked, target: str, do: str, status: int, code: str
) -> None:
    answer = shaky.verify(target, b"X-Do: " + do.encode())
    assert answer.status == status, answer
    assert answer.values(b"x-user-id") == []
    assert not code or answer.code == code
    denied = shaky.on(shaky.ports.denying).verify(target, b"X-Do: " + do.encode())
    assert denied.status == 403 and denied.value(b"x-postern-status") == b"%d" % status


def test_what_a_policy_adds_is_in_the_answer(shaky: Asked) -> None:
    for target in ("/acting", "/later"):
        answer = shaky.verify(target)
        assert answer.status == 200
        assert answer.value(b"x-mark") == b"x/-" and answer.value(b"x-seen") == b"x:200"
        assert answer.value(b"x-user-id") == b"" and answer.body == b""


def test_T18_while_nobody_can_be_asked_the_unknown_get_503(shaky: Asked) -> None:
    person = register(shaky.world)
    assert shaky.verify("/app/x", person.bearer).status == 200
    pid = shaky.world.pid_of_identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = shaky.verify("/app/x", b"Authorization: Bearer " + b"unknown" * 5)
        assert (answer.status, answer.code) == (503, "identity_unavailable")
        assert answer.value(b"retry-after") == b"1"
        assert shaky.verify("/fresh/x", person.bearer).status in (200, 503)  # within its lease, or not at all
        assert shaky.verify("/app/x").status == 401
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_drains_answers_and_closes(tmp_path: Path) -> None:
    ports = Ports()
    yaml = f"""
trusted_proxies: [127.0.0.9/32]
proxy_protocol: any
drain: {{delay: 0s, timeout: 5s}}
forward_auth: [{{listen: 127.0.0.1:{ports.verify}}}]
upstreams: {{app: "http://127.0.0.1:1"}}
routes: [{{name: app, match: {{path: /**}}, upstream: app, policies: {{authenticate: none}}}}]
"""
    question = request("/verify", *original("/x"))
    with run_gateway(yaml) as gateway, Client(ports.verify, source=PROXY) as client:
        client.send(question)  # without a PROXY header: that is for clients' own connections
        assert client.reply().values(b"connection") == []
        gateway.signal(signal.SIGTERM)
        answers: list[Answer] = []
        while not answers or answers[-1].values(b"connection") == []:
            answers.append(client.send(question).reply())
        assert {answer.status for answer in answers} == {200}
        assert answers[-1].value(b"connection") == b"close" and not client.source.fill()
        assert gateway.wait() == 0


def test_the_listener_speaks_plain_http_beside_tls(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("server")
    ports = Ports()
    yaml = f"""
tls: {{cert: {pair.cert}, key: {pair.key}}}
trusted_proxies: [127.0.0.9/32]
forward_auth: [{{listen: 127.0.0.1:{ports.verify}}}]
upstreams: {{app: "http://127.0.0.1:1"}}
routes: [{{name: app, match: {{path: /**}}, upstream: app, policies: {{authenticate: none}}}}]
"""
    with run_gateway(yaml):
        talk = exchange(ports.verify, request("/verify", *original("/x")), source=PROXY, most=1)
        assert talk.statuses == [200]
