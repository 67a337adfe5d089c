"""What `postern doctor` finds of other issuers: whether their keys can be fetched and used."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.config.service import Issuer, Service


def look(service: "Service") -> Iterator[tuple[str, Literal["ok", "warning"], str]]:
    """The name of each issuer, and what is to be said of it."""
    if service.issuers:
        found = asyncio.run(_all(service))
        for name, keys in zip(service.issuers, found, strict=True):
            if isinstance(keys, str):
                yield name, "warning", f"its keys can't be fetched: {keys}"
            elif not keys:
                named = ", ".join(service.issuers[name].algorithms)
                yield name, "warning", f"it has no key that can be used with {named}"
            else:
                yield name, "ok", f"{keys} {'key' if keys == 1 else 'keys'} that can be used"


async def _all(service: "Service") -> list[int | str]:
    return await asyncio.gather(*(_look_at(each) for each in service.issuers.values()))


async def _look_at(issuer: "Issuer") -> int | str:
    """How many of its keys can be used, or why it can't be known."""
    from gateway.identity.issuer_keys import FETCH_WITHIN, fetch, reason, usable

    try:
        async with asyncio.timeout(FETCH_WITHIN):
            return len(usable(await fetch(issuer), issuer.algorithms))
    except Exception as error:
        return reason(error)
