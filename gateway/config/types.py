"""The kinds of values in routes.yaml: each checks one scalar and says what would be right."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Union, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    PlainValidator,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from gateway.config import durations
from gateway.config.faults import NotRight, did_you_mean, listed, shown
from gateway.config.variables import Filled
from gateway.model.lines import free_name

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Strict(BaseModel):
    """Base of every section: unknown keys are faults, and known ones are noted for hints."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=False, regex_engine="python-re"
    )

    @model_validator(mode="before")
    @classmethod
    def _note_known_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, dict) and isinstance(info.context, Context):
            info.context.known[id(data)] = [field.alias or name for name, field in cls.model_fields.items()]
        return data


class Context:
    """What a value may refer to, and, for hints, which keys each map could have had."""

    def __init__(
        self, upstreams: Iterable[str] = (), issuers: Iterable[str] = (), routes: Iterable[str] = ()
    ) -> None:
        self.names = {"upstream": set(upstreams), "issuer": set(issuers), "route": set(routes)}
        self.known: dict[int, list[str]] = {}


def wrong(problem: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("postern", "{problem}", {"problem": problem, "hint": hint})


def parsed(parse: Callable[[Any], Any], **schema: Any) -> Any:
    """Annotation of a value that `parse` turns into something; NotRight becomes a fault."""

    def check(value: Any) -> Any:
        try:
            return parse(value)
        except NotRight as fault:
            raise _discreet(value, fault) from None

    return _Annotations(PlainValidator(check), WithJsonSchema(schema))


def _discreet(value: Any, fault: NotRight) -> PydanticCustomError:
    """What came from a variable or a file may be secret, so a fault shows nothing of it."""
    if not isinstance(value, Filled):
        return wrong(fault.problem, fault.hint)
    problem = fault.problem if shown(value) in fault.problem else f"{shown(value)} is not right here"
    hint = fault.hint if not fault.hint.startswith("did you mean") else "look at what the variable holds"
    return wrong(problem, hint)


class _Annotations:
    """Two annotations as one, so that a type reads Annotated[float, parsed(...)]."""

    def __init__(self, *each: Any) -> None:
        self._each = each

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler.generate_schema(Annotated[(source, *self._each)])


def text(value: Any, what: str = "text") -> str:
    if isinstance(value, str):
        return str(value)
    hint = (
        f'write it in quotes: "{value}"'
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else ""
    )
    if isinstance(value, bool):
        hint = f'write it in quotes: "{str(value).lower()}"'
    raise NotRight(f"{shown(value)} is not {what}", hint)


# Numbers and words. What came from the environment is text, so numbers are read from it.
def _number(value: Any) -> Any:
    if isinstance(value, Filled) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return value


def _fraction(value: Any) -> Any:
    if isinstance(value, Filled) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return float(value)
    return value


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, Filled) else value


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_fraction)]
Bool = Annotated[bool, BeforeValidator(_truth)]


def span(*, bare: bool = False, zero: bool = True) -> Any:
    """A duration, as seconds."""

    def parse(value: Any) -> float:
        found = durations.seconds(value, bare=bare)
        if not found and not zero:
            raise NotRight(f"{shown(value)} is too short", "it must be longer than nothing")
        return found

    return parsed(parse, **_DURATION_SCHEMA)


_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)|0)$|\$\{"},
        {"type": "number"},
    ],
    "title": "duration",
}
_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(B|[KMGT]iB|[kKMGT]B)$|\$\{"},
        {"type": "integer", "minimum": 0},
    ],
    "title": "size",
}
Duration = Annotated[float, span()]
Lasting = Annotated[float, span(zero=False)]
Ttl = Annotated[float, span(bare=True)]
LastingTtl = Annotated[float, span(bare=True, zero=False)]
Size = Annotated[int, parsed(durations.size, **_SIZE_SCHEMA)]


def _or_word(word: str) -> dict[str, Any]:
    return {"anyOf": [{"const": word}, *_DURATION_SCHEMA["anyOf"]], "title": f"duration or {word}"}


def _none_or_span(value: Any) -> float:
    return 0.0 if value == "none" else durations.seconds(value)


DurationOrNone = Annotated[float, parsed(_none_or_span, **_or_word("none"))]


def _serve_stale(value: Any) -> float:
    return float("inf") if value == "until_expiry" else durations.seconds(value)


ServeStale = Annotated[float, parsed(_serve_stale, **_or_word("until_expiry"))]
Percent = Annotated[float, parsed(durations.percent, type="string", title="percent", pattern=r"%$|\$\{")]


def one_of(*words: str) -> Any:
    """One word of these; the quoted and the plain form of a number are the same."""

    def parse(value: Any) -> str:
        word = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
        if word in words:
            return str(word)
        hint = did_you_mean(word, words) if word and isinstance(value, str) else ""
        if isinstance(value, bool) and "off" in words:
            hint = "did you mean off?"
        raise NotRight(f"{shown(value)} is not {'one of ' if len(words) > 1 else ''}{listed(words)}", hint)

    numbers = [int(word) for word in words if word.isdigit()]
    return parsed(parse, enum=[*words, *numbers])


