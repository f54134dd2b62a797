"""Which of several queues is offered the next free slots: each in its turn, by its weight.

Queues do not know of one another, and a worker does not see who has jobs waiting. So the free
slots are promised to the queues that took jobs lately, in proportion to their weights (stride
scheduling); one that leaves its share unused is idle from then on, and an idle queue is always
offered one slot, so that its first job makes it busy again. Pure: no clock, no credit, no jobs.
"""

from collections.abc import Mapping


class Turns:
    """``weights`` by queue, 1 or more; of equals the one named first goes first."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._stride = {queue: 1 / weight for queue, weight in weights.items()}
        self._passed = dict.fromkeys(weights, 0.0)  # grows by a stride with each job
        self._now = 0.0  # where the queue stood that was served last
        self._busy = set(weights)  # until it is known better
        self._offered: dict[str, int] = {}
        self._took: set[str] = set()

    def shares(self, free: int) -> dict[str, int]:
        """How many of ``free`` slots each queue is offered now."""
        passed = dict(self._passed)
        shares = {queue: 0 if queue in self._busy else min(free, 1) for queue in passed}
        busy = [queue for queue in passed if queue in self._busy]
        for _ in range(free if busy else 0):
            first = min(busy, key=passed.__getitem__)
            shares[first] += 1
            passed[first] += self._stride[first]
        self._offered = shares
        return shares

    def took(self, queue: str) -> None:
        """A job of ``queue`` got a slot."""
        if queue not in self._busy:
            # It has no claim to what it did not ask for while it was idle.
            self._passed[queue] = max(self._passed[queue], self._now)
            self._busy.add(queue)
        self._now = max(self._now, self._passed[queue])
        self._passed[queue] += self._stride[queue]
        self._took.add(queue)

    def turn_over(self) -> bool:
        """The time of an offer has passed: who took nothing of it is idle. True when that changes
        the shares."""
        idle = {q for q in self._busy if self._offered.get(q) and q not in self._took}
        self._took.clear()
        self._busy -= idle
        return bool(idle)
