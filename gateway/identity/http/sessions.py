"""GET and DELETE /sessions: where a user is signed in, and how to end that."""

from gateway.identity import sessions
from gateway.identity.audit import SESSION_REVOKED, audit
from gateway.identity.http.logout import cleared, revoke
from gateway.identity.lives import alive
from gateway.identity.shapes import SessionsSaid, Settled, Unsettled, session_answer
from gateway.identity.web import Call, Endpoint, Refused, Reply, answer, settled_answer, who
from gateway.model import faults
from gateway.model.credentials import id_bytes
from gateway.store import accounts as users
from gateway.store import sessions as rows


async def listed(call: Call) -> Reply:
    caller = await who(call)
    async with call.context.store.reading() as db:
        live = await rows.live_of(db, caller.user.user_id)
    current = caller.session.session_id
    return answer(200, {"sessions": [session_answer(each, each.session_id == current) for each in live]})


async def ended(call: Call) -> Reply:
    context, caller, session_id = call.context, await who(call), call.path["session_id"]
    if id_bytes(session_id) is None:
        raise Refused(faults.NOT_FOUND)
    async with context.store.writing() as db:
        await users.locked(db, caller.user.user_id)  # before those of two sessions
        await sessions.still(db, caller)
        found = await rows.locked(db, session_id)
        if found is None or found.user_id != caller.user.user_id or not alive(found, db.now):
            raise Refused(faults.NOT_FOUND)
        await sessions.end(context, db, found, "revoked")
        await audit(db, SESSION_REVOKED, caller.user.user_id, session=session_id, asker=call.asker)
    settled = await context.propagation.settle(db.revocations)
    own = session_id == caller.session.session_id
    return settled_answer(settled, headers=cleared(call, caller) if own else ())


async def ended_others(call: Call) -> Reply:
    return await revoke(call, "others", "revoked")


ROUTES = [
    Endpoint(
        "GET", "/sessions", listed, "Where the user is signed in", who="caller",
        answers={200: SessionsSaid},
    ),
    Endpoint(
        "DELETE", "/sessions", ended_others, "End all sessions of the user but this one", who="caller",
        answers={200: Settled, 202: Unsettled},
    ),
    Endpoint(
        "DELETE", "/sessions/{session_id}", ended, "End one session of the user", who="caller",
        answers={200: Settled, 202: Unsettled}, faults=(faults.NOT_FOUND,),
    ),
]  # fmt: skip
