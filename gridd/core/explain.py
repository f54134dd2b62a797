"""Why a job waits: its place in the line, what it asks for, and what each worker lacks for it.

A look, nothing more: it asks the same questions as ``matching`` and ``sessions``, decides nothing
and changes nothing. The sentences are for people; machines have the numbers beside them.
"""

import msgspec

from gridd.core.job import Job
from gridd.core.moves import Moves
from gridd.core.records import Needs, StateName
from gridd.core.sessions import Session
from gridd_protocol.units import format_bytes, format_duration

WORKERS_MAX = 100
"""Workers that one explanation lists; ``workers_connected`` counts them all."""


class WorkerFit(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """``could``: it has enough in all, so waiting for it makes sense. ``why_not``: what it lacks
    for the job in all, or else what keeps it from taking the job now; empty: nothing does."""

    worker: str
    could: bool
    why_not: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """``ahead``: waiting jobs that were submitted earlier; ``waiting``: all that wait, this one
    included. ``needs`` as in ``records.Needs``, cpus in whole cpus, ``max_duration`` in ms."""

    state: StateName
    summary: str
    ahead: int
    waiting: int
    attempt: int
    losses: int
    needs: dict[str, float | str | tuple[str, ...]]
    workers_connected: int
    workers: tuple[WorkerFit, ...]


def explain(queue: Moves, job_id: str) -> Explanation | None:
    """``None`` for a job that the queue does not know. Costs a pass over the waiting jobs."""
    job = queue.jobs.look(job_id)
    if job is None or job.state == "Removed":
        return None
    waits = job.state == "Queued"
    connected = [s for s in queue.sessions.by_worker.values() if s.peer is not None]
    fits = [_fit(queue, session, job) for session in connected] if waits else []
    fits.sort(key=lambda fit: (not fit.could, len(fit.why_not), fit.worker))
    ahead = queue.jobs.lines.ahead_of(job.sequence) if waits else 0
    return Explanation(
        state=job.state,
        summary=_waiting(job, fits, ahead) if waits else _not_waiting(job),
        ahead=ahead,
        waiting=queue.jobs.lines.waiting,
        attempt=job.attempt,
        losses=job.losses,
        needs=_shown(job.needs),
        workers_connected=len(connected),
        workers=tuple(fits[:WORKERS_MAX]),
    )


def _not_waiting(job: Job) -> str:
    if job.state == "Running":
        return f"It runs on worker {job.worker} (attempt {job.attempt})."
    return f"It does not wait any more: it ended as {job.reason}."


def _waiting(job: Job, fits: list[WorkerFit], ahead: int) -> str:
    lost = f" Its worker was lost {_counted(job.losses, 'time')} so far." if job.losses else ""
    if not fits:
        return f"No worker is connected to this queue.{lost}"
    able = sum(fit.could for fit in fits)
    if not able:
        return (
            f"None of the connected workers ({len(fits)}) can ever run it: "
            f"{fits[0].worker} {fits[0].why_not[0]}.{lost}"
        )
    line = f"{_counted(ahead, 'older job')} waiting before it" if ahead else "it is first in line"
    return f"It waits for room: {able} of {len(fits)} connected can run it; {line}.{lost}"


def _fit(queue: Moves, session: Session, job: Job) -> WorkerFit:
    if not session.could(job.needs):
        return WorkerFit(session.worker, False, tuple(_lacks(session, job.needs)))
    return WorkerFit(session.worker, True, tuple(_keeps(queue, session, job)))


def _lacks(session: Session, needs: Needs) -> list[str]:
    """What this worker never has enough of. Mirrors ``Session.could``."""
    has, found = session.resources, []
    if needs.kind not in has.runs:
        named = "names an image" if needs.kind == "container" else "names no image and no build"
        only = " and ".join(has.runs)
        found.append(f"runs {f'{only} jobs only' if only else 'nothing'}, and this job {named}")
    if needs.cpus_milli > has.cpus * 1_000 + 0.5:
        found.append(f"has {has.cpus:g} cpus; {needs.cpus_milli / 1_000:g} are asked for")
    if needs.gpus > has.gpus:
        found.append(f"has {has.gpus} gpus; {needs.gpus} are asked for")
    if has.memory and needs.memory > has.memory:
        have, wanted = format_bytes(has.memory), format_bytes(needs.memory)
        found.append(f"has {have} of memory; {wanted} are asked for")
    if needs.max_duration > has.max_duration:
        have, wanted = format_duration(has.max_duration), format_duration(needs.max_duration)
        found.append(f"allows {have} a run; {wanted} are asked for")
    if missing := sorted(set(needs.tags) - set(has.tags)):
        found.append(f"lacks the tags {', '.join(missing)}")
    return found


def _keeps(queue: Moves, session: Session, job: Job) -> list[str]:
    """What keeps it from taking the job now. Mirrors ``Session.ready`` and ``Session.fits``."""
    found = []
    if session.spared(job.id, queue._now):
        found.append("gave it back, and is offered it again in a while")
    if session.draining:
        found.append("takes nothing new: it is about to leave")
    elif session.credit <= 0:
        found.append("asks for no jobs now")
    elif len(session.held) >= session.credit:
        found.append(f"holds {_counted(len(session.held), 'job')}, as many as it takes at a time")
    needs, has = job.needs, session.resources
    free_milli = round(has.cpus * 1_000) - session.used_cpus_milli
    if needs.cpus_milli > free_milli + 0.5:
        found.append(f"has {free_milli / 1_000:g} cpus free; {needs.cpus_milli / 1_000:g} needed")
    if needs.gpus > has.gpus - session.used_gpus:
        found.append(f"has {has.gpus - session.used_gpus} gpus free; {needs.gpus} needed")
    free_memory = has.memory - session.used_memory
    if has.memory and needs.memory > free_memory:
        free, wanted = format_bytes(max(free_memory, 0)), format_bytes(needs.memory)
        found.append(f"has {free} of memory free; {wanted} needed")
    if session.reserved_for not in (None, job.id):
        kept_for = queue.jobs.by_id.get(session.reserved_for or "")
        if kept_for is not None and kept_for.sequence < job.sequence:
            found.append("is kept free for an older job that needs more room")
    return found


def _shown(needs: Needs) -> dict[str, float | str | tuple[str, ...]]:
    return {
        "kind": needs.kind,
        "cpus": needs.cpus_milli / 1_000,
        "gpus": needs.gpus,
        "memory": needs.memory,
        "maxDuration": needs.max_duration,
        "tags": needs.tags,
    }


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
