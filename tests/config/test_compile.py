"""A right configuration becomes one snapshot: complete, the same for equal files, fit for its readers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from gateway.config.compile import compile_all, load
from gateway.config.faults import ConfigFaults
from gateway.config.load import Role
from gateway.config.service import decode_compiled
from gateway.config.snapshot import (
    Drain,
    Limits,
    Outlier,
    Retry,
    Snapshot,
    Timeouts,
    Upstream,
    decode,
    encode,
)
from policies import POLICIES
from tests.config.golden import ENVIRON

MINIMAL = """\
version: 1
upstreams: {app: http://127.0.0.1:5000}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""


def write(folder: Path, text: str, name: str = "routes.yaml") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def snapshot(folder: Path, text: str, role: str = "all", **environ: str) -> Snapshot:
    return load(write(folder, text), role, environ)  # type: ignore[arg-type]


def faults(folder: Path, text: str, role: str = "all", **environ: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        snapshot(folder, text, role, **environ)
    return [f"{fault.path}: {fault.problem}" for fault in caught.value.faults]


def test_the_smallest_file_listens_on_loopback_and_requires_sign_in(tmp_path: Path) -> None:
    made = snapshot(tmp_path, MINIMAL)
    assert [str(one) for one in made.listen] == ["127.0.0.1:4000"]
    assert str(made.admin) == "127.0.0.1:4001"
    assert made.routes[-1].policies == {"authenticate": {"mode": "required"}, "csrf": {}}
    assert {route.path for route in made.routes if route.identity} == {
        "/api/auth/**", "/auth/**", "/.well-known/jwks.json", "/.well-known/oauth-protected-resource",
    }  # fmt: skip


def test_the_defaults_of_the_schema_are_those_of_the_snapshot(tmp_path: Path) -> None:
    made = snapshot(tmp_path, "version: 1\nupstreams: {app: {servers: http://127.0.0.1:5000}}\n")
    assert made.limits == Limits()
    assert made.drain == Drain()
    (upstream,) = made.upstreams
    assert upstream == Upstream("app", upstream.servers)
    assert (upstream.timeouts, upstream.retry, upstream.outlier) == (Timeouts(), Retry(), Outlier())
    assert made.identity.cookie_names == ("postern",)  # on plain http
    usual = msgspec.structs.replace(made.identity, base_url="", cookie_names=("__Host-postern",))
    assert usual == Snapshot("").identity


def test_the_port_of_the_environment_is_the_default(tmp_path: Path) -> None:
    assert snapshot(tmp_path, MINIMAL, PORT="8123").listen[0].port == 8123
    assert snapshot(tmp_path, MINIMAL + "listen: 127.0.0.1:1\n", PORT="8123").listen[0].port == 1


@pytest.mark.parametrize("port", ["0", "65536", "http", "80 80"])
def test_a_wrong_port_in_the_environment_is_a_fault(tmp_path: Path, port: str) -> None:
    assert faults(tmp_path, MINIMAL, PORT=port) == [f'PORT: "{port}" is not right']


def test_every_policy_reads_the_settings_made_for_it(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "good/policies.yaml").read_text()
    for route in snapshot(tmp_path, text).routes:
        for policy in POLICIES:
            if policy.name in route.policies:
                msgspec.convert(route.policies[policy.name], policy.Settings)
    everything = snapshot(tmp_path, text).routes[-2].policies
    assert set(everything) == {policy.name for policy in POLICIES}


def test_a_snapshot_survives_its_encoding(tmp_path: Path) -> None:
    for path in sorted((Path(__file__).parent / "good").glob("*.yaml")):
        made = load(
            str(path),
            environ=ENVIRON,
        )
        assert decode(encode(made)) == made


def test_equal_configurations_have_one_hash_wherever_they_lie(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    spelled_out = MINIMAL.replace(
        "http://127.0.0.1:5000", "{servers: [http://127.0.0.1:5000], pool: {max: 512}}"
    )
    first = snapshot(tmp_path, MINIMAL).hash
    assert snapshot(other, "# a comment\n" + spelled_out).hash == first
    assert snapshot(tmp_path, MINIMAL.replace("5000", "5001")).hash != first


def test_the_hash_is_of_the_identity_service_s_part_too_but_tells_no_secret(tmp_path: Path) -> None:
    def hashed(identity: str = "{}", role: Role = "all", **environ: str) -> str:
        path = write(tmp_path, f"{MINIMAL}identity: {identity}\n")
        found = load(path, role, environ)
        assert decode(compile_all(path, role, environ).snapshot).hash == found.hash
        return found.hash

    first = hashed()
    for changed in ("{tokens: {format: jwt}}", "{registration: closed}", "{limits: {login: 3/minute}}"):
        assert hashed(changed) != first
        assert hashed(changed, "edge") == hashed(role="edge")  # which is given nothing of it
    assert hashed(TOKEN_TTL="60") != first
    secret = "0123456789abcdef0123456789abcdef"
    assert hashed(POSTERN_SECRET=secret, POSTERN_ADMIN_TOKEN=secret, POSTERN_DATA="elsewhere") == first


def test_a_missing_variable_is_a_fault_only_where_the_role_uses_it(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + 'identity:\n  postern_secret: "${KEY}"\n  tokens: {history: "${HISTORY}"}\n  cache: "${CACHE}"\n'
    )
    assert len(faults(tmp_path, text)) == 3
    assert faults(tmp_path, text, "edge") == ["identity.cache: the environment has no CACHE"]
    assert snapshot(tmp_path, text, "edge", CACHE="5").identity.cache == 5
    assert len(faults(tmp_path, text, "identity", CACHE="5")) == 2


def test_the_identity_role_needs_nothing_of_the_routes(tmp_path: Path) -> None:
    text = MINIMAL.replace("http://127.0.0.1:5000", '"${BACKEND}"')
    assert faults(tmp_path, text) == ["upstreams.app: the environment has no BACKEND"]
    assert snapshot(tmp_path, text, "identity").upstreams == ()


def test_files_are_named_so_that_they_can_be_watched(tmp_path: Path) -> None:
    write(tmp_path, "routes: []\n", "teams/a.yaml")
    write(tmp_path, "x", "secret")
    made = snapshot(tmp_path, MINIMAL + 'include: teams/*.yaml\nservice: "${file:secret}"\n')
    assert set(made.files) == {
        str(tmp_path / name) for name in ("routes.yaml", "teams", "secret", "teams/a.yaml")
    }


def test_a_relative_path_of_the_file_makes_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, MINIMAL + "tls: {cert: a/../tls.crt, key: tls.key}\n", "conf/routes.yaml")
    monkeypatch.chdir(tmp_path)
    tls = load("conf/routes.yaml", environ={}).tls
    assert tls is not None and tls.cert == str(tmp_path / "conf/tls.crt")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigFaults, match=r"can't be read \(no such file or directory\); name another with -c"
    ):
        load(str(tmp_path / "none.yaml"))


def test_a_canonical_pattern_is_judged_with_the_opt_ins_of_its_route(tmp_path: Path) -> None:
    route = (
        "version: 1\nroutes:\n  - {name: a, match: {path: /a%2Fb}, answer: {}, paths: {encoded_slash: SET}}\n"
    )
    assert snapshot(tmp_path, route.replace("SET", "true")).routes[-1].path == "/a%2Fb"
    assert faults(tmp_path, route.replace("SET", "false")) == [
        'routes[0].match.path: "/a%2Fb" is not canonical'
    ]


def test_secrets_in_a_path_stay_hidden(tmp_path: Path) -> None:
    text = 'version: 1\nroutes:\n  - {name: a, match: {path: "${HOOK}"}, answer: {}}\n'
    for hidden in ("/hush%61", "hush", "/hush//", "/hush{x", "/auth/hush"):
        with pytest.raises(ConfigFaults) as caught:
            snapshot(tmp_path, text, HOOK=hidden)
        assert "hush" not in str(caught.value)


def test_the_program_writes_the_snapshot_or_the_faults(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "gateway.config.compile", *arguments], capture_output=True, timeout=60
        )

    path = write(tmp_path, MINIMAL)
    right = run(path, "--role", "edge")
    assert (right.returncode, right.stderr) == (0, b"")
    given = decode_compiled(right.stdout)
    assert decode(given.snapshot) == load(path, "edge", environ=os.environ)
    assert given.service == b""
    wrong = run(write(tmp_path, "version: 2\n", "bad.yaml"))
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert wrong.stderr.decode().endswith(
        "bad.yaml:1: version: 2 is not a version of this file; write version: 1\n"
    )
    assert run(path, "--role", "nobody").returncode == 2
    assert run().returncode == 2


