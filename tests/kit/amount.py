"""How much is asked of these tests: everything in `make hard`, enough in `make test`."""

import pytest

hard = False


def settle(config: pytest.Config) -> None:
    """Before any test: whether the hard ones are those that run."""
    global hard
    hard = config.getoption("markexpr") == "hard"
