"""What one process measures of itself: its disk, its sockets, its answers, its own pace.

The parts of the server write into one ``Meters``; the operator's page reads it. No name of a
queue, a job or a peer is ever in here.
"""

from time import monotonic
from typing import Final, Protocol

from gridd.metrics.histogram import (
    BATCH_RECORDS,
    DISK_SECONDS,
    LAG_SECONDS,
    SNAPSHOT_SECONDS,
    Histogram,
)
from gridd_protocol.errors import ErrorCode

SOCKET_KINDS: Final = ("client", "worker", "upstream-worker", "events")


class Sending(Protocol):
    """An outbox, as far as it is measured."""

    @property
    def waiting_bytes(self) -> int: ...

    @property
    def was_cut_off(self) -> bool: ...


class SocketMeter:
    """The open sockets by kind. What waits to be sent is summed when it is asked for, so that
    sending costs nothing more."""

    def __init__(self) -> None:
        self._open: dict[str, dict[int, Sending | None]] = {kind: {} for kind in SOCKET_KINDS}
        self._drawn = 0
        self.opened = dict.fromkeys(SOCKET_KINDS, 0)
        self.cut_off = dict.fromkeys(SOCKET_KINDS, 0)

    def begin(self, kind: str, outbox: Sending | None = None) -> int:
        """A socket is open; its number, for ``end``."""
        self._drawn += 1
        self._open[kind][self._drawn] = outbox
        self.opened[kind] += 1
        return self._drawn

    def end(self, kind: str, number: int) -> None:
        outbox = self._open[kind].pop(number)
        if outbox is not None and outbox.was_cut_off:
            self.cut_off[kind] += 1

    def open(self) -> dict[str, int]:
        return {kind: len(here) for kind, here in self._open.items()}

    def waiting_bytes(self) -> dict[str, int]:
        return {
            kind: sum(outbox.waiting_bytes for outbox in here.values() if outbox is not None)
            for kind, here in self._open.items()
        }


class Meters:
    def __init__(self) -> None:
        self.began = monotonic()
        self.append_seconds = Histogram(DISK_SECONDS)
        self.sync_seconds = Histogram(DISK_SECONDS)  # written to by the journal's thread
        self.batch_records = Histogram(BATCH_RECORDS)
        self.journal_bytes = 0
        self.snapshot_seconds = Histogram(SNAPSHOT_SECONDS)
        self.lag_seconds = Histogram(LAG_SECONDS)
        self.troubles = 0
        self.sockets = SocketMeter()
        self.responses = dict.fromkeys(("1xx", "2xx", "3xx", "4xx", "5xx"), 0)
        self.errors = {code.value: 0 for code in ErrorCode}
        self._looked: float | None = None

    def appended(self, records: int, size_bytes: int, seconds: float) -> None:
        """One batch is durable; ``seconds`` from handing it over to knowing so."""
        self.batch_records.observe(records)
        self.journal_bytes += size_bytes
        self.append_seconds.observe(seconds)

    def answered(self, status: int) -> None:
        self.responses[f"{status // 100}xx"] += 1

    def refused(self, code: ErrorCode) -> None:
        """A peer was told so, over HTTP or a socket."""
        self.errors[code.value] += 1

    def looked(self, pause_s: float) -> None:
        """Called by the loop every ``pause_s``: how much later it was is its lag."""
        now = monotonic()
        if self._looked is not None:
            self.lag_seconds.observe(max(now - self._looked - pause_s, 0.0))
        self._looked = now
