"""/admin/users: look for users, and act on one."""

from typing import Any

from pydantic import Field

from gateway.identity import accounts, actors, password_change, recovery, roles
from gateway.identity.accounts import Known
from gateway.identity.shapes import (
    Pending,
    Said,
    SessionsSaid,
    Settled,
    Unsettled,
    UserSaid,
    iso,
    meta,
    session_answer,
    user_answer,
)  # fmt: skip
from gateway.identity.web import Body, Call, Endpoint, Query, Reply, answer, settled_answer, who
from gateway.model import faults
from gateway.store.accounts import User


class UsersQuery(Query):
    """`search`: part of an address or user name; `after`: the `next` of the page that came last."""

    search: str = Field(default="", max_length=200)
    after: int = Field(default=0, ge=0, lt=2**63)
    limit: int = Field(default=50, ge=1, le=200)


class UserInListSaid(Said):
    user_id: str
    username: str | None
    email: str
    confirmed: bool
    locked: bool
    created_at: str
    last_login_at: str | None


class UsersSaid(Said):
    users: list[UserInListSaid]
    next: int | None


class WholeUserSaid(UserSaid):
    """All that an admin sees of a user."""

    protected: dict[str, Any]
    locked: bool
    locked_at: str | None
    locked_why: str
    last_login_at: str | None
    last_login_address: str
    successful_login_attempts: int
    has_password: bool


class RolesBody(Body):
    """Exactly these."""

    roles: list[str] = Field(max_length=50)


class LockBody(Body):
    why: str = Field(default="", max_length=200)


class MetaBody(Body):
    """Each map is merged into what is there; a key with null is taken away."""

    public: dict[str, Any] | None = None
    protected: dict[str, Any] | None = None


class ResetSaid(Settled):
    """`key` is for POST /password/reset; it is shown this once."""

    key: str
    expires_in: int


class ResetPending(ResetSaid):
    pending: list[Pending]


def whole(known: Known) -> dict[str, Any]:
    user = known.user
    return user_answer(user, known.rights.roles, known.rights.permissions) | {
        "protected": meta(user.protected),
        "locked": user.locked_at is not None,
        "locked_at": _moment(user.locked_at),
        "locked_why": user.locked_why,
        "last_login_at": _moment(user.last_login_at),
        "last_login_address": user.last_login_address,
        "successful_login_attempts": user.successful_login_attempts,
        "has_password": bool(user.password_hash),
    }


def _in_list(user: User) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "confirmed": user.confirmed,
        "locked": user.locked_at is not None,
        "created_at": iso(user.created_at),
        "last_login_at": _moment(user.last_login_at),
    }


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else iso(milliseconds)


async def listed(call: Call) -> Reply:
    query = call.query
    found = await accounts.search(call.context, query.search, query.after, query.limit)
    following = found[-1].id if len(found) == query.limit else None
    return answer(200, {"users": [_in_list(user) for user in found], "next": following})


async def shown(call: Call) -> Reply:
    return answer(200, whole(await accounts.by_id(call.context, call.path["user_id"])))


async def deleted(call: Call) -> Reply:
    actor = await actors.admin(call)
    return settled_answer(await accounts.delete(call.context, call.path["user_id"], actor))


async def given_roles(call: Call) -> Reply:
    actor, user_id = await actors.admin(call), call.path["user_id"]
    return settled_answer(await roles.set_of(call.context, user_id, call.body.roles, actor))


async def locked(call: Call) -> Reply:
    actor, user_id = await actors.admin(call), call.path["user_id"]
    return settled_answer(await accounts.lock(call.context, user_id, call.body.why, actor))


async def unlocked(call: Call) -> Reply:
    await accounts.unlock(call.context, call.path["user_id"], await actors.admin(call))
    return answer(200, whole(await accounts.by_id(call.context, call.path["user_id"])))


async def sessions_listed(call: Call) -> Reply:
    live = await accounts.sessions_of(call.context, call.path["user_id"])
    current = (await who(call)).session.session_id
    return answer(200, {"sessions": [session_answer(each, each.session_id == current) for each in live]})


async def sessions_ended(call: Call) -> Reply:
    actor = await actors.admin(call)
    return settled_answer(await accounts.revoke_all(call.context, call.path["user_id"], actor))


async def given_meta(call: Call) -> Reply:
    actor, body, user_id = await actors.admin(call), call.body, call.path["user_id"]
    return settled_answer(
        await accounts.change_meta(call.context, user_id, body.public, body.protected, actor)
    )


async def password_reset(call: Call) -> Reply:
    actor = await actors.admin(call)
    key, settled = await password_change.make_reset(call.context, call.path["user_id"], actor)
    return settled_answer(settled, {"key": key, "expires_in": recovery.RESET_FOR // 1000})


_USER = "/admin/users/{user_id}"
_DONE: dict[int, Any] = {200: Settled, 202: Unsettled}
_NONE = (faults.NOT_FOUND,)
_NOT_LAST = (faults.NOT_FOUND, faults.LAST_ADMIN)

ROUTES = [
    Endpoint(
        "GET", "/admin/users", listed, "Look for users", who="admin", query=UsersQuery,
        answers={200: UsersSaid},
    ),
    Endpoint("GET", _USER, shown, "One user", who="admin", answers={200: WholeUserSaid}, faults=_NONE),
    Endpoint("DELETE", _USER, deleted, "Delete a user", who="fresh admin", answers=_DONE, faults=_NOT_LAST),
    Endpoint(
        "PUT", _USER + "/roles", given_roles, "Give a user exactly these roles", who="fresh admin",
        body=RolesBody, answers=_DONE, faults=(*_NOT_LAST, faults.GONE_MEANWHILE),
    ),
    Endpoint(
        "POST", _USER + "/lock", locked, "Lock a user out; its sessions end", who="fresh admin",
        body=LockBody, optional_body=True, answers=_DONE, faults=_NOT_LAST,
    ),
    Endpoint(
        "POST", _USER + "/unlock", unlocked, "Let a user in again", who="fresh admin",
        answers={200: WholeUserSaid}, faults=_NONE,
    ),
    Endpoint(
        "GET", _USER + "/sessions", sessions_listed, "Where a user is signed in", who="admin",
        answers={200: SessionsSaid}, faults=_NONE,
    ),
    Endpoint(
        "DELETE", _USER + "/sessions", sessions_ended, "End every session of a user", who="fresh admin",
        answers=_DONE, faults=_NONE,
    ),
    Endpoint(
        "PATCH", _USER + "/meta", given_meta, "Change a user's public and protected meta",
        who="fresh admin", body=MetaBody, answers=_DONE, faults=_NONE,
    ),
    Endpoint(
        "POST", _USER + "/password-reset", password_reset,
        "A key to set another password; the old one and all sessions end", who="fresh admin",
        answers={200: ResetSaid, 202: ResetPending}, faults=_NOT_LAST,
    ),
]  # fmt: skip
