"""${NAME}, ${NAME:-default} and ${file:PATH} in values: replaced when the file is loaded, never later."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from gateway.config.faults import NotRight, shown

LARGEST_SECRET = 64 * 1024

_VARIABLE = re.compile(r"\$?\$\{([^{}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Filled(str):
    """Text that came from the environment or a secret's file; faults show its template, never its content."""

    template: str

    def __repr__(self) -> str:
        """For the configuration's hash, which stands in every log line, and for tracebacks."""
        return repr(self.template)


class Absent(str):
    """A value that needs a variable which is not set, or a file which can't be read."""

    template: str
    problem: str
    hint: str


class Variables:
    """Fills templates; remembers the files that it read."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self.files: list[str] = []

    def fill(self, text: str) -> str:
        """The text with every variable replaced; Absent when one is missing; NotRight when it is not one."""
        if "${" not in text:
            return text
        try:
            content = _VARIABLE.sub(self._replace, text)
        except _Missing as missing:
            absent = Absent(text)
            absent.template, absent.problem, absent.hint = text, missing.problem, missing.hint
            return absent
        filled = Filled(content)
        filled.template = text
        return filled

    def _replace(self, found: re.Match[str]) -> str:
        if not found[2]:
            raise NotRight(f"{shown(found.string)} has a ${{ without its }}", "write $${ for a plain ${")
        if found[0].startswith("$$"):
            return found[0][1:]
        word = found[1]
        if word.startswith("file:"):
            return self._read(word[5:])
        name, default, otherwise = word.partition(":-")
        if not _NAME.fullmatch(name):
            raise NotRight(
                f"${{{word}}} is no variable",
                "write ${NAME}, ${NAME:-default} or ${file:PATH}; $${ stands for a plain ${",
            )
        value = self._environ.get(name)
        if default:
            return value or otherwise
        if value is None:
            raise _Missing(f"the environment has no {name}", f"set {name}, or write ${{{name}:-default}}")
        return value

    def _read(self, name: str) -> str:
        path = self._folder / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise _Missing(f"{name} is not a file", "name a file that holds the secret")
            with path.open("rb") as file:
                content = file.read(LARGEST_SECRET + 1)
        except (OSError, ValueError) as error:
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise _Missing(
                f"{name} can't be read ({why})", "the path is relative to this file's folder"
            ) from None
        self.files.append(str(path.absolute()))
        if len(content) > LARGEST_SECRET:
            raise _Missing(f"{name} is larger than 64 KiB", "name a file that holds one secret")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise _Missing(f"{name} is not UTF-8 text", "name a file that holds text") from None
        return text.removesuffix("\n").removesuffix("\r")


class _Missing(NotRight):
    """As NotRight, but a fault only where the role uses the value."""
