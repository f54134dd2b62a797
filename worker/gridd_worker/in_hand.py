"""One attempt in hand: its phase, its log, its ending, and what of those the server has heard.

Owns how the lines of a run that was taken up fit behind those that the server has. Decides nothing
about leases. Pure.
"""

from dataclasses import dataclass
from enum import Enum

from gridd_protocol.messages import Finished, LogLine, Release, Started, Step
from gridd_worker.logs import LogBuffer

# A log that is read again may have lost its beginning only if it is longer than this: the engine
# keeps at least 64 MiB, of which the text of short lines is the smaller part.
CUT_LOG_BYTES_MIN = 8 << 20


class Phase(Enum):
    PREPARING = "preparing"
    RUNNING = "running"
    UPLOADING = "uploading"
    FINISHED = "finished"
    RELEASED = "released"


OVER = (Phase.FINISHED, Phase.RELEASED)


@dataclass(slots=True)
class Attempt:
    job: str
    attempt: int
    phase: Phase
    log: LogBuffer
    started: Started | None = None
    ending: Finished | Release | None = None  # set exactly in the phases FINISHED and RELEASED
    replaying_until_ms: int | None = None  # taken up: lines up to this time are read again
    replayed_bytes: int = 0
    # of this connection:
    announced: bool = False  # named in our hello
    started_sent: bool = False
    ending_sent: bool = False

    def say(self, step: Step, lines: list[LogLine]) -> None:
        """Lines that the run printed, those that are read again included."""
        if self.replaying_until_ms is not None:
            lines = self._replay(step, lines, self.replaying_until_ms)
        self.log.append(step, lines)

    def _replay(self, step: Step, lines: list[LogLine], until_ms: int) -> list[LogLine]:
        """Takes in what is read again of a log; answers the lines that are new."""
        new = next((at for at, line in enumerate(lines) if line.time > until_ms), len(lines))
        self.log.append(step, lines[:new])
        self.replayed_bytes += sum(len(line.text) for line in lines[:new])
        if new < len(lines):
            self.replaying_until_ms = None
            if self.replayed_bytes >= CUT_LOG_BYTES_MIN:
                self.log.replayed()
        return lines[new:]

    def announce(self) -> None:
        """Our hello names it; nothing was said of it on this connection."""
        self.announced = True
        self.started_sent = self.ending_sent = False

    def resume(self, cursor: int) -> None:
        """The server keeps the lease, and has the log up to ``cursor``."""
        self.announced = False
        cut = self.replayed_bytes >= CUT_LOG_BYTES_MIN
        self.log.rewind(cursor, replaying=cut or self.replaying_until_ms is not None)
        if cut and self.replaying_until_ms is None:
            self.log.replayed()
