"""Who waits: one line for each set of needs, first in first out.

A worker is offered the oldest job that it can take. Jobs with equal needs are interchangeable
for that question, so only the heads of the lines are looked at: the cost of a match grows with
the number of different needs, not with the number of waiting jobs.

A job that a worker gave back is not like the others: for a while, that worker is not offered it
again, and the jobs behind it must not wait for that. It stands apart, as the head of a line of
its own (``sessions.RETURNED_MAX`` bounds how many of them there can be).
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from gridd.core.records import Needs


class _Line:
    """Sequence numbers in a heap; those that left out of turn are skipped when they surface."""

    __slots__ = ("heap", "jobs")

    def __init__(self) -> None:
        self.heap: list[int] = []
        self.jobs: dict[int, str] = {}  # sequence -> job, exactly the waiting ones


class Lines:
    def __init__(self) -> None:
        self._lines: dict[Needs, _Line] = {}
        self._apart: dict[int, tuple[Needs, str]] = {}  # sequence -> a line of one
        self.waiting = 0

    def add(self, needs: Needs, sequence: int, job: str) -> None:
        """``job`` waits at ``sequence``; a job that comes back takes its old place again."""
        line = self._lines.get(needs)
        if line is None:
            line = self._lines[needs] = _Line()
        line.jobs[sequence] = job
        heappush(line.heap, sequence)
        self.waiting += 1

    def set_apart(self, needs: Needs, sequence: int) -> None:
        """Of a job that waits: it keeps its place, and nobody stands behind it any more."""
        if sequence not in self._apart:
            job = self._lines[needs].jobs[sequence]
            self.remove(needs, sequence)
            self._apart[sequence] = (needs, job)
            self.waiting += 1

    def remove(self, needs: Needs, sequence: int) -> None:
        self.waiting -= 1
        if self._apart.pop(sequence, None) is not None:
            return
        line = self._lines[needs]
        del line.jobs[sequence]
        if not line.jobs:
            del self._lines[needs]  # also bounds the heap: it goes with its last job
        elif len(line.heap) > 2 * len(line.jobs) + 64:
            line.heap = sorted(line.jobs)  # a sorted list is a heap; keeps skipped ones few

    def heads(self) -> Iterator[tuple[Needs, int, str]]:
        """The oldest job of each line: ``(needs, sequence, job)``, in no particular order."""
        for needs, line in self._lines.items():
            heap, jobs = line.heap, line.jobs
            while heap[0] not in jobs:
                heappop(heap)
            yield needs, heap[0], jobs[heap[0]]
        for sequence, (needs, job) in self._apart.items():
            yield needs, sequence, job

    def ahead_of(self, sequence: int) -> int:
        """How many waiting jobs stand before ``sequence``, over all lines."""
        before = sum(1 for line in self._lines.values() for other in line.jobs if other < sequence)
        return before + sum(1 for other in self._apart if other < sequence)

    def __iter__(self) -> Iterator[tuple[Needs, int, str]]:
        """Every waiting job; for checks."""
        for needs, line in self._lines.items():
            for sequence, job in line.jobs.items():
                yield needs, sequence, job
        for sequence, (needs, job) in self._apart.items():
            yield needs, sequence, job


class NoLines(Lines):
    """Nobody stands here; for replay, when it is not known yet who will still wait at its end."""

    def add(self, needs: Needs, sequence: int, job: str) -> None:
        pass

    def remove(self, needs: Needs, sequence: int) -> None:
        pass
