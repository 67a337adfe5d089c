"""Where there is no mail server: each mail becomes a file that a mail program can open."""

import asyncio
import os
import re
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from gateway.identity.mail.rendering import Renderer
from gateway.identity.outbox import NotNow

_LINK = re.compile(r"https?://\S+\?(?:key|invite)=\S+")


class FileCarrier:
    """Writes data/mail/TIME-ID.eml, readable by its owner only."""

    def __init__(self, folder: Path, renderer: Renderer) -> None:
        self._folder = folder
        self._renderer = renderer

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        message = self._renderer.mail(id, content)
        try:
            path = await asyncio.to_thread(self._write, id, message)
        except OSError as fault:
            raise NotNow(f"the mail can't be written: {fault.strerror}") from None
        if sys.stderr.isatty():  # somebody is trying it out; a log would keep the link
            _show(label, path, message)

    def _write(self, id: str, message: EmailMessage) -> Path:
        """Whole or not at all, and once: a mail that is sent again has the same name."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{id}.eml"
        scratch = path.with_suffix(".part")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(message.as_bytes())
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        return path


def _show(label: str, path: Path, message: EmailMessage) -> None:
    body = message.get_body(("plain",))
    link = _LINK.search(body.get_content()) if body is not None else None
    sys.stderr.write(f"mail ({label}) written to {path}{': ' + link[0] if link else ''}\n")
