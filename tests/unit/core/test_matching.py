"""Who gets what: through the engine, as the lines and the workers' state only make sense there."""

import pytest

from gridd.core import records as r
from gridd.core.matching import PATIENCE_MS
from gridd.core.sessions import RETURN_PAUSE_MS, RETURN_PAUSE_MS_MAX, RETURNED_MAX
from gridd_protocol import messages as m
from tests.unit.core.driver import Driver

BIG = {"cpus_milli": 4_000}


def test_first_in_first_out() -> None:
    d = Driver()
    for name in "cabd":
        d.submit(name)
        d.wait(10)
    d.hello("w", credit=9, cpus=9.0)
    assert [job for _, job, _ in d.pushed()] == ["c", "a", "b", "d"]


def test_older_first_across_lines_of_different_needs() -> None:
    d = Driver()
    for n in range(6):
        d.submit(f"j{n}", cpus_milli=500 if n % 2 else 1_000)
    d.hello("w", credit=9, cpus=9.0)
    assert [job for _, job, _ in d.pushed()] == [f"j{n}" for n in range(6)]


def test_credit_counts_what_is_held() -> None:
    d = Driver()
    for n in range(5):
        d.submit(f"j{n}")
    d.hello("w", credit=2, cpus=9.0)
    assert len(d.pushed()) == 2
    d.said("w", m.Credit(2))
    assert d.pushed() == []
    d.said("w", m.Credit(3))
    assert d.pushed() == [("w", "j2", 1)]
    d.finish("w", "j0")
    assert d.pushed() == [("w", "j3", 1)]
    d.said("w", m.Credit(1))
    d.finish("w", "j1")
    assert d.pushed() == []


def test_a_credit_beyond_all_bounds_is_cut() -> None:
    d = Driver()
    d.hello("w", credit=1 << 60)
    assert d.engine.sessions.by_worker["w"].credit == 10_000
    d.said("w", m.Credit(1 << 60))
    assert d.engine.sessions.by_worker["w"].credit == 10_000


def test_work_goes_round() -> None:
    d = Driver()
    for name in ("w0", "w1", "w2"):
        d.hello(name, credit=9, cpus=9.0)
    given = []
    for n in range(6):
        d.submit(f"j{n}")
        given += [worker for worker, _, _ in d.pushed()]
    assert given == ["w0", "w1", "w2"] * 2


@pytest.mark.parametrize(
    ("needs", "takes"),
    [
        ({"tags": ("eu",)}, "tagged"),
        ({"gpus": 1}, "gpu"),
        ({"memory": 8 << 30}, "roomy"),
        ({"kind": "process"}, "shell"),
        ({"max_duration": 3_600_000}, "patient"),
        ({"cpus_milli": 8_000}, "wide"),
        ({"tags": ("mars",)}, None),
    ],
)
def test_a_job_goes_to_the_worker_that_has_what_it_needs(
    needs: dict[str, object], takes: str | None
) -> None:
    d = Driver()
    small = {"credit": 5, "memory": 1 << 30}
    d.hello("plain", **small)
    d.hello("tagged", **small, tags=("eu", "fast"))
    d.hello("gpu", **small, gpus=2)
    d.hello("roomy", credit=5, memory=16 << 30)
    d.hello("shell", **small, runs=("container", "process"))
    d.hello("patient", **small, max_duration=3_600_000)
    d.hello("wide", **small, cpus=8.0)
    d.submit("j", **needs)
    assert [worker for worker, _, _ in d.pushed()] == ([takes] if takes else [])


def test_a_small_job_may_pass_a_big_one_for_a_while() -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("first")
    d.submit("big", **BIG)
    d.submit("small")
    assert d.pushed() == [("w", "small", 1)]


def busy_worker() -> Driver:
    """``w`` runs j0 on one of its four cpus; ``big`` has waited past its patience."""
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("j0")
    d.submit("big", **BIG)
    d.wait(PATIENCE_MS, beating=("w",))
    return d


def test_a_big_job_is_not_starved_by_small_ones() -> None:
    d = busy_worker()
    for n in range(1, 5):
        d.submit(f"j{n}")
        assert d.pushed() == [], "a small job passed the big one for ever"
    d.finish("w", "j0")
    assert d.pushed() == [("w", "big", 1)]
    assert d.engine.sessions.by_worker["w"].reserved_for is None, "the promise is kept"
    d.finish("w", "big")
    assert [job for _, job, _ in d.pushed()] == ["j1", "j2", "j3", "j4"]


