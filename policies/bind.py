"""Whether a session is used from where it was signed in, and by the same program: a stolen token is not."""

from collections.abc import Awaitable
from typing import ClassVar

from gateway.model.binding import Binding, What, differing
from gateway.model.challenges import bearer
from gateway.model.exchange import Exchange
from gateway.model.faults import BINDING_CHANGED, IDENTITY_UNAVAILABLE
from gateway.model.identity import Identified
from gateway.model.policy import Ports
from gateway.model.verdict import Outcome, Refuse, Verdict

_UNKNOWN = Refuse(IDENTITY_UNAVAILABLE, headers=((b"Retry-After", b"1"),))
_DIFFERS: dict[What, str] = {
    ("address",): "another address",
    ("agent",): "another program",
    ("address", "agent"): "another address and another program",
}


class Bind:
    """Not asked again while a stream is open: a connection's address does not change."""

    name: ClassVar[str] = "bind"
    Settings = Binding

    def __init__(self, settings: Binding, ports: Ports) -> None:
        self._binding = settings
        self._mismatched = ports.identities.mismatched
        self._act = "log" if ports.report else settings.on_mismatch
        self._refusals = {what: _refusal(settings, ports.service, told) for what, told in _DIFFERS.items()}

    def on_request(self, exchange: Exchange) -> Verdict:
        who = exchange.who
        if who is None:
            return None
        client = exchange.client
        agent = exchange.noted.get(b"user-agent")
        if client == who.address and agent == who.agent:
            return None
        placed = who.placed
        if placed is not None and placed[0] is self and placed[1] == client and placed[2] == agent:
            return None
        return self._look(exchange, who, client, agent)

    def _look(self, exchange: Exchange, who: Identified, client: bytes, agent: bytes | None) -> Verdict:
        """What has no session (an API key, another issuer's token) has no sign-in to be compared with."""
        seen = client.decode("ascii", "replace"), (agent or b"").decode("utf-8", "replace")
        what = differing(self._binding, who.identity, *seen) if who.identity.session else ()
        if not what:
            who.placed = (self, client, agent)
            return None
        exchange.note(f"{_DIFFERS[what]} than at sign-in")
        told = self._mismatched(what, self._act, exchange)
        return self._outcome(what, told) if isinstance(told, bool) else self._told(what, told)

    async def _told(self, what: What, told: Awaitable[bool]) -> Outcome:
        return self._outcome(what, await told)

    def _outcome(self, what: What, told: bool) -> Outcome:
        if self._act == "strict" and not told:
            return _UNKNOWN
        return self._refusals[what]


def _refusal(binding: Binding, realm: str, differs: str) -> Refuse | None:
    """RFC 6750 has a word for what is over, RFC 9470 one for who has to prove themselves once more."""
    if binding.on_mismatch == "log":
        return None
    began = f"This came from {differs} than the sign-in"
    if binding.on_mismatch == "strict":
        headers = bearer(realm, "invalid_token")
        return Refuse(BINDING_CHANGED, f"{began}, so the session has ended. Sign in again.", headers)
    headers = bearer(realm, "insufficient_user_authentication")
    detail = f"{began}. Prove from here that it is you (POST /reauth), or sign in again."
    return Refuse(BINDING_CHANGED, detail, headers)
