"""The face of the daemon that the edges (HTTP, sockets) talk to.

What is read here is durable: a method that shows state waits until all that it shows is on disk.
Methods raise ``ProtocolError`` for what a peer got wrong and for what can't be served now.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from gridd.core.effects import Accepted, Cancelled, JobView, WorkerView
from gridd.core.explain import Explanation
from gridd.history import History
from gridd.metrics.pages import GridFigures
from gridd.metrics.queue_figures import QueueFigures
from gridd_protocol.messages import LogLine

ENDED_MAX = 200
"""Jobs in one list of ended ones: some 60 kB, and more than people look through."""


class LogPage(msgspec.Struct, frozen=True):
    """WIRE 1.7. Cursors are absolute: lines dropped at the bound still count.

    ``slice_start`` is the index of the first line in ``data`` (``since``, or later when older
    lines were dropped). ``expired``: the log's time is over, whatever was in it.
    ``more``: lines behind these are to be had now; a page never reaches over dropped lines.
    """

    data: list[LogLine]
    slice_start: int
    next_cursor: int
    is_final: bool
    expired: bool = False
    more: bool = False
    steps: list[tuple[int, str]] = []
    """Of the build log: from which index on its lines are of which step, all of them."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a job's story for a live watcher. Exactly one of the two is set."""

    view: JobView | None = None
    log: tuple[str, int, list[LogLine]] | None = None  # "build" | "run", index of first, lines


class Grid:
    """Signatures only; see ``daemon.Daemon``."""

    @property
    def trouble(self) -> str | None:
        """Why nothing new is accepted now, in a sentence for peers; ``None``: all is well."""
        return None

    async def submit(self, queue: str, body: bytes) -> Accepted:
        """``body`` is the JSON of a submission (WIRE 1.3), checked here: the definition, its id
        against a given ``id`` (409), control, sizes. Returns once durable."""
        raise NotImplementedError

    async def cancel(self, queue: str, job: str, namespace: str, message: str) -> Cancelled:
        raise NotImplementedError

    async def delete(self, queue: str, job: str, namespace: str) -> Cancelled:
        raise NotImplementedError

    async def jobs(self, queue: str) -> dict[str, JobView]:
        """Visible jobs, oldest first. Empty for an unknown queue, which is not created."""
        raise NotImplementedError

    async def ended(self, queue: str) -> dict[str, JobView]:
        """The ``ENDED_MAX`` jobs that ended last, the last first, cancelled ones too. Older ones
        without tags and requirements, which stand in their definitions."""
        raise NotImplementedError

    async def job(self, queue: str | None, job: str) -> JobView | None:
        """``queue=None`` looks in every queue (for ``/j/:id``), the newest change first."""
        raise NotImplementedError

    async def definition(self, queue: str | None, job: str) -> bytes | None:
        """JSON text exactly as submitted."""
        raise NotImplementedError

    async def finished(self, queue: str | None, job: str) -> bytes | None:
        """JSON of the finished job (WIRE 1.5: job record with ``finished``), only for Success,
        Error and TimedOut."""
        raise NotImplementedError

    async def expired(self, queue: str | None, job: str) -> int | None:
        """When the answer of a job that is no longer known was forgotten, in ms since the epoch;
        ``None`` when nothing is known of it (any more: only so many are remembered)."""
        raise NotImplementedError

    async def logs(self, queue: str | None, job: str, kind: str, since: int) -> LogPage:
        """``kind`` is ``build`` or ``run``. An unknown job has an empty page."""
        raise NotImplementedError

    def check_room(self, queue: str) -> None:
        """Raises ``ProtocolError`` (too many) when the grid has no room for one more queue."""

    def watch(self, queue: str, job: str) -> AsyncIterator[Change]:
        """The job's view, its logs so far, then each change as it becomes durable; ends after
        the final view. An unknown job yields nothing until it is submitted. A watcher that does
        not keep up is coalesced: it may see fewer states and larger log steps, never a gap in
        log lines that are still held."""
        raise NotImplementedError

    async def explain(self, queue: str, job: str) -> Explanation | None:
        """Why the job waits. ``None`` for an unknown job."""
        raise NotImplementedError

    async def history(self, queue: str, job: str) -> History | None:
        """The job's story so far, of one that was deleted too. ``None`` for an unknown job."""
        raise NotImplementedError

    async def workers(self, queue: str) -> tuple[WorkerView, ...]:
        raise NotImplementedError

    async def queue_figures(self, queue: str) -> QueueFigures:
        """For the queue's metrics; all 0 for an unknown one, which is not created."""
        raise NotImplementedError

    def figures(self, *, named: bool) -> GridFigures:
        """For the operator's metrics, as of now and whatever is wrong with the disk; ``named``
        tells of queues by their names too. Costs a look at every queue."""
        raise NotImplementedError

    async def counts(self, queue: str) -> dict[str, int]:
        """Jobs by state (``Queued``, ``Running``, ``Finished``), clients and workers."""
        raise NotImplementedError
