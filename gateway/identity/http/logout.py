"""POST /logout and /revoke-all-tokens: the caller's own session ends, or others of the same user."""

from typing import Literal

from gateway.identity import sessions
from gateway.identity.audit import SESSION_REVOKED, audit
from gateway.identity.cookies import clear_cookie
from gateway.identity.shapes import Settled, Unsettled
from gateway.identity.web import Body, Call, Caller, Endpoint, Headers, Reply, settled_answer, who
from gateway.store import accounts as users

Scope = Literal["session", "others", "all"]


class LogoutBody(Body):
    """`session`: this one; `others`: all of the user's but this one; `all`."""

    scope: Scope = "session"


async def logout(call: Call) -> Reply:
    return await revoke(call, call.body.scope, "logout")


async def revoke_all(call: Call) -> Reply:
    return await revoke(call, "all", "revoked")


async def revoke(call: Call, scope: Scope, why: str) -> Reply:
    """End what `scope` says; answered when every edge has dropped it."""
    context, caller = call.context, await who(call)
    async with context.store.writing() as db:
        if (
            scope != "session"
        ):  # who ends several sessions takes their user's lock first, so none waits in a ring
            await users.locked(db, caller.user.user_id)
        held = await sessions.still(db, caller)
        if scope == "session":
            await sessions.end(context, db, held, why)
        else:
            keep = held.session_id if scope == "others" else ""
            await sessions.end_all(context, db, caller.user.user_id, why, keep)
        await audit(
            db, SESSION_REVOKED, caller.user.user_id, session=held.session_id, asker=call.asker, scope=scope
        )
    settled = await context.propagation.settle(db.revocations)
    return settled_answer(settled, headers=() if scope == "others" else cleared(call, caller))


def cleared(call: Call, caller: Caller) -> Headers:
    """Takes the cookie of an ended session out of the browser."""
    if caller.by == "bearer" and not caller.session.cookie_mode:
        return ()
    return (("Set-Cookie", clear_cookie(call.context.settings.cookie)),)


ROUTES = [
    Endpoint(
        "POST", "/logout", logout, "Sign out", who="caller", body=LogoutBody, optional_body=True,
        answers={200: Settled, 202: Unsettled},
    ),
    Endpoint(
        "POST", "/revoke-all-tokens", revoke_all, "End every session of the user, this one too", who="caller",
        answers={200: Settled, 202: Unsettled},
    ),
]  # fmt: skip
