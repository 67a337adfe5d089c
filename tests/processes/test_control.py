"""The control socket: the command line's acts reach the running service, and nobody else's do."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config.service import Password, Service
from gateway.identity import control
from gateway.identity.assembly import assemble, dismantle
from gateway.identity.context import Context
from gateway.identity.control_client import NAME, ActRefused, ask
from gateway.store import accounts
from tests.kit.gateway import REPOSITORY
from tests.processes.supervised import until

CHEAP = Password(memory=8 * 1024, time=1)
ANN = {"email": "Ann@example.com", "username": "ann", "password": "a fine long password of ann"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, and open to other users, so that it is the socket that keeps them out."""
    with tempfile.TemporaryDirectory(prefix="postern-control-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
async def context(folder: Path) -> AsyncIterator[Context]:
    data = str(folder / "data")
    made = await assemble(Service(data=data, database_url=f"sqlite:{data}/postern.db", password=CHEAP))
    yield made
    await dismantle(made)


@pytest.fixture
async def path(context: Context) -> AsyncIterator[str]:
    """Of the control socket of a service that runs."""
    place = Path(context.settings.data) / NAME
    task = asyncio.create_task(control.serve(context, place))
    while not place.exists():
        await asyncio.sleep(0)
    yield str(place)
    task.cancel()
    await asyncio.wait([task])
    assert not place.exists()


async def told(path: str, act: str, **given: Any) -> Any:
    return await asyncio.to_thread(ask, path, act, given)


async def refused(path: str, act: str, **given: Any) -> str:
    with pytest.raises(ActRefused) as caught:
        await told(path, act, **given)
    return str(caught.value)


async def test_only_its_user_may_open_it(path: str) -> None:
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600


@pytest.mark.parametrize(("peer", "own", "may"), [(5, 5, True), (0, 5, True), (6, 5, False), (6, 0, False)])
def test_who_may_command(peer: int, own: int, may: bool) -> None:
    assert control.may_command(peer, own) is may


STRANGER = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b'{"act": "users.list"}\\n')
    print(sock.recv(100))
