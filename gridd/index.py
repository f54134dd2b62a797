"""Where the journal keeps what memory does not: job -> its definition and its result.

This is Bitcask's key directory. An entry is made when a record is durable (or read on replay)
and goes when the job expires.
"""

from collections.abc import Iterator

from gridd.core import records as r
from gridd.journal.base import Position


class Index:
    def __init__(self) -> None:
        self._queues: dict[str, dict[str, tuple[Position, Position | None]]] = {}

    def located(self, record: r.Record, position: Position) -> None:
        """``record`` lies at ``position``."""
        if type(record) is r.Submitted:
            self.put(record.queue, record.job, position, None)
        elif type(record) is r.Finished:
            definition, _ = self._queues[record.queue][record.job]
            self.put(record.queue, record.job, definition, position)
        elif type(record) is r.Expired:
            self._forget(record.queue, record.job)

    def put(self, queue: str, job: str, definition: Position, result: Position | None) -> None:
        self._queues.setdefault(queue, {})[job] = (definition, result)

    def get(self, queue: str, job: str) -> tuple[Position, Position | None] | None:
        """``(definition, result)``; the result is ``None`` until the job has ended."""
        return self._queues.get(queue, {}).get(job)

    def queues_of(self, job: str) -> list[str]:
        """Queues that know ``job``: one look into each (rarely asked, so it has no table)."""
        return [queue for queue, jobs in self._queues.items() if job in jobs]

    def _forget(self, queue: str, job: str) -> None:
        jobs = self._queues.get(queue, {})
        jobs.pop(job, None)
        if not jobs:
            self._queues.pop(queue, None)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for queue, jobs in self._queues.items():
            for job in jobs:
                yield queue, job
