"""GET /admin/events: the whole audit trail."""

from pydantic import Field

from gateway.identity.http.events import EventsSaid, PageQuery, page
from gateway.identity.web import Call, Endpoint, Reply, answer
from gateway.store import events


class TrailQuery(PageQuery):
    """Of one user, of one kind, or all."""

    user: str = Field(default="", max_length=255)
    event: str = Field(default="", max_length=64)


async def listed(call: Call) -> Reply:
    query = call.query
    async with call.context.store.reading() as db:
        if query.user:
            found = await events.page_of(db, query.user, query.before, query.event, query.limit)
        else:
            found = await events.page(db, query.before, query.event, query.limit)
    return answer(200, page(found, query.limit))


ROUTES = [
    Endpoint(
        "GET", "/admin/events", listed, "What happened, newest first", who="admin", query=TrailQuery,
        answers={200: EventsSaid},
    ),
]  # fmt: skip
