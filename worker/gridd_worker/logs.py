"""The log of one attempt: lines with absolute cursors, kept until the result is acknowledged.

Owns what the server may still ask for again after a reconnect. Bounded in lines and in bytes:
the tail is kept, and a marker line says how many lines were dropped on the way. Refuses to know
about messages, connections and time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gridd_protocol.limits import (
    LOG_BYTES_PER_JOB_MAX,
    LOG_LINE_BYTES_MAX,
    LOG_LINES_PER_JOB_MAX,
)
from gridd_protocol.messages import LogLine, Step

LINE_OVERHEAD_BYTES = 24
"""What a line costs in a frame besides its text: the time, the flag and the array around them."""

_SAFE_CHARACTERS = LOG_LINE_BYTES_MAX // 4  # at four bytes each they still fit


class Batch(NamedTuple):
    """Lines ``cursor``, ``cursor + 1``, …, all of one step. ``bytes`` is about their cost."""

    step: Step
    cursor: int
    lines: list[LogLine]
    bytes: int


class LogBuffer:
    """Not thread-safe: append and take on the event loop's thread."""

    __slots__ = ("_bytes", "_bytes_max", "_first", "_kept", "_lines_max", "_sent", "_steps")

    def __init__(
        self,
        lines_max: int = LOG_LINES_PER_JOB_MAX,
        bytes_max: int = LOG_BYTES_PER_JOB_MAX,
        first: int = 0,
    ) -> None:
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._kept: list[LogLine] = []
        self._first = first  # cursor of _kept[0]
        self._sent = first  # the next cursor to send; below _first when unsent lines were dropped
        self._bytes = 0
        # (cursor, step): from this cursor on, lines are of this step. Ascending cursors.
        self._steps: list[tuple[int, Step]] = []

    @property
    def end(self) -> int:
        """The cursor that the next line will get."""
        return self._first + len(self._kept)

    @property
    def backlog(self) -> bool:
        """True while there is something that was not sent on this connection."""
        return self._sent < self.end

    @property
    def last(self) -> LogLine | None:
        return self._kept[-1] if self._kept else None

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def append(self, step: Step, lines: Iterable[LogLine]) -> None:
        """Lines longer than ``LOG_LINE_BYTES_MAX`` are split; their concatenation is unchanged."""
        if not self._steps or self._steps[-1][1] != step:
            self._steps.append((self.end, step))
        for line in lines:
            if len(line.text) <= _SAFE_CHARACTERS and line.text.isascii():
                self._kept.append(line)
                self._bytes += len(line.text) + LINE_OVERHEAD_BYTES
            else:
                for piece in _split(line):
                    self._kept.append(piece)
                    self._bytes += _cost(piece)
        if self._bytes > self._bytes_max or len(self._kept) > self._lines_max:
            self._drop()

    def rewind(self, cursor: int, *, replaying: bool = False) -> None:
        """The server expects line ``cursor`` next (it may have lost or already have some).
        ``replaying``: lines that it has are still to be appended, and will not be sent again."""
        self._sent = max(cursor, 0) if replaying else min(max(cursor, 0), self.end)

    def replayed(self) -> None:
        """What is appended from now on is new, and the beginning of what was read again may have
        been missing: where the server has more lines than came again, the new ones are numbered
        behind those, or it would skip them as known."""
        ahead = self._sent - self.end
        if ahead > 0:
            self._first += ahead
            self._steps = [(begins + ahead, step) for begins, step in self._steps]

    def take(self, lines_max: int, bytes_max: int) -> Batch | None:
        """The next lines to send, at least one if there are any; they count as sent."""
        start = max(self._sent, self._first)
        if start >= self.end:
            return None
        segment = bisect_right(self._steps, start, key=_cursor_of) - 1
        step = self._steps[segment][1]
        marked = 1 if self._sent < start else 0
        stop = min(self.end, start + lines_max - marked)
        if segment + 1 < len(self._steps):
            stop = min(stop, self._steps[segment + 1][0])
        lines: list[LogLine] = []
        size = 0
        if marked:  # in the place of the last dropped line
            lines.append(self._marker(start - self._sent))
            size += _cost(lines[0])
        cursor = start - marked
        for line in self._kept[start - self._first : stop - self._first]:
            cost = _cost(line)
            if lines and size + cost > bytes_max:
                break
            lines.append(line)
            size += cost
        self._sent = cursor + len(lines)
        return Batch(step, cursor, lines, size)

    def parts(self) -> Iterator[tuple[int, Step, list[LogLine]]]:
        """``(cursor, step, lines)`` of all that is kept, sent or not; for the spool. A server that
        was lost may have had lines that it never stored, and will ask for them again."""
        if not self._steps:
            return
        ends = [*(begins for begins, _ in self._steps[1:]), self.end]
        for (begins, step), stop in zip(self._steps, ends, strict=True):
            start = max(begins, self._first)
            if start < stop:
                yield start, step, self._kept[start - self._first : stop - self._first]

    def _drop(self) -> None:
        """Drop from the front, an eighth more than needed so that it happens rarely."""
        lines_goal = self._lines_max - self._lines_max // 8
        bytes_goal = self._bytes_max - self._bytes_max // 8
        count = max(0, len(self._kept) - lines_goal)
        size = self._bytes - sum(map(_cost, self._kept[:count]))
        while size > bytes_goal and count < len(self._kept) - 1:  # the newest always stays
            size -= _cost(self._kept[count])
            count += 1
        del self._kept[:count]
        self._bytes = size
        self._first += count
        segment = bisect_right(self._steps, self._first, key=_cursor_of) - 1
        del self._steps[:segment]

    def _marker(self, dropped: int) -> LogLine:
        text = (
            f"… {dropped} lines dropped here (a worker keeps the last {self._lines_max} lines "
            f"or {self._bytes_max} bytes of a job)\n"
        )
        return LogLine(text, self._kept[0].time, True)


def _cursor_of(segment: tuple[int, Step]) -> int:
    return segment[0]


def _cost(line: LogLine) -> int:
    text = line.text
    size = len(text) if text.isascii() else len(text.encode())
    return size + LINE_OVERHEAD_BYTES


def _split(line: LogLine) -> Iterator[LogLine]:
    text = line.text
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # lone surrogates have no place in a frame
        text = text.encode("utf-8", "replace").decode()
        size = len(text.encode())
    if size <= LOG_LINE_BYTES_MAX:
        yield LogLine(text, line.time, line.stderr)
        return
    for start in range(0, len(text), _SAFE_CHARACTERS):
        yield LogLine(text[start : start + _SAFE_CHARACTERS], line.time, line.stderr)
