"""A plugin from its name in routes.yaml to an object that can judge, or what is wrong with it."""

import importlib
import inspect
import re
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import msgspec

from gateway.model.headers import folded, sets_our_cookie
from gateway.model.lines import free_name, token
from gateway.model.policy import Effects, Ports
from policies._sound import Unsound, check_lines

GROUP = "postern.policies"
METHODS = ("on_request", "on_response", "effects")
Path = tuple[str | int, ...]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}")
_AT = re.compile(r" - at (?:`key` in )?`\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`")


class BadPlugin(ValueError):
    """What is wrong with a plugin, and what would be right; `path` leads from `settings` to the wrong one."""

    def __init__(self, problem: str, hint: str = "", path: Path | None = None) -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem, self.hint, self.path = problem, hint, path


@cache
def find(word: str) -> type[Any]:
    """The class of `package.module:Class`, or of an entry point's name."""
    place = word if ":" in word else _entry_point(word)
    module, _, name = place.partition(":")
    found = _imported(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise BadPlugin(f"{module} has no {name}", "write the name of a class that is there")
        found = getattr(found, part)
    if not inspect.isclass(found):
        raise BadPlugin(f"{place} is no class", "name the class itself")
    _check_methods(found, place)
    return found


def _entry_point(name: str) -> str:
    known = entry_points(group=GROUP)
    found = {point.value.partition("[")[0].strip() for point in known.select(name=name)}
    if not found:
        names = ", ".join(sorted({point.name for point in known}))
        raise BadPlugin(
            f"no installed package has an entry point {name} of the group {GROUP}",
            f"there are: {names}" if names else "install one that has it, or write package.module:Class",
        )
    if len(found) > 1:
        raise BadPlugin(f"several packages have an entry point {name}", f"write one of {sorted(found)}")
    return found.pop()


def _imported(module: str) -> Any:
    if module not in sys.modules:
        importlib.invalidate_caches()  # it may have been installed since
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{module}.".startswith(f"{missing}."):
            hint = "install its package beside Postern, or name its folder in PYTHONPATH"
            raise BadPlugin(f"there is no module {missing}", hint) from None
        raise BadPlugin(f"importing {module} failed: it needs the module {missing}", "install it") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it must not end the process
        raise BadPlugin(f"importing {module} failed: {said(error)}") from error


def _check_methods(found: type[Any], place: str) -> None:
    if not any(hasattr(found, method) for method in METHODS):
        raise BadPlugin(
            f"{place} is no policy", "it needs on_request, on_response or effects: docs/writing-a-policy.md"
        )
    for method in METHODS:
        if not callable(getattr(found, method, str)):
            raise BadPlugin(f"{method} of {place} is no method")
    for method in ("on_response", "effects"):
        if inspect.iscoroutinefunction(getattr(found, method, None)):
            raise BadPlugin(f"{method} of {place} is async", "nobody waits for it: only on_request may be")
    asked = getattr(found, "on_request", None)
    if inspect.isgeneratorfunction(asked) or inspect.isasyncgenfunction(asked):
        raise BadPlugin(f"on_request of {place} yields", "it returns its verdict")


def settings_of(found: type[Any], given: dict[str, Any]) -> Any:
    """What the constructor gets: the class's own Settings, or the plain map where it has none."""
    kind = getattr(found, "Settings", None)
    if kind is None:
        return dict(given)
    if not (inspect.isclass(kind) and issubclass(kind, msgspec.Struct)):
        raise BadPlugin(f"Settings of {found.__name__} is no msgspec.Struct")
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in given:
        if key not in known:
            hint = f"known: {', '.join(known)}" if known else "it has no settings"
            raise BadPlugin("unknown key", hint, (key,))
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from None
    except Exception as error:
        raise BadPlugin(f"checking the settings failed: {said(error)}", path=()) from error


def _translated(text: str) -> BadPlugin:
    """A sentence of msgspec as a place and a problem."""
    at = _AT.search(text)
    path: list[str | int] = []
    if at:
        text = text[: at.start()]
        rest = at[1]
        while step := _STEP.match(rest):  # it ends before "[...]", any value of a map
            path.append(step[1] or int(step[2]))
            rest = rest[step.end() :]
    field = _FIELD.fullmatch(text)
    if field:
        path.append(field[2])
        missing = field[1].startswith("missing")
        return BadPlugin(*(("this is missing", "add it") if missing else ("unknown key", "")), tuple(path))
    return BadPlugin(text.replace("`array`", "`list`").replace("`object`", "`map`"), path=tuple(path))


def made(word: str, given: dict[str, Any], ports: Ports) -> tuple[str, Any, Effects]:
    """The plugin's name for logs, the plugin itself, and what it does to every request."""
    found = find(word)
    settings = settings_of(found, given)
    try:
        plugin = found(settings, ports)
        name = getattr(plugin, "name", None) or (word if ":" in word else _entry_point(word))
        effects = plugin.effects() if hasattr(plugin, "effects") else Effects()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BadPlugin(f"making it failed: {said(error)}") from error
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadPlugin("its name can't stand in logs", "use letters, digits, dots, dashes and underscores")
    _check(effects)
    return name, plugin, effects


def _check(effects: Any) -> None:
    """Whole lines, and none of the names that nobody but the gateway sets."""
    if not isinstance(effects, Effects):
        raise BadPlugin(f"effects() gave {type(effects).__name__}", "it gives gateway.model.policy.Effects")
    try:
        for block in (effects.request_add, effects.reply_add):
            check_lines(block)
        for name in names_of(effects) | effects.reads:
            if not isinstance(name, bytes) or token(name.decode("latin-1")).lower() != name:
                raise ValueError(f"{name!r} is no header's name: lower-case, in bytes")
        for name in names_of(effects):
            free_name(name.decode())
        for line in effects.reply_add.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"set-cookie" and sets_our_cookie(value.strip()):
                raise ValueError("the session cookie is set by the identity service alone")
    except (Unsound, ValueError) as error:
        raise BadPlugin(f"its effects: {error}") from None
    except (TypeError, AttributeError) as error:
        raise BadPlugin(f"its effects are not of their types: {said(error)}") from error


def names_of(effects: Effects) -> frozenset[bytes]:
    """Every header that the effects drop or set, in lower case."""
    lines = (effects.request_add + effects.reply_add).split(b"\r\n")
    added = frozenset(line.partition(b":")[0].lower() for line in lines if line)
    return added | effects.request_drop | effects.reply_drop


def carried(effects: Effects, identity_names: frozenset[bytes]) -> list[str]:
    """Those of its names that carry an identity in this configuration (folded)."""
    return sorted(name.decode() for name in names_of(effects) if folded(name) in identity_names)


def said(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:2000]}" if text else type(error).__name__
