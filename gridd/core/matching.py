"""Which worker gets which job: first in first out within what a worker can take.

A small job may pass a big one that does not fit just now (otherwise workers would idle), but not
for ever: once a job has waited ``PATIENCE_MS`` past a worker that could run it, that worker is
kept free for it: until the job is leased, only older jobs go there (DESIGN 5.8). One job reserves
one worker, so the price of a big job is one worker's idle time, not the grid's.

A worker that gave a job back is spared it for a growing pause (``sessions``): others may take it
at once, and it may take others.
"""

from gridd.core.job import Job
from gridd.core.jobs import Jobs
from gridd.core.sessions import Session, Sessions

PATIENCE_MS = 10_000


def next_match(jobs: Jobs, sessions: Sessions, now: int) -> tuple[Session, Job] | None:
    """The next lease to give, or ``None``. Call again after each lease."""
    if not jobs.lines.waiting:
        return None
    for session in sessions.ready.values():
        job = _oldest_that_fits(jobs, sessions, session, now)
        if job is not None:
            return session, job
    return None


def _oldest_that_fits(jobs: Jobs, sessions: Sessions, session: Session, now: int) -> Job | None:
    barrier = _barrier(jobs, session)
    best: tuple[int, str] | None = None
    for needs, sequence, job_id in jobs.lines.heads():
        if best is not None and sequence > best[0]:
            continue
        if not session.could(needs) or session.spared(job_id, now):
            continue
        if not session.fits(needs):
            job = jobs.by_id[job_id]
            if now - job.queued_time >= PATIENCE_MS and _reserve(sessions, session, job, jobs):
                barrier = sequence
            continue
        if best is None or sequence < best[0]:
            best = (sequence, job_id)
    if best is None or (barrier is not None and best[0] > barrier):
        return None
    return jobs.by_id[best[1]]


def _barrier(jobs: Jobs, session: Session) -> int | None:
    """The place of the job that this worker is kept free for, if that job still waits."""
    if session.reserved_for is None:
        return None
    job = jobs.by_id.get(session.reserved_for)
    if job is None or job.state != "Queued" or not session.could(job.needs):
        session.reserved_for = None
        return None
    return job.sequence


def _reserve(sessions: Sessions, session: Session, job: Job, jobs: Jobs) -> bool:
    """Keep ``session`` free for ``job``, unless either is promised already (an older job's
    promise stands; a younger one's gives way). True when this worker is now kept for it."""
    for other in sessions.by_worker.values():
        if other.reserved_for == job.id:
            if other.willing and other.could(job.needs):
                return other is session
            other.reserved_for = None
    held_for = _barrier(jobs, session)
    if held_for is not None and held_for < job.sequence:
        return False
    session.reserved_for = job.id
    return True
