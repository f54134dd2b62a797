"""How many jobs each queue of a worker is offered.

Owns whose turn it is (``turns`` decides) and which queues pushed what did not fit. What is free and
what is held is asked for each time.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gridd_worker.turns import Turns

TURN_S = 0.25  # a queue that has jobs pushes one within a few round trips
NO_ROOM_S = 5.0  # a queue that pushed what did not fit is given no more credit for so long


class Taker(Protocol):
    """A queue as it is seen from here; ``active`` are the jobs that it holds."""

    queue: str

    @property
    def active(self) -> int: ...

    def set_credit(self, jobs: int) -> None: ...


class Spread:
    """``credit`` is the worker's, for all of its queues. ``free_cpus`` is asked for what is free.
    ``begin`` it inside the loop, ``close`` it."""

    def __init__(
        self, credit: int, weights: Mapping[str, int], free_cpus: Callable[[], float]
    ) -> None:
        self._credit = credit
        self._free_cpus = free_cpus
        self._takers: Sequence[Taker] = ()
        self._held = False
        self._no_room: dict[str, asyncio.TimerHandle] = {}  # by queue
        self._turns = Turns(weights)
        self._turn: asyncio.TimerHandle | None = None

    def begin(self, takers: Sequence[Taker]) -> None:
        self._takers = takers
        self._spread()

    def hold(self, held: bool) -> None:
        """While ``held``, nobody is offered anything."""
        self._held = held
        self._spread()

    def on_slots(self) -> None:
        """What is free has changed."""
        if len(self._takers) > 1:
            self._spread()

    def on_took(self, queue: str) -> None:
        """A job of ``queue`` got what it needs."""
        self._turns.took(queue)
        self.on_slots()

    def on_no_room(self, queue: str) -> None:
        """A push of ``queue`` could not be placed."""
        former = self._no_room.pop(queue, None)
        if former is not None:
            former.cancel()
        loop = asyncio.get_running_loop()
        self._no_room[queue] = loop.call_later(NO_ROOM_S, self._on_room, queue)
        self._spread()

    def close(self) -> None:
        for timer in self._no_room.values():
            timer.cancel()
        if self._turn is not None:
            self._turn.cancel()

    def _spread(self) -> None:
        """One queue: all of it, the server counts what is free. Several queues do not know of
        each other, so each is offered what it holds and its share of what is free now."""
        active = {one.queue: one.active for one in self._takers}
        free = max(0, min(self._credit - sum(active.values()), int(self._free_cpus())))
        several = len(self._takers) > 1
        shares = self._turns.shares(free) if several else {}
        for one in self._takers:
            if self._held:
                one.set_credit(0)
            elif one.queue in self._no_room:
                one.set_credit(active[one.queue])
            elif several:
                one.set_credit(active[one.queue] + shares[one.queue])
            else:
                one.set_credit(self._credit)
        if several and free and self._turn is None:
            self._turn = asyncio.get_running_loop().call_later(TURN_S, self._on_turn)

    def _on_turn(self) -> None:
        self._turn = None
        if self._turns.turn_over():
            self._spread()

    def _on_room(self, queue: str) -> None:
        del self._no_room[queue]
        self._spread()
