"""What becomes of jobs is counted from their records: once for the queue, once for all."""

from gridd.core import records as r
from gridd.metrics.tally import Tally, count
from gridd_protocol import messages as m
from tests.unit.core.driver import Driver


class Counting(Driver):
    """Counts each record as soon as it is there, as a daemon does when it is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.all = Tally(), Tally()

    def step(self, event):  # type: ignore[no-untyped-def]
        before = len(self.records)
        effects = super().step(event)
        for record in self.records[before:]:
            count(record, self.engine.jobs, (self.own, self.all))
        return effects


def test_each_thing_that_becomes_of_a_job_is_counted() -> None:
    d = Counting()
    d.submit("a")
    d.wait(400)
    d.hello("w", credit=1)
    d.wait(60)
    d.said("w", m.Release("a", 1))
    d.hello("v", credit=1)  # is given it
    d.hello("v", credit=1)  # without it: lost, and leased again
    d.finish("v", "a", 3)
    d.submit("b")
    d.cancel("b")
    d.submit("b")
    for tally in (d.own, d.all):
        assert tally.submitted == 3
        assert (tally.released, tally.lost) == (1, 1)
        assert tally.finished == {"Success": 1, "Cancelled": 1}
        assert tally.start_seconds.count == 3, "a job that is leased again has started before"
        assert tally.start_seconds.sum == 0.4
    assert list(d.own.finished_by_reason().values()) == [1, 0, 0, 1, 0, 0]


def test_an_outcome_that_is_carried_on_is_none() -> None:
    d = Counting()
    d.hello("w", credit=1)
    d.submit("a")
    d.finish("w", "a")
    again = next(one for one in d.records if type(one) is r.Finished)
    carried = r.Finished("q", "a", again.time, "Success", 1, "w", "", b"", b"", carried=True)
    count(carried, d.engine.jobs, (d.own, d.all))
    assert d.own.finished == {"Success": 1}


def test_an_engine_that_is_ahead_of_the_disk_spoils_no_figure() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("a")
    leased = next(one for one in d.records if type(one) is r.Leased)
    d.wait(10)
    d.cancel("a")
    d.submit("a")  # a later submission than the lease
    tally = Tally()
    count(leased, d.engine.jobs, (tally, Tally()))
    count(r.Leased("q", "unknown", d.now, "w", 1), d.engine.jobs, (tally, Tally()))
    assert tally.start_seconds.count == 0
