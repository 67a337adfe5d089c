"""The admin listener: health, metrics, the configuration in force, reload; WSGI in threads of its own."""

import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, Protocol, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from gateway import admin_pages, admin_token
from gateway.config.snapshot import Listen, Snapshot
from gateway.model.headers import is_request_id
from gateway.model.metrics import Sample
from gateway.service_log import ServiceLog
from gateway.sockets import open_one
from gateway.status import Node, Result, Status

PLACES = 16  # connections served at the same time
READ_WITHIN = 5.0  # seconds for one read or write
OVER_WITHIN = 15.0  # for a whole exchange
RELOAD_WITHIN = 90.0
COLLECT_WITHIN = 1.0  # for the workers' counters
REQUESTS = "/requests/"
OPEN_TO_ALL = frozenset({"/live", "/ready", "/health", "/metrics"})
HEADERS = [("Server", "postern"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]

Page = tuple[int, str, bytes]  # status, content type, body


class Desk(Protocol):
    """What the admin listener asks the supervisor; every method may be called from any thread."""

    @property
    def status(self) -> Status: ...

    def collect(self, timeout: float) -> list[Sample]: ...

    def find(self, request_id: str, timeout: float) -> list[bytes]: ...

    def reload(self, timeout: float) -> Result: ...

    def snapshot(self) -> Snapshot: ...

    def node(self) -> Node: ...


class Admin:
    """Listens from its making on; answers from `start` on, until the process ends."""

    def __init__(self, desk: Desk, listen: Listen, data: str, log: ServiceLog) -> None:
        self._sock, self._path = open_one(listen, "admin")
        port = 0 if listen.path else self._sock.getsockname()[1]
        self.address = str(listen if listen.path else msgspec.structs.replace(listen, port=port))
        self._server = _Server(self._sock, App(desk, admin_token.make(data, log), log))
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The process is about to end, and with it the threads: nothing to wait for."""
        self._sock.close()
        if self._path is not None:
            self._path.remove()


class App:
    """The WSGI application."""

    def __init__(self, desk: Desk, token: str, log: ServiceLog) -> None:
        self._desk, self._token, self._log = desk, token.encode(), log
        self._pages: dict[tuple[str, str], Callable[[], Page]] = {
            ("GET", "/live"): lambda: _json(200, {"live": True}),
            ("GET", "/ready"): self._ready,
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/cluster/status"): self._cluster,
            ("GET", "/routes"): lambda: _json(200, admin_pages.routes(desk.snapshot())),
            ("GET", "/config"): lambda: _json(200, admin_pages.configuration(desk.snapshot())),
            ("POST", "/reload"): self._reload,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = str(environ["REQUEST_METHOD"]), str(environ.get("PATH_INFO", ""))
        extra: list[tuple[str, str]] = []
        try:
            status, kind, body = self._answer(method, path, str(environ.get("HTTP_AUTHORIZATION", "")), extra)
        except Exception as error:
            self._log.error("the admin listener failed", path=path, error=repr(error))
            status, kind, body = _json(500, {"error": "the gateway failed; see its service log"})
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *HEADERS, *extra]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [] if method == "HEAD" else [body]

    def _answer(self, method: str, path: str, authorization: str, extra: list[tuple[str, str]]) -> Page:
        if path not in OPEN_TO_ALL and not self._may(authorization):
            extra.append(("WWW-Authenticate", 'Bearer realm="postern admin"'))
            where = "the value of POSTERN_ADMIN_TOKEN, or else what is in data/admin-token"
            return _json(401, {"error": f"send Authorization: Bearer and {where}"})
        method = "GET" if method == "HEAD" else method
        page = self._pages.get((method, path))
        if page is not None:
            return page()
        if method == "GET" and path.startswith(REQUESTS):
            return self._request(path.removeprefix(REQUESTS))
        methods = [known for known, its_path in self._pages if its_path == path]
        if not methods:
            return _json(
                404, {"error": "there is no such page", "pages": sorted({p for _, p in self._pages})}
            )
        extra.append(("Allow", ", ".join(methods)))
        return _json(405, {"error": f"use {methods[0]}"})

    def _may(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("latin-1", "replace")
        return hmac.compare_digest(given, self._token) and scheme.lower() == "bearer"

    def _ready(self) -> Page:
        reasons = self._desk.status.not_ready_because()
        return _json(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})

    def _health(self) -> Page:
        samples = self._desk.collect(COLLECT_WITHIN)
        report = admin_pages.health(self._desk.status, samples)
        return _json(503 if report["status"] == "unavailable" else 200, report)

    def _cluster(self) -> Page:
        samples = self._desk.collect(COLLECT_WITHIN)
        return _json(200, admin_pages.cluster(self._desk.status, samples, self._desk.node()))

    def _metrics(self) -> Page:
        samples = self._desk.collect(COLLECT_WITHIN)
        # Imported when it is first asked for: who does not scrape does not pay its memory.
        from gateway import metrics_page

        return 200, metrics_page.CONTENT_TYPE, metrics_page.render(samples, self._desk.status)

    def _request(self, request_id: str) -> Page:
        known = is_request_id(request_id.encode())
        lines = self._desk.find(request_id, COLLECT_WITHIN) if known else []
        if not lines:
            return _json(404, {"error": "no line of this request is kept here (any more)"})
        return _json(200, {"requests": [msgspec.json.decode(line) for line in lines]})

    def _reload(self) -> Page:
        result = self._desk.reload(RELOAD_WITHIN - 10)
        return _json(200 if result.loaded else 422, msgspec.to_builtins(result))


class _Handler(WSGIRequestHandler):
    timeout = READ_WITHIN

    def get_environ(self) -> WSGIEnvironment:
        if self.path == "/reload":  # the head has been read, so a slow client is not what takes long
            cast(_Server, self.server).extend(self.connection, RELOAD_WITHIN)
        return super().get_environ()

    def address_string(self) -> str:
        return str(self.client_address[0])

    def get_stderr(self) -> Any:
        return _Nowhere()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Nowhere:
    """Takes what wsgiref would print of clients that went away."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    """One thread per connection, so many at most; the one held longest goes when a new one finds no place."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, sock: socket.socket, app: App) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.server_name, self.server_port = "postern", 0
        self.setup_environ()
        self.set_app(app)
        self._places = threading.Semaphore(PLACES)
        self._held: dict[socket.socket, float] = {}  # until when; changed only under the lock
        self._lock = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = self.socket.accept()
        return sock, address or ("unix", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self._end_first()
            if not self._places.acquire(timeout=0.2):
                self.shutdown_request(request)
                return
        with self._lock:
            self._held[request] = time.monotonic() + OVER_WITHIN
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._held.pop(request, None)
            self._places.release()

    def extend(self, request: socket.socket, seconds: float) -> None:
        with self._lock:
            self._held[request] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """Called twice a second: ends what takes too long, however busily it trickles."""
        now = time.monotonic()
        with self._lock:
            for sock, until in self._held.items():
                if until < now:
                    _break(sock)

    def _end_first(self) -> None:
        with self._lock:
            if self._held:
                _break(min(self._held, key=lambda sock: self._held[sock]))

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away, or was too slow; what fails in the application is logged there


def _break(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _json(status: int, value: object) -> Page:
    return status, "application/json", msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
