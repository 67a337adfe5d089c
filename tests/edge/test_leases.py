"""Leases of one worker: what it asks, what it spends by itself, and what it does without an answer."""

import pytest

from gateway.edge import leases
from gateway.model.rates import Limit, Rule
from tests.edge.leased import House, rule

HUNDRED = rule((100, 1))


async def test_a_batch_is_spent_without_asking() -> None:
    house = House()
    assert house.spend(HUNDRED) is None
    await house.answer_all()
    told = [house.spend(HUNDRED) for _ in range(4)]
    assert [spent is not None and (spent.allowed, spent.remaining) for spent in told] == [
        (True, 98), (True, 97), (True, 96), (True, 95),
    ]  # fmt: skip
    assert house.spend(HUNDRED) is None and len(house.questions) == 1
    assert told[0] is not None and told[0].reset == pytest.approx(0.75) and told[0].limit == Limit(100, 1)


async def test_those_who_wait_share_one_question_and_each_takes_a_unit_or_asks_again() -> None:
    house = House()
    assert [house.spend(HUNDRED) for _ in range(12)] == [None] * 12
    asked = 0
    while house.questions:
        assert len(house.questions) == 1
        asked += 1
        house.count(house.questions[0])
        await house.deliver(house.questions[0])
    assert (asked, len(house.admitted), len(house.waiting)) == (3, 12, 0)  # batches of 5


async def test_who_got_nothing_is_refused_without_asking_until_there_is_something_again() -> None:
    house, which = House(), rule((10, 60), algorithm="fixed_window")
    for _ in range(12):
        house.spend(which)
    await house.answer_all()
    assert (len(house.admitted), house.refused) == (10, 2)
    refused = house.spend(which)
    assert refused is not None and not refused.allowed and not house.questions
    house.time += refused.reset - 0.001
    assert house.spend(which) is not None and not house.questions
    house.time += 0.002
    assert house.spend(which) is None and house.questions


async def test_units_end_with_the_window_they_were_counted_in() -> None:
    house, which = House(), rule((100, 1), algorithm="fixed_window")
    house.spend(which)
    await house.answer_all()
    house.time += 0.7499  # the window ends at 0.75
    assert house.spend(which) is not None
    house.time += 0.0002
    assert house.spend(which) is None


async def test_what_the_question_took_is_taken_off() -> None:
    """However long the answer was on its way, nothing of it is good in the next window."""
    house, which = House(), rule((100, 1), algorithm="fixed_window")
    house.spend(which)
    house.time += 0.3
    house.count(house.questions[0])
    house.time += 0.1
    await house.deliver(house.questions[0])
    assert len(house.admitted) == 1
    house.time += 0.06
    assert house.spend(which) is None  # it was good for 0.45 s from the sending


async def test_units_that_come_too_late_are_asked_for_again_and_not_for_ever() -> None:
    house, which = House(), rule((100, 1))
    house.spend(which)
    for tried in range(leases.ASK_TIMES):
        assert len(house.questions) == 1, tried
        house.count(house.questions[0])
        house.time += 1.0
        await house.deliver(house.questions[0])
    assert not house.questions and house.admitted == [] and house.refused == 1


async def test_who_goes_away_leaves_the_unit_to_others() -> None:
    house, which = House(), rule((100, 1))
    house.spend(which)
    house.waiting[0][1].cancel()
    await house.answer_all()
    spent = house.spend(which)
    assert spent is not None and spent.remaining == 99


async def test_of_a_moving_window_nothing_is_kept() -> None:
    house, which = House(), rule((100, 1), algorithm="moving_window")
    house.spend(which)
    house.waiting[0][1].cancel()
    await house.answer_all()
    assert house.spend(which) is None


async def test_more_than_so_many_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "WAITING", 3)
    house = House()
    told = [house.spend(HUNDRED) for _ in range(4)]
    assert told[:3] == [None] * 3 and told[3] is not None and not told[3].allowed
    await house.answer_all()
    assert len(house.admitted) == 3


async def test_each_key_and_each_rule_has_its_own() -> None:
    house, which = House(), rule((1, 60))
    for key in (b"u:1", b"u:2"):
        house.spend(which, key)
    house.spend(Rule("shop/other", which.limits, on_store_failure="deny"))
    await house.answer_all()
    assert len(house.admitted) == 3
    mine = house.workers[0].leases
    assert mine.of(which) is mine.of(rule((1, 60)))


async def test_a_long_key_goes_by_its_digest() -> None:
    house = House()
    for letter in (b"a", b"b"):
        house.spend(rule((1, 60)), letter * 5000)
    sent = [question.message["key"] for question in house.questions]
    assert [len(key) for key in sent] == [64, 64] and sent[0] != sent[1]
    await house.answer_all()
    assert len(house.admitted) == 2


# Without an answer


@pytest.mark.parametrize(("how", "allowed"), [("local", 5), ("deny", 0), ("allow", 20)])
async def test_the_rule_says_what_happens_without_a_link(how: str, allowed: int) -> None:
    house, which = House(2), rule((10, 60), how=how)
    house.spend(which)
    await house.answer_all()  # here it is told that there are two
    house.workers[0].up = False
    spent = [house.spend(which) for _ in range(20)]
    assert [each.known for each in spent if each is not None] == [False] * 20
    assert len(house.admitted) == 1 + allowed and house.refused == 20 - allowed


