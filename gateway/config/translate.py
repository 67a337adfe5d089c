"""What pydantic found wrong, in the words and at the places of routes.yaml."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.config.faults import ConfigFault, did_you_mean, listed, shown
from gateway.config.loader import Place, Source
from gateway.config.types import Context
from gateway.config.variables import Absent


def faults_of(source: Source, error: ValidationError, context: Context) -> Iterator[ConfigFault]:
    """Each fault, except those of values that miss a variable: these have their own."""
    for detail in error.errors(include_url=False):
        if isinstance(detail["input"], Absent):
            continue
        path, around = _place(source.data, detail["loc"])
        yield _fault(source, path, around, detail, context)


def _place(data: Any, loc: tuple[int | str, ...]) -> tuple[Place, Any]:
    """The path in the file: without the marks of unions, and without indexes of lists written as one item."""
    path: list[int | str] = []
    here = around = data
    for part in loc:
        inside = isinstance(part, str) and isinstance(here, dict) and part in here
        if inside or (isinstance(part, int) and isinstance(here, list) and part < len(here)):
            path.append(part)
            around, here = here, here[part]
    return tuple(path), around


def _fault(source: Source, path: Place, around: Any, detail: ErrorDetails, context: Context) -> ConfigFault:
    kind, value, ctx = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "postern":
        return source.fault(path, ctx["problem"], ctx["hint"])
    if kind == "missing":
        missing = str(detail["loc"][-1])
        return source.fault((*path, missing), "this is missing", "add it")
    if kind == "extra_forbidden":
        if path[-1] == "<<":
            return source.fault(
                path, "merge keys are not YAML 1.2", "use an alias for a whole value, or defaults"
            )
        known = context.known.get(id(around), [])
        hint = did_you_mean(str(path[-1]), known, f"known: {listed(known)}" if known else "remove it")
        return source.fault(path, "unknown key", hint)
    say = _WORDS.get(kind)
    if say is None:
        return source.fault(path, f"{shown(value)} is not right here", detail["msg"])
    problem, hint = say(value, ctx)
    return source.fault(path, problem, hint)


_Words = Callable[[Any, dict[str, Any]], tuple[str, str]]


def _number(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    if isinstance(value, str) and value.isascii() and value.isdigit() and not hasattr(value, "template"):
        plain = value.lstrip("0") or "0"
        return f"{shown(value)} is text, not a number", f"write {plain} without quotes or zeros before it"
    return f"{shown(value)} is not a whole number", "write one like 10"


def _truth(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    word = str(value).lower()
    guess = (
        "true"
        if word in ("on", "yes", "true", "1")
        else "false"
        if word in ("off", "no", "false", "0")
        else ""
    )
    return (
        f"{shown(value)} is neither true nor false",
        f"did you mean {guess}?" if guess else "write true or false",
    )


def _map(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is not a map", "write its settings as key: value"


def _list(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is not a list", "write - before each item, or [a, b]"


def _text(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is not text", "write it in quotes"


def _least(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is too small", f"it must be at least {ctx['ge']}"


def _most(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is too large", f"it must be at most {ctx['le']}"


def _fraction(value: Any, ctx: dict[str, Any]) -> tuple[str, str]:
    return f"{shown(value)} is not a number", "write one like 0.5"


_WORDS: dict[str, _Words] = {
    "int_type": _number,
    "int_from_float": _number,
    "float_type": _fraction,
    "finite_number": _fraction,
    "bool_type": _truth,
    "model_type": _map,
    "model_attributes_type": _map,
    "dict_type": _map,
    "list_type": _list,
    "string_type": _text,
    "greater_than_equal": _least,
    "less_than_equal": _most,
}
