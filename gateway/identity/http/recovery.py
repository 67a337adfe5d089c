"""POST /confirm, /confirm/resend, /password/forgot, /username/forgot, /unlock: the ways back in by mail."""

from pydantic import Field

from gateway.identity import recovery
from gateway.identity.shapes import Said, Settled, Unsettled
from gateway.identity.sign_in import from_here
from gateway.identity.web import Body, Call, Endpoint, Reply, answer, settled_answer
from gateway.model import faults

LONGEST = 1024


class AddressBody(Body):
    email: str = Field(max_length=LONGEST)


class KeyBody(Body):
    key: str = Field(max_length=LONGEST)


class AskedSaid(Said):
    """The same whether anybody has the address: what follows is told to its owner by mail."""


class UnlockedSaid(Said):
    """The cookie that comes with it makes the browser known; to sign in it takes the password as ever."""


async def confirm(call: Call) -> Reply:
    await call.context.limits.check("login", call.asker)
    return settled_answer(await recovery.confirm(call.context, call.asker, call.body.key))


async def resend(call: Call) -> Reply:
    await recovery.resend(call.context, call.asker, call.body.email)
    return answer(202, {})


async def forgot_password(call: Call) -> Reply:
    await recovery.forgot_password(call.context, call.asker, call.body.email)
    return answer(202, {})


async def forgot_username(call: Call) -> Reply:
    await recovery.forgot_username(call.context, call.asker, call.body.email)
    return answer(202, {})


async def unlock(call: Call) -> Reply:
    await call.context.limits.check("login", call.asker)
    from_here(call.asker, cookie=True)
    cookie = await recovery.unlock(call.context, call.asker, call.body.key)
    return answer(200, {}, (("Set-Cookie", cookie),))


ROUTES = [
    Endpoint(
        "POST", "/confirm", confirm, "Confirm an address by the key that was mailed to it",
        body=KeyBody, answers={200: Settled, 202: Unsettled}, limit="login", faults=(faults.INVALID_KEY,),
    ),
    Endpoint(
        "POST", "/confirm/resend", resend, "Mail the key to confirm an address once more",
        body=AddressBody, answers={202: AskedSaid}, limit="mail",
    ),
    Endpoint(
        "POST", "/password/forgot", forgot_password, "Mail a key for another password",
        body=AddressBody, answers={202: AskedSaid}, limit="mail", faults=(faults.PASSWORD_OFF,),
    ),
    Endpoint(
        "POST", "/username/forgot", forgot_username, "Mail the user name of an address",
        body=AddressBody, answers={202: AskedSaid}, limit="mail",
    ),
    Endpoint(
        "POST", "/unlock", unlock, "Let a browser sign in again, by the key that was mailed",
        body=KeyBody, answers={200: UnlockedSaid}, limit="login",
        faults=(faults.INVALID_KEY, faults.ORIGIN_REFUSED),
    ),
]  # fmt: skip
