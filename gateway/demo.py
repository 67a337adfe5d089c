"""The demo: the gateway before a small backend that shows the headers it was given; 127.0.0.1 only."""

import errno
import json
import os
import secrets
import signal
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gateway.admin_token import data_folder
from gateway.identity.control_client import NAME, ActRefused, ask
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

# what to try, and what it shows; $S is what sign-in answered, and the tokens in it begin with psa_ and psr_
TRIES = (
    (
        "S=$(curl -s {url}/api/auth/login -H 'Content-Type: application/json'"
        """ -d '{{"username": "demo", "password": "{password}"}}'); echo "$S\"""",
        "sign in: an access token, a refresh token, and who it is",
    ),
    (
        "curl -s {url}/private/hello -H 'X-User-Id: boss'"
        """ -H "Authorization: Bearer $(grep -o 'psa_[0-9A-Za-z]*' <<< "$S")\"""",
        "the headers that the backend was given: X-User-* are the gateway's, not the forged one; no token",
    ),
    (
        "S=$(curl -s {url}/api/auth/refresh -H 'Content-Type: application/json'"
        """ -d "{{\\"refresh_token\\": \\"$(grep -o 'psr_[0-9A-Za-z]*' <<< "$S")\\"}}"); echo "$S\"""",
        "refresh: new tokens; asked for twice they are the same, and an older one ends the session",
    ),
    (
        "curl -s -X POST {url}/api/auth/revoke-all-tokens"
        """ -H "Authorization: Bearer $(grep -o 'psa_[0-9A-Za-z]*' <<< "$S")"; echo""",
        "revoke: it answers when every edge has dropped the sessions",
    ),
    (
        """curl -i {url}/private/hello -H "Authorization: Bearer $(grep -o 'psa_[0-9A-Za-z]*' <<< "$S")\"""",
        "401, at once, although the token has not expired",
    ),
)
USER = {"username": "demo", "email": "demo@example.com"}


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
        folder = _write_routes(port, backend.server_address[1])
        _begin_anew(folder)
        return _run_gateway(port, folder)
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


def _begin_anew(folder: str) -> None:
    """No account of an earlier demo, and no setting of the user's: DATABASE_URL may name a real one."""
    from gateway.config.settings import NAMES

    for name in NAMES:
        os.environ.pop(name, None)
    for name in ("postern.db", "postern.db-wal", "postern.db-shm", "secret"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))


def _run_gateway(port: int, folder: str) -> int:
    routes = os.path.join(folder, "routes.yaml")

    def ready() -> None:  # the supervisor's own thread must not wait for an answer
        threading.Thread(target=_welcome, args=(port, folder), name="welcome", daemon=True).start()

    log = ServiceLog(quiet=True)
    return Supervisor(Options(routes=routes, data=folder, on_ready=ready), log).run()


def _welcome(port: int, folder: str) -> None:
    password = secrets.token_urlsafe(12)
    try:
        ask(os.path.join(folder, NAME), "users.add", {**USER, "roles": [], "password": password})
    except (ActRefused, OSError) as error:
        print(f"postern: the demo's user can't be made: {error}", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    print(_text(f"http://127.0.0.1:{port}", port, folder, password), flush=True)


def _text(url: str, port: int, folder: str, password: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    bold, green, dim, end = ("",) * 4 if plain else ("\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m")
    lines = [
        "",
        f"{bold}Postern is ready on {url}{end}. In another terminal (bash or zsh), try in this order:",
        "",
    ]
    for command, shows in TRIES:
        lines += [f"  {green}{command.format(url=url, password=password)}{end}", f"    {dim}{shows}{end}", ""]
    lines += [
        f"Its API: {url}/api/auth, described in {url}/api/auth/openapi.json",
        f"Its user: {USER['username']}, {USER['email']}, password {password}",
        f"Its routes: {os.path.join(folder, 'routes.yaml')} (change the file: it is loaded at once)",
        f"Its access log: {os.path.join(folder, 'access.log')}",
        f"Health and metrics: http://127.0.0.1:{port + 1}/health and /metrics",
        f"{bold}Ctrl-C{end} stops all of it; the next demo begins anew.",
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
