"""What one upstream worker was given, and what it is shown of the queue: exactly that.

Its list is all that such a worker knows. It claims what is ``Queued`` there, starts again what
is ``Running`` on it and not in its hands, and stops what is ``Finished`` or absent (WIRE 6.5,
6.6). So each frame is also an order, and this module decides how each job is shown in it.
"""

from typing import Literal

import msgspec

from gridd.core.effects import JobView
from gridd.edge.frames import text_frame

_encode = msgspec.json.Encoder().encode

Phase = Literal["offered", "expected", "running", "ended"]
"""``offered``: not claimed yet. ``expected``: it held the job before it reconnected, and has not
announced it again. ``ended``: it sent its result."""

ENDED_MAX = 64
"""Ended jobs that are still shown to their worker, as Finished."""

GUARDED_SLOTS_MAX = 16
"""A guarded job is announced anew at every frame: with many slots that costs more than a job
started twice now and then."""

_NEEDS_GPU = msgspec.Raw(b'{"gpus":1}')


class Assignment(msgspec.Struct, eq=False):
    """One attempt in this worker's hands. ``due`` and ``shown`` in seconds of the loop's clock."""

    job: str
    attempt: int
    definition: str
    base: JobView  # as it stands in the queue
    phase: Phase
    due: float  # when to give it up (offered, expected) or to forget it (ended)
    cursor: int = 0  # log lines that it told so far
    started: int = 0  # ms since the epoch, by the worker's clock
    reason: str = ""
    young: bool = False  # claimed a moment ago
    guarded: bool = False  # how it was shown last


class Hand:
    """``worker`` is its id, ``gpus`` and ``slots`` what it registered."""

    def __init__(self, worker: str, *, gpus: int, slots: int) -> None:
        self.worker = worker
        self.guards = not gpus and slots <= GUARDED_SLOTS_MAX
        self.jobs: dict[str, Assignment] = {}
        self.changed: set[str] = set()  # shown differently in the next frame

    @property
    def busy(self) -> int:
        """Jobs that it runs, or may be running."""
        return sum(one.phase in ("running", "expected") for one in self.jobs.values())

    def put(self, assignment: Assignment) -> None:
        self.jobs[assignment.job] = assignment
        self.changed.add(assignment.job)

    def drop(self, job: str) -> Assignment | None:
        self.changed.discard(job)
        return self.jobs.pop(job, None)

    def end(self, assignment: Assignment, reason: str, due: float) -> None:
        """Its result was taken; it must never be shown as running on this worker again, or the
        worker would start it again (WIRE 9.1)."""
        assignment.phase, assignment.reason, assignment.due = "ended", reason, due
        assignment.definition = ""
        self.changed.add(assignment.job)
        ended = [job for job, one in self.jobs.items() if one.phase == "ended"]
        for job in ended[:-ENDED_MAX]:
            self.drop(job)

    def full_frame(self) -> bytes:
        """Every job."""
        self.changed.clear()
        jobs = {one.job: self._shown(one, guard=one.young) for one in self.jobs.values()}
        return state_frame(jobs, subset=False)

    def update_frame(self) -> bytes:
        """What changed, and a guard on everything that runs."""
        jobs = {
            one.job: self._shown(one, guard=one.job not in self.changed)
            for one in self.jobs.values()
            if one.job in self.changed
            or (self.guards and one.phase == "running" and not one.guarded)
        }
        self.changed.clear()
        return state_frame(jobs, subset=True)

    def definitions_frame(self, asked: list[str]) -> bytes | None:
        """Of jobs that it was given, and no others."""
        found = {
            job: msgspec.Raw(self.jobs[job].definition.encode())
            for job in asked
            if job in self.jobs and self.jobs[job].definition
        }
        return message("BroadcastJobDefinitions", {"definitions": found}) if found else None

    def _shown(self, one: Assignment, *, guard: bool) -> JobView:
        """A worker that has just finished a job and reads, before its result has reached us, a
        frame after which the job still runs here, starts it again (D20). As ``Queued`` and in
        need of a GPU, the job is safe from a worker that has none: while in its hands it is only
        announced once more, and afterwards it is not claimed. So a job is shown as running when
        it runs for a while and nothing else needs to be said."""
        one.guarded = guard and self.guards and one.phase == "running"
        if one.guarded:
            return msgspec.structs.replace(self._queued(one), requirements=_NEEDS_GPU)
        return self._view(one)

    def _view(self, one: Assignment) -> JobView:
        if one.phase == "offered":
            return self._queued(one)
        view = msgspec.structs.replace(
            one.base, attempt=0, started_time=0, worker=self.worker, state="Running"
        )
        if one.started:
            view = msgspec.structs.replace(view, time=one.started)
        if one.phase == "ended":
            view = msgspec.structs.replace(view, state="Finished", finished_reason=one.reason)
        return view

    def _queued(self, one: Assignment) -> JobView:
        return msgspec.structs.replace(
            one.base,
            state="Queued",
            time=one.base.queued_time,
            worker="",
            attempt=0,
            started_time=0,
        )


def finished_frame(job: str, view: JobView, reason: str) -> bytes:
    """The job is over for this worker: starts the 6 s after which it stops the job (D21)."""
    ended = msgspec.structs.replace(
        view, state="Finished", finished_reason=reason, attempt=0, started_time=0
    )
    return state_frame({job: ended}, subset=True)


def state_frame(jobs: dict[str, JobView], *, subset: bool) -> bytes:
    kind = "JobStateUpdates" if subset else "JobStates"
    return message(kind, {"state": {"jobs": jobs}, "isSubset": subset})


def message(kind: str, payload: object) -> bytes:
    return text_frame(_encode({"type": kind, "payload": payload}))
