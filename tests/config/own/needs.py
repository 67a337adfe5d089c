"""A module whose own import is not there."""

import importlib

importlib.import_module("surely_not_installed")
