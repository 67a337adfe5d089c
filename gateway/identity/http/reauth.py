"""POST /reauth: one more proof of who it is, for what only a fresh session may do."""

from pydantic import Field

from gateway.identity import sign_in
from gateway.identity.shapes import Settled, Unsettled
from gateway.identity.web import FRESH, Body, Call, Endpoint, Refused, Reply, settled_answer, who
from gateway.model import faults


class ReauthBody(Body):
    password: str = Field(max_length=1024)


class FreshSaid(Settled):
    """Seconds for which the session counts as fresh."""

    fresh_for: int


class FreshPending(Unsettled):
    fresh_for: int


async def reauth(call: Call) -> Reply:
    if not call.context.settings.password.on:
        raise Refused(faults.PASSWORD_OFF)
    await call.context.limits.check("login", call.asker)
    caller = await who(call)
    settled = await sign_in.prove_again(call.context, caller, call.asker, call.body.password)
    return settled_answer(settled, {"fresh_for": FRESH // 1000})


ROUTES = [
    Endpoint(
        "POST", "/reauth", reauth, "Prove once more who you are", who="caller", body=ReauthBody,
        limit="login",
        answers={200: FreshSaid, 202: FreshPending},
        faults=(faults.INVALID_CREDENTIALS, faults.PASSWORD_OFF, faults.SIGN_IN_BUSY),
    ),
]  # fmt: skip
