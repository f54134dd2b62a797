"""Every job of one queue, and the one place where a job's durable state changes.

``Jobs.apply`` interprets records, live and on replay alike. Beside the jobs themselves it keeps
what can be derived from them and is asked for often: who waits, who holds a namespace, who has
lost all holders, and in which order answers grow old.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from gridd.core import records as r
from gridd.core.archive import Archive, pack, time_of, unpack
from gridd.core.job import NO_NEEDS, Job, describe, new_job
from gridd.core.lines import Lines, NoLines
from gridd.core.story import after, told

DEFAULT_NAMESPACE = "_"
"""May be held by any number of live jobs (WIRE 3.8)."""

_DEFAULT_ONLY = (DEFAULT_NAMESPACE,)  # what most jobs have: one object for all of them


class Jobs:
    """Every job of one queue, changed by records alone."""

    def __init__(self) -> None:
        self.by_id: dict[str, Job] = {}  # the live ones, and those that ended not long ago
        self.archive = Archive()  # all others
        # Called with a job's id before anything of it changes; for a walk (core/walk.py).
        self.before_change: Callable[[str], None] | None = None
        self.on_place: Callable[[r.Record, int], None] | None = None
        self.lines: Lines = Lines()  # the waiting ones, by what they need
        self.holders: dict[str, Job] = {}  # namespace (not "_") -> the live job that holds it
        self.orphans: dict[str, Job] = {}  # live jobs that no namespace holds any more
        self.ended: deque[tuple[int, str]] = deque()  # (time, job), oldest first, not archived
        self.running = 0
        self._sequence = 0
        self._interpreters: dict[type, Callable[[Any], None]] = {
            r.Submitted: self._submitted,
            r.NamespaceAdded: self._namespace_added,
            r.NamespaceDropped: self._namespace_dropped,
            r.Leased: self._leased,
            r.Requeued: self._requeued,
            r.Finished: self._finished,
            r.Expired: self._expired,
            r.KeptJob: self._kept,
        }

    def apply(self, record: r.Record) -> None:
        if self.before_change is not None:
            self.before_change(record.job)
        self._interpreters[type(record)](record)

    def begin_replay(self) -> None:
        """Until ``end_replay``, nobody stands in line, and what ends is archived at once: most of
        what was submitted has ended long since, and a start is as long as this is slow."""
        self.lines = NoLines()

    def end_replay(self, recent_since_ms: int) -> None:
        self._take_out_recent(recent_since_ms)
        self.lines = Lines()
        waiting = [job for job in self.by_id.values() if job.state == "Queued"]
        for job in sorted(waiting, key=lambda job: job.sequence):
            self.lines.add(job.needs, job.sequence, job.id)

    def replay(self, record: r.Record, at: int) -> None:
        """``apply`` and ``place`` in one, for a record that is read back."""
        kind = type(record)
        self._interpreters[kind](record)
        if kind is r.Submitted:
            self.by_id[record.job].definition_at = at
        elif kind is r.Finished and not record.carried:  # type: ignore[union-attr]
            job = self.by_id.pop(record.job)
            job.result_at = at
            self.archive.put(record.job, pack(job))
            self.ended.pop()  # where it was just written down
        elif kind is r.Finished or kind is r.KeptJob:
            self.place(record, at)

    def get(self, job_id: str) -> Job | None:
        """The job, to decide about; one from the archive is taken out of it."""
        job = self.by_id.get(job_id)
        if job is not None:
            return job
        if self.archive.get(job_id) is None:
            return None
        if self.before_change is not None:
            self.before_change(job_id)
        return self._take_out(job_id)

    def look(self, job_id: str) -> Job | None:
        """The job, to read only: of an archived one, a copy."""
        job = self.by_id.get(job_id)
        if job is not None:
            return job
        entry = self.archive.get(job_id)
        if entry is None:
            return None
        job = Job(job_id)
        unpack(entry, job)
        return job

    def place(self, record: r.Record, at: int) -> None:
        """``record`` was applied and is durable; ``at`` says where the journal keeps it."""
        if self.on_place is not None:
            self.on_place(record, at)
        job = self.by_id.get(record.job)
        kind = type(record)
        if job is None:
            if kind is r.KeptJob or kind is r.Finished:
                self._place_archived(record, at)
        elif kind is r.Submitted or (kind is r.KeptJob and record.definition):  # type: ignore[union-attr]
            job.definition_at = at
        elif kind is r.Finished and not job.live and job.time == record.time:
            job.result_at = at  # else it was submitted again meanwhile

    def _place_archived(self, record: r.Record, at: int) -> None:
        """Only what was carried on is placed so late. No copy of the job is made: it ages on."""
        entry = self.archive.get(record.job)
        if entry is None:
            return  # forgotten meanwhile
        if type(record) is r.KeptJob and record.definition:
            self.archive.move(record.job, definition_at=at)
        elif type(record) is r.Finished and time_of(entry) == record.time:
            self.archive.move(record.job, result_at=at)

    def put_away(self, before_ms: int, most: int) -> int:
        """Archive jobs that ended before ``before_ms``, at most ``most``; how many were looked at.

        Not while a walk is under way: it would meet them twice. Nor what is not durable yet.
        """
        looked, by_id, ended, put = 0, self.by_id, self.ended, self.archive.put
        if self.before_change is not None:
            return 0
        while looked < most and ended:
            time, job_id = ended[0]
            if time >= before_ms:
                break
            job = by_id.get(job_id)
            if job is not None and job.time == time and not job.live:
                if not job.result_at:
                    break
                put(job_id, pack(job))
                del by_id[job_id]
            ended.popleft()
            looked += 1
        return looked

    def oldest_ended(self) -> tuple[str, int] | None:
        """``(job, time)`` of the ended job that is due first to be forgotten."""
        while self.ended:
            time, job_id = self.ended[0]
            job = self.by_id.get(job_id)
            if job is not None and not job.live and job.time == time:
                break
            self.ended.popleft()
        archived = self.archive.oldest()
        if not self.ended or (archived is not None and archived[1] <= self.ended[0][0]):
            return archived
        return self.ended[0][1], self.ended[0][0]

    def last_ended(self, most: int) -> list[Job]:
        """The ``most`` jobs that ended last, the last first, to read only. Deleted ones are not
        among them."""
        found: dict[str, Job] = {}
        for time, job_id in islice(reversed(self.ended), 2 * most):
            job = self.by_id.get(job_id)
            if job is not None and not job.live and job.time == time:
                found.setdefault(job_id, job)
        for job_id, entry in self.archive.last(most):
            if job_id not in found and job_id not in self.by_id:
                found[job_id] = job = Job(job_id)
                unpack(entry, job)
        return [job for job in found.values() if job.state == "Finished"][:most]

    def load(self, record: r.KeptJob) -> None:
        """As ``apply``, for the jobs of a snapshot, which come in no order: ended ones go to the
        archive at once. Call ``loaded`` after the last."""
        self._kept(record)
        job = self.by_id.get(record.job)  # None: it stood there twice
        if job is not None and not job.live:
            self.archive.put(job.id, pack(job))
            del self.by_id[job.id]
            self.ended.clear()

    def loaded(self, recent_since_ms: int) -> None:
        """Bring what was loaded into order; what ended not long ago is kept at hand."""
        self.archive.sort()
        self._take_out_recent(recent_since_ms)

    def _take_out_recent(self, since_ms: int) -> None:
        for job_id in self.archive.newest(since_ms):
            self._take_out(job_id)

    @property
    def known(self) -> int:
        """All jobs, archived ones included."""
        return len(self.by_id) + len(self.archive)

    @property
    def live(self) -> int:
        """Jobs queued and running."""
        return self.lines.waiting + self.running

    def kept(self, queue: str) -> Iterator[r.KeptJob]:
        """Every job as a record: the ended ones oldest first, then the live ones in order."""
        for job_id, entry in self.archive:
            job = Job(job_id)
            unpack(entry, job)
            yield job.kept(queue)
        moment = -1
        given: set[str] = set()  # only asked; a job may have ended twice within one moment
        for time, job_id in self.ended:
            if time != moment:
                moment = time
                given.clear()
            recent = self.by_id.get(job_id)
            if (
                recent is not None
                and not recent.live
                and recent.time == time
                and job_id not in given
            ):
                given.add(job_id)
                yield recent.kept(queue)
        for job in sorted(
            (job for job in self.by_id.values() if job.live), key=lambda job: job.sequence
        ):
            yield job.kept(queue)

    # --- one method for each record ---------------------------------------------------

    def _submitted(self, record: r.Submitted) -> None:
        self._sequence += 1
        job = self.get(record.job)
        if job is None:
            job = self.by_id[record.job] = new_job(record, self._sequence)
            self.lines.add(job.needs, job.sequence, job.id)
        else:
            self._submitted_again(job, record)
        self._hold(job, record.namespace)

    def _submitted_again(self, job: Job, record: r.Submitted) -> None:
        again = r.StoryEntry(record.time, "submitted", record.namespace)
        job.story = after(told(job), again)
        job.sequence = self._sequence
        job.reason = ""
        job.queued_time = record.time
        job.losses = 0
        job.result_at = 0
        describe(job, record)
        job.build_lines = job.run_lines = 0
        job.namespaces = ()
        self._wait(job, record.time)

    def _namespace_added(self, record: r.NamespaceAdded) -> None:
        job = self._known(record.job)
        if job.live:
            held = r.StoryEntry(record.time, "held", record.namespace)
            job.story = after(told(job), held)
            self._hold(job, record.namespace)
        else:
            job.namespaces = tuple(sorted({*job.namespaces, record.namespace}))

    def _namespace_dropped(self, record: r.NamespaceDropped) -> None:
        job = self._known(record.job)
        if job.live:
            dropped = r.StoryEntry(record.time, "dropped", record.namespace, reason=record.reason)
            job.story = after(told(job), dropped)
        job.namespaces = tuple(name for name in job.namespaces if name != record.namespace)
        if self.holders.get(record.namespace) is job:
            del self.holders[record.namespace]
        if job.live and not job.namespaces:
            self.orphans[job.id] = job

    def _leased(self, record: r.Leased) -> None:
        job = self.by_id[record.job]
        self.lines.remove(job.needs, job.sequence)
        self.running += 1
        job.state = "Running"
        job.time = record.time
        job.started_time = 0
        job.worker = record.worker
        job.attempt = record.attempt
        if job.story:  # else it can be told from what was just written down
            leased = r.StoryEntry(record.time, "leased", record.worker, record.attempt)
            job.story = after(job.story, leased)

    def _requeued(self, record: r.Requeued) -> None:
        job = self.by_id[record.job]
        event: r.StoryEvent = "lost" if record.lost else "released"
        over = r.StoryEntry(record.time, event, job.worker, record.attempt)
        job.story = after(told(job), over)
        self.running -= 1
        job.losses += record.lost
        job.build_lines = record.build_lines
        job.run_lines = record.run_lines
        self._wait(job, record.time)

    def _finished(self, record: r.Finished) -> None:
        if record.carried:
            return  # nothing of it changes but where it lies (``place``)
        job = self.by_id.get(record.job) or self._known(record.job)
        if job.state == "Queued":
            self.lines.remove(job.needs, job.sequence)
        elif job.state == "Running":
            self.running -= 1
        job.state = "Removed" if record.reason == "Deleted" else "Finished"
        job.reason = record.reason
        job.time = record.time
        job.worker = record.worker
        job.result_at = 0  # ``place`` says where, when it is durable
        self._end(job)

    def _expired(self, record: r.Expired) -> None:
        if self.by_id.pop(record.job, None) is None:
            self.archive.take(record.job)

    def _kept(self, record: r.KeptJob) -> None:
        """A job of a snapshot; or one that is known, carried on from an old segment."""
        if record.job in self.by_id or record.job in self.archive:
            return  # likewise
        job = self.by_id[record.job] = Job(record.job)
        job.definition_at = record.definition_at
        job.result_at = record.result_at
        job.sequence = record.sequence
        job.reason = record.reason
        job.queued_time = record.queued_time
        job.attempt = record.attempt
        job.losses = record.losses
        describe(job, record)
        job.build_lines = record.build_lines
        job.run_lines = record.run_lines
        job.story = record.story
        self._sequence = max(self._sequence, record.sequence)
        if record.state == "Queued":
            self._wait(job, record.time)
        job.state = record.state
        job.time = record.time
        job.worker = record.worker
        if job.live:
            self.running += job.state == "Running"
            for namespace in record.namespaces:
                self._hold(job, namespace)
            if not record.namespaces:
                self.orphans[job.id] = job
        else:
            job.namespaces = record.namespaces
            self._end(job)

    # --- shared moves -----------------------------------------------------------------

    def _known(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise KeyError(f"a record about {job_id}, which was never submitted")
        return job

    def _take_out(self, job_id: str) -> Job:
        entry = self.archive.take(job_id)
        assert entry is not None, job_id
        job = self.by_id[job_id] = Job(job_id)
        unpack(entry, job)
        self.ended.append((job.time, job_id))
        return job

    def _wait(self, job: Job, time: int) -> None:
        job.state = "Queued"
        job.time = time
        job.started_time = 0
        job.worker = ""
        self.lines.add(job.needs, job.sequence, job.id)

    def _hold(self, job: Job, namespace: str) -> None:
        if namespace == DEFAULT_NAMESPACE and not job.namespaces:
            job.namespaces = _DEFAULT_ONLY
        else:
            job.namespaces = tuple(sorted({*job.namespaces, namespace}))
        if self.orphans:
            self.orphans.pop(job.id, None)
        if namespace != DEFAULT_NAMESPACE:
            self.holders[namespace] = job

    def _end(self, job: Job) -> None:
        if job.namespaces is not _DEFAULT_ONLY:
            for namespace in job.namespaces:
                if self.holders.get(namespace) is job:
                    del self.holders[namespace]
        if self.orphans:
            self.orphans.pop(job.id, None)
        job.definition = b""
        job.control = b""
        job.needs = NO_NEEDS
        job.story = ()  # it stands in the record of the outcome
        self.ended.append((job.time, job.id))
