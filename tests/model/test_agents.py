"""Families of user-agents."""

import pytest

from gateway.model.agents import family

MOZILLA = "Mozilla/5.0"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (f"{MOZILLA} (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "firefox linux"),
        (f"{MOZILLA} (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0", "firefox linux"),
        (
            f"{MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/139.0.0.0 Safari/537.36",
            "chrome windows",
        ),
        (
            f"{MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
            "edge windows",
        ),
        (
            f"{MOZILLA} (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 "
            "Mobile Safari/537.36",
            "chrome android",
        ),
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "CriOS/139.0 Mobile/15E148 Safari/604.1",
            "chrome ios",
        ),
        (
            f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Safari/605.1.15",
            "safari macos",
        ),
        ("curl/8.7.1", "curl"),
        ("okhttp/4.12.0", "okhttp"),
        ("MyApp/3.2 (Android 14)", "myapp android"),
        ("", ""),
    ],
)
def test_a_family_is_browser_and_platform_without_versions(agent: str, expected: str) -> None:
    assert family(agent) == expected


def test_a_family_is_short_whatever_the_agent_says() -> None:
    assert len(family("x" * 10_000)) <= 40
