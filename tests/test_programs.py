"""A program that is not installed skips a test, or fails it where everything has to run."""

import pytest

from tests.kit import programs


def test_a_program_that_is_there_is_named_by_its_path() -> None:
    assert programs.find("sh").endswith("/sh")
    assert programs.find("surely-not-installed") == ""


def test_a_missing_program_skips_and_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTERN_TEST_ALL", raising=False)
    monkeypatch.setitem(programs.INSTALL, "surely-not-installed", "apt-get install it")
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        programs.need("surely-not-installed")


def test_a_missing_program_fails_where_everything_has_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTERN_TEST_ALL", "1")
    monkeypatch.setitem(programs.INSTALL, "surely-not-installed", "apt-get install it")
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        programs.need("surely-not-installed")
