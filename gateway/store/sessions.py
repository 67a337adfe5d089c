"""Sessions, their rotations, and the one query that says what a credential stands for."""

from collections.abc import Iterable

import msgspec

from gateway.store.accounts import COLUMNS as USER_COLUMNS
from gateway.store.accounts import User, user_of
from gateway.store.database import Database, Row
from gateway.store.roles import rights_of


class Session(msgspec.Struct, frozen=True):
    """A sign-in on one device. Times in milliseconds; None: it has not happened."""

    session_id: str
    user_id: str
    salt: bytes
    key_id: str
    generation: int
    min_generation: int
    rotated_at: int
    access_until: int
    cookie_generation: int
    cookie_rotated_at: int
    family: str  # of the agent at sign-in
    address: str
    agent: str
    proved_at: int  # freshness
    created_at: int
    last_seen_at: int
    idle_until: int
    absolute_until: int  # 0: never
    presented_at: int | None = None
    cookie_presented_at: int | None = None
    methods: str = "pwd"  # with commas
    level: int = 1
    ended_at: int | None = None
    ended_why: str = ""
    cookie_mode: int = 0
    other_address: str = ""  # of the other family (v4, v6), from where its owner proved themselves too

    def __repr__(self) -> str:
        """Its salt must not stand in a traceback."""
        return f"Session({self.session_id})"


class WithUser(msgspec.Struct, frozen=True):
    """A session with all that is said of its user."""

    session: Session
    user: User
    roles: tuple[str, ...]
    permissions: tuple[str, ...]  # of all roles


class Rotation(msgspec.Struct, frozen=True):
    generation: int
    at: int
    address: str
    agent: str


class Purged(msgspec.Struct, frozen=True):
    """What one step of a purge did; `next` is where to go on, empty at the end."""

    sessions: int
    next: str


_COLUMNS = len(Session.__struct_fields__)
_ROLE = _COLUMNS + len(USER_COLUMNS)


async def insert(db: Database, session: Session) -> None:
    """Raises Missing when its user is gone."""
    await db.run("session_insert", **msgspec.structs.asdict(session))


async def by_id(db: Database, session_id: str) -> Session | None:
    return _session(await db.one("session_by_id", session_id=session_id))


async def locked(db: Database, session_id: str) -> Session | None:
    """As it is now, and nobody else changes it until this unit ends."""
    return _session(await db.one("session_locked", session_id=session_id))


async def with_user(db: Database, session_id: str) -> WithUser | None:
    """The session, its user, the user's roles and their permissions, in one query."""
    rows = await db.rows("session_with_user", session_id=session_id)
    if not rows:
        return None
    first = rows[0]
    rights = rights_of(row[_ROLE:] for row in rows)
    return WithUser(Session(*first[:_COLUMNS]), user_of(first[_COLUMNS:_ROLE]), *rights)


async def rotate(
    db: Database,
    session_id: str,
    *,
    key_id: str,
    access_until: int,
    idle_until: int,
    address: str,
    agent: str,
    history: int,
) -> Session:
    """The next generation, not presented yet; the caller holds the lock. Of the past, `history` are kept."""
    now = await db.time()
    row = await db.one(
        "session_rotate",
        session_id=session_id, now=now, key_id=key_id, access_until=access_until, idle_until=idle_until,
    )  # fmt: skip
    session = _held(row)
    if history:
        await db.run(
            "rotation_insert",
            session_id=session_id, slot=session.generation % history, generation=session.generation,
            at=now, address=address, agent=agent,
        )  # fmt: skip
    return session


async def renew_cookie(db: Database, session_id: str, key_id: str, idle_until: int) -> Session:
    """The next generation of the cookie, not presented yet; the caller holds the lock."""
    query = "session_renew_cookie"
    now = await db.time()
    row = await db.one(query, session_id=session_id, now=now, key_id=key_id, idle_until=idle_until)
    return _held(row)


async def mark_presented(db: Database, session_id: str, generation: int) -> bool:
    """False when it was seen before, or is not the current one any more."""
    query = "session_mark_presented"
    return await db.run(query, session_id=session_id, generation=generation, now=await db.time()) > 0


async def mark_cookie_presented(db: Database, session_id: str, generation: int) -> bool:
    query = "session_mark_cookie_presented"
    return await db.run(query, session_id=session_id, generation=generation, now=await db.time()) > 0


