"""The command `postern doctor`: whether what a gateway needs is there, and what is insecure about it."""

import asyncio
import os
import resource
import socket
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import msgspec
import typer

from gateway.cli import doctor_issuers
from gateway.cli.acting import settings_or_exit
from gateway.cli.doctor_mail import look
from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table
from gateway.config.settings import is_postgres

if TYPE_CHECKING:
    from gateway.config.service import Service
    from gateway.config.snapshot import Server, Snapshot

State = Literal["ok", "warning", "fault"]
REACHED_WITHIN = 2.0  # seconds
DATABASE_WITHIN = 10.0
SKEW = 2.0  # seconds between our clock and the database's
FEW_FILES = 4096
LOOPBACK = ("127.", "localhost", "::1", "[::1]")


class Finding(msgspec.Struct, frozen=True):
    check: str
    state: State
    said: str


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(epilog="Example: postern doctor -c routes.yaml")(doctor)


def doctor(config: ConfigOption = "routes.yaml", as_json: JsonOption = False) -> None:
    """Check database, secret, mail, clock, file limits, upstreams; name what is insecure. 1 with a fault."""
    from gateway.config.compile import load

    service = settings_or_exit(config)
    snapshot = load(config)
    found = [
        *_secret(service),
        *asyncio.run(_database(service)),
        Finding("mail", *look(service)),
        *_files(),
        *_upstreams(snapshot),
        *(Finding(f"issuer {name}", state, said) for name, state, said in doctor_issuers.look(service)),
        *_insecure(service, snapshot),
    ]
    failed = any(one.state == "fault" for one in found)
    if as_json:
        print_json({"ok": not failed, "findings": msgspec.to_builtins(found)})
    else:
        print_table(("check", "state", ""), ((one.check, one.state, one.said) for one in found))
    if failed:
        raise typer.Exit(1)


def _secret(service: "Service") -> Iterator[Finding]:
    if service.secrets:
        number = len(service.secrets)
        yield Finding("secret", "ok", f"{number} given" if number > 1 else "given")
        return
    path = os.path.join(service.data, "secret")
    try:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        yield Finding("secret", "ok", f"not made yet: the first start writes {path}")
        return
    if mode & 0o077:
        yield Finding("secret", "fault", f"others may read {path}: chmod 600 {path}")
    else:
        yield Finding("secret", "ok", f"in {path}; keep a copy with the database's backup")


async def _database(service: "Service") -> list[Finding]:
    """Reads only: what is not there is not made."""
    kind = "PostgreSQL" if is_postgres(service.database_url) else "SQLite"
    path = service.database_url.removeprefix("sqlite:")
    if kind == "SQLite" and not os.path.exists(path):
        return [Finding("database", "ok", f"not made yet: the first start writes {path}")]
    from gateway.store.database import Store, migrate
    from gateway.store.faults import StoreFault

    began = time.perf_counter()
    try:
        async with asyncio.timeout(DATABASE_WITHIN):
            missing = await migrate(service.database_url, dry_run=True)
            if missing:
                return [_to_migrate(service, [each.name for each in missing])]
            store = await Store.open(service.database_url, "manual")
            try:
                async with store.reading() as db:
                    now = await db.time()
            finally:
                await store.close()
    except StoreFault as fault:
        return [Finding("database", "fault", f"{kind}: {fault}")]
    except TimeoutError:
        return [Finding("database", "fault", f"{kind} does not answer within {DATABASE_WITHIN:.0f} s")]
    took = (time.perf_counter() - began) * 1000
    skew = now / 1000 - time.time()
    clock = Finding("clock", "ok", "agrees with the database's")
    if abs(skew) > SKEW:
        said = (
            f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the database's, which decides: use NTP"
        )
        clock = Finding("clock", "warning", said)
    return [Finding("database", "ok", f"{kind} answers; {took:.0f} ms to open and ask"), clock]


def _to_migrate(service: "Service", names: list[str]) -> Finding:
    if is_postgres(service.database_url) and service.migrate == "manual":
        return Finding("database", "fault", f"it needs {', '.join(names)}: run postern migrate")
    return Finding("database", "ok", f"the next start brings it up to date: {', '.join(names)}")


