"""/admin/sessions: everybody's live sessions, and an end to one."""

from pydantic import Field

from gateway.identity import accounts, actors
from gateway.identity.shapes import Said, SessionSaid, Settled, Unsettled, session_answer
from gateway.identity.web import Call, Endpoint, Query, Refused, Reply, answer, settled_answer, who
from gateway.model import faults
from gateway.model.credentials import id_bytes
from gateway.store import sessions as rows


class SessionsQuery(Query):
    """`after`: the `next` of the page that came last."""

    after: str = Field(default="", max_length=22)
    limit: int = Field(default=50, ge=1, le=200)


class UsersSessionSaid(SessionSaid):
    user_id: str


class AllSessionsSaid(Said):
    sessions: list[UsersSessionSaid]
    next: str | None


async def listed(call: Call) -> Reply:
    query, current = call.query, (await who(call)).session.session_id
    async with call.context.store.reading() as db:
        found = await rows.page(db, query.after, query.limit)
    told = [session_answer(each, each.session_id == current) | {"user_id": each.user_id} for each in found]
    following = found[-1].session_id if len(found) == query.limit else None
    return answer(200, {"sessions": told, "next": following})


async def ended(call: Call) -> Reply:
    actor, session_id = await actors.admin(call), call.path["session_id"]
    if id_bytes(session_id) is None:
        raise Refused(faults.NOT_FOUND)
    return settled_answer(await accounts.revoke(call.context, session_id, actor))


ROUTES = [
    Endpoint(
        "GET", "/admin/sessions", listed, "Sessions that live, everybody's", who="admin",
        query=SessionsQuery, answers={200: AllSessionsSaid},
    ),
    Endpoint(
        "DELETE", "/admin/sessions/{session_id}", ended, "End a session", who="fresh admin",
        answers={200: Settled, 202: Unsettled}, faults=(faults.NOT_FOUND,),
    ),
]  # fmt: skip
