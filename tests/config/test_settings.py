"""What the identity service is given: file, then environment, then default; no secret leaks."""

from pathlib import Path

import pytest

from gateway.config.compile import compile_all, load, load_service
from gateway.config.faults import ConfigFaults
from gateway.config.service import Cookie, Service, Tokens, decode
from gateway.config.settings import _RULES

ROOT = Path(__file__).parents[2]
MINIMAL = """\
version: 1
listen: 127.0.0.1:4000
service: shop
upstreams: {app: http://127.0.0.1:5000}
routes:
  - {name: app, match: {path: /**}, upstream: app}
"""
OLD, NEW = "the-older-secret-of-32-bytes-or-more", "the-newer-secret-of-32-bytes-or-more"


def service(folder: Path, identity: str = "", **environ: str) -> Service:
    return load_service(write(folder, identity), environ)


def write(folder: Path, identity: str = "") -> str:
    path = folder / "routes.yaml"
    path.write_text(MINIMAL + (f"identity: {identity}\n" if identity else ""))
    return str(path)


def faults(folder: Path, identity: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        service(folder, identity, **environ)
    return [str(fault) for fault in caught.value.faults]


def test_without_settings_there_are_the_defaults_of_the_record(tmp_path: Path) -> None:
    usual = Service(name="shop", cookie=Cookie("postern", secure=False))
    assert service(tmp_path) == usual


def test_the_data_folder_holds_the_database_unless_it_is_told(tmp_path: Path) -> None:
    assert service(tmp_path, POSTERN_DATA="/srv/gate").database_url == "sqlite:/srv/gate/postern.db"
    given = service(tmp_path, POSTERN_DATA="/srv/gate", DATABASE_URL="sqlite:/elsewhere.db")
    assert (given.data, given.database_url) == ("/srv/gate", "sqlite:/elsewhere.db")


def test_every_setting_can_come_from_the_environment(tmp_path: Path) -> None:
    given = service(
        tmp_path,
        POSTERN_SECRET=f"{NEW}, {OLD}",
        DATABASE_URL="postgres://shop@db/shop",
        BASE_URL="https://shop.example.com/",
        TOKEN_TTL="60",
        REFRESH_TTL="7d",
        SESSION_TTL="0",
        MAX_LOGIN_ATTEMPTS="3",
        LOCKOUT_DURATION="1m",
        CORS_ORIGINS="https://a.example, https://B.example:443",
        POSTERN_ADMIN_TOKEN="for-the-admin",
    )
    assert given.secrets == (NEW, OLD)
    assert given.database_url == "postgresql://shop@db/shop"
    assert given.base_url == "https://shop.example.com"
    assert given.tokens == Tokens(access_ttl=60.0, idle_ttl=7 * 86400.0, absolute_ttl=0.0)
    assert (given.max_login_attempts, given.lockout_duration) == (3, 60.0)
    assert given.cors_origins == ("https://a.example", "https://b.example")
    assert given.admin_token == "for-the-admin"
    assert load(write(tmp_path), environ={"TOKEN_TTL": "60"}).identity.token_ttl == 60.0


@pytest.mark.parametrize(
    ("identity", "name", "value", "read"),
    [
        ("{tokens: {access_ttl: 5m}}", "TOKEN_TTL", "60", lambda s: s.tokens.access_ttl == 300),
        ("{token_ttl: 300}", "TOKEN_TTL", "60", lambda s: s.tokens.access_ttl == 300),
        ("{refresh_ttl: 1d}", "REFRESH_TTL", "60", lambda s: s.tokens.idle_ttl == 86400),
        ("{session_ttl: 0}", "SESSION_TTL", "60", lambda s: s.tokens.absolute_ttl == 0),
        ("{max_login_attempts: 9}", "MAX_LOGIN_ATTEMPTS", "3", lambda s: s.max_login_attempts == 9),
        ("{lockout_duration: 9}", "LOCKOUT_DURATION", "3", lambda s: s.lockout_duration == 9),
        ("{cors_origins: []}", "CORS_ORIGINS", "https://a.example", lambda s: s.cors_origins == ()),
        (f"{{postern_secret: {OLD}}}", "POSTERN_SECRET", NEW, lambda s: s.secrets == (OLD,)),
        ("{database_url: sqlite:a}", "DATABASE_URL", "sqlite:b", lambda s: s.database_url == "sqlite:a"),
        ("{base_url: https://a.example}", "BASE_URL", "http://b", lambda s: s.base_url == "https://a.example"),
    ],
)  # fmt: skip
def test_the_file_goes_before_the_environment(
    tmp_path: Path, identity: str, name: str, value: str, read: object
) -> None:
    assert callable(read)
    assert read(service(tmp_path, identity, **{name: value}))
    assert not read(service(tmp_path, "", **{name: value}))


def test_the_parts_of_a_database_make_its_url(tmp_path: Path) -> None:
    parts = {
        "DB_HOST": "db",
        "DB_NAME": "auth prod",
        "DB_USERNAME": "me@home",
        "DB_PASSWORD": "a/b:c",
        "POSTERN_SECRET": NEW,
    }
    assert service(tmp_path, **parts).database_url == "postgresql://me%40home:a%2Fb%3Ac@db:5432/auth%20prod"
    assert service(tmp_path, DATABASE_URL="sqlite:mine.db", **parts).database_url == "sqlite:mine.db"


def test_postgresql_without_a_secret_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, DATABASE_URL="postgresql://db/shop")
    assert "POSTERN_SECRET: with PostgreSQL it has to be set" in fault
    assert service(tmp_path, DATABASE_URL="postgresql://db/shop", POSTERN_SECRET=NEW).secrets == (NEW,)


