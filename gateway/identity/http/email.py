"""POST /email/change, /email/change/confirm and /email/change/undo: another address, and the old one back."""

from gateway.identity import email_change
from gateway.identity.http.recovery import AddressBody, AskedSaid, KeyBody
from gateway.identity.shapes import Settled, Unsettled
from gateway.identity.web import Call, Endpoint, Reply, answer, settled_answer, who
from gateway.model import faults


async def change(call: Call) -> Reply:
    caller = await who(call, "fresh")
    await email_change.begin(call.context, caller, call.asker, call.body.email)
    return answer(202, {})


async def confirm(call: Call) -> Reply:
    await call.context.limits.check("login", call.asker)
    caller = await who(call, "fresh")
    return settled_answer(await email_change.finish(call.context, call.asker, call.body.key, caller))


async def undo(call: Call) -> Reply:
    await call.context.limits.check("login", call.asker)
    return settled_answer(await email_change.undo(call.context, call.asker, call.body.key))


ROUTES = [
    Endpoint(
        "POST", "/email/change", change, "Mail a key to the address that the account is to have",
        who="fresh", body=AddressBody, answers={202: AskedSaid}, limit="mail",
    ),
    Endpoint(
        "POST", "/email/change/confirm", confirm, "Change the address by the key that was mailed to it",
        who="fresh", body=KeyBody, answers={200: Settled, 202: Unsettled}, limit="login",
        faults=(faults.INVALID_KEY,),
    ),
    Endpoint(
        "POST", "/email/change/undo", undo, "Give the account back to its old address, by its key",
        body=KeyBody, answers={200: Settled, 202: Unsettled}, limit="login", faults=(faults.INVALID_KEY,),
    ),
]  # fmt: skip