async def prove(db: Database, session_id: str) -> None:
    """Its owner has just proved again to be there: freshness begins anew."""
    await db.run("session_prove", session_id=session_id, now=await db.time())


async def rebind(
    db: Database, session_id: str, *, address: str, other_address: str, agent: str, family: str
) -> None:
    """It belongs to another place from now on."""
    await db.run(
        "session_rebind",
        session_id=session_id, address=address, other_address=other_address, agent=agent, family=family,
    )  # fmt: skip


async def outdate_access(db: Database, user_id: str) -> list[Session]:
    """Access tokens of the user's sessions die, and one refresh gives new ones; those sessions."""
    return [Session(*row) for row in await db.rows("sessions_outdate_access", user_id=user_id)]


async def end(db: Database, session_id: str, why: str) -> bool:
    """False when it was ended before. Write the revocation beside it."""
    return await db.run("session_end", session_id=session_id, why=why, now=await db.time()) > 0


async def end_all_of(db: Database, user_id: str, why: str, keep: str = "") -> list[Session]:
    """All of a user's but `keep`; those that this ended. Take the user's lock first, or two who do this at
    the same time may wait for each other until PostgreSQL stops one of them."""
    now = await db.time()
    rows = await db.rows("sessions_end_all_of", user_id=user_id, keep=keep, why=why, now=now)
    return [Session(*row) for row in rows]


async def end_beyond(db: Database, user_id: str, keep: str, most: int, why: str) -> list[Session]:
    """Of a user's live ones but `keep`, all but the `most` that were seen last; those that this ended. Take
    the user's lock first, as for end_all_of."""
    now = await db.time()
    rows = await db.rows(
        "sessions_end_beyond", user_id=user_id, keep=keep, most=most, why=why, now=now
    )  # fmt: skip
    return [Session(*row) for row in rows]


async def addresses_of(db: Database, user_id: str, family: str, but: str, most: int) -> list[str]:
    """Where programs of this family signed in for the user, `but` one session's, as far as they are kept."""
    rows = await db.rows("sessions_addresses", user_id=user_id, family=family, but=but, most=most)
    return [str(row[0]) for row in rows]


async def live_of(db: Database, user_id: str, most: int = 500) -> list[Session]:
    """The user's, last seen first."""
    rows = await db.rows("sessions_live_of", user_id=user_id, now=await db.time(), most=most)
    return [Session(*row) for row in rows]


async def page(db: Database, after: str = "", most: int = 50) -> list[Session]:
    """Everybody's, live, by session_id."""
    rows = await db.rows("sessions_live_page", after=after, now=await db.time(), most=most)
    return [Session(*row) for row in rows]


async def count_live(db: Database) -> int:
    """Looks at every session: not to be asked often."""
    return int(await db.value("sessions_count_live", now=await db.time()))


async def key_ids(db: Database) -> set[str]:
    """Of the secrets that live sessions need. Looks at every session."""
    return {row[0] for row in await db.rows("sessions_key_ids", now=await db.time())}


async def touch(db: Database, seen: Iterable[tuple[str, int, int]]) -> None:
    """Each (session_id, last seen at, idle until): neither is ever moved back. In the order of their ids, so
    that two replicas that do this never wait for each other."""
    each = sorted(seen)
    await db.many(
        "session_touch",
        [{"session_id": name, "at": at, "idle_until": until} for name, at, until in each],
    )


async def history(db: Database, session_id: str) -> list[Rotation]:
    """Newest first."""
    return [Rotation(*row) for row in await db.rows("rotations_of", session_id=session_id)]


async def purge(db: Database, before: int, start: str = "", most: int = 500) -> Purged:
    """Delete what ended before, and older rotations; only the next `most` sessions after `start` are looked
    at, so that no step takes long."""
    last = await db.value("sessions_stretch_end", start=start, most=most)
    if last is None:
        return Purged(0, "")
    rows = await db.rows("sessions_purge", start=start, last=last, before=before)
    await db.many("rotations_drop", [{"session_id": row[0]} for row in rows])
    await db.run("rotations_purge", start=start, last=last, before=before)
    return Purged(len(rows), last)


def _session(row: Row | None) -> Session | None:
    return Session(*row) if row else None


def _held(row: Row | None) -> Session:
    if row is None:
        raise LookupError("the session is gone; take its lock first")
    return Session(*row)
