"""Effects: what to do. The caller carries them out in order, and lets none but ``Append`` out
before all records appended so far are durable."""

from typing import Literal

import msgspec

from gridd.core.records import Record, StateName
from gridd_protocol.errors import ErrorCode
from gridd_protocol.messages import LogLine, Resources, Step
from gridd_protocol.messages import ToWorker as WorkerMessage

Cause = Literal["submit", "lease", "start", "requeue", "finish", "namespace", "expire"]


class JobView(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A job as peers see it; encodes to upstream's ``InMemoryDockerJob`` (WIRE 3.1).

    Times are ms since the epoch. ``tags`` and ``requirements`` are JSON, as submitted.
    """

    state: StateName
    queued_time: int = msgspec.field(name="queuedTime")
    time: int
    worker: str  # empty when none
    namespaces: tuple[str, ...]
    finished_reason: str | None = msgspec.field(name="finishedReason", default=None)
    attempt: int = 0
    started_time: int = msgspec.field(name="startedTime", default=0)
    tags: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    requirements: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    debug: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def visible(self) -> bool:
        """False for jobs that lists and broadcasts leave out (WIRE 3.4)."""
        return self.state != "Removed" and (
            self.state != "Finished" or self.finished_reason in ("Success", "Error", "TimedOut")
        )


class WorkerView(msgspec.Struct, frozen=True, gc=False):
    """A worker as peers see it: the members of upstream's registration, and what it holds."""

    id: str
    version: str
    resources: Resources
    joined_time: int
    connected: bool
    draining: bool
    held: tuple[str, ...]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """``new`` is false when the job was already there, waiting, running or answered."""

    job: str
    new: bool
    view: JobView


class Refused(msgspec.Struct, frozen=True, gc=False):
    code: ErrorCode
    message: str
    limit: int


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """``was`` is the state before (``None``: unknown job); ``ended`` says that it ended now;
    ``held`` whether the namespace held the job, so that there was something to let go of."""

    was: StateName | None
    ended: bool
    held: bool = True


Outcome = Accepted | Refused | Cancelled


class _Effect(msgspec.Struct, frozen=True, gc=False):
    pass


class Append(_Effect, frozen=True):
    record: Record


class Reply(_Effect, frozen=True):
    ref: int
    outcome: Outcome


class SendWorker(_Effect, frozen=True):
    peer: int
    message: WorkerMessage


class CloseWorker(_Effect, frozen=True):
    peer: int
    code: int
    reason: str


class JobChanged(_Effect, frozen=True):
    job: str
    view: JobView
    cause: Cause


class WorkersChanged(_Effect, frozen=True):
    workers: tuple[WorkerView, ...]


class LogAdded(_Effect, frozen=True):
    """Lines ``first``, ``first + 1``, … of one kind's log (``build`` when the step is not
    ``Running``), counted over the job's current attempt."""

    job: str
    step: Step
    first: int
    lines: list[LogLine]


class Callback(_Effect, frozen=True):
    """The job waits (once for each new submission), or has ended. ``control`` is what was
    submitted with it: it may ask that somebody is told of this (WIRE 7). ``queued_time`` tells
    one submission of the job from the next; ``reason``, ``message`` and ``result`` are those of
    the ``Finished`` record."""

    kind: Literal["queued", "finished"]
    job: str
    control: bytes
    queued_time: int
    reason: str = ""
    message: str = ""
    result: bytes = b""


Effect = (
    Append | Reply | SendWorker | CloseWorker | JobChanged | WorkersChanged | LogAdded | Callback
)
