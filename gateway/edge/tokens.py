"""Names that a request carries through all logs: its id and its trace, made here or taken over."""

import os
import re
from binascii import hexlify
from struct import Struct

from gateway.model.headers import is_request_id as is_request_id

# W3C Trace Context, version 00 (others are passed on when they look alike); all zeros are invalid
is_traceparent = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch

_AT_ONCE = 256
_TRACEPARENTS = b"00-%b-%b-01" * _AT_ONCE
_words = Struct("32s16s" * _AT_ONCE).unpack
_apart = Struct("55s" * _AT_ONCE).unpack


class Ids:
    """New traceparents; the trace id in them is also the request's id, so that one word finds everything."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: list[tuple[bytes, bytes]] = []

    def take(self) -> tuple[bytes, bytes]:
        """A trace id, and the traceparent with it."""
        if not self._made:
            words = _words(hexlify(os.urandom(24 * _AT_ONCE)))
            self._made = list(zip(words[::2], _apart(_TRACEPARENTS % words), strict=True))
        return self._made.pop()
