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

SILENCE_S = 15.0
"""A guarded job that is not announced for so long (more than one full state) may be one that the
worker has forgotten, which it does now and then (D24)."""

_NEEDS_GPU = msgspec.Raw(b'{"gpus":1}')


class Assignment(msgspec.Struct, eq=False):
    """One attempt in this worker's hands. ``due`` and ``asked`` in seconds of the loop's clock."""

    job: str
    attempt: int
    definition: str
    base: JobView  # as it stands in the queue
    phase: Phase
    due: float  # when to give it up (offered, expected) or to forget it (ended)
    cursor: int = 0  # log lines that it told so far
    started: int = 0  # ms since the epoch, by the worker's clock
    reason: str = ""
    asked: float | None = None  # since when it is guarded and was not announced
    doomed: float | None = None  # when to begin to stop it: nobody holds it any more
    stopping: bool = False  # that has begun, while its lease goes on


class Hand:
    """``worker`` is its id, ``gpus`` and ``slots`` what it registered; ``silence`` in seconds."""

    def __init__(self, worker: str, *, gpus: int, slots: int, silence: float = SILENCE_S) -> None:
        self.worker = worker
        self.silence = silence
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

    def doom(self, job: str, now: float, after: float) -> bool:
        """``job`` was replaced and has its grace (WIRE 3.8), at the end of which the worker would
        go on for another 6 s: it is told before. True when that is now; ask from time to time."""
        one = self.jobs[job]
        if one.doomed is None:
            one.doomed = now + after
        if one.stopping or now < one.doomed:
            return False
        one.stopping = True
        self.changed.add(job)
        return True

    def spare(self, job: str) -> bool:
        """It is held again. True when its worker is to be told."""
        one = self.jobs[job]
        was, one.doomed, one.stopping = one.stopping, None, False
        if was:
            one.asked = None
            self.changed.add(job)
        return was

    def full_frame(self, now: float) -> bytes:
        """Every job."""
        self.changed.clear()
        jobs = {one.job: self._shown(one, now) for one in self.jobs.values()}
        return state_frame(jobs, subset=False)

    def update_frame(self, now: float) -> bytes:
        """What changed."""
        jobs = {job: self._shown(self.jobs[job], now) for job in self.jobs if job in self.changed}
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

    def _shown(self, one: Assignment, now: float) -> JobView:
        """A job that runs is guarded: ``Queued``, and in need of a GPU that this worker lacks.

        Why. The worker forgets a job and then sends its result (WIRE 6.10). Until that has reached
        us, any frame of states, about whatever job, makes it go through its whole list (6.5, 6.6),
        where a job that is not in its hands is started again: as ``Running`` here (D20), or as
        ``Queued``, as it was offered. The other ways to show it are no better: absent, ended or
        another worker's, it is stopped after 6 s while it does run, and its result is thrown
        away. ``Queued`` with a need that it can't meet is left: in its hands, the job is announced
        once more and goes on; out of them, it is not claimed. Nothing rests on that alone: a
        second run that it starts all the same is stopped, and its report changes nothing, since
        the job has ended by then.

        The announcement is also the one sign that the worker still has the job. Without it for
        ``silence``, the job is shown as running: a worker that has it goes on, and one that
        forgot it without a word (D24), or found it in its list after a restart, starts it again.
        """
        if one.stopping or one.phase != "running" or not self.guards:
            return self._view(one)
        if one.asked is None:
            one.asked = now
        elif now - one.asked > self.silence:
            return self._view(one)
        return msgspec.structs.replace(self._queued(one), requirements=_NEEDS_GPU)

    def _view(self, one: Assignment) -> JobView:
        if one.phase == "offered":
            return self._queued(one)
        view = msgspec.structs.replace(
            one.base, attempt=0, started_time=0, worker=self.worker, state="Running"
        )
        if one.started:
            view = msgspec.structs.replace(view, time=one.started)
        if one.stopping:  # its result is taken all the same, if it comes before it is stopped
            reason = "JobReplacedByClient"
            view = msgspec.structs.replace(view, state="Finished", finished_reason=reason)
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


def state_frame(jobs: dict[str, JobView], *, subset: bool) -> bytes:
    kind = "JobStateUpdates" if subset else "JobStates"
    return message(kind, {"state": {"jobs": jobs}, "isSubset": subset})


def message(kind: str, payload: object) -> bytes:
    return text_frame(_encode({"type": kind, "payload": payload}))
