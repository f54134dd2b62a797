"""A look at every job of a queue as it was at one moment, taken while the engine goes on.

A snapshot of a million jobs can't be written between two events. So the walk goes over them a few
at a time, and a job that is about to change before its turn is written down first, as it still is.
Together they are the state at the moment when the walk began.
"""

from collections.abc import Iterator

from msgspec import structs

from gridd.core.archive import id_of, key_of, unpack
from gridd.core.job import Job
from gridd.core.jobs import Jobs
from gridd.core.records import Finished, KeptJob, Record, Submitted


class Walk:
    """Begins when made; one at a time for each ``Jobs``. Ends by ``take`` or ``stop``."""

    def __init__(self, jobs: Jobs, queue: str) -> None:
        assert jobs.before_change is None, "a walk is under way"
        self._jobs = jobs
        self._queue = queue
        self._ahead = iter(list(jobs.by_id.values()))
        self._unseen = set(jobs.by_id)  # only asked, never walked
        self._shards = jobs.archive.shards  # nothing is put there while a walk is under way
        self._shard = -1  # the archive's tables up to this one were listed
        self._entries: Iterator[tuple[bytes, bytes]] = iter(())
        self._early: dict[str, KeptJob] = {}  # written down before their turn
        jobs.before_change = self._before_change
        jobs.on_place = self._on_place
        self.done = False

    def take(self, count: int) -> list[KeptJob]:
        """Up to about ``count`` jobs; ``done`` says that there are no more.

        Not before all records that were applied when the walk began are durable: only then is it
        known where the journal keeps them.
        """
        taken = list(self._early.values())
        self._early.clear()
        while len(taken) < count and not self.done:
            kept = self._next()
            if kept is None:
                self.stop()
            else:
                taken.append(kept)
        return taken

    def stop(self) -> None:
        """End it; engines need not be asked about changes any more."""
        self.done = True
        self._jobs.before_change = None
        self._jobs.on_place = None

    def _next(self) -> KeptJob | None:
        for job in self._ahead:
            if job.id in self._unseen:
                self._unseen.discard(job.id)
                return job.kept(self._queue)
        while True:
            for key, entry in self._entries:
                return self._unpacked(id_of(key), entry)
            self._shard += 1
            if self._shard == len(self._shards):
                return None
            # Entries never change, so this list of them is the table as it is now.
            self._entries = iter(list(self._shards[self._shard].items()))

    def _before_change(self, job_id: str) -> None:
        job = self._jobs.by_id.get(job_id)
        if job is not None:
            if job.id in self._unseen:
                self._unseen.discard(job.id)
                self._early[job_id] = job.kept(self._queue)
            return
        key = key_of(job_id)
        if key[-1] % len(self._shards) > self._shard:
            entry = self._jobs.archive.get(job_id)
            if entry is not None:
                self._early[job_id] = self._unpacked(job_id, entry)

    def _on_place(self, record: Record, at: int) -> None:
        """A job may change before the record that made it what it was is durable."""
        kept = self._early.get(record.job)
        if kept is None:
            return
        if type(record) is Submitted and kept.queued_time == record.time:
            self._early[record.job] = structs.replace(kept, definition_at=at)
        elif (
            type(record) is Finished
            and not kept.result_at
            and (kept.time, kept.reason) == (record.time, record.reason)
        ):
            self._early[record.job] = structs.replace(kept, result_at=at)

    def _unpacked(self, job_id: str, entry: bytes) -> KeptJob:
        job = Job(job_id)
        unpack(entry, job)
        return job.kept(self._queue)
