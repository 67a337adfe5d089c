"""What `postern explain` is told: what an edge would be, while nothing is used up and nothing is noted."""

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.identity import lives, resolving
from gateway.identity.context import Context
from gateway.identity.sessions import new_session
from gateway.identity.sign_in import may_sign_in
from gateway.identity.web import Asker

if TYPE_CHECKING:
    from gateway.identity.accounts import Known

MADE_UP = "made-up"  # the id of a session that there is not
METHODS = ("pwd",)
_NEVER = 1e15  # seconds since a proof that there was not: JSON has no infinity


async def credential(context: Context, kind: str, value: str, address: str, agent: str) -> dict[str, Any]:
    """As the link's `resolve` answers; it does not count as having been presented."""
    if kind != "external":
        return await resolving.resolve(context, kind, value, address, agent, stream=False, seen=False)
    reasons: list[str] = []
    told = await context.issuers.resolve(
        context.store, value, lambda issuer, why: reasons.append(f"a token of issuer {issuer}: {why}")
    )
    if told["outcome"] == "identified":
        identity = told["identity"]
        long_ago = msgspec.structs.replace(identity, proved=min(identity.proved, _NEVER))
        return told | {"identity": long_ago}
    if told["outcome"] != "bad":
        return told
    return told | {"why": reasons[0] if reasons else "a token of another issuer: it has expired"}


async def fresh_session(context: Context, known: "Known", address: str, agent: str) -> dict[str, Any]:
    """As `resolve` would answer if this user signed in just now, by password, from there."""
    user = known.user
    if not may_sign_in(context, user):
        why = "the account is locked" if user.locked_at is not None else "its address is not confirmed"
        return {"outcome": "bad", "why": f"this user can't sign in: {why}"}
    async with context.store.reading() as db:
        now = await db.time()
    session = new_session(context, user.user_id, Asker(address, agent), now, METHODS, 1, cookie=False)
    session = msgspec.structs.replace(session, session_id=MADE_UP)
    rights = known.rights
    until = min(session.access_until, lives.ends_at(session))
    found = resolving.Found(session, user, tuple(rights.roles), tuple(rights.permissions), now, until)
    return {
        "outcome": "identified",
        "identity": resolving.identity(found, context.settings.forward_meta),
        "expires_in": (found.until - found.now) / 1000,
        "renew_in": None,
    }
