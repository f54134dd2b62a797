"""What a run needs and what came of it: the small door between the agent and its runtimes.

``docker``, ``process`` and ``null`` stand behind it. A runtime knows nothing of queues, leases
or connections; the agent knows nothing of containers.
"""

import errno
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from gridd_protocol.definitions import Definition
from gridd_protocol.messages import Kind, LogLine, Step
from gridd_worker.usage import Use

LogSink = Callable[[Step, list[LogLine]], None]
"""Takes lines at once and never blocks; it bounds what it holds."""


Key = tuple[str, str, int]
"""An attempt among all queues of a worker: queue, job, attempt."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What this run may use. Enforced by the runtime, as far as it says in ``Runtime.describe``."""

    cpus: float = 1.0
    memory_bytes: int = 0  # 0: no limit asked
    gpus: tuple[str, ...] = ()  # device ids, taken singly
    pids_max: int = 4096
    shm_bytes: int = 0  # 0: the runtime's default
    run_ms_max: int = 300_000  # wall time of the program itself, counted from its start


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt, ready to run: inputs and config files are in place."""

    job: str
    attempt: int
    queue: str
    worker: str
    definition: Definition
    inputs: Path  # directory, read-only for the program
    outputs: Path  # directory, empty
    config_files: dict[str, Path]  # absolute path inside -> file on this machine
    environment: dict[str, str]  # the definition's env and the JOB_* variables (WIRE 6.7)
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the program ended. ``error`` is a sentence when it never ran or was lost."""

    exit_code: int | None = None
    duration_ms: int | None = None
    timed_out: bool = False
    out_of_memory: bool = False
    error: str | None = None
    remarks: list[str] = field(default_factory=list)  # lines for the result, not the live log


State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What ``doctor`` says of one thing. ``todo`` is empty when there is nothing to do."""

    check: str
    state: State
    found: str
    todo: str = ""


class Run(Protocol):
    """A run under way. ``wait`` returns once the program and all its children are gone *and* its
    last log line was handed over. ``stop`` kills it (twice is fine) and returns when it is gone.
    Cancelling ``wait`` stops the run."""

    async def wait(self) -> Outcome: ...

    async def stop(self) -> None: ...

    async def usage(self) -> Use | None:
        """What the program uses now, for people; ``None`` when it can't be had. Never raises."""
        return None

    async def discard(self) -> None:
        """Remove what is left of a run that is over. Called when its result is safe: until then
        another process of this worker could take it up. Never raises."""
        return


class Runtime(Protocol):
    """``start`` pulls or builds what is needed (logging it under its own step), starts the program
    and returns; ``started`` is called the moment that the program runs. What the definition got
    wrong (an unknown image, say) comes back as an ``Outcome`` with ``error``, never as an
    exception; ``RuntimeUnavailable`` says that the machine is at fault and the job can be given
    back.

    A ``lasting`` runtime's runs outlive the process of the worker: the next one takes them up with
    ``adopt`` and has the others removed by ``sweep``."""

    kinds: tuple[Kind, ...]
    offers: tuple[str, ...] = ()
    """Tags that its worker carries beside its owner's; known once it is open."""
    lasting: bool = False

    def describe(self) -> str:
        """One line for the owner: what jobs run in, and which limits do not hold here."""
        ...

    async def open(self) -> None:
        """Check that it can run anything; raises ``RuntimeUnavailable`` with what to do."""
        ...

    async def check(self) -> None:
        """Can it run anything now? Quick; raises ``RuntimeUnavailable``."""
        return

    async def start(self, task: Task, log: LogSink, started: Callable[[], None]) -> Run: ...

    async def adopt(self, task: Task, log: LogSink, started: Callable[[], None]) -> Run | None:
        """The run of an earlier process, its log from the beginning; ``None`` when there is none
        or it has ended in a way that says nothing about the program."""
        return None

    async def sweep(self, keep: Set[Key]) -> None:
        """Remove what earlier processes of this worker left, but for ``keep``."""
        return

    async def erase(self, tree: Path) -> None:
        """Remove what a run made where this process may not. Raises ``OSError``."""
        raise PermissionError(errno.EPERM, "only root may remove it", str(tree))

    async def examine(self) -> list[Finding]:
        """For ``doctor``, while open: what holds of the limits that jobs are given."""
        return []

    async def fetch_image(self, image: str) -> str | None:
        """For ``doctor``: have an image here as a job would; what went wrong, if anything."""
        return "this runtime has no images"

    async def close(self) -> None: ...


class RuntimeUnavailable(Exception):
    """The engine, sandbox or machine can't run jobs now. The message says what to do. ``final``:
    waiting does not help."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final
