"""How the store can fail: the one family of exceptions that leaves it; their texts hold no value of a row."""


class StoreFault(Exception):
    """Anything that went wrong below; the unit of work it happened in is over and nothing of it was kept."""


class StoreUnavailable(StoreFault):
    """The database can't be reached, is busy, or is going down: asking again later may well succeed.

    Raised by a commit, it may nevertheless have happened: the answer to it was lost.
    """


class Conflict(StoreFault):
    """Another row has this value already. `field` is its public name: email, username, name …"""

    def __init__(self, field: str) -> None:
        super().__init__(f"another row has the same {field}")
        self.field = field


class Missing(StoreFault):
    """A row that this one refers to does not exist (any more): its user, its role."""


class NotStorable(StoreFault):
    """A value that no column can hold: a NUL or half a surrogate pair in text, a number over 64 bits."""


class StoreOutdated(StoreFault):
    """The database's tables are not (yet) those of this program."""
