"""Waiting after wrong passwords: for each account and network, and for an account over all of them."""

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from gateway.config.service import Service
from gateway.model.addresses import prefix

if TYPE_CHECKING:
    from gateway.store.limiters import Counter

REMEMBERED = 24 * 3600  # seconds after its first failure, after which counting begins anew
FROM_EVERYWHERE = (
    100  # failures of an account, after which each makes all but the last sign-in's network wait
)


class Attempt(msgspec.Struct, frozen=True):
    """Who tries which account; all names of an account are one here (T20)."""

    account: str
    network: str
    known: bool  # the account's last sign-in came from this network


def attempt(key: str, address: str, last_address: str = "") -> Attempt:
    """`key`: as `account` takes it; `last_address`: of the account's last sign-in."""
    network = _network(address)
    return Attempt(account(key), network, bool(last_address) and network == _network(last_address))


def _network(address: str) -> str:
    return prefix(address, 24, 64)


def account(key: str) -> str:
    """`key`: of the account's address, whichever of its names was typed. Of a name that nobody has, the name:
    it is counted alike, and goes on being counted when somebody registers it. Only a hash is kept."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def wait_after(failures: int, free: int, longest: float) -> float:
    """Seconds to wait after so many failures: 2^n, n being those from the `free`th on."""
    beyond = failures - free + 1
    if beyond < 1:
        return 0.0
    return min(2.0 ** min(beyond, 63), longest)  # a larger power need not be made: nobody waits so long


class Lockout:
    """Counts failures and knows who has to wait."""

    def __init__(self, counter: "Counter", settings: Service) -> None:
        self._counter = counter
        self.use(settings)

    def use(self, settings: Service) -> None:
        """The settings from now on."""
        self._free = settings.max_login_attempts
        self._longest = settings.lockout_duration

    async def waits(self, tried: Attempt) -> bool:
        """Whether nothing counts that this one tries just now."""
        here = await self._counter.get(_waiting(_here(tried)))
        everywhere = await self._counter.get(_waiting(tried.account))
        # Else somebody who guesses from many places would keep the owner out of a place of his own.
        return bool(here or (everywhere and not tried.known))

    async def failed(self, tried: Attempt) -> int:
        """Counts a failure, also of one who waits, who then waits longer; how many there were."""
        here = _here(tried)
        failures = await self._counter.incr(_failures(here), REMEMBERED)
        await self._wait(here, failures, wait_after(failures, self._free, self._longest))
        everywhere = await self._counter.incr(_failures(tried.account), REMEMBERED)
        # Not made longer by failures during it: else one guess in a while would keep the owner out for ever.
        if everywhere >= FROM_EVERYWHERE and not await self._counter.get(_waiting(tried.account)):
            await self._wait(tried.account, everywhere, self._longest)
        return failures

    async def succeeded(self, tried: Attempt) -> None:
        """Failures from here are forgotten; those from everywhere are not, for others may be guessing."""
        await self._counter.clear(_failures(_here(tried)))
        await self._counter.clear(_waiting(_here(tried)))

    async def forget(self, key: str) -> None:
        """What an account's failures everywhere have brought about."""
        await self._counter.clear(_failures(account(key)))
        await self._counter.clear(_waiting(account(key)))

    async def _wait(self, key: str, failures: int, seconds: float) -> None:
        if not seconds:
            return
        await self._counter.clear(_waiting(key))
        # As high as the failures, so that it is not what a full memory lets go first.
        await self._counter.incr(_waiting(key), seconds, failures)


def _here(tried: Attempt) -> str:
    return f"{tried.account} {tried.network}"


def _failures(key: str) -> str:
    return f"failures {key}"


def _waiting(key: str) -> str:
    return f"waiting {key}"
