"""T36 at the identity API: whoever sends a body slowly keeps nobody else from signing in."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import register

SLOW = 700  # more than connections that one worker has to the service
LOGIN = b"POST /api/auth/login HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def one_worker() -> Iterator[IdentityWorld]:
    with run_identity_gateway(workers=1) as house:
        yield house


def slow_one(house: IdentityWorld, head: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", house.port), timeout=20)
    sock.sendall(head)
    return sock


def test_T36_slow_bodies_hold_no_connection_of_the_service(one_worker: IdentityWorld) -> None:
    body = json.dumps({"email": "nobody@example.test", "password": "of no account at all"}).encode()
    whole = LOGIN + b"Content-Length: %d\r\n\r\n" % len(body)
    chunked = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(slow_one(one_worker, whole + body[:1])) for _ in range(SLOW // 2)]
        for _ in range(SLOW // 2):
            stack.enter_context(slow_one(one_worker, chunked + b"1\r\n{\r\n"))
        assert register(one_worker).ask("GET", "/me").status == 200
        slow[0].sendall(body[1:])  # who ends it in the end is answered
        assert slow[0].recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10**9])
def test_T36_a_body_beyond_64_kib_is_413_before_it_is_sent(one_worker: IdentityWorld, size: int) -> None:
    with slow_one(one_worker, LOGIN + b"Content-Length: %d\r\n\r\n{" % size) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_T36_nor_may_chunks_grow_beyond_it(one_worker: IdentityWorld) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with slow_one(one_worker, LOGIN + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 4 + b"1\r\n") as sock:
        sock.sendall(b" \r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_gathered_body_arrives_as_it_was_sent_chunked_or_pipelined(one_worker: IdentityWorld) -> None:
    person = register(one_worker)
    body = json.dumps({"email": person.email, "password": person.password}).encode()
    cut = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:])) + b"0\r\n\r\n"
    whole = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    for request in (LOGIN + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, LOGIN + whole):
        reply = one_worker.send(request, method=b"POST")
        one_worker.ledger.got("POST /login", reply)
        assert reply.status == 200
    wrong = json.dumps({"email": person.email, "password": "not the password"}).encode()
    twice = LOGIN + b"Content-Length: %d\r\n\r\n%b" % (len(wrong), wrong)
    with slow_one(one_worker, twice + twice) as sock:
        sock.settimeout(20)
        told = b""
        while told.count(b"HTTP/1.1 401 ") < 2:
            part = sock.recv(65536)
            assert part, told
            told += part
