"""One attempt, from push to result: inputs, program, outputs, and the words of the result.

Knows nothing of leases and connections. Whatever a job did wrong is a result with a reason; only
``RuntimeUnavailable`` (this machine is at fault) comes out as an exception. Cancelling ``run``
stops the program.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gridd_protocol.definitions import Checked
from gridd_protocol.limits import RESULT_BYTES_MAX
from gridd_protocol.messages import LogLine, Push, Reason
from gridd_protocol.results import Result
from gridd_worker.runtime import Allowance, LogSink, Outcome, Run, Runtime, Task
from gridd_worker.workspace import InputError, OutputError, Place, Workspaces

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

    async def run(self) -> Ending:
        """Raises ``RuntimeUnavailable``. Call ``clean`` afterwards, whatever came of it."""
        push = self._order.push
        try:
            place = await self._workspaces.prepare(
                self._order.room, push.job, push.attempt, self._order.checked.definition
            )
        except InputError as error:
            return failed(str(error), [f"💥 {error}"])
        outcome = await self._program(place)
        self._uploading()
        if outcome.error is not None or (outcome.exit_code is None and not outcome.timed_out):
            error_text = outcome.error or "what became of the program is not known"
            return failed(error_text, outcome.remarks or ["💥 Job Error", error_text], outcome)
        if outcome.timed_out:
            return _ending("TimedOut", outcome, isTimedOut=True, logs=_lines(outcome.remarks))
        return await self._with_outputs(place, outcome)

    async def clean(self) -> None:
        push = self._order.push
        await self._workspaces.remove(self._order.room, push.job, push.attempt)

    async def _program(self, place: Place) -> Outcome:
        run = await self._runtime.start(self._task(place), self._log, self._started)
        try:
            return await run.wait()
        except BaseException:  # cancelled, or a fault of the runtime: nothing may go on running
            await _stop(run, self._order.push.job)
            raise

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
    """Returns when the run is gone. Another cancel does not disturb it: a run would stay behind."""
    stopping = asyncio.ensure_future(run.stop())
    deadline = time.monotonic() + STOP_MAX_S
    while not stopping.done() and (left := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait([stopping], timeout=left)
        except asyncio.CancelledError:
            continue  # the one that we are answering already
    if not stopping.done():
        stopping.cancel()
        _log.error("job %s could not be stopped within %.0f s", job[:8], STOP_MAX_S)
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        _log.error("job %s could not be stopped: %s", job[:8], error)
