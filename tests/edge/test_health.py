"""Active checks: who answers as expected takes requests, who does not leaves; over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.config.snapshot import Health, Server, Upstream, UpstreamTls
from gateway.edge.health import HEAD_LIMIT, HealthChecker, check, request
from gateway.edge.servers import Group, ServerState
from tests.edge.groups import NAMED
from tests.edge.moved import Pauses
from tests.kit.certs import Authority

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Backend:
    """A server that says what the test put into `answer`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: bytes | None = OK  # None: silence
        self.asked: list[bytes] = []
        self.server: asyncio.Server | None = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def listen(self, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> int:
        self.server = await asyncio.start_server(self._serve, host, 0, ssl=context)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def listen_at(self, path: str) -> None:
        self.server = await asyncio.start_unix_server(self._serve, path)

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
async def port(backend: Backend) -> int:
    return await backend.listen()


HEALTH = Health("/healthz", timeout=30.0, healthy=2, unhealthy=3)


def local(port: int, *, secure: bool = False, host: str = "127.0.0.1") -> Server:
    return Server(f"{host}:{port}", host=host, port=port, secure=secure)


async def ask(
    server: Server,
    health: Health = HEALTH,
    context: ssl.SSLContext | None = None,
    tls: UpstreamTls | None = None,
) -> str:
    upstream = Upstream("app", (server,), health=health, tls=tls or UpstreamTls())
    return await check(Group(upstream).servers[0], upstream, health, context)


# One check


async def test_the_expected_status_passes_and_another_does_not(backend: Backend, port: int) -> None:
    assert await ask(local(port)) == ""
    backend.answer = DOWN
    assert await ask(local(port)) == "answered 503"
    assert await ask(local(port), Health("/healthz", expect=(200, 503))) == ""


async def test_what_is_asked_is_a_whole_request(backend: Backend, port: int) -> None:
    await ask(local(port), Health("/healthz?deep=1"))
    assert backend.asked == [
        b"GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: postern-health\r\n"
        b"Accept: */*\r\nConnection: close\r\n\r\n" % port
    ]


@pytest.mark.parametrize(
    ("server", "host", "said"),
    [
        (Server("a", host="app.test", port=80), "preserve", "app.test"),
        (Server("a", host="app.test", port=8080), "upstream", "app.test:8080"),
        (Server("a", host="app.test", port=443, secure=True), "preserve", "app.test"),
        (Server("a", host="app.test", port=443), "preserve", "app.test:443"),
        (Server("a", host="::1", port=81), "preserve", "[::1]:81"),
        (Server("a", path="/run/a.sock"), "preserve", "localhost"),
        (Server("a", host="app.test", port=8080), "shop.example.com", "shop.example.com"),
    ],
)
def test_the_host_is_the_servers_own_or_the_fixed_one(server: Server, host: str, said: str) -> None:
    lines = request(server, Upstream("app", (server,), host=host), HEALTH).split(b"\r\n")
    assert lines[1] == b"Host: " + said.encode()


def test_a_path_can_not_end_the_request_line() -> None:
    server = local(80)
    sent = request(server, Upstream("app", (server,)), Health("/a b\r\nX: y/ü?q=%20"))
    assert sent.startswith(b"GET /a%20b%0D%0AX:%20y/%C3%BC?q=%20 HTTP/1.1\r\n")


async def test_who_does_not_listen_does_not_pass(backend: Backend, port: int) -> None:
    backend.close()
    assert "Connect" in await ask(local(port))


async def test_who_says_nothing_in_time_does_not_pass(backend: Backend, port: int) -> None:
    backend.answer = None
    assert await ask(local(port), Health("/", timeout=0.05)) == "no answer in 0.05 s"


async def test_who_closes_without_a_word_does_not_pass(backend: Backend, port: int) -> None:
    backend.answer = b""
    assert await ask(local(port)) in ("closed without an answer", "Connection reset by peer")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 " + b"x" * (3 * HEAD_LIMIT),
        b"x" * (3 * HEAD_LIMIT),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * HEAD_LIMIT,
        b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a>\r\n" * HEAD_LIMIT,
    ],
)  # fmt: skip
async def test_what_is_not_http_does_not_pass_and_is_read_to_a_bound_only(
    backend: Backend, port: int, answer: bytes
) -> None:
    backend.answer = answer
    assert await ask(local(port)) in ("the answer is not HTTP/1.1", "Connection reset by peer")


