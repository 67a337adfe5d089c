"""The service log of a child: one JSON line per event on stderr, or a readable line on a terminal."""

import logging
import time

import msgspec

from gateway.model.credentials import redacted

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class Lines(logging.Formatter):
    """A record in the form of the supervisor's own; what was given as `extra` becomes fields, and in JSON the
    traceback too. Tokens are taken out: what an error says may hold what a client sent (T25)."""

    def __init__(self, *, readable: bool) -> None:
        super().__init__()
        self._readable = readable

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        level, message = record.levelname.lower(), record.getMessage()
        fields = {key: str(value) for key, value in record.__dict__.items() if key not in _USUAL}
        error = self.formatException(record.exc_info) if record.exc_info else ""
        if self._readable:
            at = time.strftime("%H:%M:%S", time.localtime(record.created))
            rest = "".join(f"  {name}={value}" for name, value in fields.items())
            return f"{at} {level:<7} {message}{rest}" + (f"\n{error}" if error else "")
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        told = {"time": f"{second}.{int(record.msecs):03d}Z", "level": level, "message": message, **fields}
        return msgspec.json.encode(told | {"error": error} if error else told).decode()
