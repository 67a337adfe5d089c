"""A worker's service log: JSON for programs, readable lines on a terminal."""

import json
import logging
import sys

import pytest

from gateway.link.service_lines import Lines
from gateway.model.credentials import ACCESS, new


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


@pytest.mark.parametrize("readable", [True, False])
def test_T25_a_token_in_an_error_is_not_told(readable: bool) -> None:
    """Not even where a plugin raises with the very header that it could not read."""
    token = new(ACCESS)
    try:
        raise ValueError(f"can't read {token}")
    except ValueError:
        made = logging.LogRecord("any", logging.ERROR, "file", 1, "%s failed", (token,), sys.exc_info())
    line = Lines(readable=readable).format(made)
    assert token not in line and "can't read psa_…" in line
    assert readable or json.loads(line)["message"] == "psa_… failed"
