"""What the command line may have done: accounts, sessions, tokens, keys; audited, settled with the edges."""

import secrets
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway.identity import lives, names, resolving, sessions, tokens
from gateway.identity.audit import (
    COMMAND_LINE,
    KEYS_ROTATED,
    ROLES_CHANGED,
    SESSION_REVOKED,
    USER_LOCKED,
    USER_REGISTERED,
    USER_UNLOCKED,
    audit,
)
from gateway.identity.context import Context
from gateway.identity.control_client import ActRefused
from gateway.identity.names import BadName
from gateway.identity.passwords import Busy
from gateway.identity.shapes import iso, session_answer, user_answer
from gateway.identity.web import settled_answer
from gateway.model.credentials import ACCESS, COOKIE, JWT_STARTS, KINDS, REFRESH, plausible
from gateway.store import accounts as users
from gateway.store import keys as key_rows
from gateway.store import revocations, roles
from gateway.store import sessions as rows
from gateway.store.accounts import User
from gateway.store.faults import Conflict
from gateway.store.roles import Rights

if TYPE_CHECKING:
    from gateway.store.database import Database

T = TypeVar("T", bound=msgspec.Struct)
Act = Callable[[Context, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]

_MADE_PASSWORD = 18  # random bytes
_WHAT = {
    ACCESS: "access token", REFRESH: "refresh token", COOKIE: "session cookie", "psk_": "API key",
    "psc_": "confirmation key", "psp_": "reset key", "psm_": "magic link", "psx_": "second-step token",
    "psi_": "invite", "pse_": "edge key",
}  # fmt: skip


def _given(model: type[T], given: dict[str, Any]) -> T:
    try:
        return msgspec.convert(given, model)
    except msgspec.ValidationError as error:
        raise ActRefused(f"the command line asked for something else: {error}") from None


# Accounts


class Listed(msgspec.Struct, frozen=True):
    search: str = ""
    limit: int = 50


class Added(msgspec.Struct, frozen=True):
    email: str
    username: str = ""
    password: str = ""
    roles: list[str] = []

    def __repr__(self) -> str:
        return "Added(…)"


class Named(msgspec.Struct, frozen=True):
    who: str
    why: str = ""
    add: list[str] = []
    remove: list[str] = []


async def list_users(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Listed, given)
    async with context.store.reading() as db:
        page = await users.page(db, asked.search.strip().lower(), 0, max(1, min(asked.limit, 1000)))
        return {"users": [_shown(user, await roles.of(db, user.user_id)) for user in page]}


async def add_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The account, and its password where one had to be made."""
    asked = _given(Added, given)
    user = _wanted(context, asked)
    made = "" if asked.password or not context.settings.password.on else secrets.token_urlsafe(_MADE_PASSWORD)
    password = asked.password or made
    if password:
        weak = [] if made else context.passwords.refused(password, asked.username, asked.email)
        if weak:
            raise ActRefused(f"this password can't be taken: {' '.join(weak)}")
        hashed = await context.passwords.hash(password)
        if isinstance(hashed, Busy):
            raise ActRefused("too many people sign in just now; try again in a moment")
        user = msgspec.structs.replace(user, password_hash=hashed)
    try:
        async with context.store.writing() as db:
            user = msgspec.structs.replace(user, created_at=db.now, password_changed_at=db.now)
            user = await users.insert(db, user)
            for role in dict.fromkeys(["user", *asked.roles]):
                await _grant(db, user, role)
            await audit(db, USER_REGISTERED, user.user_id, COMMAND_LINE)
            rights = await roles.of(db, user.user_id)
    except Conflict as conflict:
        raise ActRefused(f"there is an account with this {conflict.field} already") from None
    return {"user": _shown(user, rights)} | ({"password": made} if made else {})


def _wanted(context: Context, asked: Added) -> User:
    """Confirmed, since whoever runs the gateway vouches for it; nobody has proved to read the address."""
    try:
        email = names.email(asked.email)
        username = names.username(asked.username) if asked.username else None
    except BadName as bad:
        raise ActRefused(str(bad)) from None
    if asked.password and not context.settings.password.on:
        raise ActRefused("there are no passwords here: identity.password is off")
    return User(
        user_id=str(uuid.uuid4()),
        email=email.address,
        email_key=email.key,
        password_changed_at=0,
        created_at=0,
        username=username,
        username_key=names.username_key(username) if username else None,
        confirmed=True,
    )


async def show_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    async with context.store.reading() as db:
        user = await _found(db, _given(Named, given).who)
        rights = await roles.of(db, user.user_id)
        return {"user": _shown(user, rights), "sessions": await _sessions(db, user)}


async def lock_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Nobody signs in to it, and its sessions end."""
    asked = _given(Named, given)
    async with context.store.writing() as db:
        user = await _held(db, asked.who)
        if await users.lock(db, user.user_id, asked.why[:200]):
            await audit(db, USER_LOCKED, user.user_id, COMMAND_LINE, why=asked.why[:200])
        await sessions.end_all(context, db, user.user_id, "locked")
        shown = await _now(db, user)
    return await _settled(context, db, shown)


async def unlock_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    async with context.store.writing() as db:
        user = await _held(db, _given(Named, given).who)
        if not await users.unlock(db, user.user_id):
            raise ActRefused(f"{user.email} is not locked")
        await audit(db, USER_UNLOCKED, user.user_id, COMMAND_LINE)
        return await _now(db, user)


async def change_roles(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Named, given)
    async with context.store.writing() as db:
        user = await _held(db, asked.who)
        changed = [await _grant(db, user, role) for role in asked.add]
        changed += [await _withdraw(db, user, role) for role in asked.remove]
        if any(changed):
            await audit(db, ROLES_CHANGED, user.user_id, COMMAND_LINE, added=asked.add, removed=asked.remove)
            await revocations.write(db, kind="changed", user=user.user_id)
        shown = await _now(db, user)
    return await _settled(context, db, shown)


async def _grant(db: "Database", user: User, role: str) -> bool:
    if await roles.by_name(db, role) is None:
        known = ", ".join(each.name for each in await roles.every(db))
        raise ActRefused(f"there is no role {role!r}; there are {known}")
    return await roles.grant(db, user.user_id, role, COMMAND_LINE)


async def _withdraw(db: "Database", user: User, role: str) -> bool:
    if not await roles.withdraw(db, user.user_id, role):
        raise ActRefused(f"{user.email} does not have the role {role!r}")
    return True


# Sessions


class Ended(msgspec.Struct, frozen=True):
    session: str = ""
    who: str = ""


async def list_sessions(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    async with context.store.reading() as db:
        return {"sessions": await _sessions(db, await _found(db, _given(Named, given).who))}


async def revoke_sessions(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Ended, given)
    async with context.store.writing() as db:
        if asked.session:
            ended = await _end_one(context, db, asked.session)
        else:
            user = await _held(db, asked.who)
            ended = await sessions.end_all(context, db, user.user_id, "revoked")
            await audit(db, SESSION_REVOKED, user.user_id, COMMAND_LINE, sessions=ended)
    return await _settled(context, db, {"ended": ended})


async def _end_one(context: Context, db: "Database", session_id: str) -> int:
    session = await rows.locked(db, session_id)
    if session is None or not lives.alive(session, db.now):
        raise ActRefused("there is no such session, or it has ended")
    await sessions.end(context, db, session, "revoked")
    await audit(db, SESSION_REVOKED, session.user_id, COMMAND_LINE, session_id)
    return 1


# Tokens and keys


class Shown(msgspec.Struct, frozen=True):
    token: str

    def __repr__(self) -> str:
        return "Shown(…)"


async def inspect_token(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """What it is, and whether it is good. Being looked at here does not count as having been used."""
    token = _given(Shown, given).token
    jwt = token.startswith(JWT_STARTS)
    parts = context.keys.verify(token) if jwt else tokens.read(token)
    if parts is None:
        return _unread(token, jwt)
    told: dict[str, Any] = {
        "kind": f"{_WHAT[parts.kind]}{' (JWT)' if jwt else ''}", "good": False, "why": "",
        "session": parts.session, "generation": parts.generation, "key_id": parts.key_id,
        "expires_at": iso(parts.expires) if parts.expires else "with its session",
    }  # fmt: skip
    async with context.store.reading() as db:
        found = await rows.with_user(db, parts.session)
        now = await db.time()
    if found is None or not resolving.proved(context, parts, found.session.salt):
        return told | {"why": "it was not made here, or its session is gone"}
    session, user = found.session, found.user
    current = session.cookie_generation if parts.kind == COOKIE else session.generation
    told |= {"user": user.user_id, "current_generation": current}
    if session.ended_at is not None:
        why = f"its session has ended: {session.ended_why}"
    elif not lives.alive(session, now):
        why = "its session is over"
    elif user.locked_at is not None:
        why = "its user is locked"
    elif parts.expires and parts.expires <= now:
        why = "it has expired"
    elif parts.generation > current or (parts.kind == ACCESS and parts.generation < session.min_generation):
        why = "its generation is not good any more"
    elif parts.kind == REFRESH and parts.generation < current - 1:
        why = "it has been used; who uses it again ends the session"
    elif parts.kind == COOKIE and not lives.cookie_until(
        context.settings.cookie, session, parts.generation, now
    ):
        why = "a newer cookie is in its place"
    else:
        return told | {"good": True}
    return told | {"why": why}


def _unread(token: str, jwt: bool) -> dict[str, Any]:
    """Keys that are used once, or have no session, show nothing but what they are."""
    kind = token[:4]
    if jwt:
        why = "its signature, issuer or audience is not ours, or its key is gone"
        return {"kind": "access token (JWT)", "good": False, "why": why}
    if kind in KINDS:
        why = "its checksum is right; what it opens shows when it is used" if plausible(token) else "a typo"
        return {"kind": _WHAT[kind], "good": False, "why": why}
    return {"kind": "unknown", "good": False, "why": "this is no token of Postern's"}


async def list_keys(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    async with context.store.reading() as db:
        found = await key_rows.live(db)
    shown = [
        {
            "kid": key.kid, "algorithm": key.algorithm, "sealed_with": key.key_id,
            "created_at": iso(key.created_at), "retired_at": _moment(key.retired_at),
            "expires_at": _moment(key.expires_at),
        }
        for key in found
    ]  # fmt: skip
    return {"keys": shown, "secrets": context.secrets.key_ids}


async def rotate_keys(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    kid = await context.keys.rotate(context.store)
    async with context.store.writing() as db:
        await audit(db, KEYS_ROTATED, actor=COMMAND_LINE, kid=kid)
    return {"kid": kid}


async def rewrap(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Sessions keep the secret that they were made with until they rotate or end."""
    moved = await context.keys.rewrap(context.store)
    async with context.store.reading() as db:
        needed = await rows.key_ids(db) - {context.secrets.newest}
    return {"rewrapped": moved, "secret": context.secrets.newest, "still_needed": sorted(needed)}


# Common to them


async def _found(db: "Database", who: str) -> User:
    user = await users.by_id(db, who) or await users.by_identifier(db, names.identifier(who))
    if user is None:
        raise ActRefused(f"nobody here is {who!r}; name a user's id, e-mail address or name")
    return user


async def _held(db: "Database", who: str) -> User:
    """Found, and nobody else changes it until the transaction ends."""
    user = await users.locked(db, (await _found(db, who)).user_id)
    if user is None:
        raise ActRefused(f"nobody here is {who!r} any more")
    return user


async def _now(db: "Database", user: User) -> dict[str, Any]:
    after = await users.by_id(db, user.user_id)
    return {"user": _shown(after or user, await roles.of(db, user.user_id))}


async def _sessions(db: "Database", user: User) -> Sequence[dict[str, Any]]:
    return [session_answer(each, False) for each in await rows.live_of(db, user.user_id)]


def _shown(user: User, rights: Rights) -> dict[str, Any]:
    return user_answer(user, rights.roles, rights.permissions) | {
        "locked": _moment(user.locked_at),
        "locked_why": user.locked_why,
        "last_login": _moment(user.last_login_at),
    }


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso(milliseconds)


async def _settled(context: Context, db: "Database", said: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = settled_answer(await context.propagation.settle(db.revocations), said).body
    return body


ACTS: dict[str, Act] = {
    "users.list": list_users, "users.add": add_user, "users.show": show_user, "users.lock": lock_user,
    "users.unlock": unlock_user, "users.roles": change_roles, "sessions.list": list_sessions,
    "sessions.revoke": revoke_sessions, "tokens.inspect": inspect_token, "keys.list": list_keys,
    "keys.rotate": rotate_keys, "keys.rewrap": rewrap,
}  # fmt: skip
