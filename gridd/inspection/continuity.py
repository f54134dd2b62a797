"""Which records can follow, when some between them are lost.

``Engine.apply`` trusts that records come in the order in which an engine made them. Behind a hole
that is not so. For each record this says: it can be applied; or what must have happened in the
hole, so that it can; or that it can't, because what it speaks of is lost.

What it adds is only what later records prove. A job that is submitted again has ended before; a
namespace that holds another job has let go of the first; an attempt that ended was begun.
"""

from typing import NamedTuple

import msgspec

from gridd.core import records as r
from gridd.core.job import Job
from gridd.core.jobs import DEFAULT_NAMESPACE, Jobs

UNKNOWN = "its submission is lost"
ENDED = "its newest submission is lost"


class Step(NamedTuple):
    """``added`` are to be applied first. With a reason ``skipped``, nothing is to be applied."""

    added: list[r.Record]
    skipped: str | None = None


class _Hole(Exception):
    """The record can't be applied; the text says why."""


def step_to(jobs: Jobs, record: r.Record) -> Step:
    """How to bring ``jobs``, one queue's, to where ``record`` can be applied."""
    job = jobs.look(record.job)
    try:
        if isinstance(record, r.Submitted):
            return Step([*_ended(job, record), *_freed(jobs, record, (record.namespace,))])
        if isinstance(record, r.KeptJob):
            held = (
                record.namespaces if job is None and record.state in ("Queued", "Running") else ()
            )
            return Step(_freed(jobs, record, held))
        if job is None:
            raise _Hole(UNKNOWN)
        if isinstance(record, r.NamespaceAdded):
            return Step(_freed(jobs, record, (record.namespace,) if job.live else ()))
        if isinstance(record, r.Leased):
            return Step(_waiting(job, record.queue, record.time))
        if isinstance(record, r.Requeued):
            return Step(_leased(job, record, ""))
        if isinstance(record, r.Finished) and record.carried:
            return Step(_answered(job, record))
        if isinstance(record, r.Finished) and job.live and record.attempt != job.attempt:
            return Step(_leased(job, record, record.worker))
        if isinstance(record, r.Expired):
            return Step(_ended(job, record))
        return Step([])
    except _Hole as hole:
        return Step([], str(hole))


def _ended(job: Job | None, record: r.Submitted | r.Expired) -> list[r.Record]:
    """Its outcome is lost, and nobody is shown this one: ``record`` takes it away at once."""
    if job is None or not job.live:
        return []
    return [
        r.Finished(
            queue=record.queue,
            job=job.id,
            time=record.time,
            reason="Deleted",
            attempt=job.attempt,
            worker=job.worker,
            message="",
            result=b"",
            logs=b"",
        )
    ]


def _answered(job: Job, record: r.Finished) -> list[r.Record]:
    """An outcome is carried on long after it was written: that it ended the job may be lost."""
    if not job.live or job.queued_time > record.time:  # it was submitted again since
        return []
    ended = msgspec.structs.replace(record, carried=False)
    return [*_leased(job, record, record.worker), ended]


def _freed(jobs: Jobs, record: r.Record, namespaces: tuple[str, ...]) -> list[r.Record]:
    """An engine drops the former holder before it gives the namespace away."""
    dropped: list[r.Record] = []
    for namespace in namespaces:
        holder = jobs.holders.get(namespace)
        if namespace != DEFAULT_NAMESPACE and holder is not None and holder.id != record.job:
            dropped.append(
                r.NamespaceDropped(
                    record.queue, holder.id, record.time, namespace, "JobReplacedByClient"
                )
            )
    return dropped


def _waiting(job: Job, queue: str, time: int) -> list[r.Record]:
    if not job.live:
        raise _Hole(ENDED)
    if job.state == "Queued":
        return []
    return [r.Requeued(queue, job.id, time, job.attempt, False, job.build_lines, job.run_lines)]


def _leased(job: Job, record: r.Requeued | r.Finished, worker: str) -> list[r.Record]:
    if job.state == "Running" and job.attempt == record.attempt:
        return []
    leased = r.Leased(record.queue, job.id, record.time, worker, record.attempt)
    return [*_waiting(job, record.queue, record.time), leased]