"""


async def test_a_stranger_who_got_through_the_files_mode_is_not_answered(path: str, folder: Path) -> None:
    if os.getuid() != 0:  # only root can become somebody else; the rule itself is tried above
        return
    os.chmod(folder / "data", 0o755)
    os.chmod(path, 0o666)
    command = [sys.executable, "-c", STRANGER, path]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    broken = "ConnectionResetError" in done.stderr or "BrokenPipeError" in done.stderr
    assert done.stdout == "b''\n" or broken, done


async def test_an_account_is_added_found_and_shown(path: str) -> None:
    added = await told(path, "users.add", **ANN, roles=["admin"])
    assert "password" not in added
    user = added["user"]
    assert (user["email"], user["roles"], user["confirmed"]) == ("Ann@example.com", ["admin", "user"], True)
    for who in (user["user_id"], "ANN", "ann@EXAMPLE.com"):
        assert (await told(path, "users.show", who=who))["user"] == user
    assert (await told(path, "users.list", search="AnN"))["users"] == [user]
    assert (await told(path, "users.list", search="bob"))["users"] == []


async def test_a_password_is_made_when_none_is_given_and_it_signs_in(path: str, context: Context) -> None:
    made = await told(path, "users.add", email="bob@example.com")
    async with context.store.reading() as db:
        row = await db.one("user_by_id", user_id=made["user"]["user_id"])
    assert row is not None
    kept = next(value for value in row if isinstance(value, str) and value.startswith("$argon2id$"))
    assert type(await context.passwords.verify(made["password"], kept)).__name__ == "Matches"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"email": "ann@EXAMPLE.com", "username": ""}, "has an account already"),
        ({"email": "other@example.com"}, "user name is taken"),
        ({"email": "nonsense"}, "e-mail address"),
        ({"email": "b@example.com", "username": "a b"}, "letters"),
        ({"email": "b@example.com", "username": "b12", "password": "short"}, "at least 15"),
        ({"email": "b@example.com", "username": "b12", "roles": ["clerk"]}, "There is no role clerk"),
        ({"email": 5}, "asked for something else"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_done(
    path: str, changes: dict[str, Any], said: str
) -> None:
    await told(path, "users.add", **ANN)
    assert said in await refused(path, "users.add", **{**ANN, **changes})
    assert len((await told(path, "users.list"))["users"]) == 1


async def test_locking_ends_sessions_and_is_settled(path: str) -> None:
    await told(path, "users.add", **ANN)
    locked = await told(path, "users.lock", who="ann", why="left")
    assert locked["user"]["locked_why"] == "left" and locked["user"]["locked"]
    assert locked["propagated"] == {"edges": 0, "acknowledged": 0}
    assert (await told(path, "users.unlock", who="ann"))["user"]["locked"] is None


async def test_an_account_is_confirmed_by_who_runs_the_house(path: str, context: Context) -> None:
    await told(path, "users.add", **ANN)
    async with context.store.writing() as db:
        user = await accounts.by_identifier(db, "ann")
        assert user is not None
        await accounts.save(db, msgspec.structs.replace(user, confirmed=False))
    assert (await told(path, "users.confirm", who="ann"))["user"]["confirmed"] is True
    assert (await told(path, "users.confirm", who="ann"))["user"]["confirmed"] is True
    assert "user.confirmed" in [row.event for row in await context_events(context)]


async def test_roles_come_and_go(path: str) -> None:
    await told(path, "users.add", **ANN)
    assert (await told(path, "users.roles", who="ann", add=["admin"]))["user"]["roles"] == ["admin", "user"]
    await told(path, "users.add", email="bob@example.com", roles=["admin"])
    gone = await told(path, "users.roles", who="ann", remove=["admin", "user"])
    assert gone["user"]["roles"] == [] and gone["propagated"]["edges"] == 0
    assert "does not have the role admin" in await refused(path, "users.roles", who="ann", remove=["admin"])
    assert (await told(path, "users.roles", who="ann"))["user"]["roles"] == []  # asked for nothing: shown


async def test_the_last_admin_stays(path: str) -> None:
    await told(path, "users.add", **ANN, roles=["admin"])
    for act, given in (("users.lock", {}), ("users.roles", {"remove": ["admin"]})):
        assert "Nobody would be left" in await refused(path, act, who="ann", **given)


async def test_what_is_done_is_in_the_audit_trail(path: str, context: Context) -> None:
    user = (await told(path, "users.add", **ANN))["user"]["user_id"]
    await told(path, "users.lock", who="ann", why="left")
    await told(path, "users.unlock", who="ann")
    await told(path, "users.roles", who="ann", add=["admin"])
    await told(path, "keys.rotate")
    rows = await context_events(context)
    assert [(row.event, row.actor) for row in rows if row.user_id == user] == [
        (event, "command line")
        for event in ("user.registered", "user.locked", "user.unlocked", "user.roles_changed")
    ]
    assert rows[-1].event == "keys.rotated"


class Event(msgspec.Struct):
    event: str
    user_id: str
    actor: str


async def context_events(context: Context) -> list[Event]:
    """In the order in which they happened."""
    import sqlite3

    file = context.settings.database_url.removeprefix("sqlite:")
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT event, user_id, actor FROM events ORDER BY id").fetchall()
    connection.close()
    return [Event(*row) for row in found]


@pytest.mark.parametrize(
    "act", ["sessions.revoke", "users.show", "users.lock", "users.roles", "sessions.list"]
)
async def test_nobody_is_nobody(path: str, act: str) -> None:
    assert "nobody here is 'ghost'" in await refused(path, act, who="ghost")


async def test_a_session_that_is_not_there_is_told(path: str) -> None:
    assert "no such session" in await refused(path, "sessions.revoke", session="nonsense")


@pytest.mark.parametrize(
    ("token", "kind", "why"),
    [
        ("hello", "unknown", "no token of Postern's"),
        ("psk_" + "a" * 48, "API key", "a typo"),
        ("psa_" + "a" * 48, "access token", "a typo"),
    ],
)
async def test_what_is_no_token_is_told(path: str, token: str, kind: str, why: str) -> None:
    answer = await told(path, "tokens.inspect", token=token)
    assert (answer["kind"], answer["good"]) == (kind, False) and why in answer["why"]


async def test_keys_are_listed_rotated_and_sealed_anew(path: str, context: Context) -> None:
    assert (await told(path, "keys.list"))["keys"] == []
    kid = (await told(path, "keys.rotate"))["kid"]
    listed = await told(path, "keys.list")
    assert [key["kid"] for key in listed["keys"]] == [kid]
    assert listed["keys"][0]["sealed_with"] == listed["secrets"][0] == context.secrets.newest
    answer = await told(path, "keys.rewrap")
    assert answer == {"rewrapped": 0, "secret": context.secrets.newest, "still_needed": []}


async def test_an_unknown_act_and_garbage_are_answered(path: str) -> None:
    assert "does not know 'users.import'" in await refused(path, "users.import")
    assert "no question" in (await raw(path, b"[]\n"))["error"]
    assert "no question" in (await raw(path, b"\xff\n"))["error"]


async def raw(path: str, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    answer = msgspec.json.decode(await reader.readline())
    writer.close()
    return answer


async def test_a_line_without_an_end_is_not_held(path: str) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"x" * (control.LINE * 2 + 1))
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert (await told(path, "users.list"))["users"] == []


async def test_what_a_killed_service_left_makes_room(context: Context, folder: Path) -> None:
    left = folder / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    task = asyncio.create_task(control.serve(context, left))
    until_listening = asyncio.to_thread(until, lambda: listens(left))
    await until_listening
    assert (await told(str(left), "users.list"))["users"] == []
    task.cancel()
    await asyncio.wait([task])


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def test_a_second_gateway_on_one_folder_leaves_the_first_ones_socket(
    path: str, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    second = control.Control(context, {}, path)
    await second.start()
    await second.close()
    assert "another gateway uses this data folder" in caplog.text
    assert (await told(path, "users.list"))["users"] == []


async def test_a_long_path_is_no_hindrance(context: Context, folder: Path) -> None:
    place = folder / ("long" * 30) / NAME
    task = asyncio.create_task(control.serve(context, place))
    await asyncio.to_thread(until, place.exists)
    assert (await told(str(place), "users.list"))["users"] == []
    task.cancel()
    await asyncio.wait([task])
    assert not place.exists()


def postern(data: Path, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "POSTERN_DATA": str(data)}
    command = [sys.executable, "-m", "gateway.cli.app", *words]
    return subprocess.run(
        command, cwd=data.parent, env=environment, input=stdin, capture_output=True, text=True, timeout=60
    )


async def test_the_command_line_asks_the_running_service(path: str, folder: Path) -> None:
    """There is no routes file here: what it is told can only come over the socket."""
    added = await asyncio.to_thread(
        postern, folder / "data", "users", "add", "eve@example.com", "--password", stdin="a long one of eve\n"
    )
    assert added.returncode == 0, added.stderr
    assert "password" not in added.stdout
    listed = await asyncio.to_thread(postern, folder / "data", "users", "list", "--json")
    assert [user["email"] for user in msgspec.json.decode(listed.stdout)["users"]] == ["eve@example.com"]
    twice = await asyncio.to_thread(postern, folder / "data", "users", "add", "eve@example.com")
    assert (twice.returncode, twice.stderr) == (1, "postern: This e-mail address has an account already\n")


def test_without_a_running_service_the_command_line_opens_the_store(folder: Path) -> None:
    data = folder / "data"
    assert postern(data, "init", "--upstream", "http://127.0.0.1:5000").returncode == 0
    added = postern(data, "users", "add", "eve@example.com", "--role", "admin")
    assert added.returncode == 0 and "password: " in added.stdout, added.stderr
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert "eve@example.com" in postern(data, "users", "list").stdout
    checked = postern(data, "doctor", "--json")
    findings = {one["check"]: one["state"] for one in msgspec.json.decode(checked.stdout)["findings"]}
    assert (findings["secret"], findings["database"], findings["upstream app"]) == ("ok", "ok", "warning")
    os.chmod(data / "secret", 0o644)
    assert postern(data, "doctor").returncode == 1
    assert postern(data, "migrate", "--dry-run").stdout == "the database is up to date\n"


def test_nothing_is_made_by_looking(folder: Path) -> None:
    data = folder / "data"
    assert postern(data, "init", "--upstream", "http://127.0.0.1:5000").returncode == 0
    assert "0001" in postern(data, "migrate", "--dry-run").stdout
    assert "not made yet" in postern(data, "doctor").stdout
    assert not data.exists()
    assert "done: 0001" in postern(data, "migrate").stdout


def test_a_wrong_secret_is_told_without_it(folder: Path) -> None:
    data = folder / "data"
    assert postern(data, "init", "--upstream", "http://127.0.0.1:5000").returncode == 0
    data.mkdir(mode=0o700)
    (data / "secret").write_text("hunter2\n")
    (data / "secret").chmod(0o600)
    done = postern(data, "users", "list")
    assert done.returncode == 1 and "hunter2" not in done.stdout + done.stderr
    assert "shorter than 32 bytes" in done.stderr
