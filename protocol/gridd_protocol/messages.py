"""The native worker conversation, as types. ``protocol/SPEC.md`` tells it in words.

Every frame, either way, is an array of messages. A message is a map with a ``type``. The same
types serve both codings: MessagePack in binary frames, JSON in text frames. Unknown members are
ignored; an unknown ``type`` is answered with the code ``unknown-type``.

Definitions and results travel as JSON *text* inside the message in both codings, so that they
reach the other side value for value and are neither decoded nor encoded on the way.
"""

from typing import Literal

import msgspec

PROTOCOL_VERSION = 1
SUBPROTOCOL_MSGPACK = "gridd.v1.msgpack"
SUBPROTOCOL_JSON = "gridd.v1.json"

Kind = Literal["container", "process"]
"""What a job needs to be run in: a container when it has ``image`` or ``build``, else a process."""

Reason = Literal["Success", "Error", "TimedOut"]
"""How a run ended. A program that exits with a code other than 0 is a ``Success``."""

Step = Literal["docker image pull", "cloning repo", "docker build", "docker image push", "Running"]
"""Upstream's names. All but ``Running`` belong to the build log."""


class LogLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``[text, time]`` or ``[text, time, true]``.

    ``text`` is output as printed, its newline included; ``time`` is in ms since the epoch.
    """

    text: str
    time: int
    stderr: bool = False


class Resources(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What a worker has to give, in all (not what is free now)."""

    cpus: float = 1.0
    gpus: int = 0
    memory: int = 0
    """Bytes; 0 says that the worker does not count memory."""
    max_duration: int = 300_000
    """Longest run that it allows, in ms."""
    tags: tuple[str, ...] = ()
    runs: tuple[Kind, ...] = ("container",)


class Held(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A lease, named: the job and the attempt."""

    job: str
    attempt: int


class Kept(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A lease that goes on after a new hello, with the log line that the server expects next."""

    job: str
    attempt: int
    cursor: int = 0


class _Message(msgspec.Struct, frozen=True, rename="camel", tag_field="type", gc=False):
    pass


# --- worker to server -----------------------------------------------------------------


class Hello(_Message, frozen=True, tag="hello"):
    """First message on every connection. ``running`` names every attempt that the worker holds,
    finished but unacknowledged ones included."""

    worker: str
    protocol: int = PROTOCOL_VERSION
    version: str = ""
    resources: Resources = Resources()
    credit: int = 0
    running: list[Held] = []


class Credit(_Message, frozen=True, tag="credit"):
    """How many jobs the worker is willing to hold at once, those it holds included (absolute)."""

    jobs: int


class Started(_Message, frozen=True, tag="started"):
    """The program runs (images pulled, inputs in place). ``time`` in ms since the epoch."""

    job: str
    attempt: int
    time: int


class Log(_Message, frozen=True, tag="log"):
    """Lines ``cursor``, ``cursor + 1``, … of this attempt, counted from 0 over all steps."""

    job: str
    attempt: int
    step: Step
    cursor: int
    lines: list[LogLine]


class Finished(_Message, frozen=True, tag="finished"):
    """The run ended. ``result`` is JSON text: see ``results.Result``."""

    job: str
    attempt: int
    reason: Reason
    result: str


class Release(_Message, frozen=True, tag="release"):
    """Given back without blame: the job is queued again and the attempt does not count as lost."""

    job: str
    attempt: int
    message: str = ""


class Drain(_Message, frozen=True, tag="drain"):
    """From a worker: push nothing more. From the server: finish what runs, then leave."""


class Heartbeat(_Message, frozen=True, tag="heartbeat"):
    """Sign of life, answered with the same. ``time`` is the sender's clock, ms since the epoch."""

    time: int = 0


# --- server to worker -----------------------------------------------------------------


class Welcome(_Message, frozen=True, tag="welcome"):
    """Answer to hello. ``kept`` go on; each other running attempt is answered with stale."""

    queue: str
    protocol: int = PROTOCOL_VERSION
    time: int = 0
    lease_ms: int = 0
    heartbeat_ms: int = 0
    kept: list[Kept] = []


class Push(_Message, frozen=True, tag="push"):
    """The job is leased to this worker under ``attempt``. ``definition`` is JSON text, as sent.

    ``max_duration`` is the longest run in ms, 0 when the submitter set none.
    """

    job: str
    attempt: int
    definition: str
    queued_time: int = 0
    max_duration: int = 0


class Acknowledged(_Message, frozen=True, tag="acknowledged"):
    """The result (or release) is durable: the worker may forget the attempt."""

    job: str
    attempt: int


class Stale(_Message, frozen=True, tag="stale"):
    """The worker does not hold this attempt: stop it, drop its result."""

    job: str
    attempt: int


class Cancel(_Message, frozen=True, tag="cancel"):
    """Stop the run now; no result is expected and the lease is over."""

    job: str
    attempt: int
    reason: str = "Cancelled"


class Error(_Message, frozen=True, tag="error"):
    """What the worker sent was wrong. A fatal code is followed by a close."""

    code: str
    message: str
    field: str | None = None
    limit: int | None = None


FromWorker = Hello | Credit | Started | Log | Finished | Release | Drain | Heartbeat
ToWorker = Welcome | Push | Acknowledged | Stale | Cancel | Drain | Heartbeat | Error