async def test_interim_replies_are_passed_over(backend: Backend, port: int) -> None:
    backend.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + DOWN
    assert await ask(local(port)) == "answered 503"
    backend.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    assert await ask(local(port)) == ""


async def test_a_status_line_may_lack_its_reason(backend: Backend, port: int) -> None:
    backend.answer = b"HTTP/1.0 204\r\n\r\n"
    assert await ask(local(port), Health("/", expect=(204,))) == ""


async def test_over_a_unix_socket(backend: Backend, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    server = Server("unix:app.sock", path=path)
    assert await ask(server) == "No such file or directory"
    await backend.listen_at(path)
    assert await ask(server) == ""


async def test_over_tls_with_the_certificate_checked(backend: Backend, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("app", "orders.test")
    port = await backend.listen(context=authority.server_context(pair))
    trusting = authority.client_context()
    named = UpstreamTls(server_name="orders.test")
    server = local(port, secure=True)
    assert await ask(server, context=trusting, tls=named) == ""
    assert (await ask(server, context=trusting)).startswith("TLS failed: ")  # another name
    assert (await ask(server, tls=named)).startswith("TLS failed: ")  # not an authority of this system
    assert len(backend.asked) == 1


# Again and again


class Scene:
    def __init__(self, upstream: Upstream) -> None:
        self.group = Group(upstream)
        self.pauses = Pauses()
        self.told: list[tuple[ServerState, bool, str]] = []
        self.checker = HealthChecker(
            self.group,
            lambda group, server, fault: self.told.append((server, server.healthy, fault)),
            sleep=self.pauses,
        )


Watch = Callable[[Upstream], Awaitable[Scene]]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    scenes: list[Scene] = []

    async def start(upstream: Upstream) -> Scene:
        scenes.append(Scene(upstream))
        scenes[-1].checker.start()
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.checker.close()


async def test_changes_come_after_so_many_checks_and_are_told(
    backend: Backend, port: int, watch: Watch
) -> None:
    scene = await watch(Upstream("app", (local(port),), health=HEALTH))
    server = scene.group.servers[0]
    backend.answer = DOWN
    pauses = [await scene.pauses.end() for _ in range(3)]
    assert server.healthy and scene.told == []
    pauses.append((await scene.pauses.begun())[0])  # the third check is over
    assert 0 <= pauses[0] <= 1 and all(4.5 <= pause <= 5.5 for pause in pauses[1:])
    assert len(set(pauses)) == 4  # spread
    assert scene.told == [(server, False, "answered 503")]


async def test_a_server_that_recovers_is_told_too(backend: Backend, port: int, watch: Watch) -> None:
    health = Health("/", timeout=30.0, healthy=2, unhealthy=1)
    scene = await watch(Upstream("app", (local(port),), health=health))
    backend.answer = DOWN
    await scene.pauses.end()
    await scene.pauses.end()
    backend.answer = OK
    await scene.pauses.end()
    await scene.pauses.begun()
    assert [healthy for _, healthy, _ in scene.told] == [False, True]
    assert len(backend.asked) == 3


async def test_servers_that_dns_brings_and_takes_are_followed(
    backend: Backend, port: int, watch: Watch
) -> None:
    scene = await watch(Upstream("app", (NAMED,), health=HEALTH))
    assert backend.asked == []
    scene.group.resolved(NAMED, [(2, ("127.0.0.1", port))])
    await scene.pauses.end()
    _, pause = await scene.pauses.begun()
    assert len(backend.asked) == 1
    scene.group.resolved(NAMED, [(2, ("127.0.0.1", 1))])
    await asyncio.sleep(0)
    assert pause.cancelled()


async def test_a_closed_checker_asks_nobody_any_more(backend: Backend, port: int, watch: Watch) -> None:
    scene = await watch(Upstream("app", (local(port), NAMED), health=HEALTH))
    await scene.pauses.end()
    _, pause = await scene.pauses.begun()
    scene.checker.close()
    scene.group.resolved(NAMED, [(2, ("127.0.0.1", port))])
    await asyncio.sleep(0)
    assert pause.cancelled()
    assert len(backend.asked) == 1
    assert scene.group.on_added == scene.group.on_removed == []


async def test_an_upstream_without_checks_is_left_alone(backend: Backend, port: int, watch: Watch) -> None:
    scene = await watch(Upstream("app", (local(port),)))
    await asyncio.sleep(0)
    assert backend.asked == [] and scene.group.on_added == []
