"""POST /password/change and /password/reset: another password, by the current one or by a key."""

from pydantic import Field

from gateway.identity import password_change
from gateway.identity.shapes import Pending, Propagated, Settled, TokensSaid, Unsettled
from gateway.identity.web import Body, Call, Endpoint, Refused, Reply, settled_answer, who
from gateway.model import faults

LONGEST = 1024


class ChangeBody(Body):
    current_password: str = Field(max_length=LONGEST)
    new_password: str = Field(max_length=LONGEST)


class ResetBody(Body):
    key: str = Field(max_length=LONGEST)
    new_password: str = Field(max_length=LONGEST)


class ChangedSaid(TokensSaid):
    """The tokens of the new session; all others have ended, and every edge knows."""

    propagated: Propagated


class ChangedPending(ChangedSaid):
    pending: list[Pending]


async def change(call: Call) -> Reply:
    _on(call)
    await call.context.limits.check("login", call.asker)
    caller, body = await who(call), call.body
    signed, settled = await password_change.change(
        call.context, caller, call.asker, body.current_password, body.new_password
    )
    return settled_answer(settled, signed.answer, signed.opened.headers)


async def reset(call: Call) -> Reply:
    _on(call)
    await call.context.limits.check("login", call.asker)
    settled = await password_change.reset(call.context, call.asker, call.body.key, call.body.new_password)
    return settled_answer(settled)


def _on(call: Call) -> None:
    if not call.context.settings.password.on:
        raise Refused(faults.PASSWORD_OFF)


ROUTES = [
    Endpoint(
        "POST", "/password/change", change, "Another password; every session ends and a new one opens",
        who="caller", body=ChangeBody, answers={200: ChangedSaid, 202: ChangedPending},
        limit="login",
        faults=(faults.INVALID_CREDENTIALS, faults.PASSWORD_OFF, faults.ORIGIN_REFUSED, faults.SIGN_IN_BUSY),
    ),
    Endpoint(
        "POST", "/password/reset", reset, "Another password by a one-time key; every session ends",
        body=ResetBody, answers={200: Settled, 202: Unsettled}, limit="login",
        faults=(faults.INVALID_KEY, faults.PASSWORD_OFF, faults.SIGN_IN_BUSY),
    ),
]  # fmt: skip
