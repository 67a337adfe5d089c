"""The demo: the gateway before a small backend that shows the headers it was given; 127.0.0.1 only."""

import errno
import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gateway.admin_token import data_folder
from gateway.service_log import ServiceLog
from gateway.supervisor import Options, Supervisor

VARIABLE = "POSTERN_DEMO_PORT"
USUAL_PORT = 4000

ROUTES = """\
# Written by `postern demo` at each start.
version: 1
service: demo
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
workers: 1
drain: {{delay: 0s, timeout: 5s}}
access_log: {{to: {access_log}}}
upstreams: {{demo: "http://127.0.0.1:{backend}"}}
routes:
  - {{name: public, match: {{path: /public/**}}, upstream: demo, policies: {{authenticate: none}}}}
  - {{name: private, match: {{path: /private/**}}, upstream: demo}}
"""

# what to try, and what it shows
TRIES = (
    (
        "curl -H 'X-User-Id: boss' http://127.0.0.1:{port}/public/hello",
        "the headers that the backend was given: the forged X-User-Id is not among them",
    ),
    (
        "curl -i http://127.0.0.1:{port}/private/hello",
        "401: this route wants a sign-in, and the backend was not asked",
    ),
    (
        "curl -i --path-as-is http://127.0.0.1:{port}/public/../private/hello",
        "400: two programs could read this path differently",
    ),
)


def run_demo() -> int:
    """Run it until Ctrl-C; the exit code."""
    try:
        port = _port()
    except ValueError as error:
        print(f"postern: {error}", file=sys.stderr)
        return 1
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    backend.daemon_threads = True
    threading.Thread(target=backend.serve_forever, name="backend", daemon=True).start()
    try:
        return _run_gateway(port, _write_routes(port, backend.server_address[1]))
    except _NotWritable as error:
        print(f"postern: {error}", file=sys.stderr)
        return 1
    finally:
        backend.shutdown()
        backend.server_close()


class Backend(BaseHTTPRequestHandler):
    """Answers every request with what it was given."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "demo-backend", ""
    timeout = 60

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers.items())}
        body = json.dumps({"the backend was given": seen}, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _NotWritable(Exception):
    pass


def _write_routes(port: int, backend: int) -> str:
    """The folder in which they are: one for each port, so that two demos leave each other's alone."""
    folder = os.path.join(os.path.abspath(data_folder()), "demo" if port == USUAL_PORT else f"demo-{port}")
    access_log = json.dumps(os.path.join(folder, "access.log"))  # a JSON string is a YAML string
    text = ROUTES.format(port=port, admin=port + 1, access_log=access_log, backend=backend)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(os.path.join(folder, "routes.yaml"), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        why = f"the demo can't write its files in {folder} ({error.strerror})"
        raise _NotWritable(f"{why}; choose another folder: POSTERN_DATA=FOLDER make demo") from None
    return folder


def _run_gateway(port: int, folder: str) -> int:
    routes = os.path.join(folder, "routes.yaml")
    access_log = os.path.join(folder, "access.log")

    def ready() -> None:
        print(_welcome(port, routes, access_log), flush=True)

    log = ServiceLog(quiet=True)
    return Supervisor(Options(routes=routes, data=folder, on_ready=ready), log).run()


def _welcome(port: int, routes: str, access_log: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    bold, green, dim, end = ("",) * 4 if plain else ("\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m")
    lines = ["", f"{bold}Postern is ready on http://127.0.0.1:{port}{end}. In another terminal, try:", ""]
    for command, shows in TRIES:
        lines += [f"  {green}{command.format(port=port)}{end}", f"    {dim}{shows}{end}", ""]
    lines += [
        f"Its routes: {routes} (change the file: it is loaded at once)",
        f"Its access log: {access_log}",
        f"Health and metrics: http://127.0.0.1:{port + 1}/health and /metrics",
        f"{bold}Ctrl-C{end} stops all of it.",
    ]
    return "\n".join(lines)


def _port() -> int:
    """The port to listen on, if it and the next one (for the admin listener) are free."""
    text = os.environ.get(VARIABLE) or str(USUAL_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65534:
        raise ValueError(f"{VARIABLE} is {text!r}; it must be a port from 1 to 65534")
    port = int(text)
    for each in (port, port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", each))
            except OSError as error:
                raise ValueError(_why_not(error, each)) from None
    return port


def _why_not(error: OSError, port: int) -> str:
    another = f"choose another: {VARIABLE}=4100 make demo (it takes that port and the next one)"
    if error.errno == errno.EADDRINUSE:
        return f"the demo wants port {port}, which another program has. Either stop that one, or {another}"
    return f"the demo can't listen on port {port} ({error.strerror}); {another}"
