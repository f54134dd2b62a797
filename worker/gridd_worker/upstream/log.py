"""The log of one job for a server that keeps no count of it.

Owns every line that the conversation said, for the result has to hold them too, and how many of
them that server was told. It drops what it has of a job whenever it queues that job again (D28),
so all of it may have to be told once more. Bounded: the oldest lines go first.
"""

from collections import deque

from gridd_protocol.limits import LOG_BYTES_PER_JOB_MAX, LOG_LINES_PER_JOB_MAX
from gridd_protocol.messages import Log, LogLine


class JobLog:
    """``told`` lines that are stamped no later than ``until_ms`` (since the epoch) were told by an
    earlier process of this worker, and come again."""

    def __init__(self, told: int = 0, until_ms: int = 0) -> None:
        self.cursor = 0  # of the next line that the conversation has to say
        self.told = told
        self._until_ms = until_ms
        self._parts: deque[Log] = deque()  # ascending cursors
        self._lines = 0
        self._bytes = 0

    def append(self, log: Log) -> None:
        if log.cursor < self.told:
            self._mind_the_gap(log)
        self.cursor = max(self.cursor, log.cursor + len(log.lines))
        self._parts.append(log)
        self._lines += len(log.lines)
        self._bytes += _size(log)
        while self._bytes > LOG_BYTES_PER_JOB_MAX or self._lines > LOG_LINES_PER_JOB_MAX:
            oldest = self._parts.popleft()
            self._lines -= len(oldest.lines)
            self._bytes -= _size(oldest)

    def _mind_the_gap(self, log: Log) -> None:
        """A runtime that no longer has the beginning counts from a later line: what is new by its
        time is told, whatever its number."""
        for at, line in enumerate(log.lines, log.cursor):
            if at < self.told and line.time > self._until_ms:
                self.told = at
                return

    def again(self) -> bool:
        """Nothing was told. False when that was so already."""
        told, self.told = self.told, 0
        return told > 0

    def untold(self) -> list[Log]:
        """What is to be told now; it counts as told."""
        found: list[Log] = []
        for part in reversed(self._parts):
            end = part.cursor + len(part.lines)
            if end <= self.told:
                break
            if part.cursor >= self.told:
                found.append(part)
            else:
                lines = part.lines[self.told - part.cursor :]
                found.append(Log(part.job, part.attempt, part.step, self.told, lines))
        found.reverse()
        if found:
            self.told = self.cursor
        return found

    def printed(self) -> list[LogLine]:
        """What the program printed."""
        return [line for part in self._parts if part.step == "Running" for line in part.lines]

    def built(self) -> list[LogLine]:
        """What came before the program: of pulls and builds."""
        return [line for part in self._parts if part.step != "Running" for line in part.lines]


def _size(log: Log) -> int:
    return sum(len(line.text) for line in log.lines)
