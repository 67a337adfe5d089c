"""A worker's service log: JSON for programs, readable lines on a terminal."""

import json
import logging
import sys

from gateway.link.service_lines import Lines


def record(message: str, *args: object, broken: bool = False) -> logging.LogRecord:
    try:
        raise RuntimeError("a defect")
    except RuntimeError:
        error = sys.exc_info() if broken else None
    made = logging.LogRecord("any", logging.WARNING, "file", 1, message, args, error)
    made.created, made.msecs = 1_800_000_000.25, 250.0
    made.route = "orders"
    return made


def test_json_is_one_line_with_the_traceback_as_a_field() -> None:
    line = Lines(readable=False).format(record("%s is\nunhealthy", "app", broken=True))
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("error").splitlines()[-1] == "RuntimeError: a defect"
    assert told == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "message": "app is\nunhealthy",
        "route": "orders",
    }


def test_a_terminal_gets_a_readable_line() -> None:
    first, *rest = Lines(readable=True).format(record("it %s", "broke", broken=True)).splitlines()
    assert first[8:] == " warning it broke  route=orders"
    assert rest[-1] == "RuntimeError: a defect"
    assert Lines(readable=True).format(record("all well")).endswith("warning all well  route=orders")
