"""The family of a user-agent: its browser and platform without version, which an update does not change."""

import re

# The first that is found names it: those that claim to be others stand before the others.
_PROGRAMS = (
    ("edg", "edge"), ("opr/", "opera"), ("opera", "opera"), ("samsungbrowser", "samsung"),
    ("fxios", "firefox"), ("firefox", "firefox"), ("crios", "chrome"), ("chrome", "chrome"),
    ("chromium", "chrome"), ("safari", "safari"),
)  # fmt: skip
_PLATFORMS = (
    ("android", "android"), ("iphone", "ios"), ("ipad", "ios"), ("windows", "windows"),
    ("cros", "chromeos"), ("mac os x", "macos"), ("macintosh", "macos"), ("linux", "linux"),
)  # fmt: skip
_FIRST_WORD = re.compile(r"[^\s/(;]+")
_LONGEST = 40


def family(agent: str) -> str:
    """Such as "firefox linux", "curl"; empty for an empty one."""
    text = agent.lower()
    program = next((name for mark, name in _PROGRAMS if mark in text), "")
    if not program:
        first = _FIRST_WORD.match(text.strip())
        program = first[0][:_LONGEST] if first else ""
    platform = next((name for mark, name in _PLATFORMS if mark in text), "")
    return f"{program} {platform}".strip()
