"""The checks bite: a broken engine is named, not passed."""

from collections.abc import Callable

import pytest

from tests.unit.core.driver import Driver


def busy() -> Driver:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("runs", "a")
    d.submit("waits", "b")
    d.submit("over")
    d.cancel("over")
    return d


def steal(d: Driver) -> None:
    d.engine.sessions.by_worker["w"].held.clear()


def forget_alarm(d: Driver) -> None:
    d.engine.alarms._set.clear()


def swap_state(d: Driver) -> None:
    d.job("waits").state = "Running"


def lose_holder(d: Driver) -> None:
    d.engine.jobs.holders.clear()


def miscount(d: Driver) -> None:
    d.engine.jobs.running += 1


def share(d: Driver) -> None:
    d.job("waits").namespaces = ("a", "b")


def keep(d: Driver) -> None:
    d.job("over").definition = b"{}"


def forget_end(d: Driver) -> None:
    d.engine.jobs.ended.clear()


def use_more(d: Driver) -> None:
    d.engine.sessions.by_worker["w"].used_cpus_milli += 1


def lose_log(d: Driver) -> None:
    d.engine.logs.clear()


def pretend_ready(d: Driver) -> None:
    d.engine.sessions.ready["w"] = d.engine.sessions.by_worker["w"]


@pytest.mark.parametrize(
    "damage",
    [
        steal,
        forget_alarm,
        swap_state,
        lose_holder,
        miscount,
        share,
        keep,
        forget_end,
        use_more,
        lose_log,
        pretend_ready,
    ],
)
def test_damage_is_found(damage: Callable[[Driver], None]) -> None:
    d = busy()
    d.engine.check()
    damage(d)
    with pytest.raises(AssertionError):
        d.engine.check()
