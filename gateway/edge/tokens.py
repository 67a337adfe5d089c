"""Names that a request carries through all logs: its id and its trace, made here or taken over."""

import os
import re
from binascii import hexlify

from gateway.model.headers import is_request_id as is_request_id

# W3C Trace Context, version 00 (others are passed on when they look alike); all zeros are invalid
is_traceparent = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch

_AT_ONCE = 256


class Ids:
    """New traceparents; the trace id in them is also the request's id, so that one word finds everything."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: list[bytes] = []

    def take(self) -> bytes:
        if not self._made:
            digits = hexlify(os.urandom(24 * _AT_ONCE))
            self._made = [
                b"00-%b-%b-01" % (digits[at : at + 32], digits[at + 32 : at + 48])
                for at in range(0, len(digits), 48)
            ]
        return self._made.pop()
