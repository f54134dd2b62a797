"""Events: what happened. Everything that the engine ever learns arrives as one of these.

``ref`` and ``peer`` are integers that the edge draws; the engine only hands them back.
Values were checked at the edge: job ids are recomputed, sizes and shapes are within limits.
"""

import msgspec

from gridd.core.records import Finished, Needs
from gridd_protocol.messages import FromWorker


class _Event(msgspec.Struct, frozen=True, gc=False):
    pass


class _Request(msgspec.Struct, gc=False):
    """``ref`` is set by the edge just before the event is stepped; nothing else ever changes."""

    ref: int


class Submit(_Request):
    """Answered by ``Reply(ref, Accepted)`` or ``Reply(ref, Refused)``."""

    job: str
    definition: bytes
    needs: Needs
    namespace: str = "_"
    tags: bytes = b""
    requirements: bytes = b""
    control: bytes = b""
    run_ms_max: int = 0
    debug: bool = False


class Cancel(_Request):
    """Let ``namespace`` (``*``: every one) let go of the job; the last to let go ends it.

    Answered by ``Reply(ref, Cancelled)``.
    """

    job: str
    namespace: str = "_"
    message: str = ""


class Delete(_Request):
    """As ``Cancel``, and a stored answer is forgotten too: a next submission runs again."""

    job: str
    namespace: str = "_"


class WorkerSaid(_Event, frozen=True):
    """A message of the native conversation. ``Hello`` binds ``peer`` to the worker id it names."""

    peer: int
    message: FromWorker


class WorkerGone(_Event, frozen=True):
    """The connection ended. Its leases go on until their deadline."""

    peer: int


class AlarmRang(_Event, frozen=True):
    """The time that ``Engine.next_alarm`` named has come."""


class Carry(_Event, frozen=True):
    """The segment that holds the job's definition is to be dropped: write it down again."""

    job: str
    definition: bytes


class CarryAnswer(_Event, frozen=True):
    """The same for the segment that holds the job's outcome. The logs in it stay behind."""

    answer: Finished


Event = Submit | Cancel | Delete | WorkerSaid | WorkerGone | AlarmRang | Carry | CarryAnswer