def test_before_its_patience_is_over_a_big_job_reserves_nothing() -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("j0")
    d.submit("big", **BIG)
    d.wait(PATIENCE_MS - 1, beating=("w",))
    d.submit("j1")
    assert d.pushed() == [("w", "j1", 1)]


def test_only_one_worker_is_kept_free_for_a_big_job() -> None:
    d = busy_worker()
    d.hello("v", credit=2, cpus=4.0)
    assert d.pushed() == [("v", "big", 1)]
    d = busy_worker()
    d.submit("j1")  # reserves w
    d.hello("v", credit=0, cpus=4.0)
    d.submit("j2", cpus_milli=2_000)
    d.submit("j3", cpus_milli=500)
    d.said("v", m.Credit(1))
    assert d.pushed() == [("v", "big", 1), ("w", "j1", 1), ("w", "j2", 1)]


def test_while_one_worker_is_kept_free_the_others_take_small_jobs() -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.hello("v", credit=9, cpus=4.0)
    d.submit("j0")
    d.submit("k0")
    d.submit("big", **BIG)
    d.wait(PATIENCE_MS, beating=("w", "v"))
    for n in range(1, 4):
        d.submit(f"j{n}")
        assert d.pushed() == [("v", f"j{n}", 1)]


def test_an_older_job_may_still_go_to_a_worker_that_is_kept_free() -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("old")
    d.submit("j0")
    d.submit("big", **BIG)
    d.wait(PATIENCE_MS, beating=("w",))
    d.submit("young")
    assert d.pushed() == []
    d.said("w", m.Release("old", 1))
    d.wait(RETURN_PAUSE_MS, beating=("w",))
    assert d.engine.sessions.by_worker["w"].holds("old", 2)
    assert d.shown("young") == "Queued #0"


def test_the_older_of_two_big_jobs_keeps_its_promise() -> None:
    d = busy_worker()
    d.submit("bigger", cpus_milli=3_500)
    d.wait(PATIENCE_MS, beating=("w",))
    d.submit("j1")
    assert d.engine.sessions.by_worker["w"].reserved_for == "big"
    d.finish("w", "j0")
    assert d.pushed() == [("w", "big", 1)]


def test_an_older_big_job_takes_the_promise_of_a_younger_one() -> None:
    d = Driver()
    d.hello("v", credit=1, cpus=4.0)
    d.submit("older", **BIG)
    d.hello("w", credit=9, cpus=4.0)
    d.submit("j0")
    d.submit("younger", cpus_milli=3_500)
    d.wait(PATIENCE_MS, beating=("v", "w"))
    d.submit("j1")
    assert d.engine.sessions.by_worker["w"].reserved_for == "younger"
    d.said("v", m.Credit(0))
    d.said("v", m.Release("older", 1))
    assert d.engine.sessions.by_worker["w"].reserved_for == "older"
    d.finish("w", "j0")
    assert d.pushed() == [("w", "older", 2)]


@pytest.mark.parametrize("how", ["cancel", "delete", "replace"])
def test_the_promise_ends_with_the_job(how: str) -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("j0")
    d.submit("big", namespace="a", **BIG)
    d.wait(PATIENCE_MS, beating=("w",))
    d.submit("j1")
    assert d.pushed() == []
    if how == "cancel":
        d.cancel("big", "a")
    elif how == "delete":
        d.delete("big", "a")
    else:
        d.submit("j0", namespace="a")
    assert d.pushed() == [("w", "j1", 1)]


