"""Who presents unknown credentials again and again is slowed, however many do."""

from gateway.edge.guessers import ALLOWED, MOST, WINDOW, Guessers

KNOWN = b"192.0.2.7"


def test_a_guesser_is_slowed_until_the_window_is_over() -> None:
    guessers = Guessers()
    for _ in range(ALLOWED):
        assert not guessers.is_slowed(KNOWN, 1.0)
        guessers.guessed(KNOWN, 1.0)
    assert guessers.is_slowed(KNOWN, 1.0) and not guessers.is_slowed(b"192.0.2.8", 1.0)
    assert not guessers.is_slowed(KNOWN, 1.0 + WINDOW)


def test_a_flood_of_addresses_hides_none_that_is_counted_already() -> None:
    guessers = Guessers()
    guessers.guessed(KNOWN, 1.0)
    for number in range(MOST):
        guessers.guessed(b"2001:db8:%x:%x::1" % divmod(number, 65536), 1.0)
    for _ in range(ALLOWED):
        guessers.guessed(KNOWN, 1.0)
    assert guessers.is_slowed(KNOWN, 1.0)
