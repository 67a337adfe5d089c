"""Which passwords may be set (NIST SP 800-63B section 3.1.1.2): length and no common ones, no composition."""

import unicodedata
from functools import cache
from pathlib import Path

LONGEST = 256
_FILE = Path(__file__).parent / "common_passwords.txt"
_ROWS = (
    "`1234567890-=", "qwertyuiop[]\\", "asdfghjkl;'", "zxcvbnm,./",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "qazwsxedcrfvtgbyhnujmikolp",
    "abcdefghijklmnopqrstuvwxyz", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn",
    "qwertyuiopasdfghjklzxcvbnm", "01234567890123456789",
)  # fmt: skip
_WALKS = (*_ROWS, *(row[::-1] for row in _ROWS))
_SHORTEST_RUN = 4


class Rules:
    def __init__(self, shortest: int, site: str = "") -> None:
        self._shortest = shortest
        self._site = site

    def refused(self, password: str, username: str = "", email: str = "") -> list[str]:
        """What is wrong with it, each a sentence for the person; empty when it may be set."""
        password = normal(password)
        found = []
        if len(password) < self._shortest:
            found.append(f"Use at least {self._shortest} characters.")
        if len(password) > LONGEST:
            found.append(f"Use at most {LONGEST} characters.")
        if not password.isascii() and any(unicodedata.category(letter) == "Cs" for letter in password):
            found.append("Use characters that can be written as UTF-8.")
        if found:
            return found
        if is_common(folded(password)):
            found.append("This is among the most common passwords. Choose another.")
        own = {folded(each) for each in (username, email, email.partition("@")[0], self._site) if each}
        if folded(password) in own:
            found.append("Do not use your user name, your e-mail address or this site's name.")
        return found


def is_common(password: str) -> bool:
    """Of a folded one: whether it is listed, or made by a rule that everybody who guesses knows."""
    listed = _listed()
    return password in listed or _is_repeated(password, listed) or _is_walk(password)


def normal(password: str) -> str:
    """One form of what looks the same, whatever keyboard wrote it."""
    return unicodedata.normalize("NFC", password)


def folded(text: str) -> str:
    return normal(normal(text).casefold())


@cache
def _listed() -> frozenset[str]:
    """Made for this package: the usual words and phrases with their usual variants, folded, one a line."""
    return frozenset(_FILE.read_text("utf-8").splitlines())


def _is_repeated(password: str, listed: frozenset[str]) -> bool:
    """Something short three times or more (the last may be cut off), or a common password twice."""
    half, odd = divmod(len(password), 2)
    if not odd and password[:half] == password[half:] and password[:half] in listed:
        return True
    sizes = range(1, min(len(password) // 3, 8) + 1)
    return any(password[size:] == password[:-size] for size in sizes)


def _is_walk(password: str) -> bool:
    """Only runs of neighbours of a keyboard, the alphabet or the digits, each of four or more."""
    place = 0
    while place < len(password):
        length = max(_run(password, place, row) for row in _WALKS)
        if length < _SHORTEST_RUN:
            return False
        place += length
    return True


def _run(password: str, place: int, row: str) -> int:
    """How many characters from there on follow the row."""
    at = row.find(password[place : place + _SHORTEST_RUN])
    if at < 0 or len(password) - place < _SHORTEST_RUN:
        return 0
    length = 0
    for have, want in zip(password[place:], row[at:], strict=False):
        if have != want:
            break
        length += 1
    return length
