"""Logs of ended jobs, kept decoded for a while: their pages are asked for one after the other.

Bounded by bytes, since one log may be as large as thousands of others.
"""

from collections import OrderedDict
from typing import Final

from gridd.core.logs import StoredLogs

STORED_LOGS_BYTES_MAX: Final = 32 << 20
"""Of the records that they stand in; decoded, lines take two to four times as much."""


class StoredLogsCache:
    """By the place of the record. What was asked for longest ago goes first; the newest is kept
    whatever its size."""

    def __init__(self, bytes_max: int = STORED_LOGS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, tuple[StoredLogs, int]] = OrderedDict()
        self._bytes = 0

    def get(self, place: int) -> StoredLogs | None:
        found = self._kept.get(place)
        if found is None:
            return None
        self._kept.move_to_end(place)
        return found[0]

    def keep(self, place: int, logs: StoredLogs, size: int) -> None:
        """``size``: bytes of the record."""
        self._forget(place)
        self._kept[place] = (logs, size)
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def _forget(self, place: int) -> None:
        former = self._kept.pop(place, None)
        if former is not None:
            self._bytes -= former[1]
