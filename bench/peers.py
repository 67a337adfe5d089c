"""The gateways that are compared, each set to the same job, and the upstream they all stand before."""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from bench import measure

ROOT = Path(__file__).resolve().parent.parent

REPLY = (
    '{"order":42,"state":"shipped","items":[{"sku":"A-1009","n":2},{"sku":"B-2210","n":1}],"note":"'
    + "x" * 104
    + '"}'
)

# What both sides do to every request and reply: the headers a gateway writes, and Postern's `standard` set.
ROUTES = """
version: 1
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
workers: 1
access_log: {{to: {log}}}
upstreams: {{app: http://127.0.0.1:{upstream}}}
routes:
  - name: orders
    match: {{path: /api/**}}
    upstream: app
    policies:
{judging}      security_headers: standard
      request_headers: {{set: {{X-Tenant: acme}}, remove: [X-Debug]}}
      response_headers: {{set: {{X-Served-By: gateway}}, remove: [Server]}}
"""

# What Postern judges beyond who it is.
JUDGING = """
      bind: {address: prefix, agent: family, on_mismatch: step_up}
      require: {roles: [user]}
      rate_limit: {name: orders-user, limit: 6000/minute, key: user}
""".lstrip("\n")

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/{name}.pid;
error_log {folder}/{name}.error.log;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/{name}.tmp; proxy_temp_path {folder}/{name}.tmp;
  fastcgi_temp_path {folder}/{name}.tmp; uwsgi_temp_path {folder}/{name}.tmp;
  scgi_temp_path {folder}/{name}.tmp;
  keepalive_requests 1000000000;
  {body}
}}
"""

UPSTREAM = """
  access_log off;
  server {{
    listen 127.0.0.1:{port}; default_type application/json;
    location / {{ return 200 '{reply}'; }}
    location = /authorize {{ return 204; }}
  }}
"""

PROXY = """
  access_log {log};
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /api/ {{
      {auth}
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Tenant acme;
      proxy_set_header X-Debug "";
      add_header X-Served-By gateway always;
      add_header X-Content-Type-Options nosniff always;
      add_header X-Frame-Options DENY always;
      add_header Content-Security-Policy "frame-ancestors 'none'" always;
      add_header Referrer-Policy strict-origin-when-cross-origin always;
      add_header Permissions-Policy "camera=(), geolocation=(), microphone=()" always;
      add_header Cross-Origin-Opener-Policy same-origin always;
    }}
    {authorizer}
  }}
"""

AUTH = """auth_request /authorize;
      auth_request_set $user $upstream_http_x_user_id;
      proxy_set_header X-User-Id $user;
"""
# Who uses auth_request must run an authorizer: here the cheapest there is, a static answer of nginx itself.
AUTHORIZER = """
    location = /authorize {{
      internal;
      proxy_pass http://{asked};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-URI $request_uri;
    }}
"""
OWN_AUTHORIZER = """
  upstream authorizer {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; access_log off; location / {{ return 204; }} }}
"""


class Peer(NamedTuple):
    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path | None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_upstream(nginx: str, folder: Path) -> Peer:
    port = free_port()
    return start_conf(nginx, folder, "upstream", UPSTREAM.format(port=port, reply=REPLY), port, None)


def start_nginx(nginx: str, folder: Path, upstream: int, name: str, authorizer: str, logged: bool) -> Peer:
    """`authorizer`: none ("no"), in the same process ("own"), or with the upstream ("elsewhere")."""
    port = free_port()
    slug = name.replace(" ", "-").replace(",", "")
    log = folder / f"{slug}.access.log"
    body = PROXY.format(
        port=port,
        upstream=upstream,
        log=log if logged else "off",
        auth="" if authorizer == "no" else AUTH,
        authorizer=""
        if authorizer == "no"
        else AUTHORIZER.format(asked="authorizer" if authorizer == "own" else "app"),
    )
    if authorizer == "own":
        body += OWN_AUTHORIZER.format(port=free_port())
    return start_conf(nginx, folder, name, body, port, log if logged else None)


def start_conf(nginx: str, folder: Path, name: str, body: str, port: int, log: Path | None) -> Peer:
    slug = name.replace(" ", "-").replace(",", "")
    conf = folder / f"{slug}.conf"
    conf.write_text(NGINX.format(folder=folder, name=slug, body=body))
    early = folder / f"{slug}.error.log"
    command = [nginx, "-e", str(early), "-p", str(folder), "-c", str(conf)]
    return Peer(name, port, subprocess.Popen(command, start_new_session=True), log)


def start_postern(
    programs: Path, folder: Path, upstream: int, more: str = "", judging: str = JUDGING
) -> Peer:
    """With the sessions that the tokens in `folder` are of, in its own SQLite file; `more` is YAML."""
    port, log = free_port(), folder / "postern.access.log"
    secret = secrets.token_urlsafe(32)
    url = f"sqlite:{folder}/postern.db"
    own = {"POSTERN_SECRET": secret, "DATABASE_URL": url, "POSTERN_DATA": str(folder)}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    fill = [str(programs / "python"), str(ROOT / "bench/people.py"), url, str(measure.TOKENS)]
    subprocess.run([*fill, str(folder / measure.TOKENS_FILE)], env=environment, check=True)
    routes = folder / "routes.yaml"
    own_routes = ROUTES.format(port=port, admin=free_port(), upstream=upstream, log=log, judging=judging)
    routes.write_text(own_routes + more)
    out = (folder / "postern.out").open("wb")
    command = [str(programs / "postern"), "run", "-c", str(routes)]
    process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    return Peer("Postern", port, process, log)


def check(peer: Peer, token: str) -> None:
    """It answers, with the upstream's bytes and the headers that were asked of it; Postern only who has a
    good token."""
    reply, body = ask(peer, token)
    if (reply.status, body) != (200, REPLY):
        sys.exit(f"{peer.name} answers {reply.status}: {body[:500]}")
    if peer.name != "upstream":
        for name in ("X-Served-By", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
            if not reply.headers.get(name):
                sys.exit(f"{peer.name} does not set {name}: the jobs are not equal")
    if peer.name == "Postern" and ask(peer, token[:-1])[0].status != 401:
        sys.exit("Postern lets an unknown token pass")


def ask(peer: Peer, token: str) -> tuple[http.client.HTTPResponse, str]:
    """One request, as soon as the peer is ready."""
    deadline = time.monotonic() + 20
    headers = {"Authorization": f"Bearer {token}", "User-Agent": measure.AGENT}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=5)
        try:
            connection.request("GET", "/api/orders/42", headers=headers)
            reply = connection.getresponse()
            if reply.status != 503 or time.monotonic() > deadline:
                return reply, reply.read().decode()
        except OSError:
            if peer.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{peer.name} did not start; its output is in build/bench")
        finally:
            connection.close()
        time.sleep(0.05)


def stop(peer: Peer) -> None:
    peer.process.send_signal(signal.SIGTERM)
    try:
        peer.process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(peer.process.pid, signal.SIGKILL)
        peer.process.wait()
