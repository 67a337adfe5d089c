"""The lines that workers keep: the last ones, within bounds, found by the request's id."""

from gateway.edge.kept import ALL, LONG, Kept


def line(number: int, request_id: str = "", padding: int = 0) -> bytes:
    return (
        b'{"time":"2025-01-01T00:00:00.%06dZ","agent":"%b","request_id":"%b"}\n'
        % (number, b"a" * padding, (request_id or f"request-{number}").encode())
    )  # fmt: skip


def keep(kept: Kept, *made: bytes) -> None:
    kept.add(list(made), b"".join(made))


def test_the_last_lines_are_found_and_older_ones_are_gone() -> None:
    kept = Kept(workers=4)
    for number in range(ALL // 4 + 1):
        keep(kept, line(number))
    assert kept.find("request-0") == []
    assert kept.find("request-1") == [line(1)]
    assert kept.find(f"request-{ALL // 4}") == [line(ALL // 4)]


def test_of_those_that_came_together_none_goes_before_the_last_may_go() -> None:
    kept = Kept(workers=ALL // 100)
    for first in range(0, 110, 10):
        keep(kept, *map(line, range(first, first + 10)))
    assert [bool(kept.find(f"request-{number}")) for number in (0, 9, 10, 109)] == [False, False, True, True]
    keep(kept, line(110))
    assert kept.find("request-10")
    keep(kept, *map(line, range(111, 120)))
    assert not kept.find("request-10")


def test_an_id_that_came_again_is_found_newest_first_whatever_the_lines_length() -> None:
    kept = Kept()
    for made in (line(1, "request-x"), line(2, "request-x", LONG), line(3, "request-x")):
        keep(kept, made)
    assert kept.find("request-x") == [line(3, "request-x"), line(2, "request-x", LONG), line(1, "request-x")]


def test_long_lines_neither_fill_the_memory_nor_drive_the_others_out() -> None:
    kept = Kept(workers=100)
    keep(kept, line(0))
    for number in range(1, 1000, 3):
        keep(kept, *(line(each, padding=LONG) for each in range(number, number + 3)))
    assert kept.find("request-0") == [line(0)]
    assert len([number for number in range(1000) if kept.find(f"request-{number}")]) == 1 + ALL // 100 // 8


def test_what_a_client_writes_into_its_agent_is_no_request_id() -> None:
    kept = Kept()
    keep(kept, b'{"time":"1","agent":"\\"request_id\\":\\"request-x\\"","request_id":"request-y"}\n')
    assert kept.find("request-x") == []
    assert kept.find('request-y"') == []
