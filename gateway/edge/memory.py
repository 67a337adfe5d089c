"""What was said of header lines, and of whole heads, that come again and again: judged once, then known."""

from typing import Any, Generic, TypeVar

Entry = tuple[int, bytes, bytes]  # what becomes of a line: kind, lower-case name, value
H = TypeVar("H")  # what was said of a whole head
_MOST_LINES = 2048  # twice that for a moment, since the older half is looked into as well
_LONGEST_LINE = 256
_MOST_HEADS = 1024  # likewise
_LONGEST_HEAD = 1024
_MISSES = 64  # in a row
_PAUSE = 1000  # requests


class Memory:
    """What was said of lines, bounded: when the young half is full it becomes the old one."""

    __slots__ = ("heads", "old", "young")

    def __init__(self) -> None:
        self.heads: Heads[Any] = Heads()
        self.young: dict[bytes, Entry] = {}
        self.old: dict[bytes, Entry] = {}

    def again(self, line: bytes) -> Entry | None:
        entry = self.old.get(line)
        if entry is not None:
            self.add(line, entry)
        return entry

    def add(self, line: bytes, entry: Entry) -> None:
        if len(line) <= _LONGEST_LINE:
            if len(self.young) >= _MOST_LINES:
                self.old, self.young = self.young, {}
            self.young[line] = entry


class Heads(Generic[H]):
    """What was said of whole heads: clients, and upstreams within a second, send the same ones again.

    Bounded; none that holds a credential, or what each has of its own. Where heads differ each time it looks
    away for a while, since looking costs something too.
    """

    __slots__ = ("misses", "old", "pause", "young")

    def __init__(self) -> None:
        self.young: dict[bytes, H] = {}
        self.old: dict[bytes, H] = {}
        self.misses = 0  # in a row: whoever finds one sets it to 0
        self.pause = 0  # heads to come that need not be looked for: whoever reads one counts it off

    def again(self, head: bytes) -> H | None:
        """Of one that is not among the young."""
        known = self.old.get(head)
        if known is not None:
            self.add(head, known)
            return known
        self.misses += 1
        if self.misses > _MISSES:
            self.misses, self.pause = 0, _PAUSE
        return None

    def add(self, head: bytes, said: H) -> None:
        if len(head) <= _LONGEST_HEAD:
            if len(self.young) >= _MOST_HEADS:
                self.old, self.young = self.young, {}
            self.young[head] = said
