"""Hooks: functions of the operator's own, asked in this process when somebody registers or is resolved."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec

from gateway.identity import names
from gateway.identity.names import BadName

log = logging.getLogger(__name__)
GROUP = "postern.hooks"
NAMES = ("on_register", "claims")
WITHIN = 2.0  # seconds for all hooks of one kind together
_LONGEST_REASON = 300


class Registration(msgspec.Struct, frozen=True):
    """Who wants to register; what `on_register` is given. Whether the address is taken is not known yet."""

    email: str
    username: str | None
    first_name: str
    last_name: str
    meta: dict[str, Any]
    invited: bool
    address: str
    agent: str


class Subject(msgspec.Struct, frozen=True):
    """A user who is being resolved; what `claims` is given."""

    user_id: str
    email: str
    username: str | None
    roles: tuple[str, ...]
    protected: dict[str, str]


class BadHook(ValueError):
    """A hook can't be loaded."""


class HookFailed(Exception):
    """A hook raised, was too slow, or gave what makes no sense; nothing is known then."""


class Hooks:
    """All hooks there are, in the order of their names."""

    def __init__(self, found: Iterable[tuple[str, Any]] = ()) -> None:
        self._by_kind: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {kind: [] for kind in NAMES}
        for name, hook in sorted(found, key=lambda each: each[0]):
            known = [kind for kind in NAMES if callable(getattr(hook, kind, None))]
            if not known:
                raise BadHook(f"the hook {name} has neither {' nor '.join(NAMES)}")
            for kind in known:
                self._by_kind[kind].append((name, getattr(hook, kind)))
            log.info("a hook is asked", extra={"hook": name, "for": ", ".join(known)})

    @property
    def adds_claims(self) -> bool:
        return bool(self._by_kind["claims"])

    async def against(self, registration: Registration) -> str:
        """Why they may not register; empty where no hook objects. Raises HookFailed."""
        for name, reason in await self._ask("on_register", registration):
            if reason is None or reason is True:
                continue
            if not isinstance(reason, str) or not reason:
                raise HookFailed(f"{name} gave neither None nor a reason")
            return reason[:_LONGEST_REASON]
        return ""

    async def claims(self, subject: Subject) -> dict[str, str]:
        """Protected claims to add to those that admins set, which they never replace. Raises HookFailed."""
        added: dict[str, str] = {}
        for name, given in await self._ask("claims", subject):
            if given is None:
                continue
            if not isinstance(given, Mapping):
                raise HookFailed(f"{name} gave no map of claims")
            try:
                checked = names.meta({str(key): value for key, value in given.items()})
            except BadName as fault:
                raise HookFailed(f"{name} gave a claim that can't be one: {fault}") from None
            for key, value in checked.items():
                added.setdefault(
                    key, value if isinstance(value, str) else msgspec.json.encode(value).decode()
                )
        return {key: value for key, value in added.items() if key not in subject.protected}

    async def _ask(self, kind: str, given: Any) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        name = ""
        try:
            async with asyncio.timeout(WITHIN):
                for name, hook in self._by_kind[kind]:
                    answers.append((name, await _called(hook, given)))
        except TimeoutError:
            raise HookFailed(f"{name} took longer than {WITHIN:.0f} s") from None
        except Exception as fault:  # of its text nothing goes out: it may be anything
            raise HookFailed(f"{name} raised {type(fault).__name__}") from None
        return answers


async def _called(hook: Callable[[Any], Any], given: Any) -> Any:
    """A plain function runs in a thread, so that a slow one makes nobody else wait."""
    if inspect.iscoroutinefunction(hook):
        return await hook(given)
    answer = await asyncio.to_thread(hook, given)
    return await answer if inspect.isawaitable(answer) else answer


def load() -> Hooks:
    """Those of the installed packages; BadHook when one can't be had, since it may be there to refuse."""
    found = []
    for point in entry_points(group=GROUP):
        try:
            hook = point.load()
            found.append((point.name, hook() if inspect.isclass(hook) else hook))
        except Exception as fault:
            raise BadHook(
                f"the hook {point.name} ({point.value}) failed to load: {type(fault).__name__}"
            ) from None
    return Hooks(found)
