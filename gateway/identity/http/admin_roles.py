"""/admin/roles: names for sets of permissions."""

from typing import Any

from pydantic import Field

from gateway.identity import actors, roles
from gateway.identity.shapes import Said, Settled, Unsettled, iso
from gateway.identity.web import Body, Call, Endpoint, Reply, answer, settled_answer
from gateway.model import faults
from gateway.store.roles import Role


class RoleBody(Body):
    name: str = Field(max_length=1024)
    permissions: list[str] = Field(default_factory=list, max_length=1000)


class PermissionsBody(Body):
    """Exactly these."""

    permissions: list[str] = Field(max_length=1000)


class RoleSaid(Said):
    name: str
    permissions: list[str]
    created_at: str


class RolesSaid(Said):
    roles: list[RoleSaid]


def _told(role: Role) -> dict[str, Any]:
    return {
        "name": role.name, "permissions": list(role.permissions), "created_at": iso(role.created_at),
    }  # fmt: skip


async def listed(call: Call) -> Reply:
    return answer(200, {"roles": [_told(role) for role in await roles.listed(call.context)]})


async def made(call: Call) -> Reply:
    actor, body = await actors.admin(call), call.body
    return answer(201, _told(await roles.make(call.context, body.name, body.permissions, actor)))


async def changed(call: Call) -> Reply:
    actor, name = await actors.admin(call), call.path["name"]
    return settled_answer(await roles.change(call.context, name, call.body.permissions, actor))


async def deleted(call: Call) -> Reply:
    actor = await actors.admin(call)
    return settled_answer(await roles.delete(call.context, call.path["name"], actor))


ROUTES = [
    Endpoint("GET", "/admin/roles", listed, "All roles", who="admin", answers={200: RolesSaid}),
    Endpoint(
        "POST", "/admin/roles", made, "Make a role", who="fresh admin", body=RoleBody,
        answers={201: RoleSaid}, faults=(faults.ROLE_TAKEN,),
    ),
    Endpoint(
        "PUT", "/admin/roles/{name}", changed, "Give a role exactly these permissions", who="fresh admin",
        body=PermissionsBody, answers={200: Settled, 202: Unsettled},
        faults=(faults.NOT_FOUND, faults.LAST_ADMIN),
    ),
    Endpoint(
        "DELETE", "/admin/roles/{name}", deleted, "Delete a role; nobody has it any more",
        who="fresh admin", answers={200: Settled, 202: Unsettled},
        faults=(faults.NOT_FOUND, faults.LAST_ADMIN, faults.SHIPPED_ROLE),
    ),
]  # fmt: skip
