"""Own classes, before and after authentication: each is asked in the file's order, and held to its word."""

import asyncio
from collections.abc import Awaitable, Iterator
from inspect import isawaitable
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import POLICY_TIMEOUT
from gateway.model.policy import Effects, Ports
from gateway.model.verdict import Outcome, Refuse, Reply, Verdict
from policies._plugin import BadPlugin, made
from policies._sound import Unsound, check_changed, check_lines, frame, sound

WITHIN = 10.0  # seconds in which a plugin that must wait for something has to come to its verdict
SHORTEST_HIDDEN = 4  # letters: what is shorter stands in any sentence
_LATE = Refuse(POLICY_TIMEOUT)


class Plugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    class_: str  # package.module:Class, or the name of an entry point
    phase: Literal["before_auth", "after_auth"] = "after_auth"
    settings: dict[str, Any] = {}  # read by the class's own Settings


class Plugins:
    name: ClassVar[str] = "plugins"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        classes: tuple[Plugin, ...] = ()

    @staticmethod
    def parts(part: str, settings: Settings, ports: Ports) -> list["Own"]:
        """Those of this phase."""
        return [_made(plugin, ports) for plugin in settings.classes if plugin.phase == part]


def _made(plugin: Plugin, ports: Ports) -> "Own":
    try:
        return Own(*made(plugin.class_, plugin.settings, ports))
    except BadPlugin as bad:  # the configuration's check could make it, in a process that began just then
        where = f"route {ports.route}: plugin {plugin.class_}"
        said = _discreet(str(bad), plugin.settings)
        raise ValueError(f"{where}: {said}; code that has changed needs a restart") from bad


def _discreet(text: str, settings: Any) -> str:
    """Which of its settings are secret nobody knows: what an error quotes of them is not passed on (T25)."""
    for value in sorted(_texts(settings), key=len, reverse=True):
        if len(value) >= SHORTEST_HIDDEN:
            text = text.replace(value, "(hidden)")
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


class Own:
    """One plugin of one route, with those methods that it has. What it does that can't be sent, or that would
    harm others than its own request, fails this request."""

    def __init__(self, name: str, plugin: Any, effects: Effects) -> None:
        self.name = name
        self.idle = bool(getattr(plugin, "idle", False))
        self.lasting = bool(getattr(plugin, "lasting", False))
        self._effects = effects
        if hasattr(plugin, "on_request"):
            self._ask = plugin.on_request
            self.on_request = self._on_request
        if hasattr(plugin, "on_response"):
            self._show = plugin.on_response
            self.on_response = self._on_response

    def effects(self) -> Effects:
        return self._effects

    def _on_request(self, exchange: Exchange) -> Verdict:
        up, down = exchange.request_add, exchange.reply_add
        try:
            verdict = self._ask(exchange)
        except Exception:
            raise
        except BaseException as error:  # sys.exit() would end the worker
            raise Unsound(f"{self.name} raised {type(error).__name__}") from error
        if exchange.request_add is not up or exchange.reply_add is not down:
            _check_added(exchange, up, down)
        if verdict is None:
            return None
        if isawaitable(verdict):
            return self._in_time(exchange, verdict, up, down)
        return sound(verdict)

    async def _in_time(self, exchange: Exchange, verdict: Awaitable[Any], up: bytes, down: bytes) -> Outcome:
        """In a task of its own: whoever catches every error, and so its cancellation, is waited for no
        longer."""
        task = asyncio.get_running_loop().create_task(_contained(verdict))
        try:
            await asyncio.wait([task], timeout=WITHIN)
        finally:
            if not task.done():
                task.add_done_callback(_forget)
                task.cancel()
        if not task.done():
            exchange.note(f"{self.name} came to no verdict within {WITHIN:g} s")
            return _LATE
        outcome = sound(task.result())
        _check_added(exchange, up, down)
        return outcome

    def _on_response(self, exchange: Exchange, reply: Reply) -> None:
        before = frame(reply)
        try:
            said = self._show(exchange, reply)
        except Exception:
            raise
        except BaseException as error:
            raise Unsound(f"{self.name} raised {type(error).__name__}") from error
        if said is not None:
            raise Unsound("on_response gives nothing: it changes the reply")
        check_changed(reply, before)


async def _contained(verdict: Awaitable[Any]) -> Any:
    """What it gives. Its own end of everything is an error as any other."""
    try:
        return await verdict
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unsound("it was cancelled, and not by the gateway") from error
    except (SystemExit, KeyboardInterrupt) as error:
        raise Unsound(f"it raised {type(error).__name__}") from error


def _forget(task: "asyncio.Task[Any]") -> None:
    """Its outcome came too late for anybody; an error that nobody looks at would be written to the log."""
    if not task.cancelled():
        task.exception()


def _check_added(exchange: Exchange, up: bytes, down: bytes) -> None:
    """Only added to, and whole lines: one without its end would swallow the gateway's own that follows."""
    for now, before in ((exchange.request_add, up), (exchange.reply_add, down)):
        if now is not before:
            if not isinstance(now, bytes) or not now.startswith(before):
                raise Unsound("request_add and reply_add are bytes, and only added to")
            check_lines(now[len(before) :])
