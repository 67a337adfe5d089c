"""T39: a stranger at the link's socket learns nothing, holds nothing, and disturbs nobody."""

import os
import socket
from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.meddler import link_of
from tests.kit.people import register, works
from tests.kit.tokens import made_up

HELLO = {"t": "hello", "versions": [1], "edge": "stranger", "pid": 1, "serve_stale": 10}


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


STRANGE: dict[str, bytes] = {
    "nothing": b"",
    "garbage": os.urandom(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a huge length": b"\xff\xff\xff\xff" + b"x" * 4096,
    "a huge frame": (65 * 1024).to_bytes(4, "big") + b"x" * 65 * 1024,
    "no map": frame([1, 2, 3]),
    "a question before the hello": frame(
        {"t": "resolve", "id": 1, "kind": "bearer", "credential": made_up("psa_", 46)}
    ),
    "another version": frame({**HELLO, "versions": [99]}),
    "a name that is none": frame({**HELLO, "edge": "a\nb"}),
    "a hello of wrong types": frame({**HELLO, "pid": "one"}),
}


@pytest.fixture(scope="module")
def linked() -> Iterator[tuple[IdentityWorld, str]]:
    with run_identity_gateway(workers=1) as house:
        yield house, link_of(house.pid_of_identity())


@pytest.mark.parametrize("what", STRANGE)
def test_T39_whatever_a_stranger_sends_he_is_told_nothing_and_let_go(
    linked: tuple[IdentityWorld, str], what: str
) -> None:
    house, path = linked
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(10)
        stranger.connect(path)
        send(stranger, STRANGE[what])
        assert received(stranger) == b""
    assert works(house)


def send(stranger: socket.socket, data: bytes) -> None:
    try:
        stranger.sendall(data)
    except OSError:
        return  # let go already


def received(stranger: socket.socket) -> bytes:
    """All until the other end closes."""
    found = b""
    try:
        while data := stranger.recv(64 * 1024):
            found += data
    except ConnectionResetError:
        pass
    return found


def test_T39_many_strangers_who_say_nothing_keep_no_edge_out(linked: tuple[IdentityWorld, str]) -> None:
    house, path = linked
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    try:
        for stranger in strangers:
            stranger.settimeout(10)
            stranger.connect(path)
        assert works(house)
        for stranger in strangers:
            assert received(stranger) == b""
    finally:
        for stranger in strangers:
            stranger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_T39_another_user_of_the_machine_can_not_even_connect(linked: tuple[IdentityWorld, str]) -> None:
    _, path = linked
    with socket.socket(socket.AF_UNIX) as stranger:
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                stranger.connect(path)
        finally:
            os.seteuid(0)


ASKED: dict[str, Callable[[], dict[str, object]]] = {
    "a made up token": lambda: {"kind": "bearer", "credential": made_up("psa_", 46)},
    "a session's id": lambda: {"kind": "bearer", "credential": "0" * 22},
    "an unknown kind": lambda: {"kind": "root", "credential": "x"},
    "everything": lambda: {"kind": "bearer", "credential": "%"},
}


@pytest.mark.parametrize("what", ASKED)
def test_T39_even_who_speaks_as_an_edge_learns_of_nobody_without_the_credential(
    linked: tuple[IdentityWorld, str], what: str
) -> None:
    """Our own user's processes can; what an edge may do is to show a credential, no more."""
    house, path = linked
    person = register(house)
    with socket.socket(socket.AF_UNIX) as edge:
        edge.settimeout(10)
        edge.connect(path)
        edge.sendall(frame(HELLO))
        assert answer_of(edge)["t"] == "welcome"
        edge.sendall(frame({"t": "resolve", "id": 7, "address": "", "agent": "", **ASKED[what]()}))
        said = answer_of(edge)
        assert said["id"] == 7 and said["outcome"] == "bad" and "identity" not in said
        edge.sendall(frame({"t": "bye"}))
    assert person.get().status == 200


def answer_of(edge: socket.socket) -> dict[str, object]:
    size = int.from_bytes(edge.recv(4, socket.MSG_WAITALL), "big")
    said: dict[str, object] = msgspec.msgpack.decode(edge.recv(size, socket.MSG_WAITALL))
    return said
