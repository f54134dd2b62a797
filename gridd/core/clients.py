"""What clients ask for: submit, cancel, delete; and who holds a job (namespaces, WIRE 3.7, 3.8)."""

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.job import Job
from gridd.core.moves import Moves
from gridd_protocol.errors import ErrorCode
from gridd_protocol.limits import NAMESPACES_PER_JOB_MAX


class ClientSide(Moves):
    def _on_submit(self, e: ev.Submit) -> None:
        job = self.jobs.look(e.job)  # a copy: most who ask for an answer change nothing
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
        if e.control:
            self._out.append(fx.Callback("queued", e.job, e.control, self._now))
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
            job = self.jobs.by_id[job.id]
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
        job = self.jobs.look(job_id)
        if job is None or job.state == "Removed":
            self._reply(ref, fx.Cancelled(None, False))
            return
        was, held = job.state, namespace == "*" or namespace in job.namespaces
        if job.live or reason == "Deleted":
            job = self.jobs.get(job_id)
            assert job is not None, job_id
            for name in job.namespaces if namespace == "*" else (namespace,):
                if name in job.namespaces:
                    self._drop_holder(job, name, reason, message)
            unheld = not job.namespaces and job.state == was
            if unheld and (namespace == "*" or reason == "Deleted"):
                self._end(job, reason, message)
        self._reply(ref, fx.Cancelled(was, job.state != was, held))
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
