"""Times at which the engine wants to be woken: a heap of ``(time, kind, name)``.

An alarm is never taken back: what it was set for may have moved on, so whoever handles it looks
again and sets it anew. Setting a pair that is already set keeps the one alarm it has, so there
are at most as many alarms as things that can be due.
"""

from heapq import heappop, heappush
from typing import Literal

Kind = Literal["lease", "evict", "returned", "retention"]


class Alarms:
    def __init__(self) -> None:
        self._heap: list[tuple[int, Kind, str]] = []
        self._set: set[tuple[Kind, str]] = set()  # only asked, never walked

    def set(self, time: int, kind: Kind, name: str) -> None:
        """Ring at ``time`` (ms), unless an alarm of this kind and name is set already."""
        if (kind, name) not in self._set:
            self._set.add((kind, name))
            heappush(self._heap, (time, kind, name))

    def has(self, kind: Kind, name: str = "") -> bool:
        return (kind, name) in self._set

    def next(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> tuple[Kind, str] | None:
        """One alarm that is due at ``now``, if any."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, kind, name = heappop(self._heap)
        self._set.discard((kind, name))
        return kind, name
