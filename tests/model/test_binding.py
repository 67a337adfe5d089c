"""What is the same place and the same program, by each way to compare."""

import pytest

from gateway.model.binding import AGENT, EXACT, Binding, differing, version
from gateway.model.identity import Identity

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
UPDATED = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
ON_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"
)


def moved(mode: str, one: str, other: str, second: str = "") -> bool:
    place = Identity("u1", address=one, other_address=second)
    what = differing(Binding(address=mode), place, other, "whatever")  # type: ignore[arg-type]
    assert what in ((), ("address",))
    return bool(what)


@pytest.mark.parametrize(
    ("one", "other", "exact", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7", False, False),
        ("192.0.2.7", "192.0.2.200", True, False),
        ("192.0.2.7", "192.0.3.7", True, True),
        ("192.0.2.7", "::ffff:192.0.2.7", False, False),
        ("::ffff:192.0.2.7", "192.0.2.9", True, False),
        ("::ffff:192.0.2.7", "::ffff:198.51.100.7", True, True),
        ("2001:db8::1", "2001:0DB8::0:1", False, False),
        ("2001:db8::1", "2001:db8::ffff", True, False),
        ("2001:db8::1", "2001:db8:0:1::1", True, True),
        ("192.0.2.7", "2001:db8::1", True, True),
        ("unix", "unix", False, False),
        ("unix", "192.0.2.7", True, True),
        ("192.0.2.7", "unix", True, True),
        ("", "192.0.2.7", True, True),
        ("", "", True, True),
    ],
)
def test_an_address_is_the_same_host_or_in_the_same_network(
    one: str, other: str, exact: bool, prefix: bool
) -> None:
    assert (moved("exact", one, other), moved("prefix", one, other)) == (exact, prefix)


def test_either_of_two_addresses_counts() -> None:
    for mode, v4, v6 in (
        ("exact", "192.0.2.7", "2001:db8::1"),
        ("prefix", "192.0.2.99", "2001:db8::99"),
    ):
        assert not moved(mode, "192.0.2.7", v4, second="2001:db8::1")
        assert not moved(mode, "192.0.2.7", v6, second="2001:db8::1")
        assert not moved(mode, "2001:db8::1", v4, second="192.0.2.7")
        assert moved(mode, "192.0.2.7", "198.51.100.1", second="2001:db8::1")
        assert moved(mode, "192.0.2.7", "2001:db8:9::1", second="2001:db8::1")


@pytest.mark.parametrize(
    ("one", "other", "exact", "by_family"),
    [
        (FIREFOX, FIREFOX, False, False),
        (FIREFOX, UPDATED, True, False),
        (FIREFOX, ON_WINDOWS, True, True),
        (FIREFOX, CHROME, True, True),
        (FIREFOX, "", True, True),
        ("", "", False, False),
        ("", "curl/8", True, True),
        ("curl/7.1", "curl/8.9", True, False),
        ("App " + "x" * AGENT, "App " + "x" * (AGENT + 9), False, False),
    ],
)
def test_an_agent_is_the_same_text_or_the_same_browser_on_the_same_platform(
    one: str, other: str, exact: bool, by_family: bool
) -> None:
    place = Identity("u1", agent=one[:AGENT])
    for mode, expected in (("exact", exact), ("family", by_family)):
        found = differing(Binding(agent=mode), place, "192.0.2.7", other)  # type: ignore[arg-type]
        assert found == (("agent",) if expected else ())


def test_what_is_off_is_not_compared_and_both_can_differ() -> None:
    place = Identity("u1", address="192.0.2.7", agent=FIREFOX)
    assert differing(Binding(address="exact"), place, "192.0.2.7", CHROME) == ()
    assert differing(Binding(agent="exact"), place, "198.51.100.7", FIREFOX) == ()
    assert differing(EXACT, place, "198.51.100.7", CHROME) == ("address", "agent")


def test_a_binding_compares_something() -> None:
    with pytest.raises(ValueError, match="compares nothing"):
        Binding(on_mismatch="strict")


def test_families_of_addresses() -> None:
    texts = ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "unix", "", "gate.test")
    assert [version(text) for text in texts] == [4, 4, 6, 0, 0, 0]
