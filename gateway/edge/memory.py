"""What was said of header lines, and of whole heads, that come again and again: judged once, then known."""

Entry = tuple[int, bytes, bytes]  # what becomes of a line: kind, lower-case name, value
Head = tuple[int, dict[bytes, bytes], list[bytes]]  # flags, noted, the lines that pass
_MOST_LINES = 2048  # twice that for a moment, since the older half is looked into as well
_LONGEST_LINE = 256
_MOST_HEADS = 1024  # likewise
_LONGEST_HEAD = 1024
_MISSES = 64  # in a row
_PAUSE = 1000  # requests


class Memory:
    """What was said of lines, bounded: when the young half is full it becomes the old one."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
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


class Heads:
    """What was said of whole heads, less their first line and their bearer: clients send the same ones again
    and again.

    Bounded; none that holds a credential, or what each request has of its own. Where heads differ each time
    it looks away for a while, since looking costs something too.
    """

    __slots__ = ("_misses", "_old", "_pause", "_young")

    def __init__(self) -> None:
        self._young: dict[bytes, Head] = {}
        self._old: dict[bytes, Head] = {}
        self._misses = self._pause = 0

    def looks(self) -> bool:
        if self._pause:
            self._pause -= 1
            return False
        return True

    def get(self, rest: bytes) -> "Head | None":
        known = self._young.get(rest)
        if known is not None:
            self._misses = 0
            return known
        known = self._old.get(rest)
        if known is not None:
            self.add(rest, known)
            return known
        self._misses += 1
        if self._misses > _MISSES:
            self._misses, self._pause = 0, _PAUSE
        return None

    def add(self, rest: bytes, head: "Head") -> None:
        if len(rest) <= _LONGEST_HEAD:
            if len(self._young) >= _MOST_HEADS:
                self._old, self._young = self._young, {}
            self._young[rest] = head
