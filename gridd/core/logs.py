"""The live log of a running job: bounded, with cursors that never run backwards.

A line's index counts every line of its kind since the job was submitted, dropped ones and those
of earlier attempts included, so a reader that asks for "from 120 on" is never shown a line twice,
whatever was dropped at the bound (the defect D27 of upstream) and however often the job was
requeued meanwhile. The counts of earlier attempts are durable (``records.Requeued``).
"""

from collections import deque

import msgspec

from gridd_protocol.limits import LOG_BYTES_PER_JOB_MAX, LOG_LINES_PER_JOB_MAX
from gridd_protocol.messages import LogLine


def _stored_bytes(line: LogLine) -> int:
    """As JSON, the way it is kept: a NUL takes six bytes there, and a record has a bound."""
    return len(msgspec.json.encode(line.text)) - 2


class LogBuffer:
    """Lines of one kind. At the bound the oldest go; ``dropped`` counts those of this attempt."""

    __slots__ = ("bytes", "dropped", "first", "lines")

    def __init__(self, first: int = 0) -> None:
        self.lines: deque[LogLine] = deque()
        self.first = first  # index of lines[0]
        self.bytes = 0
        self.dropped = 0

    @property
    def next(self) -> int:
        """The index that the next line will get."""
        return self.first + len(self.lines)

    def extend(self, lines: list[LogLine]) -> None:
        self.lines.extend(lines)
        self.bytes += sum(map(_stored_bytes, lines))
        while self.bytes > LOG_BYTES_PER_JOB_MAX or len(self.lines) > LOG_LINES_PER_JOB_MAX:
            self.bytes -= _stored_bytes(self.lines.popleft())
            self.first += 1
            self.dropped += 1

    def restart(self) -> None:
        """A new attempt begins: earlier lines go, the count goes on."""
        self.first = self.next
        self.lines.clear()
        self.bytes = 0
        self.dropped = 0

    def since(self, index: int) -> tuple[int, list[LogLine]]:
        """``(index of the first line, lines)`` from ``index`` on, as far as still held."""
        start = max(index, self.first)
        skip = start - self.first
        if skip >= len(self.lines):
            return start, []
        return start, [self.lines[i] for i in range(skip, len(self.lines))]


class StoredLogs(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is kept of a job's log when it has ended (``records.Finished.logs``)."""

    build: list[LogLine] = []
    run: list[LogLine] = []
    build_first: int = 0
    run_first: int = 0
    build_dropped: int = 0
    run_dropped: int = 0


class JobLog:
    """Both kinds of one running job, and how far the current attempt has told its story."""

    __slots__ = ("build", "cursor", "run")

    def __init__(self, build_lines: int = 0, run_lines: int = 0) -> None:
        """With the numbers of lines that earlier attempts logged."""
        self.build = LogBuffer(build_lines)
        self.run = LogBuffer(run_lines)
        self.cursor = 0  # next line of the current attempt, over all steps

    def restart(self) -> None:
        self.build.restart()
        self.run.restart()
        self.cursor = 0

    def add(self, step: str, cursor: int, lines: list[LogLine]) -> tuple[int, list[LogLine]]:
        """Take lines ``cursor``…; those already taken are left out.

        Answers the index (in their kind's log) of the first new line, and the new lines. A
        cursor ahead of ours means that the worker had to drop lines: the log goes on from there.
        """
        buffer = self.run if step == "Running" else self.build
        known = self.cursor - cursor
        if known > 0:
            lines = lines[known:]
        if lines:
            self.cursor = max(self.cursor, cursor) + len(lines)
        first = buffer.next
        buffer.extend(lines)
        return first, lines

    def stored(self) -> bytes:
        """JSON for the journal; empty when nothing was logged."""
        if not self.build.lines and not self.run.lines:
            return b""
        return msgspec.json.encode(
            StoredLogs(
                build=list(self.build.lines),
                run=list(self.run.lines),
                build_first=self.build.first,
                run_first=self.run.first,
                build_dropped=self.build.dropped,
                run_dropped=self.run.dropped,
            )
        )
