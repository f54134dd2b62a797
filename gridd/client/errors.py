"""What can go wrong for a client, and the exit codes that say so.

``GridError`` is trouble with the grid or on the way to it; ``UsageError`` is ours to mend before
asking again. Both messages are one sentence for people, with what to do.
"""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """Exit codes of the command line; ``gridd run`` otherwise has the container's own code."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NO_WORKER = 4
    TIMED_OUT = 124
    TROUBLE = 125
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    Exit.FAILED: "the job failed: its image, inputs, start or outputs",
    Exit.USAGE: "wrong usage; nothing was sent",
    Exit.CANCELLED: "cancelled, replaced or deleted",
    Exit.NO_WORKER: "`--timeout` was over and nobody worked on the queue",
    Exit.TIMED_OUT: "the job ran longer than it may, or `--timeout` was over",
    Exit.TROUBLE: "the grid refused or can't be reached, or an output could not be saved",
    Exit.INTERRUPTED: "Ctrl-C; the job goes on unless `--cancel-on-interrupt`",
}
"""What ``run``, ``wait`` and ``rerun`` mean by them, for help and documents."""


class UsageError(Exception):
    """What was asked does not make sense as it stands."""


class GridError(Exception):
    """The grid refused (``status`` is its HTTP status, ``code`` its error code if it gave one),
    or could not be reached (``status`` is ``None``)."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
