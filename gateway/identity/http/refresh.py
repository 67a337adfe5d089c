"""POST /refresh-token: new tokens for a refresh token, or what a session cookie carries."""

from gateway.identity import renewing, rotation
from gateway.identity.binding import Elsewhere
from gateway.identity.resolving import Bad
from gateway.identity.sessions import token_answer
from gateway.identity.shapes import TokensSaid
from gateway.identity.web import COOKIE_ORIGIN, Body, Call, Endpoint, Refused, Reply, answer
from gateway.model import faults


class RefreshBody(Body):
    """Without a refresh token the session cookie counts; `bearer` asks for an access token beside it."""

    refresh_token: str | None = None
    bearer: bool = False


async def refresh(call: Call) -> Reply:
    await call.context.limits.check("refresh", call.asker)
    token = call.body.refresh_token
    done = (
        await _by_cookie(call) if token is None else await rotation.refresh(call.context, token, call.asker)
    )
    body = token_answer(done.opened, done.row.user, done.row.roles, done.row.permissions, done.now)
    return answer(200, body, done.opened.headers)


async def _by_cookie(call: Call) -> renewing.Renewed:
    if call.cookie is None:
        raise Refused(faults.INVALID_REFRESH_TOKEN, "Send the refresh_token, or the session cookie.")
    if call.asker.origin != "ours":
        raise Refused(faults.ORIGIN_REFUSED, COOKIE_ORIGIN)
    renewed = await renewing.renew(call.context, call.cookie, call.body.bearer, call.asker)
    if isinstance(renewed, Bad):
        call.context.counters.count("tokens_refreshed_total", "invalid")
        raise Refused(faults.INVALID_REFRESH_TOKEN)
    if isinstance(renewed, Elsewhere):
        call.context.counters.count("tokens_refreshed_total", "elsewhere")
        raise renewed.refused
    call.context.counters.count("tokens_refreshed_total", "cookie")
    return renewed


ROUTES = [
    Endpoint(
        "POST", "/refresh-token", refresh, "New tokens",
        body=RefreshBody, optional_body=True, answers={200: TokensSaid}, also=("/refresh",), limit="refresh",
        faults=(
            faults.INVALID_REFRESH_TOKEN, faults.REFRESH_TOKEN_REUSED, faults.ORIGIN_REFUSED,
            faults.BINDING_CHANGED,
        ),
    ),
]  # fmt: skip
