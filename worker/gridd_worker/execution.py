"""One attempt, from push to result: inputs, program, outputs, and the words of the result.

Knows nothing of leases and connections. Whatever a job did wrong is a result with a reason; only
``RuntimeUnavailable`` (this machine is at fault) comes out as an exception. Cancelling ``run``
stops the program.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from gridd_protocol.definitions import Checked
from gridd_protocol.limits import RESULT_BYTES_MAX
from gridd_protocol.messages import LogLine, Push, Reason
from gridd_protocol.results import Result
from gridd_worker.runtime import Allowance, LogSink, Outcome, Run, Runtime, Task
from gridd_worker.usage import Use
from gridd_worker.workspace import InputError, OutputError, Place, Workspaces

CLEAN_MAX_S = 90.0  # a container and a tree of files are removed by then
STOP_MAX_S = 20.0  # a runtime that has not stopped a run by then is given up, with an error line
CPUS_MIN = 0.01  # a job may ask for 0 cpus, and a runtime would read that as no limit

_log = logging.getLogger("gridd_worker")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, for whom, with what. ``room`` keeps the files of queues apart."""

    push: Push
    checked: Checked
    queue: str
    room: str
    worker: str
    api_address: str
    gpus: tuple[str, ...]
    duration_ms_max: int  # the worker's own ceiling

    @property
    def run_ms_max(self) -> int:
        """The least of the submitter's, the definition's and the owner's; 0 is none."""
        asked = (self.push.max_duration, self.checked.max_duration, self.duration_ms_max)
        return min(bound for bound in asked if bound > 0)


@dataclass(frozen=True, slots=True)
class Ending:
    """``result`` is the JSON text of a ``results.Result``; the other members are for the log."""

    reason: Reason
    result: str
    exit_code: int | None = None
    duration_ms: int | None = None
    error: str | None = None


class NoRoom(Exception):
    """The inputs could not be written for want of room: the job's fault or this machine's."""


class Execution:
    """``started`` is called when the program runs, ``uploading`` when it is gone."""

    def __init__(
        self,
        order: Order,
        runtime: Runtime,
        workspaces: Workspaces,
        log: LogSink,
        started: Callable[[], None],
        uploading: Callable[[], None],
    ) -> None:
        self._order = order
        self._runtime = runtime
        self._workspaces = workspaces
        self._log = log
        self._started = started
        self._uploading = uploading
        self._running: Run | None = None
        self._over: Run | None = None

    async def resume(self) -> Ending | None:
        """Takes up the run of an earlier process instead; ``None`` when there is none any more.
        Raises and wants ``clean`` as ``run`` does."""
        push = self._order.push
        place = self._workspaces.reopen(self._order.room, push.job, push.attempt)
        if place is None:
            return None
        run = await self._runtime.adopt(self._task(place), self._log, self._started)
        if run is None:
            return None
        return await self._concluded(place, await self._waited(run))

    async def run(self) -> Ending:
        """Raises ``RuntimeUnavailable`` and ``NoRoom``. Call ``clean`` afterwards, whatever came
        of it."""
        push = self._order.push
        try:
            place = await self._workspaces.prepare(
                self._order.room, push.job, push.attempt, self._order.checked.definition
            )
        except InputError as error:
            if error.no_room:
                raise NoRoom(str(error)) from error
            return failed(str(error), [f"💥 {error}"])
        run = await self._runtime.start(self._task(place), self._log, self._started)
        return await self._concluded(place, await self._waited(run))

    async def usage(self) -> Use | None:
        """What the program uses now; ``None`` when none runs, or it can't be told."""
        return await self._running.usage() if self._running is not None else None

    async def clean(self) -> None:
        """What the attempt leaves on this machine goes away. A cancel does not shorten it."""
        if (error := await _despite_cancels(self._clean(), CLEAN_MAX_S)) is not None:
            _log.error("job %s left something behind: %s", self._order.push.job[:8], error)

    async def _clean(self) -> None:
        if self._over is not None:
            await self._over.discard()
        push = self._order.push
        await self._workspaces.remove(self._order.room, push.job, push.attempt)

    async def _concluded(self, place: Place, outcome: Outcome) -> Ending:
        self._uploading()
        if outcome.error is not None or (outcome.exit_code is None and not outcome.timed_out):
            error_text = outcome.error or "what became of the program is not known"
            return failed(error_text, outcome.remarks or ["💥 Job Error", error_text], outcome)
        if outcome.timed_out:
            return _ending("TimedOut", outcome, isTimedOut=True, logs=_lines(outcome.remarks))
        return await self._with_outputs(place, outcome)

    async def _waited(self, run: Run) -> Outcome:
        self._running = run
        try:
            outcome = await run.wait()
            self._over = run
            return outcome
        except BaseException:  # cancelled, or a fault of the runtime: nothing may go on running
            await _stop(run, self._order.push.job)
            raise
        finally:
            self._running = None

    async def _with_outputs(self, place: Place, outcome: Outcome) -> Ending:
        try:
            collected = await self._workspaces.collect(place)
        except OutputError as error:
            remarks = [*outcome.remarks, "💥 failed to get job outputs", f"err={error}"]
            return failed(str(error), remarks, outcome)
        remarks = [*outcome.remarks, *collected.remarks]
        return _ending("Success", outcome, outputs=collected.outputs, logs=_lines(remarks))

    def _task(self, place: Place) -> Task:
        order = self._order
        checked = order.checked
        return Task(
            job=order.push.job,
            attempt=order.push.attempt,
            queue=order.queue,
            worker=order.worker,
            definition=checked.definition,
            inputs=place.inputs,
            outputs=place.outputs,
            config_files=place.config_files,
            environment=environment(order),
            allowance=Allowance(
                cpus=max(checked.cpus, CPUS_MIN),
                memory_bytes=checked.memory,
                gpus=order.gpus,
                shm_bytes=checked.shm_size,
                run_ms_max=order.run_ms_max,
            ),
        )


