"""A job as the engine holds it: what its records said of it, in one object."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from gridd.core import records as r
from gridd.core.effects import JobView

ANSWERS = ("Success", "Error", "TimedOut")
"""Reasons that are an answer: kept, listed and reused (WIRE 3.3)."""

NO_NEEDS = r.Needs()


class Job(msgspec.Struct, gc=False, eq=False):
    """One job. Written by ``Jobs.apply`` alone; ``started_time`` is the exception (passing)."""

    id: str
    sequence: int = 0  # place in the line; kept when requeued
    state: r.StateName = "Queued"
    reason: str = ""
    queued_time: int = 0
    time: int = 0
    started_time: int = 0  # of the current attempt, by the worker's clock; 0: not yet
    worker: str = ""
    attempt: int = 0  # never goes down while the job is known: it is the fencing token
    losses: int = 0  # attempts that ended in worker loss since it was last submitted
    namespaces: tuple[str, ...] = ()
    definition: bytes = b""  # empty once finished: it is read back from the journal
    needs: r.Needs = NO_NEEDS
    tags: bytes = b""
    requirements: bytes = b""
    control: bytes = b""
    run_ms_max: int = 0
    debug: bool = False
    build_lines: int = 0  # logged by earlier attempts of this submission
    run_lines: int = 0
    definition_at: int = 0  # where the journal keeps them; 0: not known (yet)
    result_at: int = 0
    story: tuple[r.StoryEntry, ...] = ()  # while it lives; nothing unless it is eventful

    @property
    def live(self) -> bool:
        return self.state in ("Queued", "Running")

    @property
    def answered(self) -> bool:
        return self.state == "Finished" and self.reason in ANSWERS

    def view(self) -> JobView:
        return JobView(
            state=self.state,
            queued_time=self.queued_time,
            time=self.time,
            worker=self.worker,
            namespaces=self.namespaces,
            finished_reason=self.reason or None,
            attempt=self.attempt,
            started_time=self.started_time,
            tags=_raw(self.tags),
            requirements=_raw(self.requirements),
            debug=self.debug or UNSET,
        )

    def kept(self, queue: str) -> r.KeptJob:
        """The whole job as one record."""
        return r.KeptJob(
            queue=queue,
            job=self.id,
            sequence=self.sequence,
            state=self.state,
            reason=self.reason,
            queued_time=self.queued_time,
            time=self.time,
            worker=self.worker,
            attempt=self.attempt,
            losses=self.losses,
            namespaces=self.namespaces,
            definition=self.definition,
            needs=self.needs,
            tags=self.tags,
            requirements=self.requirements,
            control=self.control,
            run_ms_max=self.run_ms_max,
            debug=self.debug,
            build_lines=self.build_lines,
            run_lines=self.run_lines,
            definition_at=self.definition_at,
            result_at=self.result_at,
            story=self.story,
        )


def new_job(record: r.Submitted, sequence: int) -> Job:
    """All at once: a start makes a million of them, and a third of it is this."""
    return Job(
        id=record.job,
        sequence=sequence,
        queued_time=record.time,
        time=record.time,
        definition=record.definition,
        needs=_shared(record.needs),
        tags=record.tags,
        requirements=record.requirements,
        control=record.control,
        run_ms_max=record.run_ms_max,
        debug=record.debug,
    )


def describe(job: Job, record: r.Submitted | r.KeptJob) -> None:
    """What the submitter said of the job."""
    job.definition = record.definition
    job.needs = _shared(record.needs)
    job.tags = record.tags
    job.requirements = record.requirements
    job.control = record.control
    job.run_ms_max = record.run_ms_max
    job.debug = record.debug


_needs: dict[r.Needs, r.Needs] = {}
_NEEDS_SHARED_MAX = 1_000


def _shared(needs: r.Needs) -> r.Needs:
    """One object for equal needs: jobs have few different ones, and each costs 100 bytes."""
    if needs == NO_NEEDS:  # comparing is quicker than hashing, and this is what most jobs have
        return NO_NEEDS
    known = _needs.get(needs)
    if known is None:
        if len(_needs) >= _NEEDS_SHARED_MAX:
            _needs.clear()
        known = _needs[needs] = needs
    return known


def _raw(text: bytes) -> Any:
    return Raw(text) if text else UNSET