def _files() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    few = hard != resource.RLIM_INFINITY and hard < FEW_FILES
    said = f"{many} open files" + (f": raise the hard limit (ulimit -Hn) over {FEW_FILES}" if few else "")
    yield Finding("file limits", "warning" if few else "ok", said)


def _upstreams(snapshot: "Snapshot") -> Iterator[Finding]:
    for upstream in snapshot.upstreams:
        for server in upstream.servers:
            why = _unreachable(server)
            state: State = "warning" if why else "ok"
            yield Finding(f"upstream {upstream.name}", state, f"{server.name}: {why or 'reachable'}")


def _unreachable(server: "Server") -> str:
    """Why nothing accepts connections there; empty when something does."""
    try:
        if server.path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(REACHED_WITHIN)
                sock.connect(server.path)
        else:
            socket.create_connection((server.host, server.port), REACHED_WITHIN).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _insecure(service: "Service", snapshot: "Snapshot") -> Iterator[Finding]:
    """What may be meant, and should be known."""
    for check, said in (*_of_places(snapshot), *_of_accounts(service), *_of_routes(snapshot)):
        yield Finding(check, "warning", said)


def _of_places(snapshot: "Snapshot") -> Iterator[tuple[str, str]]:
    identity = snapshot.identity
    outside = [str(one) for one in snapshot.listen if one.host and not _is_loopback(one.host)]
    if outside and snapshot.tls is None and not identity.base_url.startswith("https:"):
        yield (
            "transport",
            f"{', '.join(outside)} speaks plain http: passwords and tokens can be read on the way",
        )
    if identity.base_url.startswith("http:") and not _is_loopback(identity.base_url.removeprefix("http://")):
        yield "cookie", f"{identity.base_url} is not https: the session cookie goes out without Secure"
    if snapshot.admin.host and not _is_loopback(snapshot.admin.host):
        yield "admin", f"the admin listener is on {snapshot.admin}: keep it off the internet"
    for network in snapshot.trusted_proxies:
        if network.endswith("/0"):
            yield "trusted_proxies", f"{network} is everybody: anyone may say which address he comes from"


def _of_accounts(service: "Service") -> Iterator[tuple[str, str]]:
    if service.password.on and service.password.min < 15:
        yield "password", f"password.min is {service.password.min}: under 15 it is short for an only factor"
    if service.cookie.domain:
        yield "cookie", f"every host under {service.cookie.domain} is sent, and can set, the session cookie"
    plain = [origin for origin in service.cors_origins if origin.startswith("http:")]
    if plain:
        yield (
            "cors_origins",
            f"{', '.join(plain)}: who changes a plain http page may call the API as its user",
        )
    if not service.tokens.absolute_ttl:
        yield "sessions", "tokens.absolute_ttl is 0: a session that is used never ends"
    if is_postgres(service.database_url) and "sslmode" not in service.database_url:
        host = service.database_url.partition("://")[2].rpartition("@")[2]
        if not _is_loopback(host):
            yield "database", "its URL has no sslmode: add ?sslmode=verify-full"
    if 0 < len(service.admin_token) < 16:
        yield "admin", "POSTERN_ADMIN_TOKEN is short: use 16 random characters or more"


def _of_routes(snapshot: "Snapshot") -> Iterator[tuple[str, str]]:
    for upstream in snapshot.upstreams:
        if not upstream.tls.verify:
            yield f"upstream {upstream.name}", "tls.verify is off: anyone on the way can be this server"
    reporting = [route.name for route in snapshot.routes if route.mode == "report"]
    if reporting:
        yield "mode: report", f"nothing is refused on {', '.join(reporting)}"
    passing = [
        route.name for route in snapshot.routes
        if route.policies.get("authenticate", {}).get("forward_credential")
    ]  # fmt: skip
    if passing:
        yield "forward_credential", f"the backends of {', '.join(passing)} are given the users' credentials"


def _is_loopback(host: str) -> bool:
    return host.startswith(LOOPBACK)
