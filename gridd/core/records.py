"""Records: the only things that change durable state, live and on replay alike.

A record is stored as a MessagePack array ``[tag, queue, …]``. Members are only ever added at
the end, with a default: an older record then still decodes. Times are ms since the epoch.
"""

from typing import Literal

import msgspec

FinishedReason = Literal[
    "Success", "Error", "TimedOut", "Cancelled", "JobReplacedByClient", "Deleted"
]
StateName = Literal["Queued", "Running", "Finished", "Removed"]


class Needs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a job asks of a worker. Jobs with equal needs stand in one line.

    ``cpus_milli`` in thousandths of a cpu, ``memory`` in bytes, ``max_duration`` in ms; 0 asks
    for nothing. ``tags`` are sorted.
    """

    kind: str = "container"
    cpus_milli: int = 1_000
    gpus: int = 0
    memory: int = 0
    max_duration: int = 0
    tags: tuple[str, ...] = ()


StoryEvent = Literal[
    "submitted", "held", "dropped", "leased", "lost", "released", "finished", "omitted"
]


class StoryEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened to a job (core/story.py).

    ``who`` is the namespace (submitted, held, dropped) or the worker (leased, lost, released,
    finished), empty when not known; ``number`` the attempt, or how many entries were omitted.
    """

    time: int
    event: StoryEvent
    who: str = ""
    number: int = 0
    reason: str = ""


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    queue: str
    job: str


class Submitted(_Record, frozen=True, tag="sub"):
    """The job waits (for the first time, or again after it was cancelled, replaced or deleted).

    ``definition`` is the JSON text as sent; ``tags``, ``requirements`` and ``control`` are JSON
    texts cut out of the submission, empty when absent (``control`` also when it asks for no call).
    ``run_ms_max`` is the submitter's own bound on the run (``control.maxDuration``), 0 for none.
    """

    time: int
    namespace: str
    definition: bytes
    needs: Needs
    tags: bytes = b""
    requirements: bytes = b""
    control: bytes = b""
    run_ms_max: int = 0
    debug: bool = False


class NamespaceAdded(_Record, frozen=True, tag="ns+"):
    time: int
    namespace: str


class NamespaceDropped(_Record, frozen=True, tag="ns-"):
    """``reason``: why the holder let go (``Cancelled``, ``JobReplacedByClient``, ``Deleted``)."""

    time: int
    namespace: str
    reason: FinishedReason


class Leased(_Record, frozen=True, tag="lse"):
    """``worker`` may run the job under ``attempt`` (the fencing token, counted from 1)."""

    time: int
    worker: str
    attempt: int


class Requeued(_Record, frozen=True, tag="req"):
    """The lease is over and the job waits again, at its old place in the line.

    ``lost`` says that the worker went silent or came back without it; otherwise it gave the
    job back, which is not held against the job.
    """

    time: int
    attempt: int
    lost: bool
    build_lines: int = 0
    """How many lines the job's logs have had so far: the next attempt's lines count on."""
    run_lines: int = 0


class Finished(_Record, frozen=True, tag="fin"):
    """The outcome. ``result`` and ``logs`` are JSON texts, empty when there is none.

    ``logs`` is ``{"build": [line…], "run": [line…], "buildDropped": n, "runDropped": n}``.
    ``carried``: the same outcome, written down again because its segment is to be dropped. It
    changes nothing but where the result lies, and its logs, past their time, are left behind.
    ``story`` is what happened before, ``StoryEntry`` by ``StoryEntry`` in one MessagePack text: a
    start reads all outcomes and no stories.
    """

    time: int
    reason: FinishedReason
    attempt: int
    worker: str
    message: str
    result: bytes
    logs: bytes
    carried: bool = False
    story: bytes = b""


class Expired(_Record, frozen=True, tag="exp"):
    """Retention has passed; only the journal's older segments may still know the job."""

    time: int


class KeptJob(_Record, frozen=True, tag="job"):
    """A whole job at one moment: what a snapshot is made of.

    In the log itself it carries the definition of a job on from a segment that is to be dropped.
    ``definition_at`` and ``result_at`` say where the journal keeps them, 0 for nowhere.
    """

    sequence: int
    state: StateName
    reason: str
    queued_time: int
    time: int
    worker: str
    attempt: int
    losses: int
    namespaces: tuple[str, ...]
    definition: bytes
    needs: Needs
    tags: bytes
    requirements: bytes
    control: bytes
    run_ms_max: int
    debug: bool
    build_lines: int = 0
    run_lines: int = 0
    definition_at: int = 0
    result_at: int = 0
    story: tuple[StoryEntry, ...] = ()  # of a live job, as in ``jobs.Job``


Record = (
    Submitted | NamespaceAdded | NamespaceDropped | Leased | Requeued | Finished | Expired | KeptJob
)
