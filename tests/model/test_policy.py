"""Merging the effects of a route's policies: down with the request, up with the reply."""

from gateway.model.policy import Effects, merge


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == Effects()


def test_drops_and_reads_are_united_and_lines_follow_their_way() -> None:
    first = Effects(frozenset({b"a"}), b"One: 1\r\n", frozenset({b"b"}), b"Up: 1\r\n", frozenset({b"x"}))
    last = Effects(frozenset({b"c"}), b"Two: 2\r\n", frozenset({b"d"}), b"Up: 2\r\n", frozenset({b"y"}))
    both = merge([first, last])
    assert both.request_drop == {b"a", b"c"}
    assert both.reply_drop == {b"b", b"d"}
    assert both.request_add == b"One: 1\r\nTwo: 2\r\n"
    assert both.reply_add == b"Up: 2\r\nUp: 1\r\n"
    assert both.reads == {b"x", b"y"}


def test_a_later_policy_drops_what_an_earlier_one_added_to_the_request() -> None:
    both = merge([Effects(request_add=b"X-A: 1\r\nX-B: 1\r\n"), Effects(request_drop=frozenset({b"x-a"}))])
    assert both.request_add == b"X-B: 1\r\n"


def test_an_earlier_policy_drops_what_a_later_one_added_to_the_reply() -> None:
    both = merge(
        [Effects(reply_drop=frozenset({b"x-a"}), reply_add=b"X-A: 1\r\n"), Effects(reply_add=b"X-A: 2\r\n")]
    )
    assert both.reply_add == b"X-A: 1\r\n"
    other_way = merge([Effects(reply_add=b"X-A: 2\r\n"), Effects(reply_drop=frozenset({b"x-a"}))])
    assert other_way.reply_add == b"X-A: 2\r\n"
