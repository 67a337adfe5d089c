"""The letters that the service has put into its outbox, taken out as its carrier would."""

import asyncio
from typing import Any

from gateway.identity.letters import MAIL
from tests.identity.rig import Rig


class Postbox:
    """Takes the place of the mail server."""

    def __init__(self, rig: Rig) -> None:
        self._outbox = rig.context.outbox
        self._outbox.carriers[MAIL] = self
        self._taken: list[dict[str, Any]] = []

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        self._taken.append(content)

    async def letters(self, name: str = "", to: str = "") -> list[dict[str, Any]]:
        """All that were put since this was last asked; of one name, to one address."""
        async with asyncio.timeout(20):
            while True:
                await self._outbox._send_due()
                if not self._outbox._running:
                    break
                await asyncio.gather(*self._outbox._running)
        taken, self._taken = self._taken, []
        return [each for each in taken if name in ("", each["name"]) and to in ("", each["to"])]

    async def key(self, name: str, to: str = "", value: str = "link") -> str:
        """The key in the only letter of that name."""
        [letter] = await self.letters(name, to)
        return str(letter["values"][value].partition("?key=")[2])
