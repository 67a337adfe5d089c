"""A fault of the configuration: where it is, what is wrong, and what would be right."""

import difflib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple


class ConfigFault(NamedTuple):
    file: str
    line: int  # 1 is the first; 0 when the fault has no line, as in the environment
    path: str  # routes[2].policies.cors.origins; empty for the file as a whole
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        path = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{path}{self.problem}{hint}"


class ConfigFaults(Exception):
    """Every fault of a configuration; str() is one line for each."""

    def __init__(self, faults: Iterable[ConfigFault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class NotRight(ValueError):
    """A single value that is wrong; the place is added by whoever knows it."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


def shown(value: Any) -> str:
    """A value as a fault shows it: escaped, short, and never the content of a variable or a secret's file."""
    value = getattr(value, "template", value)
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value)
    return text if len(text) <= 70 else text[:66] + '…"'


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    close = closest(word, known)
    return f"did you mean {close}?" if close else otherwise


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    if len(word) > 100:  # difflib takes quadratic time
        return ""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def listed(words: Iterable[str], most: int = 12) -> str:
    names = list(words)
    if len(names) > most:
        names = [*names[:most], "…"]
    return ", ".join(names)
