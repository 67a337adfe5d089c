"""Every fault is told at once, with file, line, key path and hint; a good file becomes its snapshot."""

from pathlib import Path

import pytest

from tests.config.golden import BAD, GOOD, becomes, told


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_told_every_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert told(path) == path.with_suffix(".txt").read_text()
    assert told(path)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_file_becomes_its_snapshot(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert told(path) == ""
    assert becomes(path) == path.with_suffix(".json").read_text()


def test_there_are_enough_of_both() -> None:
    assert len(BAD) >= 60
    assert len(GOOD) >= 15


def test_no_fault_shows_what_came_from_the_environment() -> None:
    for path in BAD:
        assert "hunter2" not in path.with_suffix(".txt").read_text(), path.name
