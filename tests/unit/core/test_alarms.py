from gridd.core.alarms import Alarms


def test_alarms_ring_in_order_and_not_before_their_time() -> None:
    alarms = Alarms()
    assert alarms.next() is None
    alarms.set(30, "lease", "b")
    alarms.set(10, "evict", "a")
    alarms.set(20, "retention", "")
    assert alarms.next() == 10
    assert alarms.pop(9) is None
    assert alarms.pop(25) == ("evict", "a")
    assert alarms.pop(25) == ("retention", "")
    assert alarms.pop(25) is None
    assert alarms.next() == 30


def test_setting_it_twice_keeps_the_first() -> None:
    alarms = Alarms()
    alarms.set(10, "lease", "a")
    for time in range(11, 1_000):
        alarms.set(time, "lease", "a")
    assert alarms.pop(5_000) == ("lease", "a")
    assert alarms.pop(5_000) is None
    assert not alarms.has("lease", "a")


def test_a_rung_alarm_can_be_set_again() -> None:
    alarms = Alarms()
    alarms.set(10, "lease", "a")
    alarms.pop(10)
    alarms.set(20, "lease", "a")
    assert alarms.has("lease", "a")
    assert alarms.next() == 20


def test_kinds_and_names_are_told_apart() -> None:
    alarms = Alarms()
    alarms.set(1, "lease", "x")
    alarms.set(1, "evict", "x")
    alarms.set(1, "lease", "y")
    rung = [alarms.pop(1) for _ in range(3)]
    assert sorted(map(str, rung)) == sorted(
        map(str, [("lease", "x"), ("evict", "x"), ("lease", "y")])
    )
