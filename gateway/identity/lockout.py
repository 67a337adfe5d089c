"""Wrong passwords: who has to wait, for each account and network, and who needs a mailed link besides."""

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from gateway.config.service import Service
from gateway.model.addresses import prefix

if TYPE_CHECKING:
    from gateway.store.limiters import Counter

REMEMBERED = 24 * 3600  # seconds after its first failure, after which counting begins anew
FROM_EVERYWHERE = 100  # failures of an account, after which a password alone opens it for known browsers only


class Attempt(msgspec.Struct, frozen=True):
    """Who tries which account; all names of an account are one here (T20)."""

    account: str
    network: str
    known: bool  # by a browser that the account has been signed in from


class Failed(msgspec.Struct, frozen=True):
    """What a failure has come to."""

    failures: int  # of the account, from this network
    first: bool  # the one that made it so that strangers need a mailed link
    link: bool  # it made it so, or who tried this needs one


def attempt(key: str, address: str, known: bool = False) -> Attempt:
    """`key`: as `account` takes it."""
    return Attempt(account(key), _network(address), known)


def same_network(one: str, other: str) -> bool:
    return bool(one) and _network(one) == _network(other)


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
        return bool(await self._counter.get(_waiting(_here(tried)))) or await self.needs_link(tried)

    async def needs_link(self, tried: Attempt) -> bool:
        """Whether the account is being guessed at from everywhere, and this is nobody it knows."""
        if tried.known or await self._counter.get(_failures(tried.account)) < FROM_EVERYWHERE:
            return False
        return not await self._counter.get(_let_in(_here(tried)))

    async def failed(self, tried: Attempt) -> Failed:
        """Counts a failure, also of one who waits, who then waits longer."""
        here = _here(tried)
        failures = await self._counter.incr(_failures(here), REMEMBERED)
        await self._wait(here, failures, wait_after(failures, self._free, self._longest))
        everywhere = await self._counter.incr(_failures(tried.account), REMEMBERED)
        first = everywhere == FROM_EVERYWHERE
        return Failed(failures, first, first or await self.needs_link(tried))

    async def let_in(self, tried: Attempt) -> None:
        """Who came by the mailed link: from its network the password is enough again, also for programs that
        keep no cookie."""
        await self._counter.clear(_let_in(_here(tried)))
        await self._counter.incr(_let_in(_here(tried)), REMEMBERED, FROM_EVERYWHERE)

    async def succeeded(self, tried: Attempt) -> None:
        """Failures from here are forgotten; those from everywhere are not, for others may be guessing."""
        await self._counter.clear(_failures(_here(tried)))
        await self._counter.clear(_waiting(_here(tried)))

    async def forget(self, key: str) -> None:
        """What an account's failures everywhere have brought about."""
        await self._counter.clear(_failures(account(key)))

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


def _let_in(key: str) -> str:
    return f"let in {key}"
