"""Tells the identity service that a credential came from elsewhere than its session was signed in from."""

from gateway.link.client import Link, LinkDown
from gateway.model.exchange import Exchange

ASK_WITHIN = 5.0


async def tell_mismatch(link: Link, what: tuple[str, ...], act: str, exchange: Exchange) -> bool:
    """Whether it is known there now; with act `strict` the session has ended then."""
    if exchange.who is None:
        return False
    agent = exchange.noted.get(b"user-agent") or b""
    message = {
        "t": "mismatch", "kind": exchange.who.kind, "credential": exchange.credential.decode("latin-1"),
        "what": list(what), "act": act, "address": exchange.client.decode("ascii", "replace"),
        "agent": agent.decode("utf-8", "replace"), "route": exchange.route.name,
    }  # fmt: skip
    try:
        answer = await link.ask(message, ASK_WITHIN)
    except (LinkDown, TimeoutError):
        return False
    return answer.get("outcome") == "noted"
