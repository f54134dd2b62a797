"""The heart: one queue's decisions.

``step`` takes one event and answers effects; on the way it emits records, and each record changes
the jobs through ``Jobs.apply`` at once. Replay after a restart runs the same ``apply`` (and
nothing else), then ``start`` sets the passing state up again. No I/O, no clock, no chance: the
same events at the same times give the same effects.

What a peer does never raises here. An exception from ``step`` is a bug, and the daemon stops.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.alarms import Alarms
from gridd.core.checks import check
from gridd.core.jobs import Job, Jobs
from gridd.core.logs import JobLog
from gridd.core.matching import next_match
from gridd.core.sessions import Session, Sessions
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode
from gridd_protocol.limits import CREDIT_MAX, NAMESPACES_PER_JOB_MAX

REPLACED_CLOSE = 4001
SILENT_CLOSE = 4003
HELLO_CLOSE = 4000


class Engine:
    """One queue. ``queue`` is its name; it stands in every record."""

    def __init__(self, queue: str, settings: Settings | None = None) -> None:
        self.queue = queue
        self.settings = settings or Settings()
        self.jobs = Jobs()
        self.sessions = Sessions()
        self.logs: dict[str, JobLog] = {}  # of jobs that run, or ran and wait again
        self.alarms = Alarms()
        self._evictions: dict[str, int] = {}  # orphan -> when its grace ends
        self._out: list[fx.Effect] = []
        self._now = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.Submit: self._on_submit,
            ev.Cancel: self._on_cancel,
            ev.Delete: self._on_delete,
            ev.WorkerSaid: self._on_worker_said,
            ev.WorkerGone: self._on_worker_gone,
            ev.AlarmRang: self._on_alarm,
        }
        self._ears: dict[type, Callable[[Session, Any], None]] = {
            m.Credit: self._on_credit,
            m.Started: self._on_started,
            m.Log: self._on_log,
            m.Finished: self._on_finished,
            m.Release: self._on_release,
            m.Drain: self._on_drain,
            m.Heartbeat: self._on_heartbeat,
        }

    # --- the face ---------------------------------------------------------------------

    def step(self, event: ev.Event, now_ms: int) -> list[fx.Effect]:
        """Decide. ``now_ms`` never steps back between calls (the caller's duty)."""
        self._now = now_ms
        out: list[fx.Effect] = []
        self._out = out
        self._handlers[type(event)](event)
        return out

    def apply(self, record: r.Record) -> None:
        """Change durable state, as on replay."""
        self.jobs.apply(record)

    def start(self, now_ms: int) -> list[fx.Effect]:
        """After replay, once: jobs that ran are leased for a full term from now."""
        self._now = now_ms
        out: list[fx.Effect] = []
        self._out = out
        for job in self.jobs.by_id.values():
            if job.state == "Running":
                session = self.sessions.expect(job.worker, now_ms)
                session.take(job.id, job.attempt, job.needs)
                self.logs[job.id] = JobLog(job.build_lines, job.run_lines)
        for session in self.sessions.by_worker.values():
            self.alarms.set(now_ms + self.settings.lease_ms, "lease", session.worker)
        for orphan in list(self.jobs.orphans.values()):
            self._end(orphan, "JobReplacedByClient", "its namespace was given to another job")
        self._watch_retention()
        return out

    def next_alarm(self) -> int | None:
        """When to be stepped with ``AlarmRang``, in ms; ``None``: not before another event."""
        return self.alarms.next()

    def snapshot(self) -> Iterator[r.KeptJob]:
        """The whole durable state as records; ``apply`` them in order to an empty engine."""
        return self.jobs.kept(self.queue)

    def check(self) -> None:
        """Every invariant; raises AssertionError. For tests and simulation."""
        check(self)

    @property
    def idle(self) -> bool:
        """Nothing to remember: the engine can be forgotten and made anew on demand."""
        return not self.jobs.by_id and not self.sessions.by_worker

    # --- clients ----------------------------------------------------------------------

    def _on_submit(self, e: ev.Submit) -> None:
        job = self.jobs.by_id.get(e.job)
        if job is not None and (job.live or job.answered):
            self._submit_known(e, job)
        else:
            self._submit_new(e, job)

    def _submit_new(self, e: ev.Submit, former: Job | None) -> None:
        """``former``: the job when it was cancelled, replaced or deleted before."""
        if self.jobs.live >= self.settings.live_jobs_max:
            self._refuse(e.ref, ErrorCode.QUEUE_FULL, self.settings.live_jobs_max)
            return
        self._supersede(e.namespace, former)
        self._emit(
            r.Submitted(
                queue=self.queue,
                job=e.job,
                time=self._now,
                namespace=e.namespace,
                definition=e.definition,
                needs=e.needs,
                tags=e.tags,
                requirements=e.requirements,
                control=e.control,
                run_ms_max=e.run_ms_max,
                debug=e.debug,
            )
        )
        self._accept(e.ref, self.jobs.by_id[e.job], new=True)
        self._match()

    def _submit_known(self, e: ev.Submit, job: Job) -> None:
        """It waits, runs or is answered: one more may hold it, and it is not run again."""
        held = e.namespace in job.namespaces
        full = len(job.namespaces) >= NAMESPACES_PER_JOB_MAX
        if full and not held and job.live:
            self._refuse(e.ref, ErrorCode.BAD_REQUEST, NAMESPACES_PER_JOB_MAX)
            return
        self._supersede(e.namespace, job)
        if not held and not full:  # an answer is given to whoever asks, held or not
            self._emit(r.NamespaceAdded(self.queue, job.id, self._now, e.namespace))
            self._evictions.pop(job.id, None)
        self._accept(e.ref, job, new=False)
        self._match()  # the job that it replaced may have left room

    def _accept(self, ref: int, job: Job, *, new: bool) -> None:
        view = job.view()
        self._reply(ref, fx.Accepted(job.id, new, view))
        self._out.append(fx.JobChanged(job.id, view, "submit"))

    def _refuse(self, ref: int, code: ErrorCode, limit: int) -> None:
        what = {
            ErrorCode.QUEUE_FULL: f"this queue holds {limit} waiting and running jobs, its limit",
            ErrorCode.BAD_REQUEST: f"this job is held by {limit} namespaces, the limit",
        }[code]
        self._reply(ref, fx.Refused(code, what, limit))

    def _supersede(self, namespace: str, successor: Job | None) -> None:
        """The newest submission of a namespace is the one that counts (WIRE 3.8)."""
        other = self.jobs.holders.get(namespace)
        if other is not None and other is not successor:
            self._drop_holder(other, namespace, "JobReplacedByClient", "replaced by a newer job")

    def _on_cancel(self, e: ev.Cancel) -> None:
        self._let_go(e.ref, e.job, e.namespace, "Cancelled", e.message)

    def _on_delete(self, e: ev.Delete) -> None:
        self._let_go(e.ref, e.job, e.namespace, "Deleted", "")

    def _let_go(
        self, ref: int, job_id: str, namespace: str, reason: r.FinishedReason, message: str
    ) -> None:
        job = self.jobs.by_id.get(job_id)
        if job is None or job.state == "Removed":
            self._reply(ref, fx.Cancelled(None, False))
            return
        was = job.state
        if job.live or reason == "Deleted":
            for name in job.namespaces if namespace == "*" else (namespace,):
                if name in job.namespaces:
                    self._drop_holder(job, name, reason, message)
            unheld = not job.namespaces and job.state == was
            if unheld and (namespace == "*" or reason == "Deleted"):
                self._end(job, reason, message)
        self._reply(ref, fx.Cancelled(was, job.state != was))
        self._match()

    def _drop_holder(
        self, job: Job, namespace: str, reason: r.FinishedReason, message: str
    ) -> None:
        self._emit(r.NamespaceDropped(self.queue, job.id, self._now, namespace, reason))
        if job.namespaces:
            self._changed(job, "namespace")
            return
        grace = self._grace(job) if reason == "JobReplacedByClient" else 0
        if grace:
            self._evictions[job.id] = self._now + grace
            self.alarms.set(self._now + grace, "evict", job.id)
            self._changed(job, "namespace")
        else:
            self._end(job, reason, message)

    def _grace(self, job: Job) -> int:
        """How long a replaced job may still run, in ms (WIRE 3.8; measured from its replacement,
        not from its submission as upstream does, D11). A waiting job has nothing to finish."""
        if job.state != "Running":
            return 0
        age = self._now - job.queued_time
        if age <= 20_000:
            return 0
        return 4_000 if age <= 60_000 else 8_000

    # --- workers ----------------------------------------------------------------------

    def _on_worker_said(self, e: ev.WorkerSaid) -> None:
        if type(e.message) is m.Hello:
            self._on_hello(e.peer, e.message)
            return
        session = self.sessions.by_peer.get(e.peer)
        if session is None:
            code = ErrorCode.HELLO_FIRST
            text = "the first message of a worker is hello"
            self._send(e.peer, m.Error(code=code.value, message=text))
            self._out.append(fx.CloseWorker(e.peer, HELLO_CLOSE, text))
            return
        session.heard = self._now
        self._ears[type(e.message)](session, e.message)

    def _on_hello(self, peer: int, hello: m.Hello) -> None:
        bound = self.sessions.by_peer.get(peer)
        if bound is not None and bound.worker != hello.worker:
            self._leave(peer)  # it speaks for another worker now
        session = self.sessions.expect(hello.worker, self._now)
        former = self.sessions.bind(session, peer)
        if former is not None:
            self._out.append(
                fx.CloseWorker(former, REPLACED_CLOSE, "a newer connection uses this worker id")
            )
        session.heard = self._now
        session.version = hello.version
        session.resources = hello.resources
        session.credit = min(hello.credit, CREDIT_MAX)
        session.draining = False
        self.alarms.set(self._now + self.settings.lease_ms, "lease", session.worker)
        self._settle_leases(session, peer, hello.running)
        self.sessions.refresh(session)
        self._workers_changed()
        self._match()

    def _settle_leases(self, session: Session, peer: int, running: list[m.Held]) -> None:
        """Compare what the worker says it holds with what it was given."""
        claimed = {held.job: held.attempt for held in running}
        kept = [
            m.Kept(job, attempt, self.logs[job].cursor)
            for job, (attempt, _) in session.held.items()
            if claimed.get(job) == attempt
        ]
        settings = self.settings
        self._send(
            peer,
            m.Welcome(
                queue=self.queue,
                time=self._now,
                lease_ms=settings.lease_ms,
                heartbeat_ms=settings.heartbeat_ms,
                kept=kept,
            ),
        )
        for held in running:
            if not session.holds(held.job, held.attempt):
                self._send(peer, self._verdict(session, held.job, held.attempt))
        for job in [
            job for job, (attempt, _) in session.held.items() if claimed.get(job) != attempt
        ]:
            self._lose(session, self.jobs.by_id[job])

    def _verdict(self, session: Session, job_id: str, attempt: int) -> m.Acknowledged | m.Stale:
        """On an attempt that is not (any more) leased: was its own result taken, or is it stale?"""
        job = self.jobs.by_id.get(job_id)
        if (
            job is not None
            and job.answered
            and job.attempt == attempt
            and job.worker == session.worker
        ):
            return m.Acknowledged(job_id, attempt)
        return m.Stale(job_id, attempt)

    def _on_credit(self, session: Session, message: m.Credit) -> None:
        session.credit = min(message.jobs, CREDIT_MAX)
        self.sessions.refresh(session)
        self._match()

    def _on_started(self, session: Session, message: m.Started) -> None:
        if self._fenced(session, message.job, message.attempt):
            self.jobs.by_id[message.job].started_time = message.time

    def _on_log(self, session: Session, message: m.Log) -> None:
        if not self._fenced(session, message.job, message.attempt):
            return
        first, lines = self.logs[message.job].add(message.step, message.cursor, message.lines)
        if lines:
            self._out.append(fx.LogAdded(message.job, message.step, first, lines))

    def _on_finished(self, session: Session, message: m.Finished) -> None:
        if not session.holds(message.job, message.attempt):
            self._to(session, self._verdict(session, message.job, message.attempt))
            return
        job = self.jobs.by_id[message.job]
        self._free(session, job)
        self._finish(job, message.reason, message.result.encode(), "")
        self._to(session, m.Acknowledged(message.job, message.attempt))
        self._match()

    def _on_release(self, session: Session, message: m.Release) -> None:
        if not self._fenced(session, message.job, message.attempt):
            return
        job = self.jobs.by_id[message.job]
        self._free(session, job)
        self._requeue(job, lost=False)
        self._to(session, m.Acknowledged(message.job, message.attempt))
        self._match()

    def _on_drain(self, session: Session, _: m.Drain) -> None:
        session.draining = True
        self.sessions.refresh(session)
        self._workers_changed()

    def _on_heartbeat(self, session: Session, _: m.Heartbeat) -> None:
        self._to(session, m.Heartbeat(self._now))

    def _fenced(self, session: Session, job: str, attempt: int) -> bool:
        """True when ``session`` holds this attempt; otherwise it is told so."""
        if session.holds(job, attempt):
            return True
        self._to(session, m.Stale(job, attempt))
        return False

    def _on_worker_gone(self, e: ev.WorkerGone) -> None:
        if e.peer in self.sessions.by_peer:
            self._leave(e.peer)
            self._workers_changed()

    def _leave(self, peer: int) -> None:
        session = self.sessions.unbind(peer)
        if session is not None and not session.held:
            self.sessions.drop(session)

    # --- time -------------------------------------------------------------------------

    def _on_alarm(self, _: ev.AlarmRang) -> None:
        while (due := self.alarms.pop(self._now)) is not None:
            kind, name = due
            if kind == "lease":
                self._look_at_lease(name)
            elif kind == "evict":
                self._evict(name)
            else:
                self._expire_old()
        self._match()

    def _look_at_lease(self, worker: str) -> None:
        session = self.sessions.by_worker.get(worker)
        if session is None:
            return
        deadline = session.heard + self.settings.lease_ms
        if deadline > self._now:
            self.alarms.set(deadline, "lease", worker)
            return
        if session.peer is not None:
            self._out.append(fx.CloseWorker(session.peer, SILENT_CLOSE, "silent for too long"))
        connected = session.peer is not None
        for job_id in list(session.held):
            self._lose(session, self.jobs.by_id[job_id])
        self.sessions.drop(session)
        if connected:
            self._workers_changed()

    def _evict(self, job_id: str) -> None:
        ends = self._evictions.get(job_id)
        if ends is None:
            return
        if ends > self._now:  # taken up again and replaced again since the alarm was set
            self.alarms.set(ends, "evict", job_id)
            return
        job = self.jobs.by_id.get(job_id)
        if job is not None and job.live and not job.namespaces:
            self._end(job, "JobReplacedByClient", "replaced by a newer job")
        self._evictions.pop(job_id, None)

    def _expire_old(self) -> None:
        """Forget ended jobs past their retention, a bounded number in one step."""
        ended = self.jobs.ended
        for _ in range(self.settings.expire_batch):
            if not ended or ended[0][0] + self.settings.retention_ms > self._now:
                break
            time, job_id = ended.popleft()
            job = self.jobs.by_id.get(job_id)
            if job is not None and not job.live and job.time == time:
                view = job.view()
                self._emit(r.Expired(self.queue, job_id, self._now))
                self._out.append(fx.JobChanged(job_id, view, "expire"))
        self._watch_retention()

    def _watch_retention(self) -> None:
        if self.jobs.ended and not self.alarms.has("retention"):
            oldest = self.jobs.ended[0][0] + self.settings.retention_ms
            self.alarms.set(max(oldest, self._now + 1), "retention", "")

    # --- shared moves -----------------------------------------------------------------

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
            )
        )
        self._changed(job, "finish")
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


def _error_result(text: str) -> bytes:
    return msgspec.json.encode({"error": text, "isTimedOut": False, "outputs": {}})