async def test_the_share_of_a_worker_is_never_nothing_and_comes_back_with_the_window() -> None:
    house, which = House(4), rule((2, 60), how="local")
    house.workers[0].leases.edges = 4
    house.workers[0].up = False
    for _ in range(2):
        first, second = house.spend(which), house.spend(which)
        assert first is not None and first.allowed
        assert second is not None and not second.allowed and 0 < second.reset <= 60
        house.time += second.reset


async def test_the_nearest_of_several_limits_counts_here_too() -> None:
    house, which = House(), rule((5, 1), (8, 60), how="local")
    house.workers[0].up = False
    told = [house.spend(which) for _ in range(6)]
    assert told[5] is not None and told[5].limit == Limit(5, 1)
    house.time += 1
    told = [house.spend(which) for _ in range(4)]
    assert told[3] is not None and told[3].limit == Limit(8, 60)
    assert len(house.admitted) == 8


async def test_after_a_lost_answer_nobody_waits_for_another_for_a_moment() -> None:
    house, which = House(), rule((10, 60), how="local")
    house.spend(which)
    await house.lose(house.questions[0])
    assert len(house.admitted) == 1  # counted here
    assert house.spend(which, b"u:2") is not None and not house.questions
    house.time += leases.AWAY
    assert house.spend(which, b"u:2") is None and house.questions


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"outcome": "leased"},
        {"outcome": "leased", "granted": "5", "spend_within": 1.0},
        {"outcome": "leased", "granted": -5, "spend_within": 1.0, "ask_again_in": 0, "remaining": 1,
         "nearest": 0, "reset_in": 1.0, "edges": 1},
        {"outcome": "leased", "granted": 5, "spend_within": 1.0, "ask_again_in": 0, "remaining": 1,
         "nearest": 7, "reset_in": 1.0, "edges": 1},
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_gives_nothing_and_leaves_nobody_waiting(
    answer: dict[str, object],
) -> None:
    house, which = House(), rule((100, 60))
    house.spend(which)
    house.questions[0].answer = answer
    await house.deliver(house.questions[0])
    assert (house.admitted, house.refused, house.waiting) == ([], 1, [])
    house.time += leases.AWAY
    house.spend(which)
    await house.answer_all()
    assert len(house.admitted) == 1


async def test_what_is_held_is_spent_before_anything_is_counted_here() -> None:
    house, which = House(), rule((100, 1), how="local")
    house.spend(which)
    await house.answer_all()
    house.workers[0].up = False
    told = [house.spend(which) for _ in range(5)]
    assert [each.known for each in told if each is not None] == [True] * 4 + [False]


async def test_a_new_link_begins_afresh() -> None:
    house, which = House(), rule((100, 60))
    house.spend(which)
    await house.answer_all()
    await house.reconnect(0)
    assert len(house.workers[0].leases) == 0
    assert house.spend(which) is None and house.questions


async def test_an_answer_of_the_former_link_counts_no_more() -> None:
    house, which = House(), rule((100, 60))
    house.spend(which)
    question = house.questions[0]
    house.count(question)
    house.workers[0].leases.begin_afresh()
    await house.deliver(question)
    assert house.admitted == [] and house.refused == 1
    assert house.spend(which) is None


# Memory


async def test_memory_has_a_bound_and_what_is_forgotten_lets_nobody_in() -> None:
    house, which = House(most=50), rule((45, 60), algorithm="fixed_window")
    for number in range(1000):
        house.spend(which, b"u:%d" % number)
        await house.answer_all()
        assert len(house.workers[0].leases) <= 50
    for number in range(1000):
        for _ in range(50):
            house.spend(which, b"u:%d" % (number % 3))
        await house.answer_all()
    assert max(house.windows(60)) <= 45
    assert len(house.workers[0].leases) <= 50


async def test_what_is_over_goes_while_others_come() -> None:
    house, which = House(most=1000), rule((45, 1))
    for number in range(500):
        house.spend(which, b"u:%d" % number)
    await house.answer_all()
    house.time += 5
    for number in range(400):
        house.spend(which, b"v:%d" % number)
    await house.answer_all()
    assert len(house.workers[0].leases) <= 501


async def test_counts_of_this_worker_alone_are_not_forgotten_while_they_count() -> None:
    """A flood of addresses brings nobody their share a second time; newcomers share one."""
    house, which = House(most=20), rule((3, 60), how="local")
    house.workers[0].up = False
    for number in range(200):
        for _ in range(5):
            house.spend(which, b"u:%d" % number)
    assert len(house.workers[0].leases) == 20
    assert len(house.admitted) == 20 * 3 + 3
    refused = house.spend(which, b"u:0")
    assert refused is not None and not refused.allowed and not refused.known


async def test_those_who_wait_are_not_forgotten() -> None:
    house, which = House(most=4), rule((45, 60))
    for number in range(12):
        house.spend(which, b"u:%d" % number)
    await house.answer_all()
    assert len(house.admitted) == 12 and not house.waiting


# Metrics


async def test_it_counts_what_it_said_by_rule() -> None:
    house, which = House(), rule((2, 60), how="local")
    for _ in range(5):
        house.spend(which)
    await house.answer_all()
    house.spend(which)
    house.time += 120
    house.workers[0].up = False
    for _ in range(3):
        house.spend(which)
    samples = {sample.labels: sample.value for sample in house.workers[0].leases.samples()}
    assert samples == {
        ("shop/orders", "allowed"): 2, ("shop/orders", "refused"): 4,
        ("shop/orders", "local_allowed"): 2, ("shop/orders", "local_refused"): 1,
    }  # fmt: skip
