"""What could be told with every request is told once in a while, within bounds."""

from gateway.model.seldom import Seldom


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_key_of_a_group_is_new_once_in_a_while() -> None:
    clock = Clock()
    seldom = Seldom(600.0, each=3, most=10, clock=clock)
    assert [seldom.new("s1", key) for key in ("a", "a", "b", "a")] == [True, False, True, False]
    assert seldom.new("s2", "a")
    clock.now += 599.0
    assert not seldom.new("s1", "a")
    clock.now += 1.0
    assert [seldom.new("s1", "a"), seldom.new("s1", "a")] == [True, False]


def test_a_group_has_only_so_many_new_keys() -> None:
    clock = Clock()
    seldom = Seldom(600.0, each=3, most=10, clock=clock)
    assert [seldom.new("s1", str(number)) for number in range(5)] == [True, True, True, False, False]
    clock.now += 600.0
    assert seldom.new("s1", "4")


def test_what_could_not_be_told_is_new_again() -> None:
    seldom = Seldom(600.0, each=1, most=10, clock=Clock())
    assert seldom.new("s1", "a")
    seldom.forget("s1", "a")
    seldom.forget("s9", "a")
    assert [seldom.new("s1", "a"), seldom.new("s1", "a")] == [True, False]


def test_only_so_many_groups_are_kept() -> None:
    seldom = Seldom(600.0, each=1, most=3, clock=Clock())
    assert all(seldom.new(f"s{number}", "a") for number in range(5))
    assert len(seldom) == 3
    assert not seldom.new("s4", "a") and seldom.new("s0", "a")
