"""The heart: one queue's decisions.

``step`` takes one event and answers effects; on the way it emits records, and each record changes
the jobs through ``Jobs.apply`` at once. Replay after a restart runs the same ``apply`` (and
nothing else), then ``start`` sets the passing state up again. No I/O, no clock, no chance: the
same events at the same times give the same effects.

``clients`` and ``workers`` hold what is decided for each side, ``moves`` what both are made of;
here are the face and what time does.

What a peer does never raises here. An exception from ``step`` is a bug, and the daemon stops.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.checks import check
from gridd.core.clients import ClientSide
from gridd.core.logs import JobLog
from gridd.core.settings import Settings
from gridd.core.walk import Walk
from gridd.core.workers import WorkerSide

SILENT_CLOSE = 4003


class Engine(ClientSide, WorkerSide):
    """One queue."""

    def __init__(self, queue: str, settings: Settings | None = None) -> None:
        super().__init__(queue, settings)
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.Submit: self._on_submit,
            ev.Cancel: self._on_cancel,
            ev.Delete: self._on_delete,
            ev.WorkerSaid: self._on_worker_said,
            ev.WorkerGone: self._on_worker_gone,
            ev.AlarmRang: self._on_alarm,
            ev.Carry: self._on_carry,
            ev.CarryAnswer: self._on_carry_answer,
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

    def expect_workers(self, now_ms: int) -> None:
        """After replay: those who ran jobs may come back with them. Decides nothing, so that an
        engine can be looked at before it is started (``start`` does this too)."""
        for job in self.jobs.by_id.values():
            if job.state == "Running" and job.id not in self.logs:
                session = self.sessions.expect(job.worker, now_ms)
                session.take(job.id, job.attempt, job.needs)
                self.logs[job.id] = JobLog(job.build_lines, job.run_lines)

    def start(self, now_ms: int) -> list[fx.Effect]:
        """After replay, once: jobs that ran are leased for a full term from now."""
        self._now = now_ms
        out: list[fx.Effect] = []
        self._out = out
        self.expect_workers(now_ms)
        self.renew(now_ms)
        for session in self.sessions.by_worker.values():
            self.alarms.set(now_ms + self.settings.lease_ms, "lease", session.worker)
        for orphan in list(self.jobs.orphans.values()):
            self._end(orphan, "JobReplacedByClient", "its namespace was given to another job")
        self._watch_retention()
        return out

    def renew(self, now_ms: int) -> None:
        """We were stopped and could hear nobody: every lease has its full term from now."""
        for session in self.sessions.by_worker.values():
            session.heard = max(session.heard, now_ms)

    def next_alarm(self) -> int | None:
        """When to be stepped with ``AlarmRang``, in ms; ``None``: not before another event."""
        return self.alarms.next()

    def snapshot(self) -> Iterator[r.KeptJob]:
        """The whole durable state as records; ``apply`` them in order to an empty engine."""
        return self.jobs.kept(self.queue)

    def place(self, record: r.Record, at: int) -> None:
        """``record`` is durable; ``at`` (opaque, not 0) says where the journal keeps it."""
        self.jobs.place(record, at)

    def put_away(self, before_ms: int, most: int) -> int:
        """Hold jobs that ended before ``before_ms`` in their small form; looks at ``most`` of
        them, answers at how many it looked."""
        return self.jobs.put_away(before_ms, most)

    def walk(self) -> Walk:
        """Look at every job as it is now, in steps, while the engine goes on."""
        return Walk(self.jobs, self.queue)

    def check(self) -> None:
        """Every invariant; raises AssertionError. For tests and simulation."""
        check(self)

    @property
    def idle(self) -> bool:
        """Nothing to remember: the engine can be forgotten and made anew on demand."""
        return not self.jobs.known and not self.sessions.by_worker

    def _on_carry(self, e: ev.Carry) -> None:
        job = self.jobs.look(e.job)
        if job is not None:
            kept = msgspec.structs.replace(job.kept(self.queue), definition=e.definition)
            self._emit(kept)

    def _on_carry_answer(self, e: ev.CarryAnswer) -> None:
        job = self.jobs.look(e.answer.job)
        if job is not None and not job.live and job.time == e.answer.time:
            self._emit(msgspec.structs.replace(e.answer, logs=b"", carried=True))

    # --- time -------------------------------------------------------------------------

    def _on_alarm(self, _: ev.AlarmRang) -> None:
        while (due := self.alarms.pop(self._now)) is not None:
            kind, name = due
            if kind == "lease":
                self._look_at_lease(name)
            elif kind == "evict":
                self._evict(name)
            elif kind == "returned":
                self._look_at_returned(name)
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
        for _ in range(self.settings.expire_batch):
            oldest = self.jobs.oldest_ended()
            if oldest is None or oldest[1] + self.settings.retention_ms > self._now:
                break
            job = self.jobs.look(oldest[0])
            assert job is not None, oldest
            self._emit(r.Expired(self.queue, job.id, self._now))
            self._out.append(fx.JobChanged(job.id, job.view(), "expire"))
        self._watch_retention()
