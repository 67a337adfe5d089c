"""How often an address, account or user may ask (identity.limits), and the lockout, counted in one place."""

from math import ceil
from typing import TYPE_CHECKING

from gateway.config.service import Service
from gateway.identity.lockout import Lockout, account
from gateway.identity.web import Asker, Refused
from gateway.model import faults
from gateway.model.addresses import prefix
from gateway.store.limiters import Rule

if TYPE_CHECKING:
    from gateway.store.limiters import Counter


# How often, by the measure of another, times so much: a user's changes of the profile; an address's looks at
# tokens, which whole services ask for; letters to unlock. These are counted apart from letters that are asked
# for: what is left of those must not tell whether one was sent.
_AS = {"profile": ("refresh", 1), "validate": ("refresh", 50), "unlock": ("mail_account", 1)}


class Limits:
    def __init__(self, counter: "Counter", settings: Service) -> None:
        self._counter = counter
        self.lockout = Lockout(counter, settings)
        self._rules = _rules(settings)

    def use(self, settings: Service) -> None:
        """The settings from now on."""
        self._rules = _rules(settings)
        self.lockout.use(settings)

    async def check(self, name: str, asker: Asker) -> None:
        """Counts this call; Refused with the seconds to wait when its address has had enough: of IPv6 the
        network of 64 bits."""
        await self._count(name, prefix(asker.address, 32, 64))

    async def check_account(self, name: str, key: str, asker: Asker) -> None:
        """Likewise for an account and the network that asks; `key` as lockout.account takes it, of a known
        one or not."""
        await self._count(name, f"{account(key)} {prefix(asker.address, 24, 64)}")

    async def check_user(self, name: str, user_id: str) -> None:
        """Likewise for somebody who is signed in, from wherever."""
        await self._count(name, user_id)

    async def allows(self, name: str, key: str, asker: Asker) -> bool:
        """check_account, for what is simply left out when it has been enough."""
        try:
            await self.check_account(name, key, asker)
        except Refused:
            return False
        return True

    async def _count(self, name: str, key: str) -> None:
        rule = self._rules.get(name)
        if rule is None:
            return
        hit = await self._counter.hit(rule, key)
        if not hit.allowed:
            raise Refused(faults.RATE_LIMITED, headers=(("Retry-After", str(max(1, ceil(hit.reset_in)))),))


def _rules(settings: Service) -> dict[str, Rule]:
    given = dict(settings.limits)
    for name, (measure, times) in _AS.items():
        if measure in given:
            amount, seconds = given[measure]
            given[name] = amount * times, seconds
    return {name: Rule(f"identity.{name}", amount, seconds) for name, (amount, seconds) in given.items()}
