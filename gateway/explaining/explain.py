"""One request, explained: the credential where its route takes one, the rehearsal, and what it tells."""

from gateway.config.snapshot import Snapshot
from gateway.explaining.asked import Asked, with_line
from gateway.explaining.explanation import Explanation, explained
from gateway.explaining.knowledge import Knowledge, Remembered, Somebody
from gateway.explaining.rehearsal import staged
from gateway.model.credentials import ACCESS, COOKIE, new
from policies.authenticate import Authenticate

Accept = tuple[str, ...]


async def explain(
    snapshot: Snapshot,
    asked: Asked,
    knowledge: Knowledge,
    *,
    token: str = "",
    somebody: Somebody | None = None,
) -> Explanation:
    """With `token` the request carries it; with `somebody` it comes from them, whatever the credential."""
    remembered = Remembered(knowledge)
    found = await _once(snapshot, asked, remembered, token, somebody)
    if remembered.late:
        await remembered.settled()
        found = await _once(snapshot, asked, remembered, token, somebody)
    return found


async def _once(
    snapshot: Snapshot, asked: Asked, knowledge: Remembered, token: str, somebody: Somebody | None
) -> Explanation:
    async with staged(snapshot, knowledge) as stage:
        if token or somebody is not None:
            accept = _accepted(snapshot, stage.route_of(asked))
            if somebody is not None:
                token = new(COOKIE if "cookie" in accept and not _bearing(accept) else ACCESS)
                stage.stands_for(token, somebody)
            asked = with_line(asked, *_place(token, accept, snapshot.identity.cookie_names))
        return explained(snapshot, asked, await stage.rehearse(asked))


def _accepted(snapshot: Snapshot, name: str) -> Accept:
    """Which credentials the route takes; where nobody says, the usual ones."""
    routes = (route for route in snapshot.routes if route.name == name)
    settings = next((route.policies.get("authenticate") for route in routes), None)
    given = (settings or {}).get("accept")
    return tuple(given) if given else Authenticate.Settings().accept


def _bearing(accept: Accept) -> list[str]:
    """Of what is accepted, what a token can be: in order of preference."""
    return [word for word in accept if word != "cookie"]


def _place(token: str, accept: Accept, cookies: tuple[str, ...]) -> tuple[str, str]:
    """The header line that carries it."""
    if token.startswith(COOKIE):
        return "Cookie", f"{cookies[0]}={token}"
    for word in _bearing(accept):
        kind, _, name = word.partition(":")
        if kind == "header":
            return name, token
        if kind in ("bearer", "issuer"):
            break
    return "Authorization", f"Bearer {token}"
