"""What an upstream worker can be offered, by the clock."""

from gridd.edge.upstream_slots import Slots


def slots(count: int = 3) -> Slots:
    found = Slots(stop=7, rest=10)
    found.register(count, anew=True)
    return found


def test_what_it_stops_takes_a_slot_for_as_long_as_that_lasts() -> None:
    its = slots()
    assert its.stops("a", 100)
    assert its.stops("b", 103)
    assert (its.credit(103, busy=1), its.freed(106.9)) == (1, False)
    assert (its.freed(107), its.credit(107, busy=1)) == (True, 2)
    assert its.freed(107) is False
    its.over("b")
    assert its.credit(107, busy=1) == 3


def test_no_more_than_its_slots_are_taken_whatever_it_says() -> None:
    its = slots(1)
    assert its.stops("a", 100)
    assert its.stops("a", 101)  # said again
    assert not its.stops("b", 101)
    assert its.credit(101, busy=0) == 0
    its.taken_up("a")
    assert its.credit(101, busy=0) == 1


def test_a_worker_that_claims_nothing_rests_until_it_does() -> None:
    its = slots()
    its.rest_from(100)
    assert (its.credit(109.9, busy=2), its.credit(110, busy=2)) == (2, 3)
    its.rest_from(200)
    its.woke()
    assert its.credit(200, busy=0) == 3


def test_a_run_that_is_killed_is_surely_gone_in_the_end() -> None:
    its = slots()
    its.clears("a", 100)
    its.clears("b", 100)
    its.over("b")
    assert (its.clearing("a"), its.clearing("b")) == (True, False)
    its.freed(106)
    assert its.clearing("a")
    its.freed(107)
    assert not its.clearing("a")


def test_another_worker_on_the_same_socket_begins_anew() -> None:
    its = slots()
    its.stops("a", 100)
    its.clears("a", 100)
    its.register(2, anew=False)
    assert (its.credit(100, busy=0), its.clearing("a")) == (1, True)
    its.register(2, anew=True)
    assert (its.credit(100, busy=0), its.clearing("a")) == (2, False)
