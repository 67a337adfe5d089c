"""Own classes in the running gateway: their order, what they see, and that nothing fails open."""

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.kit.gateway import REPOSITORY
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, register
from tests.kit.raw import exchange, request
from tests.kit.scripts import answer, chunked
from tests.kit.world import run_world

KEY = f"k{secrets.token_hex(16)}"
ACTOR = "tests.kit.plugins:Actor"
ROUTES = f"""
upstreams: {{app: "URL"}}
defaults:
  policies:
    cors: {{origins: ["https://page.test"]}}
    plugins:
      - {{class: "{ACTOR}", phase: before_auth, settings: {{mark: b1}}}}
      - {{class: "{ACTOR}", phase: after_auth, settings: {{mark: a1, later: true}}}}
      - {{class: "{ACTOR}", phase: before_auth, settings: {{mark: b2, later: true}}}}
      - {{class: "{ACTOR}", phase: after_auth, settings: {{mark: a2}}}}
routes:
  - {{name: all, match: {{path: /all}}, upstream: app}}
  - {{name: open, match: {{path: /open}}, upstream: app, policies: {{authenticate: none}}}}
  - name: at-once
    match: {{path: /at-once}}
    upstream: app
    policies: {{authenticate: none, plugins: [{{class: "{ACTOR}", settings: {{mark: x}}}}]}}
  - name: later
    match: {{path: /later}}
    upstream: app
    policies: {{authenticate: none, plugins: [{{class: "{ACTOR}", settings: {{mark: x, later: true}}}}]}}
  - name: after
    match: {{path: /after}}
    upstream: app
    policies: {{plugins: [{{class: "{ACTOR}", settings: {{mark: x}}}}]}}
  - name: report
    match: {{path: /report}}
    upstream: app
    mode: report
    policies: {{authenticate: none, plugins: [{{class: "{ACTOR}", settings: {{mark: x, later: true}}}}]}}
  - name: keeps
    match: {{path: /keeps}}
    upstream: app
    policies:
      authenticate: none
      plugins: [{{class: "tests.kit.plugins:Keeps", settings: {{key: "${{PLUGIN_KEY}}"}}}}]
  - name: answered
    match: {{path: /answered}}
    answer: {{status: 200, body: from the gateway}}
    policies: {{plugins: [{{class: "{ACTOR}", phase: before_auth, settings: {{mark: x}}}}]}}
"""


@pytest.fixture(scope="module")
def acting() -> Iterator[IdentityWorld]:
    """Two workers. The plugins fail on purpose, so the log has tracebacks."""
    with run_identity_gateway(ROUTES, env={"PLUGIN_KEY": KEY}, check=False) as world:
        world.ledger.note("the plugin's key", KEY)
        yield world
        assert all(each["restarts"] == 0 for each in workers(world)), "a plugin ended a worker"


@pytest.fixture(scope="module")
def somebody(acting: IdentityWorld) -> Person:
    return register(acting)


@pytest.fixture(autouse=True)
def fresh(acting: IdentityWorld) -> None:
    acting.upstream.clear()


def workers(world: IdentityWorld) -> list[dict[str, int]]:
    listed: list[dict[str, int]] = json.loads(world.gateway.ask("/health").body)["parts"]["workers"]
    return listed


def do(what: str) -> bytes:
    return b"X-Do: " + what.encode()


def test_they_run_in_their_phases_and_in_the_order_of_the_list(somebody: Person) -> None:
    """Before authentication nobody is known; after it the user is. Replies come back the other way."""
    reply = somebody.get("/all", b"X-Drop-a1: secret", b"X-Drop-c: kept")
    seen = somebody.world.seen
    user = somebody.user_id.encode()
    assert seen.values(b"x-mark") == [b"b1/-", b"b2/-", b"a1/" + user, b"a2/" + user]
    assert reply.values(b"x-seen") == [b"a2:200", b"a1:200", b"b2:200", b"b1:200"]
    assert seen.values(b"x-drop-a1") == [] and seen.values(b"x-drop-c") == [b"kept"]
    assert seen.values(b"x-user-id") == [user]


def test_before_authentication_is_before_it_and_after_is_after(acting: IdentityWorld) -> None:
    assert acting.get("/all", do("refuse")).status == 403
    assert acting.get("/all").status == 401
    assert acting.get("/after", do("refuse")).status == 401
    assert acting.upstream.requests == []


