"""Accounts and sessions for measurements, put into the store directly: nobody waits for 10,000 sign-ins."""

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path

from bench.measure import AGENT
from gateway.identity.secrets import Secrets
from gateway.identity.tokens import Tokens
from gateway.model.agents import family
from gateway.model.credentials import new_id
from gateway.store import accounts, roles, sessions
from gateway.store.accounts import User
from gateway.store.database import Store
from gateway.store.sessions import Session

SESSIONS_EACH = 10
DAY = 86_400_000


async def fill(url: str, secret: str, count: int, *, presented: bool) -> list[tuple[str, str]]:
    """The access and refresh tokens of so many sessions; `presented`: as if each had been used before."""
    secrets = Secrets([secret])
    tokens = Tokens(secrets)
    store = await Store.open(url)
    made: list[tuple[str, str]] = []
    try:
        async with store.writing() as db:
            user = ""
            for number in range(count):
                if number % SESSIONS_EACH == 0:
                    user = str(uuid.uuid4())
                    await accounts.insert(db, _user(user, number, db.now))
                    await roles.grant(db, user, "user", "bench")
                session = _session(user, secrets.newest, db.now, presented)
                await sessions.insert(db, session)
                ids = (session.session_id, session.salt, session.key_id, session.generation)
                made.append((tokens.access(*ids, session.access_until), tokens.refresh(*ids)))
    finally:
        await store.close()
    return made


def _user(user_id: str, number: int, now: int) -> User:
    name, email = f"user{number}", f"user{number}@example.com"
    return User(
        user_id=user_id, username=name, username_key=name, email=email, email_key=email, confirmed=True,
        password_changed_at=now, created_at=now,
    )  # fmt: skip


def _session(user_id: str, key_id: str, now: int, presented: bool) -> Session:
    return Session(
        session_id=new_id(), user_id=user_id, salt=os.urandom(16), key_id=key_id, generation=1,
        min_generation=1, rotated_at=now, access_until=now + DAY, cookie_generation=1, cookie_rotated_at=now,
        family=family(AGENT), address="127.0.0.1", agent=AGENT, proved_at=now, created_at=now,
        last_seen_at=now, idle_until=now + 30 * DAY, absolute_until=now + 90 * DAY,
        presented_at=now if presented else None,
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    """URL COUNT FILE, and POSTERN_SECRET in the environment: one access token a line."""
    url, count, file = arguments
    made = asyncio.run(fill(url, os.environ["POSTERN_SECRET"], int(count), presented=True))
    Path(file).write_text("".join(f"{access}\n" for access, _ in made))


if __name__ == "__main__":
    began = time.monotonic()
    main(sys.argv[1:])
    print(f"{sys.argv[2]} sessions in {time.monotonic() - began:.1f} s")