# One or many, short form or long.
def many(least: int = 1, unique: bool = True) -> Any:
    """Annotation of a list that may be written as its only item."""

    def as_list(value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    def checked(value: list[Any]) -> list[Any]:
        if len(value) < least:
            raise wrong("the list is empty", "name at least one")
        seen: set[str] = set()
        for one in value if unique else ():
            if str(one) in seen:
                raise wrong(f"{shown(str(one))} is listed twice", "keep one")
            seen.add(str(one))
        return value

    return _Annotations(BeforeValidator(as_list), AfterValidator(checked), _OneOrMany())


class _OneOrMany:
    """In the JSON Schema, the item itself is allowed beside the list."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        whole = handler(core)
        return {"anyOf": [whole["items"], whole]} if "items" in whole else whole


_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "list": (list,),
    "truth": (bool, str),
    "items": (str, list),
    "map": (dict, BaseModel),
}


def forms(*kinds: str) -> Any:
    """Annotation of a union told apart by the YAML type alone, so that each form has its own faults.

    The kinds are those of the union's members, in their order.
    """
    return _Forms(kinds)


class _Forms:
    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        members = [
            Annotated[member, Tag(f"<{kind}>")]
            for member, kind in zip(get_args(source), self._kinds, strict=True)
        ]
        union: Any = Union[tuple(members)]  # noqa: UP007 - made at run time
        return handler.generate_schema(Annotated[union, Discriminator(self._kind)])

    def _kind(self, value: Any) -> str:
        right = [kind for kind in self._kinds if isinstance(value, _KINDS[kind])]
        nearest = self._kinds[-1] if isinstance(value, (list, dict)) else self._kinds[0]
        return f"<{right[0] if right else nearest}>"


# Names.
def name_of(what: str) -> Any:
    """The name of something defined elsewhere in the file."""

    def check(value: Any, info: ValidationInfo) -> str:
        if not isinstance(value, str):
            raise wrong(f"{shown(value)} is not a name", f"name one {what}")
        known = info.context.names[what] if isinstance(info.context, Context) else None
        if known is not None and value not in known:
            near = did_you_mean(
                value, known, f"defined: {listed(sorted(known))}" if known else f"no {what} is defined"
            )
            raise wrong(f"{what} {shown(value)} is not defined", near)
        return str(value)

    return _Annotations(PlainValidator(check), WithJsonSchema({"type": "string"}))


UpstreamName = Annotated[str, name_of("upstream")]
IssuerName = Annotated[str, name_of("issuer")]
RouteName = Annotated[str, name_of("route")]


def label(value: Any) -> str:
    """A name given in the file: it stands in logs, metrics and faults, so it stays simple."""
    word = text(value, "a name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", word):
        raise NotRight(
            f"{shown(value)} can't be a name", "use up to 64 letters, digits, dots, dashes and underscores"
        )
    return word


Label = Annotated[str, parsed(label, type="string", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$|\$\{")]


def header_name(value: Any) -> str:
    word = text(value, "a header name")
    if not _TOKEN.fullmatch(word):
        raise NotRight(f"{shown(value)} is not a header name", "use letters, digits and dashes")
    return word


def free_header(value: Any) -> str:
    word = header_name(value)
    try:
        free_name(word)
    except ValueError as error:
        raise NotRight(str(error), "remove it") from None
    return word


def header_value(value: Any) -> str:
    word = text(value, "text")
    if not re.fullmatch(r"[\t\x20-\x7e]*", word):
        raise NotRight(f"{shown(value)} can't be a header's value", "use visible ASCII on one line")
    return word


HeaderName = Annotated[str, parsed(header_name, type="string", title="header name")]
FreeHeader = Annotated[str, parsed(free_header, type="string", title="header name")]
HeaderValue = Annotated[str, parsed(header_value, type="string")]


def also(check: Callable[[dict[str, Any]], Iterator[tuple[str, NotRight]]]) -> Any:
    """Annotation of a map with faults of its own beside those of its values; `check` yields key and fault."""

    def wrap(value: Any, handler: Any) -> Any:
        found = [
            InitErrorDetails(type=wrong(fault.problem, fault.hint), loc=(key,), input=value[key])
            for key, fault in (check(value) if isinstance(value, dict) else ())
        ]
        try:
            result = handler(value)
        except ValidationError as error:
            found += [_again(detail) for detail in error.errors(include_url=False)]
        if found:
            raise ValidationError.from_exception_data("map", found)
        return result

    return WrapValidator(wrap)


def _again(detail: ErrorDetails) -> InitErrorDetails:
    """A fault that was caught, to be raised once more."""
    ctx = detail.get("ctx", {})
    kind = wrong(ctx["problem"], ctx["hint"]) if detail["type"] == "postern" else detail["type"]
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=ctx)


def unique_names(headers: dict[str, Any]) -> Iterator[tuple[str, NotRight]]:
    """Header names are equal in any case."""
    seen: dict[str, str] = {}
    for name in headers:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield name, NotRight(f"{first} and {name} are one header", "keep one of them")


def pattern(regex: str, what: str, hint: str = "") -> Any:
    """Text that must match; `what` is the phrase after "is not"."""
    compiled = re.compile(regex)

    def parse(value: Any) -> str:
        word = text(value, what)
        if not compiled.fullmatch(word):
            raise NotRight(f"{shown(value)} is not {what}", hint)
        return word

    return parsed(parse, type="string")


FilePath = Annotated[str, pattern(r"[^\x00-\x1f\x7f]{1,4096}", "a path")]
Text = Annotated[str, parsed(text, type="string")]
HttpUrl = Annotated[
    str,
    pattern(
        r"https?://[A-Za-z0-9._\[\]:-]+(/[\x21-\x7e]*)?",
        "an http or https URL",
        "write one like https://example.com",
    ),
]
