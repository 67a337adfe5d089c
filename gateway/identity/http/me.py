"""GET, PATCH and DELETE /me: a user's own profile."""

from typing import Any

from pydantic import Field

from gateway.identity import accounts, actors
from gateway.identity.http.logout import cleared
from gateway.identity.shapes import Pending, Propagated, Settled, Unsettled, UserSaid, user_answer
from gateway.identity.web import Call, Endpoint, OpenBody, Reply, answer, settled_answer, who
from gateway.model import faults

LONGEST = 1024


class ProfileBody(OpenBody):
    """What is not sent stays; in `meta` a key with null is taken away. Whatever else is sent is ignored."""

    username: str | None = Field(default=None, max_length=LONGEST)
    first_name: str | None = Field(default=None, max_length=LONGEST)
    last_name: str | None = Field(default=None, max_length=LONGEST)
    meta: dict[str, Any] | None = None


class ProfileSaid(UserSaid):
    """The profile after the change, which every edge knows."""

    propagated: Propagated


class ProfilePending(ProfileSaid):
    pending: list[Pending]


async def shown(call: Call) -> Reply:
    caller = await who(call)
    return answer(200, user_answer(caller.user, caller.roles, caller.permissions))


async def changed(call: Call) -> Reply:
    caller, body = await who(call), call.body
    await call.context.limits.check_user("profile", caller.user.user_id)
    change = accounts.Profile(body.username, body.first_name, body.last_name, body.meta)
    actor = await actors.owner(call)
    user, settled = await accounts.change_profile(call.context, caller.user.user_id, change, actor)
    return settled_answer(settled, user_answer(user, caller.roles, caller.permissions))


async def deleted(call: Call) -> Reply:
    caller = await who(call)
    settled = await accounts.delete(call.context, caller.user.user_id, await actors.owner(call))
    return settled_answer(settled, headers=cleared(call, caller))


ROUTES = [
    Endpoint("GET", "/me", shown, "The user's profile", who="caller", answers={200: UserSaid}),
    Endpoint(
        "PATCH", "/me", changed, "Change names and public meta", who="caller", body=ProfileBody,
        answers={200: ProfileSaid, 202: ProfilePending}, limit="profile", faults=(faults.USERNAME_TAKEN,),
    ),
    Endpoint(
        "DELETE", "/me", deleted, "Delete the account", who="fresh",
        answers={200: Settled, 202: Unsettled}, faults=(faults.LAST_ADMIN,),
    ),
]  # fmt: skip