def test_it_loads_no_command_line_library() -> None:
    code = "import sys, gateway.config.compile; print({'typer', 'rich', 'uvloop'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def many_routes(count: int) -> str:
    route = "  - {{name: r{0}, match: {{path: '/v{0}/{{id}}/**', methods: [GET, POST]}}, upstream: app}}\n"
    routes = "".join(route.format(number) for number in range(count))
    return "version: 1\nupstreams: {app: http://127.0.0.1:5000}\nroutes:\n" + routes


def test_the_cost_of_a_route_does_not_grow_with_their_number(tmp_path: Path) -> None:
    """Sixteen times the routes; a comparison of each with each would cost 256 times as much."""

    def cost(count: int) -> float:
        begun = time.process_time()
        assert len(snapshot(tmp_path, many_routes(count)).routes) == count + 4
        return time.process_time() - begun

    few = min(cost(250) for _ in range(3))
    assert cost(4000) < 64 * few


def test_who_counts_needs_the_identity_service_even_where_nobody_signs_in(tmp_path: Path) -> None:
    """Workers share their counts in it."""
    text = """
version: 1
identity: {serve: []}
defaults: {policies: {authenticate: none}}
routes: [{name: a, match: {path: /}, answer: {status: 200}, policies: {RULE}}]
"""
    path = tmp_path / "routes.yaml"
    for rule, needed in (
        ("rate_limit: {limit: 5/second}", True),
        ("rate_limit: none", False),
        ("cors: none", False),
    ):
        path.write_text(text.replace("RULE", rule))
        assert bool(compile_all(str(path), "all", {}).service) == needed
        assert compile_all(str(path), "edge", {}).service == b""
