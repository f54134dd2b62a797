"""Why a job waits, in each way in which it can."""

from typing import Any

import pytest

from gridd.core.explain import Explanation, WorkerFit, explain
from gridd.core.matching import PATIENCE_MS
from gridd_protocol import messages as m
from tests.unit.core.driver import Driver


@pytest.fixture
def d() -> Driver:
    return Driver()


def told(d: Driver, job: str) -> Explanation:
    found = explain(d.engine, job)
    assert found is not None
    return found


def only(d: Driver, job: str) -> WorkerFit:
    (fit,) = told(d, job).workers
    return fit


def test_nobody_knows_the_job(d: Driver) -> None:
    assert explain(d.engine, "a") is None


def test_there_is_no_worker(d: Driver) -> None:
    d.submit("a", cpus_milli=2_500, tags=("x",))
    found = told(d, "a")
    assert (found.state, found.ahead, found.waiting, found.workers) == ("Queued", 0, 1, ())
    assert found.summary == "No worker is connected to this queue."
    assert found.needs == {
        "kind": "container", "cpus": 2.5, "gpus": 0, "memory": 0, "maxDuration": 0, "tags": ("x",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("needs", "has", "lack"),
    [
        ({"cpus_milli": 8_000}, {"cpus": 4}, "has 4 cpus; 8 are asked for"),
        ({"gpus": 1}, {}, "has 0 gpus; 1 are asked for"),
        ({"memory": 2 << 30}, {"memory": 1 << 30}, "has 1 GiB of memory; 2 GiB are asked for"),
        ({"max_duration": 600_000}, {}, "allows 5m a run; 10m are asked for"),
        ({"tags": ("fast", "near")}, {"tags": ("near",)}, "lacks the tags fast"),
        (
            {"kind": "process"},
            {},
            "runs container jobs only, and this job names no image and no build",
        ),
        (
            {"kind": "container"},
            {"runs": ("process",)},
            "runs process jobs only, and this job names an image",
        ),
    ],
)
def test_the_worker_never_has_enough(
    d: Driver, needs: dict[str, Any], has: dict[str, Any], lack: str
) -> None:
    d.submit("a", **needs)
    d.hello("w", credit=1, **has)
    assert only(d, "a") == WorkerFit("w", False, (lack,))
    assert told(d, "a").summary == f"None of the connected workers (1) can ever run it: w {lack}."


def test_a_worker_that_does_not_count_memory_lacks_none(d: Driver) -> None:
    d.submit("a", memory=1 << 50)
    d.hello("w", credit=0, memory=0)
    assert only(d, "a") == WorkerFit("w", True, ("asks for no jobs now",))


def test_what_is_free_is_not_enough(d: Driver) -> None:
    d.hello("w", credit=9, cpus=4, gpus=1, memory=8 << 30)
    d.submit("first", cpus_milli=3_000, gpus=1, memory=6 << 30)
    d.submit("a", cpus_milli=2_000, gpus=1, memory=4 << 30)
    assert only(d, "a").why_not == (
        "has 1 cpus free; 2 needed",
        "has 0 gpus free; 1 needed",
        "has 2 GiB of memory free; 4 GiB needed",
    )
    assert told(d, "a").summary == (
        "It waits for room: 1 of 1 connected can run it; it is first in line."
    )


def test_the_worker_holds_as_many_as_it_takes(d: Driver) -> None:
    d.hello("w", credit=1, cpus=4)
    d.submit("first")
    d.submit("second")
    d.submit("a")
    assert only(d, "a").why_not == ("holds 1 job, as many as it takes at a time",)
    assert told(d, "a").ahead == 1
    assert "1 older job waiting before it" in told(d, "a").summary


def test_the_worker_is_about_to_leave(d: Driver) -> None:
    d.hello("w", credit=1, cpus=4)
    d.said("w", m.Drain())
    d.submit("a")
    assert only(d, "a").why_not == ("takes nothing new: it is about to leave",)


def test_the_worker_gave_it_back(d: Driver) -> None:
    d.hello("w", credit=1)
    d.submit("a")
    d.said("w", m.Release("a", 1))
    d.submit("b")  # it is offered others
    d.finish("w", "b")
    assert only(d, "a").why_not == ("gave it back, and is offered it again in a while",)


def test_the_worker_is_kept_free_for_an_older_job(d: Driver) -> None:
    d.hello("w", credit=9, cpus=4)
    d.submit("runs", cpus_milli=2_000)
    d.submit("big", cpus_milli=4_000)
    d.wait(PATIENCE_MS + 1, beating=("w",))
    d.submit("a", cpus_milli=1_000)
    assert d.shown("a") == "Queued #0"
    assert only(d, "a").why_not == ("is kept free for an older job that needs more room",)


def test_those_who_could_come_first(d: Driver) -> None:
    d.submit("a", cpus_milli=4_000)
    d.hello("small", credit=1, cpus=1)
    d.hello("idle", credit=0, cpus=8)
    found = told(d, "a")
    assert [(fit.worker, fit.could) for fit in found.workers] == [("idle", True), ("small", False)]
    assert found.workers_connected == 2


def test_a_job_that_was_given_up_by_lost_workers_says_so(d: Driver) -> None:
    d.hello("w", credit=1)
    d.submit("a")
    d.gone("w")
    d.wait(d.engine.settings.lease_ms + 1)
    found = told(d, "a")
    assert (found.state, found.losses) == ("Queued", 1)
    assert found.summary.endswith("Its worker was lost 1 time so far.")


def test_a_job_that_runs_or_has_ended_does_not_wait(d: Driver) -> None:
    d.hello("w", credit=1)
    d.submit("a")
    assert told(d, "a").summary == "It runs on worker w (attempt 1)."
    d.finish("w", "a")
    assert told(d, "a").summary == "It does not wait any more: it ended as Success."
    assert told(d, "a").workers == ()


def test_whoever_could_take_it_now_has_taken_it(d: Driver) -> None:
    """The sentences agree with what matching does: nobody with nothing in the way lets it wait."""
    for cpus, credit in ((1, 1), (2, 3), (4, 2)):
        d.hello(f"w{cpus}", credit=credit, cpus=cpus)
    for number in range(12):
        d.submit(f"job-{number}", cpus_milli=500 + 700 * (number % 5))
    waiting = [job for job in d.engine.jobs.by_id.values() if job.state == "Queued"]
    assert waiting
    for job in waiting:
        assert all(fit.why_not for fit in told(d, job.id).workers), told(d, job.id)
