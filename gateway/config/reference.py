"""Makes docs/configuration.md and docs/routes.schema.json from the schema; run as a program of its own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config.schema import Document, json_schema

HEAD = """\
# Configuration reference

<!-- Made from the schema by `python -m gateway.config.reference`; change gateway/config/schema*.py
instead. -->

`routes.yaml` is strict: an unknown key, a wrong type, a name that is not defined, two routes that tie,
are faults. `postern check` prints every fault with its line and what would be right; `postern schema`
prints the JSON Schema. [routes.md](routes.md) has an example of each part.

The smallest useful file:

```yaml
version: 1
upstreams: {app: http://127.0.0.1:5000}
routes:
  - {name: app, match: {path: /**}, upstream: app}
```

## Values

- YAML 1.2: only `true` and `false` are booleans. `on`, `off`, `yes`, `no`, `22:22`, `010`, `0x1F`, `True`
  are text. A key that is there twice, an empty value and a tag are faults. Anchors and aliases work;
  merge keys (`<<`) do not.
- Durations: `500ms`, `10s`, `5m`, `1h`, `30d`; `0` may stand alone. Bare numbers are seconds only in
  `identity.tokens`. Sizes: `512B`, `32KiB`, `10MiB`, `1GiB`, `1MB`; bare numbers are bytes. Percentages:
  `50%`.
- `${NAME}` and `${NAME:-default}` are replaced from the environment when the file is loaded,
  `${file:PATH}` by a file's content without its last line break; in values only, never in keys. `$${`
  stands for a plain `${`. In a flow map (`{a: b}`) put them in quotes. A variable that is missing is a
  fault where the role uses the value.
- An address is `host:port`, `[v6]:port` or `unix:PATH`; a server is `http://host:port`,
  `https://host:port` or `unix:PATH`; a rate is `N/second`, `minute`, `hour` or `day`; an origin is
  `https://host` or `https://host:port`.
- Where a list is expected, its only item may stand alone.
- Paths of files are relative to the folder of the file that names them.

## Defaults and policies

`defaults.policies` are merged under every route's `policies`: maps key by key, at every depth; a word, a
number or a list is replaced. `NAME: none` removes a default. What a route's `remove` names, it does not
take from the defaults' `set` and `add` either. `authenticate: WORD` is short for `authenticate: {mode:
WORD}`. A route with an `upstream` requires sign-in unless `authenticate` says otherwise, in the route or
in the defaults; an `answer` or a `redirect` is public unless it is set there. The built-in routes of the
identity service take no defaults.

## Keys

"Required" means that the key must be there.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, model in sections(Document, "", set()):
        parts.append(
            f"\n### {title}\n\n{_sentence(model)}| key | values | default | meaning |\n|---|---|---|---|\n"
        )
        parts += [_row(name, field) for name, field in model.model_fields.items()]
    return "".join(parts)


def _sentence(model: type[BaseModel]) -> str:
    return f"{model.__doc__.strip()}\n\n" if model.__doc__ else ""


def sections(
    model: type[BaseModel], path: str, seen: set[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every map of the file, each once, in the file's order."""
    if model in seen:
        return
    seen.add(model)
    yield (f"`{path}`" if path else "The file"), model
    for name, field in model.model_fields.items():
        key = field.alias or name
        for inner, suffix in _models(field.annotation):
            yield from sections(inner, f"{path}.{key}{suffix}" if path else f"{key}{suffix}", seen)


def _models(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """The maps that a value may hold, with what leads to them: [] for a list, .NAME for a map of names."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _models(inner[0], suffix)
    elif origin in (Union, UnionType):
        for one in inner:
            yield from _models(one, suffix)
    elif origin is list:
        yield from _models(inner[0], suffix + "[]")
    elif origin is dict:
        yield from _models(inner[1], suffix + ".NAME")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix


def _row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _shown(field.default)
    kind = _kind(_property(field, name))
    return f"| `{field.alias or name}` | {kind} | {default} | {field.description} |\n"


def _shown(default: Any) -> str:
    if default is None or isinstance(default, BaseModel) or default in ("", [], {}):
        return ""
    text = default if isinstance(default, str) else json.dumps(default).replace('"', "")
    return f"`{text}`"


_PROPERTIES: dict[int, dict[str, Any]] = {}


def _property(field: FieldInfo, name: str) -> dict[str, Any]:
    """The field's JSON Schema."""
    if not _PROPERTIES:
        schema = json_schema()
        for _, model in sections(Document, "", set()):
            made = schema if model is Document else schema["$defs"][model.__name__]
            for key, one in model.model_fields.items():
                _PROPERTIES[id(one)] = made["properties"][one.alias or key]
    return _PROPERTIES[id(field)]


def _kind(schema: dict[str, Any]) -> str:
    """A few words on which values are right."""
    title = schema.get("title", "A")
    if title[0].islower():  # given by us; pydantic's own begin with a capital letter
        return str(title)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = dict.fromkeys(_kind(one) for one in schema[key] if one.get("type") != "null")
            first = next(iter(kinds))
            return " or ".join(kinds).replace(f"{first} or list of {first}", f"{first}; or a list")
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in dict.fromkeys(map(str, schema["enum"])))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return "map"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("type") in ("object", None):
        return "map"
    return {"string": "text", "integer": "number", "number": "number", "boolean": "`true`, `false`"}[
        schema["type"]
    ]


def pages() -> dict[str, str]:
    """Content by path, from the project's folder."""
    return {
        "docs/configuration.md": reference(),
        "docs/routes.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for name, content in pages().items():
        Path(name).write_text(content, encoding="utf-8")
        print(f"wrote {name}", file=sys.stderr)