def test_a_refusal_is_its_own_and_a_page_may_read_it(acting: IdentityWorld) -> None:
    reply = acting.get("/open", do("refuse"), b"Origin: https://page.test")
    assert (reply.status, reply.code) == (403, "not_today")
    assert json.loads(reply.body)["detail"] == "Ask again tomorrow."
    assert reply.value(b"retry-after") == b"9"
    assert reply.value(b"access-control-allow-origin") == b"https://page.test"
    logged = acting.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert (logged["code"], logged["verdicts"]) == (
        "not_today", [{"policy": "actor-b1", "code": "not_today"}],
    )  # fmt: skip
    assert acting.gateway.metrics()['postern_refusals_total{code="not_today",route="open"}'] >= 1
    assert acting.upstream.requests == []


@pytest.mark.parametrize("route", ["/at-once", "/later"])
def test_an_answer_of_its_own(acting: IdentityWorld, route: str) -> None:
    reply = acting.get(route, do("answer"))
    assert (reply.status, reply.body) == (200, b"from the plugin")
    assert acting.get(route, do("kindly")).value(b"location") == b"/elsewhere"
    assert acting.upstream.requests == []


def test_routes_without_an_upstream_have_them_too(acting: IdentityWorld) -> None:
    assert acting.get("/answered").values(b"x-seen") == [b"x:200"]
    assert acting.get("/answered", do("refuse")).status == 403


@pytest.mark.parametrize("route", ["/at-once", "/later"])
@pytest.mark.parametrize("what", ["raise", "exit", "cancel", "true", "false", "ok", "half", "smuggle"])
def test_T18_whatever_goes_wrong_refuses(acting: IdentityWorld, route: str, what: str) -> None:
    reply = acting.get(route, do(what))
    assert (reply.status, reply.code) == (500, "policy_crashed")
    assert acting.upstream.requests == []
    logged = acting.gateway.wait_logged(reply.value(b"x-request-id").decode())
    assert logged["verdicts"] == [{"policy": "actor-x", "code": "policy_crashed"}]
    assert acting.get(route).status == 200  # and only that one


@pytest.mark.parametrize("what", ["raise-back", "unframe", "split", "bodyless"])
def test_T18_nothing_of_the_reply_gets_through_when_it_fails_on_the_way_back(
    acting: IdentityWorld, what: str
) -> None:
    secret = b"what the backend said"
    line = b"X-Secret: very"
    scripts = [answer(secret, line), answer(secret * 5000, line), chunked(secret, lines=[line])]
    for script in scripts[: 2 if what == "unframe" else 3]:  # a chunked reply has no length to lose
        acting.upstream.reply(script)
        reply = acting.get("/open", do(what))
        assert (reply.status, json.loads(reply.body)["code"]) == (500, "policy_crashed")
        assert secret not in reply.body and reply.values(b"x-secret") == []
    answered = acting.get("/answered", do(what))
    assert answered.status == (200 if what == "unframe" else 500)


def test_the_connection_is_still_good_after_it_failed(acting: IdentityWorld) -> None:
    """Nobody reads the rest of one reply as the next."""
    acting.upstream.reply(answer(b"HTTP/1.1 200 OK\r\nX-Fake: 1\r\n\r\n" * 40))
    wanted = [request("/open", do("raise-back")), request("/open", b"Connection: close")]
    for data in (wanted, [b"".join(wanted)]):
        assert exchange(acting.port, data).statuses == [500, 200]


def test_report_mode_writes_down_what_a_plugin_would_refuse(acting: IdentityWorld) -> None:
    for what, code in (("refuse", "not_today"), ("raise", "policy_crashed"), ("kindly", "origin_refused")):
        reply = acting.get("/report", do(what))
        assert reply.status == 200
        logged = acting.gateway.wait_logged(reply.value(b"x-request-id").decode())
        assert logged["verdicts"] == [{"policy": "actor-x", "code": code}]


