"""Reading the segments of a journal: all records in order, or one by its position.

In any thread, beside the writer. Owns the files that are kept open for it; what is held is the
writer's to say (``held``), and the bytes are ``format``'s.
"""

from collections.abc import Callable, Iterator

from gridd.journal.base import START, JournalError, Position
from gridd.journal.format import Broken, Header, SegmentWalk, read_frame
from gridd.journal.fs import File
from gridd.journal.held import Held
from gridd.journal.names import damaged, segment_path
from gridd.journal.readers import OpenSegments


class LogReader:
    """``open_segment`` opens the file of a segment for reading, or raises ``OSError``."""

    def __init__(self, directory: str, held: Held, open_segment: Callable[[int], File]) -> None:
        self._directory = directory
        self._held = held
        self._open = open_segment
        self._readers = OpenSegments(open_segment)

    def replay(self, after: Position = START) -> Iterator[tuple[Position, bytes]]:
        """See ``Journal.replay``. Up to what is durable now; memory: a chunk and one payload.

        From ``START`` it begins with the oldest segment held. Any other position whose records
        are not all held, or that is past the end, is ``Damaged`` at once.
        """
        headers, end = self._held.look()
        first = min(headers)
        if after > end:
            raise damaged(
                segment_path(self._directory, after.segment),
                after.offset,
                f"it is needed from there on, but the journal ends at {end.segment}/{end.offset}",
            )
        begins_at_first = after == (first - 1, headers[first].offset)
        if after.segment < first and after != START and not begins_at_first:
            raise damaged(
                segment_path(self._directory, after.segment),
                after.offset,
                f"it is needed from there on, but the oldest segment held is {first}",
            )
        return self._replay(headers, max(after, Position(first, 0)), end)

    def _replay(
        self, headers: dict[int, Header], after: Position, end: Position
    ) -> Iterator[tuple[Position, bytes]]:
        for number in range(after.segment, end.segment + 1):
            path = segment_path(self._directory, number)
            stop = end.offset if number == end.segment else headers[number + 1].offset
            start = after.offset if number == after.segment else 0
            try:
                file = self._open(number)
                try:
                    yield from SegmentWalk(file, headers[number], stop).records(start)
                finally:
                    file.close()
            except Broken as broken:
                raise damaged(path, broken.offset, broken.reason) from None
            except OSError as error:
                raise JournalError(f"{path}: {error}") from error

    def read(self, position: Position) -> bytes:
        """See ``Journal.read``. ``KeyError`` also for a place that nothing was written to yet."""
        headers, end = self._held.look()
        if position.segment not in headers or position >= end:
            raise KeyError(position)
        path = segment_path(self._directory, position.segment)
        last = position.segment == end.segment
        stop = end.offset if last else headers[position.segment + 1].offset
        try:
            with self._readers.borrow(position.segment) as file:
                return read_frame(file, position.offset, stop)
        except Broken as broken:
            raise damaged(path, broken.offset, broken.reason) from None
        except OSError as error:
            if position.segment not in self._held.headers:  # forgotten just now
                raise KeyError(position) from None
            raise JournalError(f"{path}: {error}") from error

    def drop(self, segment: int) -> None:
        """Its file is about to go."""
        self._readers.drop(segment)

    def close(self) -> None:
        self._readers.close()
