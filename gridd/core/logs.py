"""The live log of a running job: bounded, with cursors that never run backwards.

A line's index counts every line of its kind since the job was submitted, dropped ones and those
of earlier attempts included, so a reader that asks for "from 120 on" is never shown a line twice,
whatever was dropped at the bound (the defect D27 of upstream) and however often the job was
requeued meanwhile. The counts of earlier attempts are durable (``records.Requeued``).
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from gridd_protocol.limits import (
    LOG_BYTES_PER_JOB_MAX,
    LOG_LINES_PER_JOB_MAX,
    LOG_STEPS_PER_JOB_MAX,
)
from gridd_protocol.messages import LogLine

HEAD_SHARE = 10
"""Of the bound, this part is kept of the beginning: what a program says first tells most."""


def _stored_bytes(line: LogLine) -> int:
    """As JSON, the way it is kept: a NUL takes six bytes there, and a record has a bound."""
    return len(msgspec.json.encode(line.text)) - 2


class LogBuffer:
    """Lines of one kind. At the bound those behind the first few go, oldest first, so that head
    and tail of a runaway log are kept; ``dropped`` counts them, and a marker stands for them.

    Line ``first`` is ``lines[0]``; the head, when something was dropped, ends ``dropped`` before.
    """

    __slots__ = ("bytes", "dropped", "first", "head", "lines")

    def __init__(self, first: int = 0) -> None:
        self.head: list[LogLine] = []  # empty unless lines were dropped behind it
        self.lines: deque[LogLine] = deque()
        self.first = first
        self.bytes = 0
        self.dropped = 0

    @property
    def next(self) -> int:
        """The index that the next line will get."""
        return self.first + len(self.lines)

    def extend(self, lines: list[LogLine]) -> None:
        self.lines.extend(lines)
        self.bytes += sum(map(_stored_bytes, lines))
        if self._over and not self.dropped:
            self._keep_head()
        while self._over and self.lines:
            self.bytes -= _stored_bytes(self.lines.popleft())
            self.first += 1
            self.dropped += 1

    @property
    def _over(self) -> bool:
        return (
            self.bytes > LOG_BYTES_PER_JOB_MAX
            or len(self.head) + len(self.lines) > LOG_LINES_PER_JOB_MAX
        )

    def _keep_head(self) -> None:
        """A tenth of the bound, of lines or of bytes, whichever is less."""
        room = LOG_BYTES_PER_JOB_MAX // HEAD_SHARE
        while self.lines and len(self.head) < LOG_LINES_PER_JOB_MAX // HEAD_SHARE:
            room -= _stored_bytes(self.lines[0])
            if room < 0:
                break
            self.head.append(self.lines.popleft())
        self.first += len(self.head)

    def restart(self) -> None:
        """A new attempt begins: earlier lines go, the count goes on."""
        self.first = self.next
        self.head.clear()
        self.lines.clear()
        self.bytes = 0
        self.dropped = 0

    def since(self, index: int) -> "Slice":
        return _slice(index, self.head, self.dropped, self.first, self.lines)


class Slice(NamedTuple):
    """``lines`` have the indices ``first``, ``first + 1``, … ``next`` is where to go on: behind
    the newest line, but when there are ``more``, behind these. One slice never reaches over
    dropped lines; the last of those is a marker."""

    first: int
    lines: list[LogLine]
    next: int
    more: bool = False


def _slice(
    index: int, head: list[LogLine], dropped: int, first: int, lines: Sequence[LogLine]
) -> Slice:
    """From ``index`` on, as far as still held."""
    head_end = first - dropped
    if head and index < head_end:
        start = max(index, head_end - len(head))
        return Slice(start, head[start - head_end :], head_end, more=True)
    end = first + len(lines)
    if dropped and index < first:
        return Slice(first - 1, [_marker(dropped, lines), *lines], end)
    start = max(index, first)
    return Slice(start, list(islice(lines, start - first, None)), end)


def _marker(dropped: int, lines: Sequence[LogLine]) -> LogLine:
    text = (
        f"… {dropped} lines dropped here (the log's head and tail are kept, "
        f"{LOG_LINES_PER_JOB_MAX} lines or {LOG_BYTES_PER_JOB_MAX} bytes in all)\n"
    )
    return LogLine(text, lines[0].time if lines else 0, True)


class StoredLogs(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is kept of a job's log when it has ended (``records.Finished.logs``)."""

    build: list[LogLine] = []
    run: list[LogLine] = []
    build_first: int = 0
    run_first: int = 0
    build_dropped: int = 0
    run_dropped: int = 0
    build_head: list[LogLine] = []
    run_head: list[LogLine] = []
    build_steps: list[tuple[int, str]] = []
    """From which index on the build log's lines are of which step. Empty in journals of 0.1."""
    expired: bool = False
    """There may have been lines: they were not kept as long as the outcome is."""

    def since(self, kind: str, index: int) -> Slice:
        if kind == "build":
            parts = self.build_head, self.build_dropped, self.build_first, self.build
        else:
            parts = self.run_head, self.run_dropped, self.run_first, self.run
        found = _slice(index, *parts)
        # The lines are gone; whoever was further along is told that there are no others.
        return found._replace(first=index, next=index) if self.expired else found

    def told(self, kind: str) -> list[LogLine]:
        """All that is kept, with the marker in the place of what was dropped."""
        begins = self.since(kind, 0)
        if not begins.more:
            return begins.lines
        return [*begins.lines, *self.since(kind, begins.next).lines]


class JobLog:
    """Both kinds of one running job, and how far the current attempt has told its story."""

    __slots__ = ("build", "build_steps", "cursor", "run")

    def __init__(self, build_lines: int = 0, run_lines: int = 0) -> None:
        """With the numbers of lines that earlier attempts logged."""
        self.build = LogBuffer(build_lines)
        self.run = LogBuffer(run_lines)
        self.build_steps: list[tuple[int, str]] = []  # as in ``StoredLogs``
        self.cursor = 0  # next line of the current attempt, over all steps

    def restart(self) -> None:
        self.build.restart()
        self.run.restart()
        self.build_steps = []
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
        if buffer is self.build and lines:
            self._begin(step, first)
        buffer.extend(lines)
        return first, lines

    def _begin(self, step: str, first: int) -> None:
        """A worker that changes its step without end has the rest counted to its last one."""
        steps = self.build_steps
        if len(steps) < LOG_STEPS_PER_JOB_MAX and (not steps or steps[-1][1] != step):
            self.build_steps = [*steps, (first, step)]

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
                build_head=self.build.head,
                run_head=self.run.head,
                build_steps=self.build_steps,
            )
        )
