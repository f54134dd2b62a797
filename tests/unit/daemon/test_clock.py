from gridd.clock import Clock


class Machine:
    def __init__(self) -> None:
        self.wall_s = 1_000.0
        self.monotonic_s = 50.0

    def clock(self, not_before: int = 0) -> Clock:
        return Clock(not_before, wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)


def test_it_starts_at_the_wall_and_goes_on_with_the_monotonic_clock():
    machine = Machine()
    clock = machine.clock()
    assert clock.now_ms() == 1_000_000
    machine.monotonic_s += 1.5
    assert clock.now_ms() == 1_001_500


def test_a_wall_clock_set_back_changes_nothing():
    machine = Machine()
    clock = machine.clock()
    machine.wall_s -= 500
    machine.monotonic_s += 1
    assert clock.now_ms() == 1_001_000


def test_after_a_restart_it_does_not_start_before_what_is_on_record():
    assert Machine().clock(not_before=2_000_000).now_ms() == 2_000_000
