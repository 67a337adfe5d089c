"""Durations, sizes, rates and percents: from words to seconds, bytes, counts and fractions."""

import re

from gateway.config.faults import NotRight, closest, shown

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
LONGEST = 100 * 365 * 86400.0

_AMOUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
_RATE = re.compile(r"([0-9]{1,9}) ?(?:/|per) ?([A-Za-z]+)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")

_LONG_UNITS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m",
    "minutes": "m", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d",
    "millis": "ms", "milliseconds": "ms", "msec": "ms",
}  # fmt: skip


def seconds(value: object, *, bare: bool = False) -> float:
    """`10s` is 10.0. A bare number counts as seconds only when `bare`; 0 always may stand alone."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0 or value > LONGEST:
            raise NotRight(f"{shown(value)} is not a duration", "write one like 10s, 500ms, 5m, 1h, 30d")
        if bare or value == 0:
            return float(value)
        raise NotRight(f"{shown(value)} is a duration without a unit", f"did you mean {value}s?")
    if not isinstance(value, str):
        raise NotRight(f"{shown(value)} is not a duration", "write one like 10s, 500ms, 5m, 1h, 30d")
    text = str(value)
    if _NUMBER.fullmatch(text):
        return seconds(float(text) if "." in text else int(text), bare=bare)
    found = _AMOUNT.fullmatch(text)
    if not found or found[2] not in SECONDS:
        raise NotRight(f"{shown(value)} is not a duration", _duration_hint(found))
    amount = float(found[1]) * SECONDS[found[2]]
    if amount > LONGEST:
        raise NotRight(f"{shown(value)} is too long", "a hundred years at most")
    return round(amount, 6)


def _duration_hint(found: re.Match[str] | None) -> str:
    if found:
        unit = found[2].lower()
        unit = unit if unit in SECONDS else _LONG_UNITS.get(unit, "")
        if unit:
            return f"did you mean {found[1]}{unit}?"
    return "write one like 10s, 500ms, 5m, 1h, 30d"


def size(value: object) -> int:
    """`32KiB` is 32768; a bare number counts as bytes."""
    wrong = "write one like 512B, 32KiB, 10MiB, 1GiB"
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0 or value > 1 << 50:
            raise NotRight(f"{shown(value)} is not a size", wrong)
        return value
    if not isinstance(value, str):
        raise NotRight(f"{shown(value)} is not a size", wrong)
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return size(int(text))
    found = _AMOUNT.fullmatch(text)
    if not found or found[2] not in BYTES:
        raise NotRight(f"{shown(value)} is not a size", _size_hint(found) or wrong)
    amount = float(found[1]) * BYTES[found[2]]
    if amount != int(amount) or amount > 1 << 50:
        raise NotRight(f"{shown(value)} is not a whole number of bytes, or too many", wrong)
    return int(amount)


def _size_hint(found: re.Match[str] | None) -> str:
    if not found:
        return ""
    unit = found[2].lower()
    for known in BYTES:
        if unit in (known.lower(), known.lower().rstrip("b"), known.lower().replace("ib", "")):
            return f"did you mean {found[1]}{known}?"
    return ""


def rate(value: object) -> tuple[int, int]:
    """`100/minute` is (100, 60)."""
    wrong = "write one like 10/second, 300/minute, 5/hour, 1000/day"
    if not isinstance(value, str):
        raise NotRight(f"{shown(value)} is not a rate", wrong)
    found = _RATE.fullmatch(str(value))
    if not found:
        raise NotRight(f"{shown(value)} is not a rate", wrong)
    period = PERIODS.get(found[2])
    if period is None:
        meant = _LONG_UNITS.get(found[2].lower(), "")
        near = closest(found[2], PERIODS) or {"s": "second", "m": "minute", "h": "hour", "d": "day"}.get(
            meant or found[2].lower(), ""
        )
        raise NotRight(f"{shown(value)} is not a rate", f"did you mean {found[1]}/{near}?" if near else wrong)
    if int(found[1]) < 1:
        raise NotRight(f"{shown(value)} lets nothing through", "a rate is at least 1")
    return int(found[1]), period


def percent(value: object) -> float:
    """`50%` is 0.5."""
    found = _PERCENT.fullmatch(str(value)) if isinstance(value, str) else None
    if not found or float(found[1]) > 100:
        raise NotRight(f"{shown(value)} is not a percentage", "write one from 0% to 100%")
    return float(found[1]) / 100
