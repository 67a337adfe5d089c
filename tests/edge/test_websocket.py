"""WebSocket through the gateway: libraries and the Autobahn cases see what they see without it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest
from kosoku import FailureError, run_fuzzingclient
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Data, Subprotocol

from tests.kit.gateway import Gateway, free_port, run_gateway

MIB = 1024 * 1024
ROUTES = """
upstreams: {app: "http://127.0.0.1:PORT"}
defaults: {policies: {authenticate: none}}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""

Handler = Callable[[ServerConnection], Awaitable[None]]

quiet = logging.getLogger("tests.websocket")  # the cases make the server complain of its clients
quiet.disabled = True


@dataclass
class Path:
    """Two ways to one server."""

    through: str
    direct: str
    port: int


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    port = free_port()
    with run_gateway(ROUTES.replace("PORT", str(port))) as gateway:
        yield made(gateway, port)


def made(gateway: Gateway, port: int) -> Path:
    return Path(f"ws://127.0.0.1:{gateway.port}/ws", f"ws://127.0.0.1:{port}/ws", port)


async def echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosedError):
        async for message in connection:
            await connection.send(message)


@contextlib.asynccontextmanager
async def serving(
    path: Path,
    handler: Handler = echo,
    *,
    refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
    subprotocols: list[Subprotocol] | None = None,
) -> AsyncIterator[None]:
    async with (
        serve(
            handler, "127.0.0.1", path.port, max_size=None, logger=quiet, process_request=refuse,
            subprotocols=subprotocols,
        ),
        asyncio.timeout(120),
    ):  # fmt: skip
        yield


@contextlib.asynccontextmanager
async def talking(path: Path, handler: Handler = echo) -> AsyncIterator[ClientConnection]:
    """A client of the gateway, and the upstream that it reaches."""
    async with serving(path, handler), connect(path.through, max_size=None) as client:
        yield client


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.hard)])
async def test_every_message_comes_back_in_order(path: Path, count: int) -> None:
    def message(index: int) -> Data:
        return f"{index} é" if index % 2 else index.to_bytes(4, "big") * (index % 700)

    async def send(client: ClientConnection) -> None:
        for index in range(count):
            await client.send(message(index))

    async with talking(path) as client:
        sending = asyncio.create_task(send(client))
        for index in range(count):
            assert await client.recv() == message(index)
        await sending


async def test_a_hundred_at_once_do_not_mix(path: Path) -> None:
    async def one(name: str) -> None:
        async with connect(path.through) as client:
            for index in range(10):
                await client.send(f"{name} {index}")
                assert await client.recv() == f"{name} {index}"

    async with serving(path):
        await asyncio.gather(*(one(f"client {number}") for number in range(100)))


async def test_fragments_stay_the_fragments_they_were(path: Path) -> None:
    parts = ["one", "", "é" * 70_000, "four"]

    async def fragments(connection: ServerConnection) -> None:
        seen = [part async for part in connection.recv_streaming()]
        await connection.send(seen)

    async with talking(path, fragments) as client:
        await client.send(parts)
        received = [part async for part in client.recv_streaming()]
        assert [part for part in received if part] == [part for part in parts if part]
        assert len(received) >= len(parts)


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, MIB, 16 * MIB])
async def test_frames_of_every_size_pass(path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with serving(path), connect(path.through, max_size=None, compression=None) as client:
        await client.send(data)
        assert await client.recv() == data


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4321])
async def test_close_codes_pass_unchanged(path: Path, code: int) -> None:
    told: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def closing(connection: ServerConnection) -> None:
        if await connection.recv() == "you":
            await connection.close(code, "bye é")
        await connection.wait_closed()
        told.put_nowait((connection.close_code, connection.close_reason))

    async with talking(path, closing) as client:
        await client.send("you")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (code, "bye é")
    await told.get()
    async with talking(path, closing) as client:
        await client.send("me")
        await client.close(code, "bye é")
        assert await told.get() == (code, "bye é")


async def test_a_broken_upstream_breaks_the_client_without_a_close_frame(path: Path) -> None:
    async def breaking(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with talking(path, breaking) as client:
        await client.send("now")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.close_code == 1006


async def test_a_client_that_breaks_off_is_gone_for_the_upstream_too(path: Path) -> None:
    gone = asyncio.Event()

    async def waiting(connection: ServerConnection) -> None:
        await connection.wait_closed()
        assert connection.close_code == 1006
        gone.set()

    async with talking(path, waiting) as client:
        client.transport.abort()
        await gone.wait()


async def test_pings_go_the_whole_way(path: Path) -> None:
    async def pinging(connection: ServerConnection) -> None:
        await (await connection.ping(b"from the upstream"))
        await connection.send("answered")
        await connection.wait_closed()

    async with talking(path, pinging) as client:
        assert await client.recv() == "answered"
        await (await client.ping(b"from the client"))


async def test_subprotocol_and_compression_are_agreed_on_by_the_ends(path: Path) -> None:
    offered = [Subprotocol("chat.v1"), Subprotocol("chat.v9")]
    async with serving(path, subprotocols=[Subprotocol("chat.v2"), Subprotocol("chat.v1")]):
        for url in (path.direct, path.through):
            async with connect(url, subprotocols=offered) as client:
                assert client.subprotocol == "chat.v1"
                assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
                await client.send("a" * 10_000)
                assert await client.recv() == "a" * 10_000


async def test_an_upstream_that_says_no_is_heard(path: Path) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(418, "no tea here") if request.path == "/tea" else None

    async with serving(path, refuse=refuse):
        with pytest.raises(InvalidStatus) as refused:
            await connect(path.through.replace("/ws", "/tea"))
        assert refused.value.response.status_code == 418
        assert refused.value.response.body == b"no tea here"
        async with connect(path.through) as client:
            await client.send("coffee")
            assert await client.recv() == "coffee"


async def test_the_first_words_of_the_upstream_are_not_lost(path: Path) -> None:
    async def greeting(connection: ServerConnection) -> None:
        await connection.send("welcome")
        await connection.wait_closed()

    async with serving(path, greeting):
        for _ in range(50):
            async with connect(path.through) as client:
                assert await client.recv() == "welcome"


async def verdicts(url: str, cases: list[str]) -> dict[str, tuple[str, str, int | None]]:
    try:
        results = await run_fuzzingclient(url, cases=cases, concurrency=4)
    except FailureError as error:  # the library is not perfect either
        results = error.results
    # NON-STRICT: what came before a bad frame was not answered, which depends on how packets fall
    return {
        result.case_id: (
            "OK" if result.behavior.value == "NON-STRICT" else result.behavior.value,
            result.behavior_close.value,
            result.remote_close_code,
        )
        for result in results
    }


@pytest.mark.parametrize(
    "cases",
    [
        ["1.*", "2.*", "3.*", "4.*", "5.*", "7.*", "10.*"],
        ["6.*"],
        pytest.param(["9.*"], marks=pytest.mark.hard),
        pytest.param(["12.1.*"], marks=pytest.mark.hard),
    ],
    ids=["protocol", "utf-8", "large", "compressed"],
)
async def test_the_autobahn_cases_end_as_they_do_without_a_gateway(path: Path, cases: list[str]) -> None:
    async with serving(path):
        direct, through = await verdicts(path.direct, cases), await verdicts(path.through, cases)
    assert direct and through == direct
