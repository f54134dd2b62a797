"""What became of jobs, counted as their records become durable: for one queue, and for them all."""

from typing import get_args

from gridd.core import records as r
from gridd.core.jobs import Jobs
from gridd.metrics.histogram import WAIT_SECONDS, Histogram


class Tally:
    """Counts since it was made; of a queue, that is since something last began in it."""

    __slots__ = ("finished", "lost", "released", "start_seconds", "submitted")

    def __init__(self) -> None:
        self.submitted = 0
        self.start_seconds = Histogram(WAIT_SECONDS)
        self.lost = 0
        self.released = 0
        self.finished: dict[str, int] = {}

    def finished_by_reason(self) -> dict[str, int]:
        """Every reason, those that did not happen yet too: a rate needs the zero before the one."""
        return {reason: self.finished.get(reason, 0) for reason in get_args(r.FinishedReason)}


def count(record: r.Record, jobs: Jobs, tallies: tuple[Tally, Tally]) -> None:
    """``record``, of the queue with these ``jobs``, is durable; ``tallies``: of the queue, and of
    all. Called for each record of a busy grid: nothing here may take long."""
    kind = type(record)
    if kind is r.Leased:
        waited_ms = _waited_ms(record, jobs)  # type: ignore[arg-type]
        if waited_ms is not None:
            for tally in tallies:
                tally.start_seconds.observe(waited_ms / 1_000)
    elif kind is r.Submitted:
        for tally in tallies:
            tally.submitted += 1
    elif kind is r.Finished:
        if not record.carried:  # type: ignore[union-attr]
            reason = record.reason  # type: ignore[union-attr]
            for tally in tallies:
                tally.finished[reason] = tally.finished.get(reason, 0) + 1
    elif kind is r.Requeued:
        for tally in tallies:
            if record.lost:  # type: ignore[union-attr]
                tally.lost += 1
            else:
                tally.released += 1


def _waited_ms(record: r.Leased, jobs: Jobs) -> int | None:
    """From its submission to this lease, when it is the first since then. The engine may be ahead
    of the disk: of a job that was submitted again meanwhile nothing is known here any more."""
    job = jobs.by_id.get(record.job)
    if job is None or job.queued_time > record.time:
        return None
    if job.story and _is_again(job.story, record.attempt):
        return None
    return record.time - job.queued_time


def _is_again(story: tuple[r.StoryEntry, ...], attempt: int) -> bool:
    """Whether an earlier lease of the same submission ended before this attempt."""
    for entry in reversed(story):
        if entry.event == "submitted":
            return False
        if entry.event == "omitted":
            return True  # so much has happened since that it ran before
        if entry.event in ("lost", "released") and entry.number < attempt:
            return True
    return False
