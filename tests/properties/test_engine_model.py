"""The engine against a model of a few dictionaries, driven by hypothesis.

The model says what each event does to each job; only *which* waiting job goes to which worker is
read from the engine's records, and then judged: the oldest of its kind, to a worker that is
connected and has room, and nobody with room is left beside a waiting job.
"""

import os
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.sessions import RETURN_PAUSE_MS_MAX
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from tests.simulation.state import durable_state

LEASE, ATTEMPTS_MAX, RETENTION = 30_000, 3, 3_600_000
SETTINGS = Settings(lease_ms=LEASE, attempts_max=ATTEMPTS_MAX, retention_ms=RETENTION)
NEEDS = (r.Needs(), r.Needs(cpus_milli=500))
JOBS = [f"j{n}" for n in range(6)]
WORKERS = ["w0", "w1", "w2"]
NAMESPACES = ["_", "a", "b"]
ROOMY = m.Resources(cpus=1_000.0)

jobs = st.sampled_from(JOBS)
workers = st.sampled_from(WORKERS)
namespaces = st.sampled_from(NAMESPACES)


@dataclass
class JobModel:
    needs: r.Needs
    queued: int
    place: int
    state: str = "Queued"
    reason: str = ""
    attempt: int = 0
    losses: int = 0
    holder: str = ""
    namespaces: set[str] = field(default_factory=set)
    evict_at: int = 0
    ended: int = 0

    @property
    def live(self) -> bool:
        return self.state in ("Queued", "Running")

    @property
    def answered(self) -> bool:
        return self.state == "Finished" and self.reason in ("Success", "Error", "TimedOut")

    def end(self, reason: str, now: int) -> None:
        self.state = "Removed" if reason == "Deleted" else "Finished"
        self.reason, self.ended, self.evict_at = reason, now, 0

    def lose(self, now: int) -> None:
        self.holder = ""
        if not self.namespaces:
            self.end("JobReplacedByClient", now)
        elif self.losses + 1 >= ATTEMPTS_MAX:
            self.end("Error", now)
        else:
            self.losses += 1
            self.state = "Queued"


@dataclass
class WorkerModel:
    peer: int | None = None
    credit: int = 0
    heard: int = 0
    draining: bool = False


class GridMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.engine = Engine("q", SETTINGS)
        self.now = 1_000_000
        self.records: list[r.Record] = []
        self.jobs: dict[str, JobModel] = {}
        self.workers: dict[str, WorkerModel] = {}
        self.peers = 0
        self.places = 0
        self.attempts: list[tuple[str, int]] = [("j0", 1)]
        self.returned: dict[tuple[str, str], int] = {}  # (worker, job) -> given back when
        self.effects: list[fx.Effect] = []
        # A busy grid to begin with; rules drawn at random seldom build one up.
        for name in WORKERS[:2]:
            self.hello(name, 2, set(), False)
        for name in JOBS[:4]:
            self.submit(name, "_")

    # --- driving ----------------------------------------------------------------------

    def step(self, event: ev.Event) -> None:
        self.effects = self.engine.step(event, self.now)
        self.read(self.effects)

    def read(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if type(effect) is fx.Append:
                self.records.append(effect.record)
                if type(effect.record) is r.Leased:
                    self.judge_lease(effect.record)

    def may_be_spared(self, worker: str, job: str) -> bool:
        """Having given it back, for no longer than the longest pause."""
        returned = self.returned.get((worker, job))
        return returned is not None and self.now - returned < RETURN_PAUSE_MS_MAX

    def judge_lease(self, record: r.Leased) -> None:
        job, worker = self.jobs[record.job], self.workers[record.worker]
        assert job.state == "Queued"
        assert record.attempt == job.attempt + 1
        assert worker.peer is not None
        assert not worker.draining
        assert len(self.held(record.worker)) < worker.credit
        older = [
            name
            for name, other in self.jobs.items()
            if other.state == "Queued" and other.needs == job.needs and other.place < job.place
            and not self.may_be_spared(record.worker, name)
        ]  # fmt: skip
        assert not older, f"{record.job} was leased before {older}"
        job.state, job.attempt, job.holder = "Running", record.attempt, record.worker
        self.attempts.append((record.job, record.attempt))

    def held(self, worker: str) -> list[str]:
        return [
            name
            for name, job in self.jobs.items()
            if job.state == "Running" and job.holder == worker
        ]

    def replies(self, kind: type) -> list[fx.Effect]:
        return [e for e in self.effects if type(e) is fx.SendWorker and type(e.message) is kind]

    def outcome(self) -> fx.Outcome:
        (reply,) = [e for e in self.effects if type(e) is fx.Reply]
        return reply.outcome

    # --- clients ----------------------------------------------------------------------

    def drop(self, job: JobModel, namespace: str, reason: str) -> None:
        job.namespaces.discard(namespace)
        if job.namespaces:
            return
        age = self.now - job.queued
        grace = 0 if age <= 20_000 else 4_000 if age <= 60_000 else 8_000
        if reason == "JobReplacedByClient" and job.state == "Running" and grace:
            job.evict_at = self.now + grace
        else:
            job.end(reason, self.now)

    @rule(name=jobs, namespace=namespaces)
    def submit(self, name: str, namespace: str) -> None:
        job = self.jobs.get(name)
        for other in [o for o in self.jobs.values() if o.live and o is not job]:
            if namespace != "_" and namespace in other.namespaces:
                self.drop(other, namespace, "JobReplacedByClient")
        needs = NEEDS[JOBS.index(name) % 2]
        new = job is None or not (job.live or job.answered)
        if job is None or new:
            self.places += 1
            attempt = 0 if job is None else job.attempt
            job = self.jobs[name] = JobModel(needs, self.now, self.places, attempt=attempt)
        job.namespaces.add(namespace)
        job.evict_at = 0
        self.step(ev.Submit(1, name, b"{}", needs, namespace))
        outcome = self.outcome()
        assert type(outcome) is fx.Accepted
        assert outcome.new == new

    @rule(name=jobs, namespace=st.sampled_from([*NAMESPACES, "*"]), delete=st.booleans())
    def let_go(self, name: str, namespace: str, delete: bool) -> None:
        job = self.jobs.get(name)
        reason = "Deleted" if delete else "Cancelled"
        known = job is not None and job.state != "Removed"
        ended = False
        if known and job is not None and (job.live or delete):
            held = set(job.namespaces)
            going = held if namespace == "*" else held & {namespace}
            job.namespaces -= going
            if not job.namespaces and (going or namespace == "*" or delete):
                job.end(reason, self.now)
                ended = True
        self.step((ev.Delete if delete else ev.Cancel)(1, name, namespace))
        outcome = self.outcome()
        assert type(outcome) is fx.Cancelled
        assert outcome.ended == ended
        assert (outcome.was is not None) == known

    # --- workers ----------------------------------------------------------------------

    @rule(
        name=workers,
        credit=st.integers(0, 3),
        forgets=st.sets(jobs, max_size=2),
        again=st.booleans(),
    )
    def hello(self, name: str, credit: int, forgets: set[str], again: bool) -> None:
        """On a new connection, or again on the one it has."""
        worker = self.workers.setdefault(name, WorkerModel())
        if worker.peer is None or not again:
            self.peers += 1
            worker.peer = self.peers
        worker.credit, worker.heard, worker.draining = credit, self.now, False
        running = []
        for job in self.held(name):
            if job in forgets:
                self.jobs[job].lose(self.now)
            else:
                running.append(m.Held(job, self.jobs[job].attempt))
        self.step(ev.WorkerSaid(worker.peer, m.Hello(name, "", "", ROOMY, credit, running)))
        (welcome,) = self.replies(m.Welcome)
        assert {kept.job for kept in welcome.message.kept} == {held.job for held in running}

    def connected(self) -> list[str]:
        return [name for name, worker in self.workers.items() if worker.peer is not None]

    def said(self, name: str, message: m.FromWorker) -> None:
        worker = self.workers[name]
        assert worker.peer is not None
        worker.heard = self.now
        self.step(ev.WorkerSaid(worker.peer, message))

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), credit=st.integers(0, 4))
    def credit(self, data: st.DataObject, credit: int) -> None:
        name = data.draw(st.sampled_from(self.connected()))
        self.workers[name].credit = credit
        self.said(name, m.Credit(credit))

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.connected()))
        self.workers[name].draining = True
        self.said(name, m.Drain())

    @precondition(lambda self: any(self.held(name) for name in self.connected()))
    @rule(data=st.data(), kind=st.sampled_from(["finished", "release"]))
    def report_truly(self, data: st.DataObject, kind: str) -> None:
        """On what it holds, so that jobs come to an end often enough."""
        busy = [name for name in self.connected() if self.held(name)]
        name = data.draw(st.sampled_from(busy))
        job = data.draw(st.sampled_from(self.held(name)))
        self.report_on(name, kind, job, self.jobs[job].attempt, "Success")

    @precondition(lambda self: self.connected())
    @rule(
        data=st.data(),
        kind=st.sampled_from(["finished", "finished", "release", "log", "started"]),
        reason=st.sampled_from(["Success", "Error", "TimedOut"]),
    )
    def report(self, data: st.DataObject, kind: str, reason: m.Reason) -> None:
        """On any attempt that ever was, by anybody: mostly late, repeated or a lie."""
        name = data.draw(st.sampled_from(self.connected()))
        job = data.draw(st.sampled_from([job for job, _ in self.attempts[-20:]]))
        attempt = data.draw(st.sampled_from([n for j, n in self.attempts if j == job]))
        self.report_on(name, kind, job, attempt, reason)

    def report_on(self, name: str, kind: str, job: str, attempt: int, reason: m.Reason) -> None:
        current = [(job, self.jobs[job].attempt) for job in self.held(name)]
        model = self.jobs.get(job)
        holds = (job, attempt) in current
        answer = (
            model is not None
            and model.answered
            and (model.holder, model.attempt) == (name, attempt)
        )
        if holds and model is not None and kind == "finished":
            model.end(reason, self.now)
        elif holds and model is not None and kind == "release":
            model.holder = ""
            self.returned[name, job] = self.now
            if model.namespaces:
                model.state = "Queued"
            else:
                model.end("JobReplacedByClient", self.now)
        message: m.FromWorker = {
            "finished": m.Finished(job, attempt, reason, "{}"),
            "release": m.Release(job, attempt),
            "log": m.Log(job, attempt, "Running", 0, [m.LogLine("x", 1)]),
            "started": m.Started(job, attempt, 1),
        }[kind]
        self.said(name, message)
        taken = holds and kind in ("finished", "release")
        assert bool(self.replies(m.Acknowledged)) == (taken or (answer and kind == "finished"))
        assert bool(self.replies(m.Stale)) == (not holds and not (answer and kind == "finished"))

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.connected()))
        peer, self.workers[name].peer = self.workers[name].peer, None
        assert peer is not None
        self.step(ev.WorkerGone(peer))

    # --- time and restarts ------------------------------------------------------------

    @rule(time=st.sampled_from([1, 3_000, 7_000, 15_000, 31_000, RETENTION]))
    def time_passes(self, time: int) -> None:
        until = self.now + time
        while (at := self.engine.next_alarm()) is not None and at <= until:
            self.now = max(self.now, at)
            self.expect_alarm()
            self.step(ev.AlarmRang())
        self.now = until

    def expect_alarm(self) -> None:
        for job in self.jobs.values():
            if job.live and job.evict_at and job.evict_at <= self.now:
                job.end("JobReplacedByClient", self.now)
        for name, worker in self.workers.items():
            if worker.heard + LEASE <= self.now:
                worker.peer = None
                for job_name in self.held(name):
                    self.jobs[job_name].lose(self.now)
        for name, job in list(self.jobs.items()):
            if not job.live and job.ended + RETENTION <= self.now:
                del self.jobs[name]

    @rule(snapshot_at=st.none() | st.floats(0, 1))
    def restart(self, snapshot_at: float | None) -> None:
        again = Engine("q", SETTINGS)
        split = 0 if snapshot_at is None else int(len(self.records) * snapshot_at)
        before = Engine("q", SETTINGS)
        for record in self.records[:split]:
            before.apply(record)
        kept = list(before.snapshot())
        for record in [*kept, *self.records[split:]]:
            again.apply(record)
        assert durable_state(again) == durable_state(self.engine)
        self.engine = again
        self.records = [*kept, *self.records[split:]]
        for worker in self.workers.values():
            worker.peer, worker.heard = None, self.now
        for job in self.jobs.values():
            if job.live and not job.namespaces:
                job.end("JobReplacedByClient", self.now)
        self.read(self.engine.start(self.now))

    # --- judgement --------------------------------------------------------------------

    @invariant()
    def engine_agrees_with_itself(self) -> None:
        self.engine.check()

    @invariant()
    def engine_agrees_with_the_model(self) -> None:
        found = self.engine.jobs.by_id
        assert set(found) == set(self.jobs)
        for name, job in self.jobs.items():
            it = found[name]
            assert (it.state, it.reason, it.attempt, it.losses) == (
                job.state,
                job.reason,
                job.attempt,
                job.losses,
            ), name
            assert set(it.namespaces) == job.namespaces, name
            if job.state == "Running":
                assert it.worker == job.holder, name

    @invariant()
    def nobody_with_room_stands_beside_a_waiting_job(self) -> None:
        waiting = [name for name, job in self.jobs.items() if job.state == "Queued"]
        for name in self.connected():
            worker = self.workers[name]
            has_room = len(self.held(name)) < worker.credit and not worker.draining
            session = self.engine.sessions.by_worker[name]
            wanted = [
                job
                for job in waiting
                if not (session.spared(job, self.now) and self.may_be_spared(name, job))
            ]
            assert not (wanted and has_room), f"{name} has room and {wanted} wait"


settings.register_profile(
    "model",
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
GridMachine.TestCase.settings = settings.get_profile("model")
TestEngineAgainstModel = GridMachine.TestCase
