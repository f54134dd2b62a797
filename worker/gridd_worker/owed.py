"""Which attempts have something to say on this connection, and how their frames are filled.

Owns the order: each attempt's start, then all its lines, then its ending, and every log its turn.
What is owed is read from the attempts; here is only which of them to look at. Pure.
"""

from gridd_protocol.limits import LOG_LINES_PER_MESSAGE_MAX, MESSAGES_PER_FRAME_MAX
from gridd_protocol.messages import Finished, FromWorker, Log
from gridd_worker.in_hand import Attempt

FRAME_TARGET_BYTES = 900_000  # a frame is closed beyond it, so it stays under 1 MiB
LOG_INTERVAL_MS = 20  # frames that only carry log lines keep this distance


class Owed:
    """Attempts by job, in the order in which they got something to say."""

    def __init__(self) -> None:
        self._urgent: dict[str, Attempt] = {}  # a start, an ending
        self._chatty: dict[str, Attempt] = {}  # log lines only
        self._lines_ms = -LOG_INTERVAL_MS  # when lines were last taken

    def add(self, attempt: Attempt, *, urgent: bool) -> None:
        (self._urgent if urgent else self._chatty)[attempt.job] = attempt

    def drop(self, job: str) -> None:
        self._urgent.pop(job, None)
        self._chatty.pop(job, None)

    def clear(self) -> None:
        """The connection is over, and nothing counts as said."""
        self._urgent.clear()
        self._chatty.clear()

    @property
    def urgent(self) -> bool:
        """There is something that does not wait for ``lines_due_ms``."""
        return bool(self._urgent)

    @property
    def lines_due_ms(self) -> int | None:
        """When lines are to be taken next; ``None`` when there are none."""
        return self._lines_ms + LOG_INTERVAL_MS if self._chatty else None

    def take(self, frame: list[FromWorker], now_ms: int) -> None:
        """Adds to ``frame`` what is owed by now and fits."""
        room = FRAME_TARGET_BYTES
        for attempt in list(self._urgent.values()):
            if room <= 0 or len(frame) + 3 > MESSAGES_PER_FRAME_MAX:
                return
            room = self._take_urgent(frame, attempt, room)
        if not self._chatty or now_ms < self._lines_ms + LOG_INTERVAL_MS:
            return
        self._lines_ms = now_ms
        for job, attempt in list(self._chatty.items()):
            if room <= 0 or len(frame) >= MESSAGES_PER_FRAME_MAX:
                return
            room = self._take_lines(frame, attempt, room)
            del self._chatty[job]
            if attempt.log.backlog:
                self._chatty[job] = attempt  # at the end: every log gets its turn

    def _take_urgent(self, frame: list[FromWorker], attempt: Attempt, room: int) -> int:
        """Started, then all lines, then the ending: the server sees them in this order."""
        if attempt.started is not None and not attempt.started_sent:
            attempt.started_sent = True
            frame.append(attempt.started)
        if attempt.ending is None:
            del self._urgent[attempt.job]
            return room
        while attempt.log.backlog:
            if room <= 0 or len(frame) + 2 > MESSAGES_PER_FRAME_MAX:
                return room
            room = self._take_lines(frame, attempt, room)
        if not attempt.ending_sent:
            attempt.ending_sent = True
            frame.append(attempt.ending)
            room -= len(attempt.ending.result) if isinstance(attempt.ending, Finished) else 100
        del self._urgent[attempt.job]
        self._chatty.pop(attempt.job, None)
        return room

    def _take_lines(self, frame: list[FromWorker], attempt: Attempt, room: int) -> int:
        batch = attempt.log.take(LOG_LINES_PER_MESSAGE_MAX, room)
        if batch is None:
            return room
        frame.append(Log(attempt.job, attempt.attempt, batch.step, batch.cursor, batch.lines))
        return room - batch.bytes
