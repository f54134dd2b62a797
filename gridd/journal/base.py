"""What the daemon asks of a journal, and which error means what."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Position(NamedTuple):
    """Where a record starts. Positions are ordered as the records are; ``START`` is before all."""

    segment: int
    offset: int


START = Position(0, 0)


class JournalError(Exception):
    """The world failed: the journal can't be used. The message says which file and what to do."""


class Damaged(JournalError):
    """Bytes that were once durable do not read back. Names file, offset and what to do."""


class Fenced(JournalError):
    """Somebody else writes this journal (or has written to it since): stop writing."""


class WriteFailed(JournalError):
    """A write or sync failed. Nothing of that batch may be acknowledged, and every further append
    is refused until ``reopen``: the state of the file is not known any more."""


class Journal(Protocol):
    """Payloads are opaque bytes, at most ``PAYLOAD_BYTES_MAX``. Methods block on the disk: call
    them from a worker thread, one ``append`` at a time. ``read`` may run beside an ``append``."""

    @property
    def end(self) -> Position:
        """The position after the last durable record."""
        ...

    def append(self, batch: Sequence[bytes], after: Position) -> list[Position]:
        """Write the batch in order, sync once, and return where each record lies.

        ``after`` is the position that the writer believes is the end; otherwise ``Fenced``.
        Raises ``WriteFailed`` when it is not known to be durable.
        """
        ...

    def reopen(self) -> None:
        """After ``WriteFailed``: cut what is not known to be durable, make sure that the disk takes
        writes again, and accept appends. Does nothing when appends are accepted.

        Raises ``WriteFailed`` when the disk still refuses: all is as before, reading goes on and
        it may be called again. ``Fenced`` and ``Damaged`` are final. ``read`` and ``replay`` may
        run beside it.
        """
        ...

    def replay(self, after: Position = START) -> Iterator[tuple[Position, bytes]]:
        """Records from ``after`` on, in order, up to what is durable now.

        ``after`` is any position or ``end`` that this journal gave out, also before a restart;
        ``START`` means the oldest record held. Raises ``Damaged`` where one is not whole, and
        at once when ``after`` is past the end or records behind it were forgotten.
        """
        ...

    def read(self, position: Position) -> bytes:
        """The record at ``position``. Raises ``Damaged``, or ``KeyError`` when it was forgotten."""
        ...

    def sealed(self) -> list[tuple[int, int]]:
        """``(segment, age)`` of the held segments that are written to no more, oldest first, and
        how many ms ago each was closed: nothing in it is younger. By the wall clock, so an age is
        negative for a while when that is set back."""
        ...

    def write_snapshot(self, at: Position, payloads: Iterable[bytes]) -> None:
        """Keep ``payloads`` as the whole state at ``at``: written beside, synced, then renamed.

        The last two are kept. Raises ``JournalError`` when it could not be kept, which harms
        neither the log nor the older ones. May run beside an ``append``.
        """
        ...

    def read_snapshot(self) -> tuple[Position, Iterator[bytes]] | None:
        """The newest whole snapshot, or ``None``. A damaged one is passed over for an older.

        Raises ``Damaged`` when none is whole and the log has forgotten its beginning.
        """
        ...

    def forget(self, before: Position) -> None:
        """Drop whole segments that end at or before ``before``, never the last, and only as far
        as the older of the kept snapshots reaches: without a snapshot nothing is dropped."""
        ...

    def close(self) -> None:
        """Release files and the lock. Twice is fine."""
        ...


PAYLOAD_BYTES_MAX = 32 << 20
