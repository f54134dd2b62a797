"""What can go wrong for a client, and the exit codes that say so.

``GridError`` is trouble with the grid or on the way to it; ``UsageError`` is ours to mend before
asking again. Both messages are one sentence for people, with what to do.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line; ``gridd run`` otherwise has the container's own code."""

    OK = 0
    FAILED = 1  # the job ended with Error: its image, inputs, start or outputs failed
    USAGE = 2
    CANCELLED = 3  # cancelled, replaced or deleted
    NO_WORKER = 4  # ``--timeout`` was over, and nobody worked on the queue
    TIMED_OUT = 124  # the job ran for longer than it may, or ``--timeout`` was over
    TROUBLE = 125  # the grid refused, or can't be reached
    INTERRUPTED = 130
    PIPE_CLOSED = 141


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
