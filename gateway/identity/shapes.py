"""The shapes of answers: pydantic models for the document, and the functions that make them from rows."""

import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from gateway.store.accounts import User
    from gateway.store.sessions import Session


class Said(BaseModel):
    """An answer: every field is documented, and none is there that is not."""

    model_config = ConfigDict(extra="forbid")


class UserSaid(Said):
    user_id: str
    username: str | None
    email: str
    confirmed: bool
    first_name: str
    last_name: str
    meta: dict[str, Any]
    roles: list[str]
    permissions: list[str]
    created_at: str


class TokensSaid(Said):
    """The token answer; the tokens are not in it where a cookie carries the session."""

    access_token: str | None = None
    token_type: str | None = None
    expires_in: int | None = None
    refresh_token: str | None = None
    refresh_expires_in: int
    session_id: str
    user: UserSaid


class Propagated(Said):
    edges: int
    acknowledged: int


class Pending(Said):
    edge: str
    safe_at: str


class Settled(Said):
    """Of a revoking or changing call, once every edge knows."""

    propagated: Propagated


class Unsettled(Settled):
    """Of one that some edges may not know of yet: nothing of it works there after `safe_at`."""

    pending: list[Pending]


class SessionSaid(Said):
    session_id: str
    address: str
    agent: str
    methods: list[str]
    level: int
    created_at: str
    last_seen_at: str
    expires_at: str
    current: bool


class SessionsSaid(Said):
    sessions: list[SessionSaid]


def iso(milliseconds: int) -> str:
    """ISO 8601 in UTC."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user_answer(user: "User", roles: tuple[str, ...], permissions: tuple[str, ...]) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "confirmed": bool(user.confirmed),
        "first_name": user.first_name or "",
        "last_name": user.last_name or "",
        "meta": meta(user.meta),
        "roles": list(roles),
        "permissions": list(permissions),
        "created_at": iso(user.created_at),
    }


def session_answer(session: "Session", current: bool) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "address": session.address,
        "agent": session.agent,
        "methods": [method for method in session.methods.split(",") if method],
        "level": session.level,
        "created_at": iso(session.created_at),
        "last_seen_at": iso(session.last_seen_at),
        "expires_at": iso(ends_at(session)),
        "current": current,
    }


def ends_at(session: "Session") -> int:
    """When it is over at the latest, if nobody uses it."""
    if not session.absolute_until:
        return session.idle_until
    return min(session.idle_until, session.absolute_until)


def meta(text: str | None) -> dict[str, Any]:
    """A map kept as JSON text."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
