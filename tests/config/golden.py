"""The golden files of this folder: what each bad file is told, what each good one becomes.

After a wanted change `python -m tests.config.golden` writes them anew: read the difference before you commit.
"""

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from gateway.config.compile import load
from gateway.config.faults import ConfigFaults

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted((HERE / "good").glob("*.yaml"))
ENVIRON = {
    "SECRET": "hunter2-do-not-show",
    "SERVICE": "shop",
    "WORKERS": "3",
    "COUNT": "64",
    "SECONDS": "7",
    "QUERY": "true",
    "EMPTY": "",
    "SECRET_NEW": "hunter2-do-not-show-this-one-either",
    "SECRET_OLD": "hunter2-do-not-show-the-older-one-too",
}


def told(path: Path) -> str:
    """The faults of a file, one per line; empty when there is none. Run in the file's folder."""
    try:
        load(path.name, environ=ENVIRON)
    except ConfigFaults as faults:
        return f"{faults}\n"
    return ""


def becomes(path: Path) -> str:
    """The snapshot of a file as JSON, only what is not the default. Run in the file's folder.

    Left out is what differs from machine to machine, or is the same for all.
    """
    snapshot = plain(load(path.name, environ=ENVIRON))
    del snapshot["hash"]
    if snapshot["service"] != ENVIRON["SERVICE"]:
        del snapshot["service"]
    return json.dumps(snapshot, indent=1, ensure_ascii=False).replace(str(path.parent), "FOLDER") + "\n"


def plain(value: Any) -> Any:
    """Structs as maps of the fields that differ from their defaults."""
    if isinstance(value, msgspec.Struct):
        given = [(field, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        return {field.name: plain(one) for field, one in given if one != usual(field)}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def usual(field: msgspec.structs.FieldInfo) -> Any:
    """A field's default."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def write() -> None:
    for path in BAD:
        os.chdir(path.parent)
        path.with_suffix(".txt").write_text(told(path))
    for path in GOOD:
        os.chdir(path.parent)
        path.with_suffix(".json").write_text(becomes(path))


if __name__ == "__main__":
    write()
