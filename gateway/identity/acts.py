"""What the command line may have done: accounts, sessions, tokens, keys; audited, settled with the edges."""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway.identity import accounts, explaining, lives, resolving, tokens
from gateway.identity import roles as role_acts
from gateway.identity.accounts import Known
from gateway.identity.actors import OPERATOR
from gateway.identity.audit import KEYS_ROTATED, audit
from gateway.identity.context import Context
from gateway.identity.control_client import ActRefused
from gateway.identity.shapes import iso, session_answer, user_answer
from gateway.identity.web import Refused, settled_answer
from gateway.link.questions import Lease
from gateway.model.credentials import ACCESS, COOKIE, JWT_STARTS, KINDS, REFRESH, plausible
from gateway.store import keys as key_rows
from gateway.store import roles
from gateway.store import sessions as rows

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled

T = TypeVar("T", bound=msgspec.Struct)
Act = Callable[[Context, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]

MOST = 1000
_MADE_PASSWORD = 18  # random bytes
_LONGEST_WHY = 200
_WHAT = {
    ACCESS: "access token", REFRESH: "refresh token", COOKIE: "session cookie", "psk_": "API key",
    "psc_": "confirmation key", "psp_": "reset key", "psm_": "magic link", "psx_": "second-step token",
    "psi_": "invite", "pse_": "edge key", "psd_": "key of \"this was not me\"",
    "psn_": "key for another address", "psu_": "key for the old address", "psl_": "key to unlock",
    "psv_": "cookie of a known browser",
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
    found = await accounts.search(context, asked.search, 0, max(1, min(asked.limit, MOST)))
    async with context.store.reading() as db:
        return {"users": [_shown(Known(user, await roles.of(db, user.user_id))) for user in found]}


async def add_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """The account, and its password where one had to be made."""
    asked = _given(Added, given)
    if asked.password and not context.settings.password.on:
        raise ActRefused("there are no passwords here: identity.password is off")
    made = "" if asked.password or not context.settings.password.on else secrets.token_urlsafe(_MADE_PASSWORD)
    known = await accounts.add_user(
        context, asked.email, asked.username or None, asked.password or made or None, asked.roles
    )
    return {"user": _shown(known)} | ({"password": made} if made else {})


async def show_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    known = await _found(context, _given(Named, given).who)
    return {"user": _shown(known), "sessions": await _sessions(context, known)}


async def lock_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Nobody signs in to it, and its sessions end."""
    asked = _given(Named, given)
    known = await _found(context, asked.who)
    settled = await accounts.lock(context, known.user.user_id, asked.why[:_LONGEST_WHY], OPERATOR)
    return await _after(context, known, settled)


async def unlock_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    known = await _found(context, _given(Named, given).who)
    await accounts.unlock(context, known.user.user_id, OPERATOR)
    return await _after(context, known)


async def confirm_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Where `confirmation: required` is set, it may sign in from now on."""
    known = await _found(context, _given(Named, given).who)
    settled = await accounts.confirm(context, known.user.user_id, OPERATOR)
    return await _after(context, known, settled)


async def change_roles(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Named, given)
    known = await _found(context, asked.who)
    missing = sorted(set(asked.remove) - set(known.rights.roles))
    if missing:
        raise ActRefused(f"{known.user.email} does not have the role {', '.join(missing)}")
    if not asked.add and not asked.remove:
        return {"user": _shown(known)}
    wanted = (set(known.rights.roles) | set(asked.add)) - set(asked.remove)
    settled = await role_acts.set_of(context, known.user.user_id, wanted, OPERATOR)
    return await _after(context, known, settled)


# Sessions


class Ended(msgspec.Struct, frozen=True):
    session: str = ""
    who: str = ""


class Whose(msgspec.Struct, frozen=True):
    who: str = ""  # empty: everybody's
    limit: int = 50


class OneSession(msgspec.Struct, frozen=True):
    session: str


async def list_sessions(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Whose, given)
    if asked.who:
        return {"sessions": await _sessions(context, await _found(context, asked.who))}
    async with context.store.reading() as db:
        found = await rows.page(db, most=max(1, min(asked.limit, MOST)))
    return {"sessions": [_session(each) for each in found]}


async def show_session(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """One that lives, or ended not long ago, and from where it was refreshed."""
    async with context.store.reading() as db:
        session = await rows.by_id(db, _given(OneSession, given).session)
        if session is None:
            raise ActRefused("There is no such session.")
        rotations = await rows.history(db, session.session_id)
    ended = {"ended_at": _moment(session.ended_at), "ended_why": session.ended_why}
    made = [
        {"generation": each.generation, "at": iso(each.at), "address": each.address, "agent": each.agent}
        for each in rotations
    ]
    return {"session": _session(session) | ended, "rotations": made}


async def revoke_sessions(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(Ended, given)
    if asked.session:
        return _told(await accounts.revoke(context, asked.session, OPERATOR), {"ended": 1})
    known = await _found(context, asked.who)
    ended = len(await _sessions(context, known))
    return _told(await accounts.revoke_all(context, known.user.user_id, OPERATOR), {"ended": ended})


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
        await audit(db, KEYS_ROTATED, actor=OPERATOR.name, kid=kid)
    return {"kid": kid}


async def rewrap(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """Sessions keep the secret that they were made with until they rotate or end."""
    moved = await context.keys.rewrap(context.store) + await context.outbox.rewrap()
    async with context.store.reading() as db:
        needed = await rows.key_ids(db) - {context.secrets.newest}
    return {"rewrapped": moved, "secret": context.secrets.newest, "still_needed": sorted(needed)}


# What `postern explain` asks


class Presented(msgspec.Struct, frozen=True):
    kind: str
    credential: str
    address: str = ""
    agent: str = ""

    def __repr__(self) -> str:
        return "Presented(…)"


class SignedIn(msgspec.Struct, frozen=True):
    who: str
    address: str = ""
    agent: str = ""


async def explain_credential(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """What it stands for; of a bad one also why, which no client is told."""
    asked = _given(Presented, given)
    told = await explaining.credential(context, asked.kind, asked.credential, asked.address, asked.agent)
    if told["outcome"] != "bad" or asked.kind == "external":
        return told
    seen = await inspect_token(context, {"token": asked.credential})
    return told | {"why": f"{seen['kind']}: {seen['why'] or 'it is of no use here'}"}


async def explain_user(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    asked = _given(SignedIn, given)
    known = await _found(context, asked.who)
    return await explaining.fresh_session(context, known, asked.address, asked.agent)


async def explain_count(context: Context, given: dict[str, Any]) -> dict[str, Any]:
    """What is left of a count: units that edges hold already are not in it."""
    question = msgspec.structs.replace(_given(Lease, given), want=0)
    if context.leasing is None:
        raise ActRefused("no service runs here, and only it counts")
    return context.leasing.now(question) or await context.leasing.later(question)


# Common to them


async def _found(context: Context, who: str) -> Known:
    try:
        return await accounts.find(context, who)
    except Refused:
        raise ActRefused(f"nobody here is {who!r}; name a user's id, e-mail address or name") from None


async def _sessions(context: Context, known: Known) -> Sequence[dict[str, Any]]:
    return [_session(each) for each in await accounts.sessions_of(context, known.user.user_id)]


def _session(session: rows.Session) -> dict[str, Any]:
    return session_answer(session, False) | {"user_id": session.user_id}


async def _after(context: Context, known: Known, settled: "Settled | None" = None) -> dict[str, Any]:
    said = {"user": _shown(await accounts.by_id(context, known.user.user_id))}
    return said if settled is None else _told(settled, said)


def _told(settled: "Settled", said: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = settled_answer(settled, said).body
    return body


def _shown(known: Known) -> dict[str, Any]:
    user = known.user
    return user_answer(user, known.rights.roles, known.rights.permissions) | {
        "locked": _moment(user.locked_at),
        "locked_why": user.locked_why,
        "last_login": _moment(user.last_login_at),
    }


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso(milliseconds)


def _in_words(refused: Refused) -> str:
    """What the API would answer, for a person at a terminal."""
    each = [f"{field}: {text}" for field, texts in (refused.errors or {}).items() for text in texts]
    return " ".join(each) or refused.detail or refused.fault.title


def _for_terminals(act: Act) -> Act:
    async def wrapped(context: Context, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return await act(context, given)
        except Refused as refused:
            raise ActRefused(_in_words(refused)) from None

    return wrapped


_ACTS: dict[str, Act] = {
    "users.list": list_users, "users.add": add_user, "users.show": show_user, "users.lock": lock_user,
    "users.unlock": unlock_user, "users.confirm": confirm_user, "users.roles": change_roles,
    "sessions.list": list_sessions, "sessions.show": show_session, "sessions.revoke": revoke_sessions,
    "tokens.inspect": inspect_token, "keys.list": list_keys, "keys.rotate": rotate_keys,
    "keys.rewrap": rewrap, "explain.credential": explain_credential, "explain.user": explain_user,
    "explain.count": explain_count,
}  # fmt: skip
ACTS = {name: _for_terminals(act) for name, act in _ACTS.items()}
