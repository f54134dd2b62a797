"""One attempt in hand: what it takes of the worker, its run, and how it ends.

Between the conversation, which is told what comes of it, and ``execution``, which does the work.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from gridd_protocol.definitions import Checked, checked
from gridd_protocol.errors import ProtocolError
from gridd_protocol.messages import Finished, LogLine, Push, Step
from gridd_worker.checkpoints import Checkpoint, checkpoint
from gridd_worker.conversation import Conversation
from gridd_worker.execution import Ending, Execution, NoRoom, Order, failed
from gridd_worker.log import about_job
from gridd_worker.runtime import RuntimeUnavailable
from gridd_worker.shared import Shared
from gridd_worker.slots import Needs, Taken
from gridd_worker.usage import Gauge
from gridd_worker.view import JobPicture

SLOT_WAIT_S = 10.0  # a push waits this long for what a stopping run still has, then is given back

_log = logging.getLogger("gridd_worker")


class AttemptTask:
    """``start`` makes the task that ``run`` is. ``left_over``: an earlier process began the run.
    ``older``: of an earlier attempt at the same job, that is being stopped. ``wake`` is called when
    the conversation has something to say."""

    task: asyncio.Task[None]

    def __init__(
        self,
        push: Push,
        left_over: Checkpoint | None,
        older: asyncio.Task[None] | None = None,
        *,
        queue: str,
        room: str,
        conversation: Conversation,
        wake: Callable[[], None],
        shared: Shared,
    ) -> None:
        self.push = push
        self._left_over = left_over
        self._older = older
        self._queue = queue
        self._room = room
        self._conversation = conversation
        self._wake = wake
        self._shared = shared
        self._stoppable = True  # false once there is a result: then nothing is left to stop
        self._began = time.monotonic()
        self._taken: Taken | None = None
        self._execution: Execution | None = None
        self._gauge = Gauge()

    def start(self) -> asyncio.Task[None]:
        name = f"job {self.push.job[:8]}"
        self.task = asyncio.get_running_loop().create_task(self.run(), name=name)
        return self.task

    def stop(self) -> None:
        if self._stoppable:
            self.task.cancel()

    async def measure(self) -> None:
        """For ``picture``: look at what the program uses. Takes ``usage.LOOK_MAX_S`` at most."""
        if self._execution is not None:
            await self._gauge.look(self._execution.usage)

    def picture(self) -> JobPicture:
        """For people."""
        push, taken = self.push, self._taken
        phase = self._conversation.phase(push.job, push.attempt)
        log = self._conversation.log(push.job, push.attempt)
        last = log.last if log is not None else None
        return JobPicture(
            job=push.job,
            queue=self._queue,
            phase="stopping" if phase is None else phase.value if taken else "waiting",
            seconds=int(time.monotonic() - self._began),
            cpus=taken.millicpus / 1000 if taken else 0,
            memory=taken.memory if taken else 0,
            gpus=taken.gpus if taken else (),
            busy_cpus=self._gauge.cpus,
            used_memory=self._gauge.memory,
            last=last.text.rstrip("\n") if last is not None else "",
        )

    async def run(self) -> None:
        """Ends with the attempt finished or released, unless it was stopped."""
        push, left_over = self.push, self._left_over
        about_job.set(push.job)  # for every line of the log from here on, whoever writes it
        if self._older is not None:  # never two programs of one job; it is given up by a bound
            await asyncio.wait([self._older])
            self._older = None
        try:
            order = checked(push.definition.encode())
        except (ProtocolError, UnicodeEncodeError) as error:
            fault = f"this worker can't read the definition: {error}"
            await self._finish(failed(fault, [f"💥 {fault}"]))
            return
        needs = Needs(order.cpus, order.gpus, order.memory)
        if left_over is not None:
            taken: Taken | None = self._shared.slots.claim(needs, left_over.gpus)
        else:
            taken = await self._place(order, needs)
        if taken is None:
            return
        try:
            self._taken = taken
            self._shared.on_took(self._queue)
            await self._execute(order, taken)
        finally:
            self._shared.slots.give(taken)
            self._shared.on_slots()

    async def _place(self, order: Checked, needs: Needs) -> Taken | None:
        """What the job needs, or ``None`` after the job was given back."""
        slots = self._shared.slots
        why_not = slots.refusal(needs)
        if order.kind not in self._shared.runtime.kinds:
            why_not = f"this worker does not run jobs of the kind {order.kind}"
        if why_not is None:
            try:
                return slots.take(needs) or await slots.wait(needs, SLOT_WAIT_S)
            except TimeoutError:
                why_not = f"nothing got free for the job within {SLOT_WAIT_S:.0f} s"
        self.release(why_not)
        # In the same frame, and there credit stands in front: or it would come straight back.
        self._shared.on_no_room(self._queue)
        return None

    async def _execute(self, order: Checked, taken: Taken) -> None:
        push, left_over = self.push, self._left_over
        job, attempt = push.job, push.attempt

        def say(step: Step, lines: list[LogLine]) -> None:
            self._conversation.say(job, attempt, step, lines)
            self._wake()

        def started() -> None:
            now_ms = time.time_ns() // 1_000_000
            if left_over is not None:
                _log.info("took up job %s (attempt %d), which went on meanwhile", job[:8], attempt)
            elif self._shared.runtime.lasting:
                self._note(now_ms, taken)
            self._conversation.started(job, attempt, now_ms)
            self._wake()
            self._shared.on_works()

        def uploading() -> None:
            self._conversation.uploading(job, attempt)

        config = self._shared.config
        execution = self._execution = Execution(
            Order(
                push,
                order,
                self._queue,
                self._room,
                self._shared.worker,
                config.api_address,
                taken.gpus,
                config.max_job_duration_ms,
            ),
            self._shared.runtime,
            self._shared.workspaces,
            say,
            started,
            uploading,
        )
        try:
            ending = await self._ending(execution, resume=left_over is not None)
            if ending is None:
                self.release("the worker was restarted, and the run is gone")
            else:
                await self._finish(ending)
        except NoRoom as error:
            await execution.clean()  # then what is missing is not what this job took
            if await self._shared.disk_is_full():
                self.release(f"the worker's disk is full: {error}")
            else:
                fault = f"the inputs do not fit on this worker's disk: {error}"
                await self._finish(failed(fault, [f"💥 {fault}"]))
        except RuntimeUnavailable as error:
            self._shared.on_unavailable(error)
            self.release(f"the worker's runtime can't run jobs now: {error}")
        finally:
            await execution.clean()

    def _note(self, now_ms: int, taken: Taken) -> None:
        """So that the next process can take the run up, should this one die."""
        push = self.push
        log = self._conversation.log(push.job, push.attempt)
        if log is not None and self._shared.spool is not None:
            note = checkpoint(self._queue, push, now_ms, taken.gpus, log)
            self._shared.spool.note(self._room, note)

    async def _ending(self, execution: Execution, *, resume: bool) -> Ending | None:
        try:
            return await (execution.resume() if resume else execution.run())
        except (RuntimeUnavailable, NoRoom, asyncio.CancelledError):
            raise
        except Exception as error:  # our own fault; the job must not wait for ever
            _log.exception("a fault of the worker itself")
            fault = f"the worker failed by a fault of its own ({type(error).__name__})"
            return failed(fault, [f"💥 {fault}"])

    async def _finish(self, ending: Ending) -> None:
        job, attempt = self.push.job, self.push.attempt
        self._stoppable = False
        self._conversation.uploading(job, attempt)
        finished = Finished(job, attempt, ending.reason, ending.result)
        spool = self._shared.spool
        if spool is not None:
            await spool.write(self._room, finished, self._conversation)
            if self._conversation.phase(job, attempt) is None:  # stopped meanwhile
                spool.remove(self._room, job, attempt)
                return
        self._conversation.finished(finished)
        self._wake()
        if _log.isEnabledFor(self._shared.fact_level):
            _log.log(self._shared.fact_level, "%s", _told(self.push, ending, self._began))

    def release(self, why: str) -> None:
        """Give the job back, unless it is over already."""
        push = self.push
        if self._conversation.phase(push.job, push.attempt) is None:
            return
        _log.info("gave job %s (attempt %d) back: %s", push.job[:8], push.attempt, why)
        self._conversation.release(push.job, push.attempt, why)
        self._wake()


def _told(push: Push, ending: Ending, began: float) -> str:
    took_s = time.monotonic() - began
    if ending.error is not None:
        how = f"{ending.reason}: {ending.error}"
    else:
        how = f"{ending.reason}, exit code {ending.exit_code}"
    return f"finished job {push.job[:8]} (attempt {push.attempt}) after {took_s:.1f} s: {how}"
