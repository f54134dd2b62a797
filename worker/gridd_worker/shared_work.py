"""Work that several want at once is done once: they all hear its lines and get its result.

It stops when the last of them has gone. Refuses to remember: what is done is forgotten.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from gridd_protocol.messages import LogLine, Step

_LINES_MAX: Final = 2_000  # kept for those who come later

Tell = Callable[[Step, list[LogLine]], None]
T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.listeners: list[Tell] = []
        self.told: deque[tuple[Step, LogLine]] = deque(maxlen=_LINES_MAX)
        self.task: asyncio.Task[T] | None = None

    def tell(self, step: Step, lines: list[LogLine]) -> None:
        self.told.extend((step, line) for line in lines)
        for listener in self.listeners:
            listener(step, lines)


class SharedWork(Generic[T]):
    """By key. One event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def run(self, key: str, work: Callable[[Tell], Awaitable[T]], log: Tell) -> T:
        """The result of ``work``, or of the same under ``key`` that is being done. What it raises
        reaches all who wait. Cancelling the last of them cancels it, and waits until it is gone."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(self._fly(key, flight, work))
        for step, line in flight.told:
            log(step, [line])
        flight.listeners.append(log)
        assert flight.task is not None
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if len(flight.listeners) == 1 and not flight.task.done():
                self._forget(key, flight)  # whoever comes now begins anew
                flight.task.cancel()
                await asyncio.gather(flight.task, return_exceptions=True)
            raise
        finally:
            flight.listeners.remove(log)

    async def _fly(self, key: str, flight: _Flight[T], work: Callable[[Tell], Awaitable[T]]) -> T:
        try:
            return await work(flight.tell)
        finally:
            self._forget(key, flight)

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
