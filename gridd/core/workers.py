"""What workers say: hello, reports under a lease, giving back, leaving (SPEC, the native worker
conversation). Whoever does not hold the attempt that it speaks of is told ``stale``."""

from collections.abc import Callable
from typing import Any

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core.job import Job
from gridd.core.moves import Moves
from gridd.core.sessions import RETURN_PAUSE_MS_MAX, Session
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode
from gridd_protocol.limits import CREDIT_MAX

HELLO_CLOSE = 4000
REPLACED_CLOSE = 4001


class WorkerSide(Moves):
    def __init__(self, queue: str, settings: Settings | None = None) -> None:
        super().__init__(queue, settings)
        self._ears: dict[type, Callable[[Session, Any], None]] = {
            m.Credit: self._on_credit,
            m.Started: self._on_started,
            m.Log: self._on_log,
            m.Finished: self._on_finished,
            m.Release: self._on_release,
            m.Drain: self._on_drain,
            m.Heartbeat: self._on_heartbeat,
        }

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
        job = self.jobs.look(job_id)
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
        if not self._fenced(session, message.job, message.attempt):
            return
        job = self.jobs.by_id[message.job]
        if job.started_time != message.time:  # it is said again after each break of the line
            job.started_time = message.time
            self._changed(job, "start")

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
        if job.live and session.ready:
            self._spare(session, job)
        self._to(session, m.Acknowledged(message.job, message.attempt))
        self._match()

    def _spare(self, session: Session, job: Job) -> None:
        """It kept its credit: it would be given the same job again at once, and give it back
        again, without end."""
        often, until = session.gave_back(job.id, self._now)
        self.jobs.lines.set_apart(job.needs, job.sequence)
        self.alarms.set(until, "returned", f"{job.id} {often} {session.worker}")
        self.sessions.refresh(session)

    def _look_at_returned(self, name: str) -> None:
        """The pause is over (the caller matches then), or has been for so long that it counts no
        more."""
        job_id, number, worker = name.split(" ", 2)
        session = self.sessions.by_worker.get(worker)
        often, until = session.returned.get(job_id, (0, 0)) if session is not None else (0, 0)
        if session is None or often != int(number):  # given back once more since
            return
        job = self.jobs.by_id.get(job_id)
        due = until if self._now < until else until + RETURN_PAUSE_MS_MAX
        if job is not None and job.live and self._now < due:
            self.alarms.set(due, "returned", name)
        else:
            del session.returned[job_id]
            self.sessions.refresh(session)

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
