"""How one queue is doing, in figures, and the families that show them.

On a queue's own page they have no label: whoever reads it knows the name already, which is the
queue's only key.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gridd.core.engine import Engine
from gridd.metrics.tally import Tally
from gridd.metrics.text import Family, Sample, each, one


@dataclass(slots=True)
class QueueFigures:
    """``ended``: kept answers. Credit, cpus and gpus are those of connected workers that take
    jobs; ``free`` says how much of each no lease uses. Of an unknown queue all is 0."""

    waiting: int = 0
    running: int = 0
    ended: int = 0
    oldest_waiting_ms: int = 0
    workers: int = 0
    draining: int = 0
    clients: int = 0
    credit: int = 0
    credit_free: int = 0
    cpus: float = 0.0
    cpus_free: float = 0.0
    gpus: int = 0
    gpus_free: int = 0
    tally: Tally = field(default_factory=Tally)


def figures_of(engine: Engine, tally: Tally, clients: int, now_ms: int) -> QueueFigures:
    """Costs a look at each worker and at the head of each line."""
    jobs = engine.jobs
    found = QueueFigures(
        waiting=jobs.lines.waiting,
        running=jobs.running,
        ended=jobs.known - jobs.live,
        clients=clients,
        tally=tally,
    )
    oldest = min(((sequence, job) for _, sequence, job in jobs.lines.heads()), default=None)
    if oldest is not None:
        found.oldest_waiting_ms = max(now_ms - jobs.by_id[oldest[1]].queued_time, 0)
    for session in engine.sessions.by_peer.values():
        found.workers += 1
        if session.draining:
            found.draining += 1
            continue
        has = session.resources
        found.credit += session.credit
        found.credit_free += max(session.credit - len(session.held), 0)
        found.cpus += has.cpus
        found.cpus_free += max(has.cpus - session.used_cpus_milli / 1_000, 0)
        found.gpus += has.gpus
        found.gpus_free += max(has.gpus - session.used_gpus, 0)
    return found


def add(total: QueueFigures, more: QueueFigures) -> None:
    """The sums of several queues; tallies are not summed here."""
    total.waiting += more.waiting
    total.running += more.running
    total.ended += more.ended
    total.oldest_waiting_ms = max(total.oldest_waiting_ms, more.oldest_waiting_ms)
    total.workers += more.workers
    total.draining += more.draining
    total.clients += more.clients
    total.credit += more.credit
    total.credit_free += more.credit_free
    total.cpus += more.cpus
    total.cpus_free += more.cpus_free
    total.gpus += more.gpus
    total.gpus_free += more.gpus_free


QUEUE_LENGTH: Family[QueueFigures] = Family(
    "queue_length",
    "gauge",
    "Jobs that wait or run",
    one(lambda f: f.waiting + f.running),
)
"""Upstream's only series, which autoscalers read (WIRE 8)."""


def queue_families(prefix: str) -> list[Family[QueueFigures]]:
    """``prefix``: ``gridd_queue`` of one queue, ``gridd`` of all together."""

    def named(name: str) -> str:
        return f"{prefix}_{name}"

    return [
        Family(named("jobs"), "gauge", "Known jobs by state; each running one is a lease", _jobs),
        Family(
            named("oldest_waiting_seconds"),
            "gauge",
            "Since the job that is first in line was submitted; 0: none waits",
            one(lambda f: f.oldest_waiting_ms / 1_000),
        ),
        Family(named("workers"), "gauge", "Connected workers", _workers),
        Family(named("clients"), "gauge", "Client sockets", one(lambda f: f.clients)),
        Family(
            named("credit"),
            "gauge",
            "Jobs that connected workers take at a time",
            lambda f: _used(f.credit, f.credit_free),
        ),
        Family(
            named("cpus"),
            "gauge",
            "Cpus of connected workers that take jobs",
            lambda f: _used(f.cpus, f.cpus_free),
        ),
        Family(
            named("gpus"),
            "gauge",
            "Gpus of connected workers that take jobs",
            lambda f: _used(f.gpus, f.gpus_free),
        ),
        Family(
            named("jobs_submitted_total"),
            "counter",
            "Jobs that got in line, the same one again too",
            one(lambda f: f.tally.submitted),
        ),
        Family(
            named("job_start_seconds"),
            "histogram",
            "From a job's submission to its first lease",
            lambda f: f.tally.start_seconds.samples(),
        ),
        Family(
            named("jobs_finished_total"),
            "counter",
            "Jobs that ended, by reason",
            lambda f: each("reason", f.tally.finished_by_reason()),
        ),
        Family(
            named("requeues_total"),
            "counter",
            "Leases after which the job waited again: its worker was lost, or gave it back",
            lambda f: each("why", {"lost": f.tally.lost, "released": f.tally.released}),
        ),
    ]


def _jobs(f: QueueFigures) -> Iterable[Sample]:
    return each("state", {"Queued": f.waiting, "Running": f.running, "Finished": f.ended})


def _workers(f: QueueFigures) -> Iterable[Sample]:
    return each("state", {"ready": f.workers - f.draining, "draining": f.draining})


def _used(all: float, free: float) -> Iterable[Sample]:
    return each("use", {"used": all - free, "free": free})