def test_T25_a_plugins_secret_is_shown_nowhere(acting: IdentityWorld) -> None:
    """It works; what the gateway says of itself is searched for it when the gateway ends."""
    assert acting.get("/keeps", b"X-Key: " + KEY.encode()).status == 200
    assert acting.get("/keeps").status == 403
    [shown] = [
        route["policies"]["plugins"]["classes"]
        for route in json.loads(acting.gateway.ask("/config").body)["routes"]
        if route["name"] == "keeps"
    ]
    assert shown == [
        {"class": "tests.kit.plugins:Keeps", "phase": "after_auth", "settings": {"key": "(hidden)"}}
    ]
    assert KEY not in acting.postern("routes", "--json")
    before = json.loads(acting.gateway.ask("/health").body)["parts"]["config"]["hash"]
    assert before == json.loads(acting.postern("check", "--json"))["config"]


PACKAGE = REPOSITORY / "examples/plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as its reader installs it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, "--target", str(folder), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def billing(left: dict[str, int]) -> Iterator[tuple[str, list[str]]]:
    """A service that knows what is left of a quota, and who was asked about."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.rpartition("/")[2])
            known = asked[-1] in left
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"left": left.get(asked[-1])}).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_the_example_package_works_as_its_routes_name_it(installed: Path) -> None:
    """By the names of its entry points; with a billing that is asked."""
    left: dict[str, int] = {}
    with billing(left) as (url, asked):
        text = (PACKAGE / "routes.yaml").read_text().replace("http://127.0.0.1:5001", url)
        text = text.replace("http://127.0.0.1:5000", "URL").replace("[127.0.0.1, 10", "[127.0.0.5, 10")
        env = {"PYTHONPATH": str(installed)}
        with run_identity_gateway(text.partition("version: 1\n")[2], env=env) as world:
            closed = world.get("/")
            assert (closed.status, closed.code, closed.value(b"retry-after")) == (503, "maintenance", b"300")
            assert world.get("/", source="127.0.0.5").status == 200
            assert world.get("/orders/1").status == 401
            anna, bert, carl = (register(world) for _ in range(3))
            left |= {anna.user_id: 2, bert.user_id: 0}
            assert [anna.get("/orders/1").status for _ in range(6)] == [200] * 6
            assert world.seen.values(b"x-quota-left") == [b"2"]
            assert 1 <= asked.count(anna.user_id) <= 2  # once in each worker
            for person, status, code in ((bert, 402, "quota_used_up"), (carl, 503, "quota_unknown")):
                refused = person.get("/orders/1")
                assert (refused.status, refused.code) == (status, code)


NOTES = """
from gateway.model.verdict import Reply
class {name}:
    def __init__(self, settings, ports): self.note = settings["note"].encode()
    def on_response(self, exchange, reply: Reply): reply.headers.append((b"X-Note", self.note + b"{code}"))
"""
NOTED = """
upstreams: {app: "URL"}
routes:
  - name: app
    match: {path: /**}
    upstream: app
    policies: {authenticate: none, plugins: [{class: "notes:CLASS", settings: {note: "TEXT"}}]}
"""


def test_a_reload_takes_new_settings_and_a_restart_new_code(tmp_path: Path) -> None:
    """What a worker can't make, it refuses whole: all of them keep what they had."""
    code = tmp_path / "notes.py"
    code.write_text(NOTES.format(name="Notes", code="1"))
    with run_world(
        NOTED.replace("CLASS", "Notes").replace("TEXT", "a"), workers=2, env={"PYTHONPATH": str(tmp_path)}
    ) as world:
        routes = NOTED.replace("URL", world.upstream.url)

        def notes() -> set[bytes]:
            return {world.get("/").value(b"x-note") for _ in range(12)}

        def reload(name: str, text: str) -> tuple[int, str]:
            reply = world.gateway.reload(routes.replace("CLASS", name).replace("TEXT", text))
            return reply.status, reply.body.decode()

        assert notes() == {b"a1"}
        assert reload("Notes", "b")[0] == 200
        assert notes() == {b"b1"}
        code.write_text(NOTES.format(name="Others", code="2"))  # the check finds what the workers don't have
        status, faults = reload("Others", "c")
        assert status == 422 and "notes has no Others" in faults and "restart" in faults
        assert notes() == {b"b1"}
        code.write_text("raise RuntimeError('half of a deployment')")
        status, faults = reload("Notes", "d")
        assert status == 422 and "plugins[0].class: importing notes failed: RuntimeError: half" in faults
        assert notes() == {b"b1"}
        code.write_text(NOTES.format(name="Notes", code="3"))
        world.gateway.stop()
        world.gateway.start()
        assert notes() == {b"d3"}
