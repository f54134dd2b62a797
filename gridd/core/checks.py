"""What is always true of an engine. Tests and the simulation ask after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridd.core.jobs import DEFAULT_NAMESPACE
from gridd.core.records import Needs

if TYPE_CHECKING:
    from gridd.core.engine import Engine


def check(engine: Engine) -> None:
    """Raises AssertionError naming the job or worker that breaks a rule."""
    _check_waiting(engine)
    _check_leases(engine)
    _check_namespaces(engine)
    _check_ended(engine)


def _check_waiting(engine: Engine) -> None:
    jobs = engine.jobs
    waiting = {job: (needs, sequence) for needs, sequence, job in jobs.lines}
    assert len(waiting) == jobs.lines.waiting, "a job stands in line twice"
    for job in jobs.by_id.values():
        assert (job.state == "Queued") == (job.id in waiting), f"{job.id} {job.state} and the line"
        if job.state == "Queued":
            assert waiting[job.id] == (job.needs, job.sequence), f"{job.id} stands in a wrong place"
            assert job.definition, f"{job.id} waits without a definition"
            assert job.namespaces, f"{job.id} waits for nobody"
    heads: dict[Needs, int] = {}
    for needs, sequence, _ in jobs.lines.heads():  # of some needs more: those that stand apart
        heads[needs] = min(sequence, heads.get(needs, sequence))
    for needs, sequence, job_id in jobs.lines:
        assert heads[needs] <= sequence, f"{job_id} is older than the head of its line"


def _check_leases(engine: Engine) -> None:
    jobs, sessions = engine.jobs, engine.sessions
    running = {job.id for job in jobs.by_id.values() if job.state == "Running"}
    assert len(running) == jobs.running, "running jobs are miscounted"
    held: set[str] = set()
    for session in sessions.by_worker.values():
        for job_id, (attempt, needs) in session.held.items():
            job = jobs.by_id[job_id]
            assert job_id not in held, f"{job_id} is held twice"
            held.add(job_id)
            assert (job.state, job.worker, job.attempt) == ("Running", session.worker, attempt)
            assert needs == job.needs, f"{job_id} changed its needs while it ran"
        taken = [needs for _, needs in session.held.values()]
        assert session.used_cpus_milli == sum(n.cpus_milli for n in taken), session.worker
        assert session.used_gpus == sum(n.gpus for n in taken), session.worker
        assert session.used_memory == sum(n.memory for n in taken), session.worker
        assert session.ready == (session.worker in sessions.ready), session.worker
        for job_id, (often, _) in session.returned.items():
            name = f"{job_id} {often} {session.worker}"
            assert engine.alarms.has("returned", name), f"{name}: given back for ever"
        assert session.held or session.peer is not None, (
            f"{session.worker} is remembered for naught"
        )
        assert engine.alarms.has("lease", session.worker), f"nobody watches {session.worker}"
        if session.peer is not None:
            assert sessions.by_peer[session.peer] is session, session.worker
    assert held == running, "a running job without a lease, or a lease without a running job"
    assert len(sessions.by_peer) == sum(
        1 for s in sessions.by_worker.values() if s.peer is not None
    ), "a connection that no worker speaks through"
    assert running <= set(engine.logs), "a running job without a log"


def _check_namespaces(engine: Engine) -> None:
    jobs = engine.jobs
    holders: dict[str, str] = {}
    for job in jobs.by_id.values():
        if not job.live:
            continue
        assert bool(job.namespaces) != (job.id in jobs.orphans), f"{job.id} and its holders"
        for namespace in job.namespaces:
            if namespace != DEFAULT_NAMESPACE:
                assert namespace not in holders, f"{namespace} holds two live jobs"
                holders[namespace] = job.id
    assert holders == {name: job.id for name, job in jobs.holders.items()}


def _check_ended(engine: Engine) -> None:
    remembered = {(time, job) for time, job in engine.jobs.ended}
    for job in engine.jobs.by_id.values():
        assert job.losses <= job.attempt, f"{job.id} was lost more often than leased"
        if not job.live:
            assert not job.definition, f"{job.id} has ended and keeps its definition in memory"
            assert not job.story, f"{job.id} has ended and keeps its story in memory"
            assert (job.time, job.id) in remembered, f"{job.id} would never expire"
            assert job.id not in engine.logs, f"{job.id} has ended and keeps its log in memory"
    for job_id, _ in engine.jobs.archive:
        assert job_id not in engine.jobs.by_id, f"{job_id} is archived and is not"
    if remembered or len(engine.jobs.archive):
        assert engine.alarms.has("retention"), "nobody watches retention"