def test_replacing_a_job_by_a_known_one_left_its_room_idle() -> None:
    """Only a new job woke the matching; the room of the replaced one stayed empty until the
    next event that did."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("runs", namespace="a")
    d.submit("known", namespace="b")
    d.submit("waits")
    d.submit("known", namespace="a")
    assert d.shown("runs") == "Finished JobReplacedByClient #1"
    assert d.pushed() == [("w", "known", 1)]


@pytest.mark.parametrize("how", ["gone", "drain", "credit"])
def test_a_promise_of_a_worker_that_takes_nothing_more_starved_the_big_job(how: str) -> None:
    """The promise stood although w would never run anything again, so no other worker was kept
    free and small jobs passed the big one there without end."""
    d = busy_worker()
    d.submit("j1")
    assert d.engine.sessions.by_worker["w"].reserved_for == "big"
    if how == "gone":
        d.gone("w")
    elif how == "drain":
        d.said("w", m.Drain())
    else:
        d.said("w", m.Credit(0))
    # v joins while small; its own first job keeps it from taking the big one at once.
    d.hello("v", credit=9, cpus=3.0)
    assert d.pushed() == [("v", "j1", 1)]
    d.hello("v", credit=9, cpus=4.0, running=[("j1", 1)], new=False)
    d.submit("j2")
    assert d.pushed() == [], "a small job passed the big one"
    d.finish("v", "j1")
    assert d.pushed() == [("v", "big", 1)]


def test_the_promise_moves_when_the_worker_shrinks() -> None:
    d = busy_worker()
    d.submit("j1")
    assert d.pushed() == []
    d.hello("w", credit=9, cpus=2.0, running=[("j0", 1)], new=False)
    assert d.pushed() == [("w", "j1", 1)]


def test_a_job_that_nobody_can_run_holds_up_nobody() -> None:
    d = Driver()
    d.hello("w", credit=9, cpus=4.0)
    d.submit("impossible", gpus=8)
    d.wait(PATIENCE_MS * 10, beating=("w",))
    d.submit("small")
    assert d.pushed() == [("w", "small", 1)]


# --- jobs that are given back -----------------------------------------------------------------


def give_back(d: Driver, worker: str, job: str) -> None:
    d.said(worker, m.Release(job, d.job(job).attempt))


def until_leased(d: Driver, job: str, *beating: str) -> int:
    """How long (ms) the job waited from now."""
    began = d.now
    while d.job(job).state == "Queued":
        assert d.now - began < 10 * RETURN_PAUSE_MS_MAX, "never offered again"
        d.wait(1_000, beating=beating)
    lease = [record for record in d.records if type(record) is r.Leased and record.job == job][-1]
    return lease.time - began


def test_a_job_that_is_given_back_again_and_again_is_offered_ever_more_rarely() -> None:
    """A worker that released and kept its credit was pushed the same job without bound."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    waited = []
    for _ in range(9):
        give_back(d, "w", "j")
        assert d.pushed() == []
        waited.append(until_leased(d, "j", "w"))
    assert waited == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    d.wait(2 * RETURN_PAUSE_MS_MAX, beating=("w",))  # it keeps the job: that is forgotten
    assert d.engine.sessions.by_worker["w"].returned == {}
    give_back(d, "w", "j")
    assert until_leased(d, "j", "w") == RETURN_PAUSE_MS


def test_others_take_at_once_what_a_worker_gave_back_and_it_takes_others() -> None:
    d = Driver()
    d.hello("w", credit=1)
    for name in ("j0", "j1", "j2"):
        d.submit(name)
    give_back(d, "w", "j0")
    assert d.pushed() == [("w", "j1", 1)], "the jobs behind it were held up"
    assert d.engine.jobs.lines.ahead_of(d.job("j2").sequence) == 1
    d.hello("v", credit=9, cpus=9.0)
    assert d.pushed() == [("v", "j0", 2), ("v", "j2", 1)], "older first, as before"


def test_whoever_lowered_its_credit_is_not_held_off() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.said("w", m.Credit(0))
    give_back(d, "w", "j")
    d.said("w", m.Credit(1))
    assert d.pushed() == [("w", "j", 2)]


def test_a_worker_that_gave_back_very_many_is_offered_nothing_for_a_while() -> None:
    d = Driver()
    d.hello("w", credit=1)
    for n in range(RETURNED_MAX + 5):
        d.submit(f"j{n}")
    for n in range(RETURNED_MAX):
        assert d.shown(f"j{n}") == "Running w #1"
        give_back(d, "w", f"j{n}")
    assert d.pushed() == []
    assert not [job for job in d.engine.jobs.by_id.values() if job.state == "Running"]
    d.wait(RETURN_PAUSE_MS, beating=("w",))
    assert d.engine.jobs.running == 0
    d.wait(RETURN_PAUSE_MS_MAX, beating=("w",))  # forgotten, one by one
    assert d.engine.jobs.running == 1


@pytest.mark.parametrize("how", ["cancel", "gone", "submitted again"])
def test_what_was_given_back_may_end_meanwhile(how: str) -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    give_back(d, "w", "j")
    if how == "gone":
        d.gone("w")
        d.hello("w", credit=1)
        assert d.pushed() == [("w", "j", 2)]
        return
    d.cancel("j")
    if how == "submitted again":
        d.submit("j")
        assert until_leased(d, "j", "w") == RETURN_PAUSE_MS
        return
    d.wait(RETURN_PAUSE_MS, beating=("w",))
    assert d.engine.sessions.by_worker["w"].returned == {}
    assert d.engine.jobs.lines.waiting == 0
