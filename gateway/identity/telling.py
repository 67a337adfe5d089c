"""How letters tell of times and places: words for people, nothing that a stranger could write into them."""

import datetime

from gateway.identity.web import Asker
from gateway.model.agents import family

_NAMES = {
    "edge": "Edge", "opera": "Opera", "samsung": "Samsung Internet", "firefox": "Firefox", "chrome": "Chrome",
    "safari": "Safari", "android": "Android", "ios": "iOS", "windows": "Windows", "chromeos": "ChromeOS",
    "macos": "macOS", "linux": "Linux",
}  # fmt: skip


def when(milliseconds: int) -> str:
    """Such as 1 May 2027, 10:00 UTC."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def masked(address: str) -> str:
    """Such as a…@example.org: enough for who knows it, too little for who doesn't."""
    local, _, host = address.rpartition("@")
    return f"{local[:1]}…@{host}"


def place(asker: Asker) -> str:
    """Such as "Firefox on Linux, 203.0.113.7". A program's own name is not repeated: it may be anything."""
    known = [_NAMES[word] for word in family(asker.agent).split() if word in _NAMES]
    return f"{' on '.join(known) or 'a program'}, {asker.address or 'an unknown address'}"