def test_a_seeds_secret_alone_is_a_fault_that_names_ours(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, JWT_SECRET="your-super-secret-jwt-key")
    assert "POSTERN_SECRET" in fault and "super-secret" not in fault
    assert service(tmp_path, JWT_SECRET="x", POSTERN_SECRET=NEW).secrets == (NEW,)


@pytest.mark.parametrize("name", sorted(set(_RULES) - {"REDIS_URL", "POSTERN_ADMIN_TOKEN"}))
def test_a_wrong_setting_is_a_fault_that_shows_no_secret(tmp_path: Path, name: str) -> None:
    wrong = "hunter2 \x01" if name not in ("POSTERN_DATA", "DB_NAME", "DB_USERNAME", "DB_PASSWORD") else ""
    if not wrong:
        assert service(tmp_path, **{name: wrong}) == service(tmp_path)  # empty is unset
        return
    (fault,) = faults(tmp_path, **{name: wrong})
    assert f"environment: {name}: " in fault
    assert "hunter2" not in fault or not _RULES[name].secret


@pytest.mark.parametrize("name", ["REDIS_URL", "REDIS_HOST"])
def test_what_comes_later_is_a_fault(tmp_path: Path, name: str) -> None:
    (fault,) = faults(tmp_path, **{name: "redis://hunter2@127.0.0.1"})
    assert fault == f"environment: {name}: not available in this version yet; unset it for now"


def test_an_edge_is_given_nothing_of_it_and_needs_none_of_it(tmp_path: Path) -> None:
    environ = {"POSTERN_SECRET": "short", "DATABASE_URL": "mysql://x", "JWT_SECRET": "x", "REDIS_URL": "x"}
    assert compile_all(write(tmp_path), "edge", environ).service == b""
    compiled = compile_all(
        write(tmp_path), "all", {"POSTERN_SECRET": NEW, "POSTERN_ADMIN_TOKEN": "hush-hush"}
    )
    assert decode(compiled.service).secrets == (NEW,)
    assert NEW.encode() not in compiled.snapshot and b"hush-hush" not in compiled.snapshot


def test_the_record_tells_nothing_of_itself_in_a_traceback(tmp_path: Path) -> None:
    given = service(tmp_path, POSTERN_SECRET=NEW, DATABASE_URL="postgresql://me:hunter2@db/x")
    assert NEW not in repr(given) and "hunter2" not in repr(given)


@pytest.mark.parametrize(
    ("identity", "cookie"),
    [
        ("{base_url: https://a.example}", Cookie("__Host-postern")),
        (
            "{base_url: https://a.example, cookie: {domain: .A.example}}",
            Cookie("__Secure-postern", "a.example"),
        ),
        ("{base_url: http://localhost:4000}", Cookie("postern", secure=False)),
        (
            "{base_url: http://a.example, cookie: {domain: a.example}}",
            Cookie("postern", "a.example", secure=False),
        ),
    ],
)  # fmt: skip
def test_the_cookie_is_named_by_what_protects_it(tmp_path: Path, identity: str, cookie: Cookie) -> None:
    assert service(tmp_path, identity).cookie == cookie
    assert load(write(tmp_path, identity), environ={}).identity.cookie_names == (cookie.name,)


def test_the_sample_environment_lists_every_setting() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = {line.lstrip("# ").partition("=")[0] for line in lines if "=" in line}
    assert listed >= set(_RULES) | {"REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"}
