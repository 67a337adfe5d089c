"""The mail of a gateway without a mail server: files in its data folder, as their readers find them."""

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from tests.kit.identity import IdentityWorld
from tests.kit.smtp import text_of
from tests.processes.supervised import until


def mails(world: IdentityWorld, to: str) -> list[EmailMessage]:
    """All that have been written to this address, the oldest first."""
    folder = Path(world.gateway.env["POSTERN_DATA"]) / "mail"
    files = sorted(folder.glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    found = [message_from_bytes(file.read_bytes(), policy=default) for file in files]
    assert all(isinstance(each, EmailMessage) for each in found)
    return [each for each in found if isinstance(each, EmailMessage) and each["To"] == to]


def key_mailed(world: IdentityWorld, to: str, page: str) -> str:
    """The key of the newest link to that page, as soon as it has come: "/auth/confirm?key=…"."""
    pattern = re.compile(rf"/auth/{page}\?key=(\w+)")
    found: list[str] = []

    def came() -> bool:
        found[:] = [key for mail in mails(world, to) for key in pattern.findall(text_of(mail))]
        return bool(found)

    until(came)
    return found[-1]
