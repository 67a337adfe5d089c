"""A module whose own import is not there."""

import surely_not_installed.at_all  # type: ignore[import-not-found]  # noqa: F401
