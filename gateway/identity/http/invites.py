"""/admin/invites: keys that let somebody register."""

from typing import Any

from pydantic import Field

from gateway.identity import actors, invites
from gateway.identity.invites import Invite
from gateway.identity.shapes import Said, iso
from gateway.identity.web import Body, Call, Endpoint, Query, Reply, answer
from gateway.model import faults


class InviteBody(Body):
    """For one address or any; `expires_in`: seconds."""

    email: str = Field(default="", max_length=1024)
    roles: list[str] = Field(default_factory=list, max_length=50)
    expires_in: int = Field(default=invites.LASTS, ge=60, le=invites.LONGEST)


class InvitesQuery(Query):
    """`after`: the `next` of the page that came last."""

    after: str = Field(default="", pattern=f"^({invites.A_PLACE})?$")
    limit: int = Field(default=50, ge=1, le=200)


class InviteSaid(Said):
    id: str
    email: str
    roles: list[str]
    by: str
    created_at: str
    expires_at: str


class MadeInviteSaid(InviteSaid):
    """`invite` is the key; it is shown this once."""

    invite: str


class InvitesSaid(Said):
    invites: list[InviteSaid]
    next: str | None


def _told(invite: Invite) -> dict[str, Any]:
    return {
        "id": invite.id,
        "email": invite.terms.email,
        "roles": list(invite.terms.roles),
        "by": invite.terms.by,
        "created_at": iso(invite.created_at),
        "expires_at": iso(invite.expires_at),
    }


async def made(call: Call) -> Reply:
    actor, body = await actors.admin(call), call.body
    key, invite = await invites.make(call.context, body.email, body.roles, body.expires_in, actor)
    return answer(201, _told(invite) | {"invite": key})


async def listed(call: Call) -> Reply:
    query = call.query
    found = await invites.listed(call.context, query.after, query.limit)
    following = found[-1].place if len(found) == query.limit else None
    return answer(200, {"invites": [_told(each) for each in found], "next": following})


async def withdrawn(call: Call) -> Reply:
    await invites.withdraw(call.context, call.path["invite_id"], await actors.admin(call))
    return answer(204)


ROUTES = [
    Endpoint(
        "GET", "/admin/invites", listed, "Invites that can still be used, newest first", who="admin",
        query=InvitesQuery, answers={200: InvitesSaid},
    ),
    Endpoint(
        "POST", "/admin/invites", made, "Invite somebody", who="fresh admin", body=InviteBody,
        optional_body=True, answers={201: MadeInviteSaid},
    ),
    Endpoint(
        "DELETE", "/admin/invites/{invite_id}", withdrawn, "Withdraw an invite", who="fresh admin",
        answers={204: None}, faults=(faults.NOT_FOUND,),
    ),
]  # fmt: skip
