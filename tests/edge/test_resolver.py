"""Host names become servers at start and every `dns` seconds; a failed look-up changes nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest

from gateway.config.snapshot import Server, Upstream
from gateway.edge.resolver import Resolver, system_lookup
from gateway.edge.servers import Found, Group
from tests.edge.groups import NAMED, at, fixed
from tests.edge.moved import Pauses


class Directory:
    """A name service of which the test says what it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answer: Sequence[Found] | Exception = [at(1)]
        self.silent: asyncio.Event | None = None  # set by the test when a silent service speaks again

    async def __call__(self, host: str, port: int) -> Sequence[Found]:
        self.asked.append((host, port))
        if self.silent is not None:
            await self.silent.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Scene:
    def __init__(self, *servers: Server, patience: float = 30.0) -> None:
        self.group = Group(Upstream("app", servers or (NAMED,), dns=30.0))
        self.directory = Directory()
        self.pauses = Pauses()
        self.told: list[str] = []
        self.resolver = Resolver(
            self.group,
            lambda group, server, fault: self.told.append(fault),
            self.directory,
            self.pauses,
            Random(1),
            patience,
        )

    def addresses(self) -> list[str]:
        return [str(server.address[0]) for server in self.group.servers]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.resolver.start()
    yield scene
    scene.resolver.close()


async def test_a_name_is_looked_up_at_start_and_again_after_the_interval(scene: Scene) -> None:
    seconds = await scene.pauses.end()
    assert 27 <= seconds <= 33 and seconds != 30  # spread
    assert scene.addresses() == ["10.0.0.1"]
    scene.directory.answer = [at(2), at(3)]
    await scene.pauses.end()
    assert scene.addresses() == ["10.0.0.2", "10.0.0.3"]
    assert scene.directory.asked[:2] == [("app.test", 80)] * 2


async def test_a_failed_look_up_keeps_the_addresses_is_told_once_and_repeated_soon(scene: Scene) -> None:
    await scene.pauses.end()
    scene.directory.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    pauses = [await scene.pauses.end() for _ in range(8)]
    assert scene.addresses() == ["10.0.0.1"]
    assert scene.told == ["app.test can't be resolved: Temporary failure in name resolution"]
    usual = (1, 2, 4, 8, 16, 30, 30, 30)
    assert all(0.9 <= pause / normal <= 1.1 for pause, normal in zip(pauses, usual, strict=True))
    scene.directory.answer = [at(2)]
    assert await scene.pauses.end() <= 33
    await scene.pauses.end()
    assert scene.addresses() == ["10.0.0.2"]
    scene.directory.answer = OSError("gone again")
    await scene.pauses.end()
    await scene.pauses.end()
    assert len(scene.told) == 2


async def test_an_empty_answer_is_a_failure(scene: Scene) -> None:
    await scene.pauses.end()
    scene.directory.answer = []
    await scene.pauses.end()
    assert scene.addresses() == ["10.0.0.1"] and scene.told == ["app.test has no address"]


async def test_a_name_that_is_none_is_a_failure() -> None:
    with pytest.raises(UnicodeError):
        await system_lookup("a" * 64 + ".test", 80)
    scene = Scene()
    scene.directory.answer = UnicodeError("label too long")
    scene.resolver.start()
    await scene.pauses.begun()
    assert scene.told == ["app.test can't be resolved: it is not a host name"]
    assert not scene.group.resolving
    scene.resolver.close()


async def test_a_look_up_that_hangs_is_given_up_but_not_started_again_beside_itself() -> None:
    scene = Scene(patience=0.01)
    scene.directory.silent = asyncio.Event()
    scene.resolver.start()
    await asyncio.wait_for(scene.group.ready(), 30)
    for _ in range(3):
        await scene.pauses.end()
    assert scene.told == ["app.test was not resolved in 0.01 s"] and scene.addresses() == []
    assert len(scene.directory.asked) == 1
    scene.directory.silent.set()
    while not scene.addresses():  # what it says late is not lost
        await scene.pauses.end()
    assert len(scene.directory.asked) == 1
    scene.resolver.close()


async def test_addresses_and_sockets_are_never_looked_up() -> None:
    scene = Scene(*fixed(2), Server("http://[::1]", host="::1", port=80), Server("unix:/a", path="/a"))
    scene.resolver.start()
    await asyncio.sleep(0)
    assert not scene.group.resolving and scene.directory.asked == []
    scene.resolver.close()


async def test_each_name_is_looked_up_by_itself() -> None:
    other = Server("http://other.test:81", host="other.test", port=81)
    scene = Scene(NAMED, other)
    scene.resolver.start()
    await scene.pauses.begun()
    await scene.pauses.begun()
    assert sorted(scene.directory.asked) == [("app.test", 80), ("other.test", 81)]
    assert scene.addresses() == ["10.0.0.1", "10.0.0.1"]
    scene.resolver.close()


async def test_a_closed_resolver_changes_nothing_any_more(scene: Scene) -> None:
    _, pause = await scene.pauses.begun()
    scene.directory.answer = [at(2)]
    pause.set_result(None)
    scene.resolver.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert scene.addresses() == ["10.0.0.1"] and len(scene.directory.asked) == 1


async def test_the_system_knows_localhost_and_says_what_it_does_not_know() -> None:
    found = await system_lookup("localhost", 8123)
    assert {(family, address[:2]) for family, address in found} <= {
        (socket.AF_INET, ("127.0.0.1", 8123)),
        (socket.AF_INET6, ("::1", 8123)),
    }
    assert found
    with pytest.raises(OSError):
        await system_lookup("nothing.invalid", 80)
