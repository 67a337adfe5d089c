"""T25: a ledger of every secret a gateway was told or gave, and the search for them where they may not be."""

import json
import re
from collections.abc import Iterable
from typing import Any

from tests.kit.raw import Answer
from tests.kit.tokens import SHAPE

SHORTEST = 12  # letters of a secret that are looked for: its end, which no two share
WORD = re.compile(rf"[^\s\"'<>{{}}\[\](),;]{{{SHORTEST},}}")
SECRET_KEYS = frozenset({
    "password", "new_password", "current_password", "access_token", "refresh_token", "token", "key", "invite",
    "secret",
})  # fmt: skip
COOKIES = re.compile(r"(?:__Host-|__Secure-)?postern=([^;\s]+)")


class Ledger:
    """What must stay secret, and the answers that must not hold any of it."""

    def __init__(self) -> None:
        self._ends: dict[str, str] = {}  # the end of a secret -> what it is
        self._open: set[str] = set()
        self.problems: list[tuple[str, str]] = []  # where, and the body of each refusal

    def __len__(self) -> int:
        return len(self._ends)

    def no_secret(self, text: str) -> None:
        """What may be known, though a test sends it where secrets go: an id."""
        self._open.add(text[-SHORTEST:])

    def note(self, what: str, secret: str) -> None:
        end = secret[-SHORTEST:]
        if (
            len(end) == SHORTEST and len(set(end)) > 5 and end not in self._open
        ):  # else no secret: a test's zeros stand anywhere
            self._ends[end] = what

    def sent(self, body: Any, lines: Iterable[bytes] = ()) -> None:
        """What a client sends in secret: passwords and tokens of the body, credentials of the head."""
        self._harvest(body)
        for line in lines:
            self._found("sent in the head", line.decode("latin-1"))

    def got(self, where: str, answer: Answer) -> None:
        """An answer's new secrets, if it is a good one; a refusal is kept to be looked through."""
        for _, value in answer.headers:
            self._found("in the head of a reply", value.decode("latin-1"))
        text = answer.body.decode("utf-8", "replace")
        if answer.status >= 400:
            self.problems.append((where, text))
        elif text.startswith(("{", "[")):
            self._harvest(json.loads(text))

    def _found(self, what: str, text: str) -> None:
        for token in SHAPE.findall(text) + COOKIES.findall(text):
            self.note(what, token)

    def _harvest(self, value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                self._harvest(each, str(name))
        elif isinstance(value, list):
            for each in value:
                self._harvest(each, key)
        elif isinstance(value, str):
            self._found(key, value)
            if key in SECRET_KEYS:
                self.note(key, value)

    def leaks(self, where: str, text: str, *, shapes: bool = True) -> list[str]:
        """What of it stands in a text, whole or only its end; whatever is shaped like a token, too."""
        found = set()
        for word in set(WORD.findall(text)):
            for at in range(len(word) - SHORTEST + 1):
                if word[at : at + SHORTEST] in self._ends:
                    found.add(self._ends[word[at : at + SHORTEST]])
        if shapes:
            found |= {f"a word like {word[:8]}…" for word in SHAPE.findall(text)}
        return [f"{where} holds a secret: {what}" for what in sorted(found)]

    def leaked_problems(self) -> list[str]:
        return [leak for where, text in self.problems for leak in self.leaks(f"refusal of {where}", text)]
