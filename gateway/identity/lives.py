"""Until when a session, its access tokens and its cookies are good: rules on the session's row alone."""

from gateway.config.service import Cookie, Tokens
from gateway.store.sessions import Session


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def ends_at(session: Session) -> int:
    """When it is over at the latest, if nobody uses it."""
    if not session.absolute_until:
        return session.idle_until
    return min(session.idle_until, session.absolute_until)


def alive(session: Session, now: int) -> bool:
    return session.ended_at is None and now < ends_at(session)


def idle_until(tokens: Tokens, now: int) -> int:
    return now + milliseconds(tokens.idle_ttl)


def access_until(tokens: Tokens, now: int, absolute: int) -> int:
    """The expiry of an access token made now; a JWT tells whole seconds only."""
    until = now + milliseconds(tokens.access_ttl)
    if absolute:
        until = min(until, absolute)
    return until - until % 1000 if tokens.format == "jwt" else until


def renewed_until(tokens: Tokens, session: Session, now: int) -> int:
    """The expiry of an access token that is made because of a good cookie.

    It is never that of the generation's own access token, not even by the second, and so its use never
    counts as the generation being presented: rotation's rules 3 and 4 see the refresh tokens' owner only.
    """
    until = access_until(tokens, now, session.absolute_until)
    return until - 1000 if until // 1000 == session.access_until // 1000 else until


def cookie_until(cookie: Cookie, session: Session, generation: int, now: int) -> int:
    """Until when a cookie of this generation may be believed without asking again; 0: it is not good.

    The next one can be first seen only after the renewal is due, and this one is good for the grace after
    that; so nobody who believes what is said here believes a cookie for longer than the grace.
    """
    grace = milliseconds(cookie.renew_grace)
    if generation == session.cookie_generation:
        return min(ends_at(session), max(now, renewal_due(cookie, session)) + grace)
    if generation != session.cookie_generation - 1:
        return 0
    if session.cookie_presented_at is None:
        return min(ends_at(session), now + grace)
    over = session.cookie_presented_at + grace
    return min(ends_at(session), over) if now < over else 0


def renewal_due(cookie: Cookie, session: Session) -> int:
    return session.cookie_rotated_at + milliseconds(cookie.renew_every)
