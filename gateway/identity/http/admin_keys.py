"""POST /admin/keys/rotate: the next signing key now."""

from gateway.identity import actors
from gateway.identity.audit import KEYS_ROTATED, audit
from gateway.identity.shapes import Said
from gateway.identity.web import Call, Endpoint, Reply, answer


class RotatedSaid(Said):
    """`kid`: of the key that signs access tokens from soon on; older ones verify while their tokens live."""

    kid: str


async def rotate(call: Call) -> Reply:
    context, actor = call.context, await actors.admin(call)
    async with context.store.writing() as db:
        await actor.begin(db)
        await actor.still(db)
        kid = await context.keys.next_key(db)
        await audit(db, KEYS_ROTATED, actor=actor.name, asker=call.asker, kid=kid)
    await context.keys.tend(context.store)
    return answer(200, {"kid": kid})


ROUTES = [
    Endpoint(
        "POST",
        "/admin/keys/rotate",
        rotate,
        "Sign with a new key",
        who="fresh admin",
        answers={200: RotatedSaid},
    ),
]
