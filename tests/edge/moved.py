"""Time that tests move by hand: a clock, and pauses that end when told."""

import asyncio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pauses:
    """Stands in for asyncio.sleep: every pause lasts until the test ends it."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[tuple[float, asyncio.Future[None]]] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        pause = asyncio.get_running_loop().create_future()
        self._begun.put_nowait((seconds, pause))
        await pause

    async def begun(self) -> tuple[float, asyncio.Future[None]]:
        """Wait until somebody pauses: for how long, and the pause itself."""
        return await asyncio.wait_for(self._begun.get(), 30)

    async def end(self) -> float:
        """Wait until somebody pauses, end that at once, and say how long it would have lasted."""
        seconds, pause = await self.begun()
        pause.set_result(None)
        return seconds
