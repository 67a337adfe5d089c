"""Durations, sizes, rates and percentages mean what they say, and a wrong one is told what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import durations
from gateway.config.faults import NotRight


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3600.0), ("30d", 2592000.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


def test_a_bare_number_is_seconds_only_where_that_is_agreed() -> None:
    assert durations.seconds(900, bare=True) == durations.seconds("900", bare=True) == 900.0
    assert durations.seconds(0) == durations.seconds("0") == 0.0
    with pytest.raises(NotRight, match=r"did you mean 900s\?"):
        durations.seconds(900)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10sec", "did you mean 10s?"),
        ("5 minutes", "did you mean 5m?"),
        ("1H", "did you mean 1h?"),
        ("2days", "did you mean 2d?"),
    ],
)
def test_a_wrong_unit_is_told_the_right_one(text: str, hint: str) -> None:
    with pytest.raises(NotRight) as caught:
        durations.seconds(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "value", ["", "s", "10", "-1s", "1s2", "1e3s", "１s", None, True, [], {}, -1, "999999999d", float("nan")]
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(NotRight):
        durations.seconds(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32KiB", 32768),
        ("10MiB", 10485760),
        ("1MB", 1000000),
        ("512B", 512),
        ("1.5KiB", 1536),
        (7, 7),
        ("7", 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert durations.size(text) == size


@pytest.mark.parametrize(("text", "hint"), [("32kib", "32KiB"), ("10M", "10MiB"), ("1gb", "1GB")])
def test_a_size_with_a_wrong_unit_is_told_the_right_one(text: str, hint: str) -> None:
    with pytest.raises(NotRight) as caught:
        durations.size(text)
    assert caught.value.hint == f"did you mean {hint}?"


@pytest.mark.parametrize("value", ["", "KiB", "1.0001KiB", -1, True, 1.5, None, "1 000", "9999999TiB"])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(NotRight):
        durations.size(value)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/second", (10, 1)), ("100/minute", (100, 60)), ("5/hour", (5, 3600)), ("1/day", (1, 86400))],
)
def test_rates(text: str, rate: tuple[int, int]) -> None:
    assert durations.rate(text) == rate


@pytest.mark.parametrize(
    ("text", "hint"),
    [("100/minit", "100/minute"), ("5/s", "5/second"), ("7/hours", "7/hour"), ("9/Day", "9/day")],
)
def test_a_rate_with_a_wrong_period_is_told_the_right_one(text: str, hint: str) -> None:
    with pytest.raises(NotRight) as caught:
        durations.rate(text)
    assert caught.value.hint == f"did you mean {hint}?"


@pytest.mark.parametrize("value", ["0/minute", "minute", 5, None, "-1/second", "1//second"])
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(NotRight):
        durations.rate(value)


def test_percentages() -> None:
    assert durations.percent("50%") == 0.5
    assert durations.percent("0%") == 0.0
    for wrong in ("101%", "50", 0.5, "-1%", None):
        with pytest.raises(NotRight):
            durations.percent(wrong)


@given(st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.booleans())
def test_anything_is_either_read_or_refused_with_words(value: object) -> None:
    for read in (durations.seconds, durations.size, durations.rate, durations.percent):
        try:
            read(value)
        except NotRight as fault:
            assert fault.problem


@given(st.integers(0, 10**6), st.sampled_from(sorted(durations.SECONDS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    if number * durations.SECONDS[unit] <= durations.LONGEST:
        assert durations.seconds(f"{number}{unit}") == pytest.approx(number * durations.SECONDS[unit])
