"""YAML to plain data with the line of every key: YAML 1.2's scalars, no duplicate keys, bounded aliases."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.config.faults import ConfigFault, NotRight, shown
from gateway.config.variables import Absent, Variables

LARGEST_FILE = 16 << 20
MOST_VALUES = 1_000_000  # after aliases are expanded
DEEPEST = 40

Place = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18}(?=[eE]))(?:[eE][-+]?[0-9]{1,2})?"
)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(slots=True)
class Source:
    """One file as read. `lines` tells the line of each key and item by its path."""

    name: str  # as shown in faults
    path: Path
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    absent: list[tuple[Place, Absent]] = field(default_factory=list)
    faults: list[ConfigFault] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # this one, and those it named with ${file:...}

    def line(self, path: Place) -> int:
        """The line of this place, or of the nearest one around it that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def fault(self, path: Place, problem: str, hint: str = "") -> ConfigFault:
        return ConfigFault(self.name, self.line(path), dotted(path), problem, hint)


def dotted(path: Place) -> str:
    """('routes', 2, 'name') is routes[2].name."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w$*-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text


def at(data: Any, *keys: str) -> Any:
    """The value at these keys of maps, or None."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


@dataclass(slots=True)
class _Node:
    kind: str  # scalar, list, map
    line: int
    text: str = ""
    plain: bool = False
    items: list["_Node"] = field(default_factory=list)
    keys: list[tuple[str, int]] = field(default_factory=list)
    open: bool = True  # not yet ended: an alias to it would contain itself
    values: int = 1  # of it and all within it, aliases expanded
    depth: int = 0  # of what is within it, aliases expanded


class _Stop(Exception):
    """The file can't be read further."""

    def __init__(self, line: int, problem: str, hint: str = "") -> None:
        self.line, self.problem, self.hint = line, problem, hint


def read_source(path: Path, name: str, environ: Mapping[str, str]) -> Source:
    """Reads and parses one file; its faults are in the result, nothing is raised."""
    source = Source(name, path)
    source.files.append(str(path.absolute()))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        hint = (
            "name another with -c, or write one with: postern init --upstream URL" if "no such" in why else ""
        )
        source.faults.append(ConfigFault(name, 0, "", f"can't be read ({why})", hint))
        return source
    parse(source, content, Variables(environ, path.absolute().parent))
    return source


def parse(source: Source, content: bytes, variables: Variables) -> None:
    """Fills the source from the bytes of its file."""
    try:
        if len(content) > LARGEST_FILE:
            raise _Stop(1, "the file is larger than 16 MiB", "split it and use include")
        node = _compose(_text(content))
        _Builder(source, variables).build(node)
        if not isinstance(source.data, dict):
            raise _Stop(
                node.line, f"{shown(source.data)} is not a map", "write key: value, and begin with version: 1"
            )
    except _Stop as stop:
        source.data = None
        source.faults.append(ConfigFault(source.name, stop.line, "", stop.problem, stop.hint))
    source.files.extend(variables.files)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Stop(
            content.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text", "save the file as UTF-8"
        ) from None