def environment(order: Order) -> dict[str, str]:
    """The definition's ``env``, then the variables of WIRE 6.7, which it can't replace."""
    env = order.checked.definition.env or {}
    variables = {name: _env_text(value) for name, value in env.items()}
    job = f"{order.api_address}/j/{order.push.job}"
    variables |= {
        "JOB_ID": order.push.job,
        "JOB_INPUTS": "/inputs",
        "JOB_OUTPUTS": "/outputs",
        "JOB_CACHE": "/job-cache",
        "JOB_URL_PREFIX": job,
        "JOB_OUTPUTS_URL_PREFIX": f"{job}/outputs/",
        "JOB_INPUTS_URL_PREFIX": f"{job}/inputs/",
    }
    if order.gpus:
        # A container is only given its own devices, which it counts from 0; a process sees all.
        inside = map(str, range(len(order.gpus)))
        devices = inside if order.checked.kind == "container" else order.gpus
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return variables


def _env_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def failed(error: str, remarks: list[str], outcome: Outcome | None = None) -> Ending:
    """An ``Error`` ending. ``remarks`` become the lines of the result (WIRE 6.10)."""
    outcome = outcome or Outcome()
    return _ending("Error", outcome, error=error, logs=_lines(remarks))


def _ending(reason: Reason, outcome: Outcome, **members: Any) -> Ending:
    result = Result(StatusCode=outcome.exit_code, duration=outcome.duration_ms, **members)
    try:
        text = msgspec.json.encode(result).decode()
        size = len(text.encode())
        fault = f"the result has {size} bytes; {RESULT_BYTES_MAX} are allowed"
        fits = size <= RESULT_BYTES_MAX
    except UnicodeEncodeError:
        fits, fault = False, "the name of an output is not UTF-8"
    if not fits:
        reason = "Error"
        members = {"error": fault, "logs": _lines(["💥 failed to get job outputs", fault])}
        result = Result(StatusCode=outcome.exit_code, duration=outcome.duration_ms, **members)
        text = msgspec.json.encode(result).decode()
    return Ending(reason, text, outcome.exit_code, outcome.duration_ms, members.get("error"))


def _lines(remarks: list[str]) -> list[LogLine]:
    now_ms = time.time_ns() // 1_000_000
    return [LogLine(remark, now_ms, True) for remark in remarks]


async def _stop(run: Run, job: str) -> None:
    """Returns when the run is gone."""
    if (error := await _despite_cancels(run.stop(), STOP_MAX_S)) is not None:
        _log.error("job %s could not be stopped: %s", job[:8], error)


async def _despite_cancels(work: Coroutine[Any, Any, None], bound_s: float) -> str | None:
    """Runs ``work`` to its end: another cancel does not disturb it, or something would stay behind.
    What went wrong, if anything."""
    doing = asyncio.ensure_future(work)
    deadline = time.monotonic() + bound_s
    while not doing.done() and (left := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait([doing], timeout=left)
        except asyncio.CancelledError:
            continue  # the one that we are answering already
    if not doing.done():
        doing.cancel()
        return f"not done within {bound_s:.0f} s"
    if doing.cancelled() or (error := doing.exception()) is None:
        return None
    return str(error) or type(error).__name__
