"""What clients, workers and time have in common: the moves of which every decision is made.

A move emits records and effects, and leaves the passing state (leases, logs, alarms) as the
records say. Nothing here decides that a thing is to be done, only how it is done whole.
"""

import msgspec

from gridd.core import effects as fx
from gridd.core import records as r
from gridd.core.alarms import Alarms
from gridd.core.job import Job
from gridd.core.jobs import Jobs
from gridd.core.logs import JobLog
from gridd.core.matching import next_match
from gridd.core.sessions import Session, Sessions
from gridd.core.settings import Settings
from gridd.core.story import stored, told
from gridd_protocol import messages as m


class Moves:
    """One queue's state, and the moves on it. ``queue`` is its name; it stands in every record."""

    def __init__(self, queue: str, settings: Settings | None = None) -> None:
        self.queue = queue
        self.settings = settings or Settings()
        self.jobs = Jobs()
        self.sessions = Sessions()
        self.logs: dict[str, JobLog] = {}  # of jobs that run, or ran and wait again
        self.alarms = Alarms()
        self._evictions: dict[str, int] = {}  # orphan -> when its grace ends
        self._out: list[fx.Effect] = []  # of the step under way
        self._now = 0

    # --- moves ------------------------------------------------------------------------

    def _match(self) -> None:
        while (pair := next_match(self.jobs, self.sessions, self._now)) is not None:
            session, job = pair
            attempt = job.attempt + 1
            self._emit(r.Leased(self.queue, job.id, self._now, session.worker, attempt))
            session.take(job.id, attempt, job.needs)
            if session.reserved_for == job.id:
                session.reserved_for = None
            self.sessions.served(session)
            log = self.logs.get(job.id)
            if log is None:
                self.logs[job.id] = JobLog(job.build_lines, job.run_lines)
            else:
                log.restart()
            self._to(
                session,
                m.Push(
                    job=job.id,
                    attempt=attempt,
                    definition=job.definition.decode(),
                    queued_time=job.queued_time,
                    max_duration=job.run_ms_max,
                ),
            )
            self._changed(job, "lease")

    def _end(self, job: Job, reason: r.FinishedReason, message: str) -> None:
        """End a job without an answer (or forget its answer)."""
        if job.state != "Running":
            self._finish(job, reason, b"", message)
            return
        session = self.sessions.by_worker[job.worker]
        self._free(session, job)
        self._finish(job, reason, b"", message)
        self._to(session, m.Cancel(job.id, job.attempt, reason))

    def _finish(
        self,
        job: Job,
        reason: r.FinishedReason,
        result: bytes,
        message: str,
        worker: str | None = None,
    ) -> None:
        log = self.logs.pop(job.id, None)
        self._evictions.pop(job.id, None)
        control = job.control  # the record lets go of it
        self._emit(
            r.Finished(
                queue=self.queue,
                job=job.id,
                time=self._now,
                reason=reason,
                attempt=job.attempt,
                worker=job.worker if worker is None else worker,
                message=message,
                result=result,
                logs=b"" if log is None else log.stored(),
                story=stored(told(job)),
            )
        )
        self._changed(job, "finish")
        if control:
            self._out.append(
                fx.Callback("finished", job.id, control, job.queued_time, reason, message, result)
            )
        self._watch_retention()

    def _lose(self, session: Session, job: Job) -> None:
        """The worker is gone, or back without the job: somebody else's turn, a few times."""
        self._free(session, job)
        if not job.namespaces:  # replaced, in its grace: nobody wants another run
            self._finish(job, "JobReplacedByClient", b"", "replaced by a newer job")
        elif job.losses + 1 >= self.settings.attempts_max:
            text = (
                f"its worker was lost {job.losses + 1} times; given up after {job.attempt} attempts"
            )
            # Nobody's answer: the last worker, should it come back with one, is told stale.
            self._finish(job, "Error", _error_result(text), text, worker="")
        else:
            self._requeue(job, lost=True)

    def _requeue(self, job: Job, *, lost: bool) -> None:
        if not job.namespaces:
            self._finish(job, "JobReplacedByClient", b"", "replaced by a newer job")
            return
        log = self.logs[job.id]
        self._emit(
            r.Requeued(
                queue=self.queue,
                job=job.id,
                time=self._now,
                attempt=job.attempt,
                lost=lost,
                build_lines=log.build.next,
                run_lines=log.run.next,
            )
        )
        self._changed(job, "requeue")

    def _free(self, session: Session, job: Job) -> None:
        session.give_back(job.id)
        if session.peer is None and not session.held:
            self.sessions.drop(session)
        else:
            self.sessions.refresh(session)

    # --- words ------------------------------------------------------------------------

    def _emit(self, record: r.Record) -> None:
        self._out.append(fx.Append(record))
        self.jobs.apply(record)

    def _reply(self, ref: int, outcome: fx.Outcome) -> None:
        self._out.append(fx.Reply(ref, outcome))

    def _send(self, peer: int, message: m.ToWorker) -> None:
        self._out.append(fx.SendWorker(peer, message))

    def _to(self, session: Session, message: m.ToWorker) -> None:
        if session.peer is not None:
            self._out.append(fx.SendWorker(session.peer, message))

    def _changed(self, job: Job, cause: fx.Cause) -> None:
        self._out.append(fx.JobChanged(job.id, job.view(), cause))

    def _workers_changed(self) -> None:
        self._out.append(fx.WorkersChanged(self.sessions.views()))

    def _watch_retention(self) -> None:
        if self.alarms.has("retention"):
            return
        oldest = self.jobs.oldest_ended()
        if oldest is not None:
            due = oldest[1] + self.settings.retention_ms
            self.alarms.set(max(due, self._now + 1), "retention", "")


def _error_result(text: str) -> bytes:
    return msgspec.json.encode({"error": text, "isTimedOut": False, "outputs": {}})
