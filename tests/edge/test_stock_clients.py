"""Clients that people use, through the gateway: curl, httpx, aiohttp, node's fetch."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.kit.programs import need
from tests.kit.scripts import answer, chunked, in_turn, until_close
from tests.kit.world import World

BODY = bytes(range(256)) * 8_000  # 2 MB
FETCH = Path(__file__).parent / "stock" / "fetch.mjs"


class Curl:
    """One run of curl: what it wrote, said, and measured."""

    def __init__(self, world: World, *arguments: str) -> None:
        command = [
            need("curl"),
            "--silent",
            "--show-error",
            "--verbose",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ]
        command += ["--write-out", "%{stderr}\nmeasured %{http_code} %{http_version} %{num_connects}\n"]
        command += [part.replace("GATEWAY", f"http://127.0.0.1:{world.port}") for part in arguments]
        run = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        self.code, self.body, self.said = run.returncode, run.stdout, run.stderr.decode(errors="replace")
        measured = [line.split()[1:] for line in self.said.splitlines() if line.startswith("measured ")]
        assert measured, self.said
        self.statuses = [int(status) for status, _, _ in measured]
        self.versions = [version for _, version, _ in measured]
        self.connections = sum(int(count) for _, _, count in measured)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "body").write_bytes(BODY)
    return str(tmp_path / "body")


# curl


def test_curl_gets_pages_over_one_connection(world: World) -> None:
    curl = Curl(world, "--http1.1", "GATEWAY/app/a", "GATEWAY/app/b", "GATEWAY/app/c")
    assert (curl.code, curl.body, curl.statuses, curl.versions) == (0, b"ok" * 3, [200] * 3, ["1.1"] * 3)
    assert curl.connections == 1
    assert [seen.target for seen in world.upstream.wait_for(3)] == [b"/app/a", b"/app/b", b"/app/c"]


def test_curl_speaks_http_1_0(world: World) -> None:
    curl = Curl(world, "--http1.0", "GATEWAY/app/old")
    assert (curl.code, curl.body, curl.statuses) == (0, b"ok", [200])
    assert world.upstream.last.line == b"GET /app/old HTTP/1.1"


@pytest.mark.parametrize("script", [chunked(BODY, b"end"), until_close(BODY + b"end")])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_reads_bodies_of_unknown_length(world: World, script: object, version: str) -> None:
    world.upstream.reply(script)  # type: ignore[arg-type]
    curl = Curl(world, version, "GATEWAY/app/long")
    assert (curl.code, curl.statuses) == (0, [200])
    assert curl.body == BODY + b"end"
    assert ("< Transfer-Encoding: chunked" in curl.said) == (version == "--http1.1")


def test_curl_over_http_1_0_may_keep_the_connection(world: World) -> None:
    keep = ("--http1.0", "-H", "Connection: keep-alive")
    curl = Curl(world, *keep, "GATEWAY/app/a", "GATEWAY/app/b")
    assert (curl.code, curl.body, curl.statuses) == (0, b"okok", [200, 200])


def test_curl_asks_for_the_head(world: World) -> None:
    curl = Curl(world, "--head", "GATEWAY/app/head", "GATEWAY/app/again")
    assert (curl.code, curl.statuses, curl.connections) == (0, [200, 200], 1)
    assert curl.body.lower().count(b"content-length: 2\r\n") == 2


def test_curl_uploads_a_file(world: World, file: str) -> None:
    curl = Curl(world, "--upload-file", file, "GATEWAY/app/file")
    assert (curl.code, curl.statuses) == (0, [200])
    seen = world.upstream.last
    assert (seen.line, seen.body) == (b"PUT /app/file HTTP/1.1", BODY)
    assert seen.value(b"content-length") == b"%d" % len(BODY)


def test_curl_uploads_in_chunks(world: World, file: str) -> None:
    curl = Curl(world, "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{file}", "GATEWAY/app/chunks")
    assert (curl.code, curl.statuses) == (0, [200])
    seen = world.upstream.last
    assert seen.body == BODY and seen.value(b"transfer-encoding") == b"chunked"


def test_curl_waits_for_100_continue_and_gets_it_from_the_gateway(world: World, file: str) -> None:
    expect = ("-H", "Expect: 100-continue", "--expect100-timeout", "20")
    curl = Curl(world, *expect, "--data-binary", f"@{file}", "GATEWAY/app/expected", "GATEWAY/app/again")
    assert (curl.code, curl.statuses, curl.connections) == (0, [200, 200], 1)
    assert curl.said.count("< HTTP/1.1 100") == 2
    for seen in world.upstream.requests:
        assert seen.body == BODY and seen.values(b"expect") == []


def test_curl_that_expects_too_much_does_not_send_it(world: World, file: str) -> None:
    expect = ("-H", "Expect: 100-continue", "--expect100-timeout", "20")
    curl = Curl(world, *expect, "--data-binary", f"@{file}", "GATEWAY/small")
    assert (curl.code, curl.statuses) == (0, [413])
    assert "< HTTP/1.1 100" not in curl.said
    assert world.reached() == []


def test_curl_is_told_what_went_wrong(world: World) -> None:
    curl = Curl(world, "GATEWAY/nowhere", "GATEWAY/dead", "GATEWAY/app/after")
    assert (curl.code, curl.statuses) == (0, [404, 503, 200])
    assert b"no_route" in curl.body and b"upstream_unavailable" in curl.body


# httpx


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{world.port}", trust_env=False, timeout=20) as client:
        yield client


def test_httpx_gets_and_posts(world: World, client: httpx.Client) -> None:
    for number in range(20):
        assert client.get("/app/page", params={"n": number, "q": "ä b"}).text == "ok"
        assert client.post("/app/json", json={"n": number}).status_code == 200
    gets, posts = world.upstream.requests[::2], world.upstream.requests[1::2]
    assert [seen.target for seen in gets] == [b"/app/page?n=%d&q=%%C3%%A4+b" % number for number in range(20)]
    assert [json.loads(seen.body) for seen in posts] == [{"n": number} for number in range(20)]


def test_httpx_streams_up_and_down(world: World, client: httpx.Client) -> None:
    world.upstream.reply(chunked(*(BODY[:100_000],) * 10))
    with client.stream("POST", "/app/stream", content=iter([BODY, b"and", BODY])) as reply:
        received = b"".join(reply.iter_raw())
    assert received == BODY[:100_000] * 10
    assert world.upstream.last.body_bytes == 2 * len(BODY) + 3


def test_httpx_sends_forms_and_files(world: World, client: httpx.Client) -> None:
    reply = client.post("/app/form", data={"a": "1"}, files={"file": ("name.bin", BODY)})
    assert reply.status_code == 200
    seen = world.upstream.last
    assert seen.value(b"content-type").startswith(b"multipart/form-data; boundary=") and BODY in seen.body


def test_httpx_reads_what_has_no_body(world: World, client: httpx.Client) -> None:
    world.upstream.reply(in_turn(answer(b"", status=204), answer(b"", status=304), answer(b"after")))
    assert client.delete("/app/gone").status_code == 204
    unchanged = client.get("/app/same", headers={"If-None-Match": '"1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.get("/app/after").text == "after"


def test_httpx_reads_problems(client: httpx.Client) -> None:
    reply = client.get("/admin/secret")
    assert reply.status_code == 401 and reply.json()["code"] == "credential_missing"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


# aiohttp


@pytest.fixture
async def session(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{world.port}", timeout=timeout) as session:
        yield session


async def test_aiohttp_gets_many_pages_at_once(world: World, session: aiohttp.ClientSession) -> None:
    async def page(number: int) -> tuple[int, str]:
        async with session.get("/app/page", params={"n": str(number)}) as reply:
            return reply.status, await reply.text()

    assert await asyncio.gather(*(page(number) for number in range(100))) == [(200, "ok")] * 100
    targets = {seen.target for seen in world.upstream.requests}
    assert targets == {b"/app/page?n=%d" % number for number in range(100)}


async def test_aiohttp_sends_chunks_after_100_continue(world: World, session: aiohttp.ClientSession) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield BODY[:50_000]

    async with session.put("/app/parts", data=parts(), expect100=True) as reply:
        assert (reply.status, await reply.read()) == (200, b"ok")
    assert world.upstream.last.body == BODY[:50_000] * 10


async def test_aiohttp_reads_a_stream_as_it_comes(world: World, session: aiohttp.ClientSession) -> None:
    world.upstream.reply(
        chunked(*(b"data: %d\n\n" % n for n in range(50)), lines=[b"Content-Type: text/event-stream"])
    )
    async with session.get("/app/events") as reply:
        events = [line async for line in reply.content if line.strip()]
    assert events == [b"data: %d\n" % number for number in range(50)]


# node


def test_node_fetch(world: World) -> None:
    world.upstream.reply(chunked(*(b"y" * 1000,) * 200), path=b"/app/chunked")
    run = subprocess.run([need("node"), str(FETCH), str(world.port)], capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    assert json.loads(run.stdout) == {
        "page": [200, "ok", True],
        "posted": [200, "ok"],
        "streamed": [200, "ok"],
        "head": [200, "2", ""],
        "many": 40,
        "chunked": [200, 200_000],
    }
    assert world.upstream.on(b"/app/posted")[0].body == b"x" * 300_000
    streamed = world.upstream.on(b"/app/streamed")[0]
    assert streamed.body == b"".join(b"part %d" % number for number in range(100))
    assert streamed.values(b"transfer-encoding") == [b"chunked"]
