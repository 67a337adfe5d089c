"""GET /events: what happened to one's own account."""

from typing import Any

import msgspec
from pydantic import Field

from gateway.identity import shapes
from gateway.identity.shapes import Said
from gateway.identity.web import Call, Endpoint, Query, Reply, answer, who
from gateway.store import events
from gateway.store.events import Event


class PageQuery(Query):
    """`before`: the `next` of the page that came last."""

    before: int = Field(default=0, ge=0, lt=2**63)
    limit: int = Field(default=50, ge=1, le=200)


class EventSaid(Said):
    """Of what somebody else did to an account its owner is not told `address` and `agent`: they are empty."""

    id: int
    at: str
    event: str
    user_id: str
    actor: str
    session_id: str
    address: str
    agent: str
    data: dict[str, Any]


class EventsSaid(Said):
    events: list[EventSaid]
    next: int | None


def event_answer(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": shapes.iso(event.at),
        "event": event.event,
        "user_id": event.user_id,
        "actor": event.actor,
        "session_id": event.session_id,
        "address": event.address,
        "agent": event.agent,
        "data": shapes.meta(event.data),
    }


def page(found: list[Event], limit: int) -> dict[str, Any]:
    """The newest first."""
    return {
        "events": [event_answer(each) for each in found],
        "next": found[-1].id if len(found) == limit else None,
    }


async def listed(call: Call) -> Reply:
    caller, query = await who(call), call.query
    async with call.context.store.reading() as db:
        found = await events.page_of(db, caller.user.user_id, query.before, most=query.limit)
    return answer(200, page([_for_the_owner(each) for each in found], query.limit))


def _for_the_owner(event: Event) -> Event:
    """Where an admin sits, and with what, is no business of the users."""
    if event.actor == event.user_id:
        return event
    return msgspec.structs.replace(event, address="", agent="")


ROUTES = [
    Endpoint(
        "GET", "/events", listed, "What happened to this account", who="caller", query=PageQuery,
        answers={200: EventsSaid},
    ),
]  # fmt: skip
