"""Servers that people run, behind the gateway: the same replies as without it."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kit.gateway import Gateway, free_port, run_gateway
from tests.kit.programs import need
from tests.kit.raw import Answer, Client, chunked, exchange, request

APPS = Path(__file__).parent / "stock"
BIG = bytes(range(256)) * 12_000  # 3 MB
APPLICATIONS = ["gunicorn", "uvicorn", "node"]

NGINX = """
daemon off; pid FOLDER/nginx.pid; error_log FOLDER/error.log; worker_processes 1;
events {}
http {
  access_log off; gzip on; gzip_types text/plain; gzip_min_length 100;
  client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
  uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
  types {text/plain txt;}
  server { listen 127.0.0.1:PORT; root FOLDER; }
}
"""

ROUTES = """
upstreams:
  nginx: http://127.0.0.1:NGINX
  gunicorn: "unix:FOLDER/gunicorn.sock"
  uvicorn: http://127.0.0.1:UVICORN
  node: http://localhost:NODE
defaults: {policies: {authenticate: none}}
routes:
  - {name: nginx, match: {path: /nginx/**}, upstream: nginx}
  - {name: gunicorn, match: {path: /gunicorn/**}, upstream: gunicorn}
  - {name: uvicorn, match: {path: /uvicorn/**}, upstream: uvicorn}
  - {name: node, match: {path: /node/**}, upstream: node}
"""


class Stock:
    """A gateway, and servers behind it that are started when a test first needs them."""

    def __init__(self, gateway: Gateway, folder: Path, ports: dict[str, int], stack: ExitStack) -> None:
        self.gateway, self.folder = gateway, folder
        self._ports, self._stack = ports, stack
        self._running: set[str] = set()

    def start(self, name: str) -> None:
        if name in self._running:
            return
        self._running.add(name)
        self._stack.enter_context(running(self._command(name), self.folder / f"{name}.out"))
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.direct(name):
                    return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / f"{name}.out").read_text()
                time.sleep(0.02)

    def direct(self, name: str) -> Client:
        """A connection to the server itself."""
        unix = str(self.folder / "gunicorn.sock") if name == "gunicorn" else ""
        return Client(self._ports.get(name, 0), unix=unix)

    def _command(self, name: str) -> list[str]:
        port = self._ports.get(name, 0)
        if name == "nginx":
            (self.folder / "nginx").mkdir()
            (self.folder / "nginx" / "big").write_bytes(BIG)
            (self.folder / "nginx" / "page.txt").write_text("line\n" * 1000)
            configuration = self.folder / "nginx.conf"
            configuration.write_text(NGINX.replace("FOLDER", str(self.folder)).replace("PORT", str(port)))
            return [need("nginx"), "-c", str(configuration), "-e", str(self.folder / "error.log")]
        if name == "gunicorn":
            pytest.importorskip("gunicorn")
            bind = f"unix:{self.folder}/gunicorn.sock"
            return [sys.executable, "-m", "gunicorn", "--bind", bind, "--chdir", str(APPS), "flask_app:app"]
        if name == "uvicorn":
            pytest.importorskip("uvicorn")
            where = ["--port", str(port), "--app-dir", str(APPS)]
            return [sys.executable, "-m", "uvicorn", *where, "starlette_app:app"]
        return [need("node"), str(APPS / "node_app.mjs"), str(port)]

    def both(self, name: str, data: bytes, method: bytes = b"GET") -> tuple[Answer, Answer]:
        """The reply without and with the gateway between."""
        self.start(name)
        with self.direct(name) as client:
            direct = client.send(data).reply(method)
        return direct, exchange(self.gateway.port, data, method=method, most=1).replies[0]


@contextmanager
def running(command: list[str], written: Path) -> Iterator[None]:
    with written.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stock-")))
        folder.chmod(0o755)  # started by root, nginx reads as another user
        ports = {name: free_port() for name in ("nginx", "uvicorn", "node")}
        routes = ROUTES.replace("FOLDER", str(folder))
        for name, port in ports.items():
            routes = routes.replace(f":{name.upper()}", f":{port}")
        gateway = stack.enter_context(run_gateway(routes))
        yield Stock(gateway, folder, ports, stack)


def same(direct: Answer, through: Answer, *names: bytes) -> None:
    """Equal for the client, as far as it can matter to it."""
    assert (through.status, through.whole) == (direct.status, True)
    assert through.body == direct.body
    for name in (b"content-type", b"set-cookie", *names):
        assert through.values(name) == direct.values(name), name


@pytest.mark.parametrize("name", APPLICATIONS)
class TestApplications:
    def test_a_page(self, stock: Stock, name: str) -> None:
        data = request(f"/{name}/hello?a=1&b=%2F", b"X-Forwarded-For: 127.0.0.1", b"Accept: */*")
        direct, through = stock.both(name, data)
        same(direct, through, b"content-length")
        assert b'"a=1&b=%2F"' in through.body and len(through.values(b"set-cookie")) == 2

    def test_a_user_that_the_client_made_up(self, stock: Stock, name: str) -> None:
        _, through = stock.both(name, request(f"/{name}/hello", b"X-User-Id: root"))
        assert b"root" not in through.body and b"null" in through.body

    def test_the_head_of_a_page(self, stock: Stock, name: str) -> None:
        data = request(f"/{name}/hello", b"X-Forwarded-For: 127.0.0.1", method=b"HEAD")
        direct, through = stock.both(name, data, b"HEAD")
        assert (through.status, through.body) == (direct.status, b"") == (200, b"")
        assert through.values(b"content-length") == direct.values(b"content-length")

    def test_a_body_of_known_length(self, stock: Stock, name: str) -> None:
        data = request(f"/{name}/echo", b"Content-Type: application/x-bits", method=b"POST", body=BIG)
        same(*stock.both(name, data, b"POST"))

    def test_a_chunked_body(self, stock: Stock, name: str) -> None:
        head = request(
            f"/{name}/echo", b"Content-Type: text/x", b"Transfer-Encoding: chunked", method=b"POST"
        )
        data = head + chunked(b"some", b"thing" * 20_000, b"!")
        direct, through = stock.both(name, data, b"POST")
        same(direct, through)
        assert through.body == b"some" + b"thing" * 20_000 + b"!"

    def test_a_stream(self, stock: Stock, name: str) -> None:
        direct, through = stock.both(name, request(f"/{name}/stream"))
        same(direct, through, b"transfer-encoding")
        assert through.body.count(b"part") == 5

    def test_no_content(self, stock: Stock, name: str) -> None:
        direct, through = stock.both(name, request(f"/{name}/empty"))
        assert (through.status, through.body) == (direct.status, direct.body) == (204, b"")
        assert through.values(b"content-length") == through.values(b"transfer-encoding") == []

    def test_its_own_errors(self, stock: Stock, name: str) -> None:
        for path, status in (("broken", 500), ("nowhere", 404)):
            direct, through = stock.both(name, request(f"/{name}/{path}"))
            same(direct, through)
            assert through.status == status

    def test_many_requests_on_one_connection(self, stock: Stock, name: str) -> None:
        stock.start(name)
        with Client(stock.gateway.port) as client:
            for number in range(50):
                if number % 3:
                    reply = client.send(request(f"/{name}/hello?n={number}")).reply()
                    assert reply.status == 200 and b'"n=%d"' % number in reply.body
                else:
                    data = request(
                        f"/{name}/echo", b"Content-Type: a/b", method=b"POST", body=b"%d" % number * number
                    )
                    assert client.send(data).reply(b"POST").body == b"%d" % number * number

    def test_pipelined_requests(self, stock: Stock, name: str) -> None:
        stock.start(name)
        with Client(stock.gateway.port) as client:
            client.send(b"".join(request(f"/{name}/hello?n={number}") for number in range(10)))
            bodies = [client.reply().body for _ in range(10)]
        assert all(b'"n=%d"' % number in body for number, body in enumerate(bodies))


class TestNginx:
    def test_a_large_file(self, stock: Stock) -> None:
        direct, through = stock.both("nginx", request("/nginx/big"))
        same(direct, through, b"content-length", b"etag", b"last-modified", b"accept-ranges")
        assert through.body == BIG

    def test_a_part_of_it(self, stock: Stock) -> None:
        direct, through = stock.both("nginx", request("/nginx/big", b"Range: bytes=1000-1999"))
        same(direct, through, b"content-range")
        assert (through.status, through.body) == (206, BIG[1000:2000])

    def test_several_parts_of_it(self, stock: Stock) -> None:
        _, through = stock.both("nginx", request("/nginx/big", b"Range: bytes=0-9,100-109"))
        assert through.status == 206 and BIG[100:110] in through.body

    def test_not_modified(self, stock: Stock) -> None:
        _, first = stock.both("nginx", request("/nginx/big", method=b"HEAD"), b"HEAD")
        assert int(first.value(b"content-length")) == len(BIG)
        known = b"If-None-Match: " + first.value(b"etag")
        direct, through = stock.both("nginx", request("/nginx/big", known))
        assert (through.status, through.body) == (direct.status, direct.body) == (304, b"")
        assert through.values(b"etag") == direct.values(b"etag")

    def test_compressed_and_chunked(self, stock: Stock) -> None:
        direct, through = stock.both("nginx", request("/nginx/page.txt", b"Accept-Encoding: gzip"))
        same(direct, through, b"content-encoding", b"transfer-encoding", b"vary")
        assert through.value(b"content-encoding") == b"gzip"

    def test_its_own_errors(self, stock: Stock) -> None:
        for data, status in (
            (request("/nginx/nothing"), 404),
            (request("/nginx/big", method=b"POST", body=b"no"), 405),
        ):
            direct, through = stock.both("nginx", data)
            same(direct, through)
            assert through.status == status

    def test_many_requests_on_one_connection(self, stock: Stock) -> None:
        stock.start("nginx")
        with Client(stock.gateway.port) as client:
            for number in range(60):
                first = number * 7
                reply = client.send(request("/nginx/big", b"Range: bytes=%d-%d" % (first, first + 5))).reply()
                assert reply.body == BIG[first : first + 6]
