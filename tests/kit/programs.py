"""Programs the tests want but this repository does not bring: found, or the test says how to get them."""

import os
import shutil
import sys

import pytest

# program -> what to type on Debian and Ubuntu; Homebrew has the same names
INSTALL = {
    "nginx": "apt-get install nginx",
    "wrk": "apt-get install wrk",
    "curl": "apt-get install curl",
    "node": "apt-get install nodejs",
    "openssl": "apt-get install openssl",
    **dict.fromkeys(("traefik", "caddy", "envoy"), "make peers"),
}
OWN = os.path.dirname(sys.executable)  # where pip puts programs


def find(name: str) -> str:
    """Its path, or "". Debian keeps servers in sbin, which is not on every user's PATH."""
    places = (OWN, None, "/usr/local/sbin:/usr/sbin:/sbin")
    return next((path for place in places if (path := shutil.which(name, path=place))), "")


def need(name: str) -> str:
    """The program's path; without it the test is skipped, or fails where POSTERN_TEST_ALL=1 asks for all."""
    path = find(name)
    if path:
        return path
    message = f"{name} is not installed: {INSTALL[name]}"
    if os.environ.get("POSTERN_TEST_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)
