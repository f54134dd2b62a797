"""The simulation itself: worlds hold, the same seed tells the same story, and it bites.

Each planted fault must be found within the number of worlds that stands beside it: a simulation
that finds nothing when something is wrong proves nothing when it finds nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridd.core import engine as engine_module
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.jobs import Job, Jobs
from gridd.core.lines import Lines
from gridd.core.logs import LogBuffer
from gridd.core.sessions import Session
from tests.simulation.world import Server, World

SEEDS = range(60)
RUN = Path(__file__).with_name("run.py")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_keeps_its_promises(seed: int) -> None:
    World(seed).run()


@pytest.mark.parametrize("seed", [1, 2, 3, 20, 33])
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    first, second = World(seed, verbose=True), World(seed, verbose=True)
    assert first.run() == second.run()
    assert first.told_lines == second.told_lines


def test_other_seeds_tell_other_stories() -> None:
    assert len({World(seed).run() for seed in range(10)}) == 10


def test_the_story_does_not_depend_on_string_hashes() -> None:
    """Two processes with different hash seeds: nothing walks a set of strings."""
    digests = {
        subprocess.run(
            [sys.executable, str(RUN), "--seed", "9"],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=RUN.parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert digests == {f"digest {World(9).run()}"}


def test_worlds_see_all_kinds_of_trouble() -> None:
    """Otherwise the storm has become a breeze, and green means little."""
    told = "\n".join(line for seed in SEEDS for line in _story(seed))
    for sight in (
        "the server crashes",
        "a snapshot replaces",
        "dies holding",
        "never comes back",
        "freezes for",
        "hears Stale",
        "hears Cancel",
        "lost=True",
        "lost=False",
        "reason=JobReplacedByClient",
        "reason=Deleted",
        "reason=TimedOut",
        "Expired",
        "Drain",
        "given up after",
    ):
        assert sight in told, f"no world of these shows {sight!r}"


def _story(seed: int) -> list[str]:
    world = World(seed, verbose=True)
    world.run()
    return world.told_lines


# --- planted faults -------------------------------------------------------------------


def ignore_the_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "holds", lambda self, job, attempt: job in self.held)


def release_effects_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Server, "waits_for_sync", False)


def lose_a_requeue(patch: pytest.MonkeyPatch) -> None:
    """The job of a lost worker is freed and never stands in line again."""

    def requeue(self: Engine, job: Job, *, lost: bool) -> None:
        job.state, job.worker = "Finished", ""
        job.reason = "Cancelled"
        self.jobs.running -= 1
        self.jobs._end(job)
        self.logs.pop(job.id, None)
        self._watch_retention()

    patch.setattr(Engine, "_requeue", requeue)


def forget_first_in_first_out(patch: pytest.MonkeyPatch) -> None:
    def newest_first(self: Lines) -> Iterator[tuple[r.Needs, int, str]]:
        for needs, line in self._lines.items():
            sequence = max(line.jobs)
            yield needs, sequence, line.jobs[sequence]

    patch.setattr(Lines, "heads", newest_first)
    patch.setattr(Engine, "check", lambda self: None)  # found from outside as well


def requeue_at_the_end(patch: pytest.MonkeyPatch) -> None:
    original = Jobs._requeued

    def requeued(self: Jobs, record: r.Requeued) -> None:
        self._sequence += 1
        self.by_id[record.job].sequence = self._sequence
        original(self, record)

    patch.setattr(Jobs, "_requeued", requeued)


def lease_an_attempt_twice(patch: pytest.MonkeyPatch) -> None:
    original = Jobs._requeued

    def requeued(self: Jobs, record: r.Requeued) -> None:
        original(self, record)
        self.by_id[record.job].attempt -= 1
        self.by_id[record.job].losses = 0

    patch.setattr(Jobs, "_requeued", requeued)


def believe_any_worker(patch: pytest.MonkeyPatch) -> None:
    """Fencing by attempt alone, whoever says it."""
    original = Engine._on_finished

    def finished(self: Engine, session: Session, message: engine_module.m.Finished) -> None:
        job = self.jobs.by_id.get(message.job)
        if job is not None and job.state == "Running" and job.attempt == message.attempt:
            session = self.sessions.by_worker[job.worker]
        original(self, session, message)

    patch.setattr(Engine, "_on_finished", finished)


def run_an_answered_job_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Job, "answered", property(lambda self: False))


def keep_two_jobs_in_a_namespace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_supersede", lambda self, namespace, successor: None)
    patch.setattr(Engine, "check", lambda self: None)


def count_log_lines_anew_each_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogBuffer, "restart", LogBuffer.__init__)


def forget_to_match_after_a_result(patch: pytest.MonkeyPatch) -> None:
    original = Engine._on_finished

    def finished(self: Engine, session: Session, message: engine_module.m.Finished) -> None:
        match, self._match = self._match, lambda: None  # type: ignore[method-assign]
        original(self, session, message)
        self._match = match  # type: ignore[method-assign]

    patch.setattr(Engine, "_on_finished", finished)


def never_look_at_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_look_at_lease", lambda self, worker: None)
    patch.setattr(Engine, "check", lambda self: None)


@pytest.mark.parametrize(
    ("plant", "worlds"),
    [
        (ignore_the_attempt, 60),
        (release_effects_before_the_sync, 20),
        (lose_a_requeue, 20),
        (forget_first_in_first_out, 20),
        (requeue_at_the_end, 80),
        (lease_an_attempt_twice, 20),
        (believe_any_worker, 60),
        (run_an_answered_job_again, 10),
        (keep_two_jobs_in_a_namespace, 20),
        (count_log_lines_anew_each_attempt, 40),
        (forget_to_match_after_a_result, 20),
        (never_look_at_leases, 40),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], worlds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(worlds):
        try:
            World(seed).run()
        except AssertionError:  # the engine's own check, or a Violation
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {worlds} worlds")