def _compose(text: str) -> _Node:
    """Events to nodes without recursion, so that no nesting can exhaust a stack."""
    try:
        return _assemble(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Stop(
            mark.line + 1 if mark else 1, f"this is not valid YAML: {error.problem}", _syntax_hint(error)
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Stop(
            line, "this is not valid YAML: a control character", "remove it, or write it as \\x.. in quotes"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _Stop(1, f"this is not valid YAML: {shown(str(error))}") from None


def _syntax_hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "\\t" in problem or "cannot start any token" in problem:
        return "indent with spaces, and put text that begins with a special character in quotes"
    if "mapping values are not allowed" in problem:
        return "put text that holds a colon and a space in quotes"
    return "look at the indentation and quotes of this line and the one before"


def _assemble(events: Iterator[Any]) -> _Node:
    anchors: dict[str, _Node] = {}
    stack: list[_Node] = []
    root: _Node | None = None
    for event in events:
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            _end(stack.pop())
            continue
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _Stop(line, "a second document begins here", "one file holds one document; use include")
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node(event, anchors)
        if not stack:
            root = node
        else:
            stack[-1].items.append(node)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            stack.append(node)
            if len(stack) > DEEPEST:
                raise _Stop(node.line, f"this is nested deeper than {DEEPEST} levels")
    if root is None or (root.kind == "scalar" and not root.text):
        raise _Stop(1, "the file is empty", "write one with: postern init --upstream URL")
    return root


def _node(event: Any, anchors: dict[str, _Node]) -> _Node:
    line: int = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        target = anchors.get(event.anchor or "")
        if target is None:
            raise _Stop(line, f"the alias *{event.anchor} has no anchor before it")
        if target.open:
            raise _Stop(line, f"the alias *{event.anchor} contains itself")
        return target
    if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
        raise _Stop(line, f"the tag {shown(event.tag)} is not used here", "remove it")
    if isinstance(event, yaml.ScalarEvent):
        if _UNUSABLE.search(event.value):
            raise _Stop(line, "a NUL or half a surrogate pair can't be used in text")
        node = _Node("scalar", line, event.value, plain=event.implicit[0] and event.tag is None, open=False)
    else:
        node = _Node("map" if isinstance(event, yaml.MappingStartEvent) else "list", line)
    if event.anchor:
        anchors[event.anchor] = node
    return node


def _end(node: _Node) -> None:
    """A map's children alternate key, value, key, value: told apart when it ends."""
    node.open = False
    node.values += sum(child.values for child in node.items)
    node.depth = 1 + max((child.depth for child in node.items), default=0)
    if node.values > MOST_VALUES:
        raise _Stop(node.line, f"aliases make this larger than {MOST_VALUES:,} values")
    if node.depth > DEEPEST:
        raise _Stop(node.line, f"aliases nest this deeper than {DEEPEST} levels")
    if node.kind != "map":
        return
    children, node.items = node.items, []
    for key, value in zip(children[::2], children[1::2], strict=True):
        if key.kind != "scalar":
            raise _Stop(key.line, "a key must be plain text")
        node.keys.append((key.text, key.line))
        node.items.append(value)


class _Builder:
    """Nodes to data; lines by path; variables replaced in values."""

    def __init__(self, source: Source, variables: Variables) -> None:
        self._source = source
        self._variables = variables

    def build(self, root: _Node) -> None:
        self._source.lines[()] = root.line
        self._source.data = self._value(root, ())

    def _value(self, node: _Node, path: Place) -> Any:
        if node.kind == "map":
            return self._map(node, path)
        if node.kind == "list":
            return self._list(node, path)
        return self._scalar(node, path)

    def _map(self, node: _Node, path: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for (key, line), child in zip(node.keys, node.items, strict=True):
            place = (*path, key)
            if key in made:
                first = self._source.lines[place]
                self._source.faults.append(
                    ConfigFault(
                        self._source.name, line, dotted(place), f"already set on line {first}", "keep one"
                    )
                )
                continue
            self._source.lines[place] = line
            made[key] = self._value(child, place)
        return made

    def _list(self, node: _Node, path: Place) -> list[Any]:
        made = []
        for index, child in enumerate(node.items):
            place = (*path, index)
            self._source.lines[place] = child.line
            made.append(self._value(child, place))
        return made

    def _scalar(self, node: _Node, path: Place) -> Any:
        try:
            text = self._variables.fill(node.text)
        except NotRight as fault:
            self._source.faults.append(self._source.fault(path, fault.problem, fault.hint))
            return node.text
        if isinstance(text, Absent):
            self._source.absent.append((path, text))
        if text is not node.text or not node.plain:
            return text
        return _resolve(text)


def _resolve(text: str) -> Any:
    """A plain scalar's meaning by YAML 1.2; its octal, hexadecimal and capitalised forms stay text."""
    if text in ("", "~", "null"):
        return None
    if text == "true":
        return True
    if text == "false":
        return False
    if text[0] in "0123456789+-.":
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
