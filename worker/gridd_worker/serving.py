"""One queue: its conversation, its connection, and a task for each attempt in hand.

Carries out what the conversation answers (start, stop, forget) and tells it how runs went. What
queues share (slots, runtime, spool, credit) is the agent's, and comes in as ``Shared``.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gridd_protocol.definitions import Checked, checked
from gridd_protocol.errors import ProtocolError
from gridd_protocol.messages import Finished, LogLine, Push, Step
from gridd_protocol.version import __version__
from gridd_worker.config import Config
from gridd_worker.connection import Connection, worker_url
from gridd_worker.conversation import (
    Action,
    Complaint,
    Conversation,
    Forget,
    Leave,
    Phase,
    Start,
    Stop,
    Welcomed,
)
from gridd_worker.execution import Ending, Execution, Order, failed
from gridd_worker.runtime import Runtime, RuntimeUnavailable
from gridd_worker.slots import Needs, Slots, Taken
from gridd_worker.spool import Spool, queue_hash, spooled
from gridd_worker.workspace import Workspaces

SLOT_WAIT_S = 10.0  # a push waits this long for what a stopping run still has, then is given back

_log = logging.getLogger("gridd_worker")


class SpoolWriter:
    """The spool behind one thread: files are written and removed in the order of the calls."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "gridd-worker-spool")

    async def write(self, room: str, finished: Finished, conversation: Conversation) -> None:
        log = conversation.log(finished.job, finished.attempt)
        if log is not None:
            record = spooled(room, finished, log)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._spool.write, room, record)

    def remove(self, room: str, job: str, attempt: int) -> None:
        self._thread.submit(self._spool.remove, room, job, attempt)

    def restore(self, room: str, conversation: Conversation) -> int:
        """Announce what is spooled; answers how many. Before anything else of this room."""
        count = 0
        for found in self._spool.load(room):
            count += conversation.restore(found.finished(), found.buffer())
        return count

    def close(self) -> None:
        self._thread.shutdown()


@dataclass(slots=True)
class Shared:
    """What all queues of one worker have in common. The callbacks are the agent's."""

    config: Config
    worker: str
    runtime: Runtime
    workspaces: Workspaces
    slots: Slots
    spool: SpoolWriter | None
    on_slots: Callable[[], None]  # something was taken or given back
    on_no_room: Callable[["Serving"], None]  # a push could not be placed
    on_unavailable: Callable[[RuntimeUnavailable], None]
    on_works: Callable[[], None]  # the runtime started a program
    on_welcome: Callable[["Serving"], None]
    fact_level: int = logging.INFO  # of the lines about single jobs


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[None]
    push: Push
    stoppable: bool = True  # false once there is a result: then nothing is left to stop
    began: float = field(default_factory=time.monotonic)


class Serving:
    """``run`` lasts until the agent or the server ends it."""

    def __init__(self, queue: str, shared: Shared) -> None:
        config = shared.config
        self.queue = queue
        self._shared = shared
        self._room = queue_hash(config.api_address, queue)
        self._running: dict[tuple[str, int], _Running] = {}
        self._changed = asyncio.Event()
        self._give_back: str | None = None  # set when runs are stopped to be given back
        self._leaver: asyncio.Task[None] | None = None
        self.conversation = Conversation(
            shared.worker, __version__, config.resources(shared.runtime.kinds), config.credit
        )
        if shared.spool is not None:
            restored = shared.spool.restore(self._room, self.conversation)
            if restored:
                _log.info("%d results of an earlier start are to be sent to %s", restored, queue)
        self.connection = Connection(
            worker_url(config.api_address, queue),
            self.conversation,
            self.act,
            proxy=True if config.proxy == "system" else config.proxy,
            user_agent=f"gridd-worker/{__version__}",
        )

    async def run(self) -> None:
        try:
            await self.connection.run()
        finally:
            if self._leaver is not None:
                self._leaver.cancel()

    @property
    def running(self) -> int:
        """Tasks, those of stopped attempts that are still going away included."""
        return len(self._running)

    # --- for the agent --------------------------------------------------------------------

    def set_credit(self, jobs: int) -> None:
        self.conversation.set_credit(jobs)
        self.connection.wake()

    def drain(self) -> None:
        self.conversation.drain()
        self.connection.wake()

    def give_back(self, why: str) -> None:
        """Stop every run and release its job."""
        self._give_back = why
        for running in self._running.values():
            if running.stoppable:
                running.task.cancel()

    async def idle(self) -> None:
        """Returns when no task is left."""
        while self._running:
            await self._next_change()

    async def settled(self) -> None:
        """Returns when the server has acknowledged everything."""
        while self._running or self.conversation.in_hand:
            await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # --- what the conversation wants --------------------------------------------------------

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(push):
                    self._start(push)
                case Stop(job, attempt, why):
                    self._stop(job, attempt, why)
                case Forget(job, attempt, why):
                    self._forget(job, attempt, why)
                case Welcomed():
                    self._shared.on_welcome(self)
                case Complaint(text):
                    _log.warning("%s: %s", self.queue, text)
                case Leave():
                    self._leave()
        self._changed.set()

    def _start(self, push: Push) -> None:
        key = (push.job, push.attempt)
        if key in self._running:  # given again after a stop that is still under way
            self._release(push, "an earlier run of this attempt is still being stopped")
            return
        _log.log(
            self._shared.fact_level,
            "took job %s (attempt %d) from %s",
            *(push.job[:8], push.attempt, self.queue),
        )
        name = f"job {push.job[:8]}"
        task = asyncio.get_running_loop().create_task(self._attempt(push), name=name)
        self._running[key] = _Running(task, push)
        task.add_done_callback(lambda task: self._on_gone(push, task))

    def _stop(self, job: str, attempt: int, why: str) -> None:
        running = self._running.get((job, attempt))
        _log.info("job %s (attempt %d) is stopped: %s", job[:8], attempt, why)
        if running is not None and running.stoppable:
            running.task.cancel()

    def _forget(self, job: str, attempt: int, why: str) -> None:
        _log.debug("job %s (attempt %d) is settled: %s", job[:8], attempt, why)
        if self._shared.spool is not None:
            self._shared.spool.remove(self._room, job, attempt)

    def _leave(self) -> None:
        if self._leaver is None:
            _log.info("the server asked this worker to leave %s; finishing what runs", self.queue)
            self._leaver = asyncio.get_running_loop().create_task(self._leave_when_settled())

    async def _leave_when_settled(self) -> None:
        await self.settled()
        self.connection.leave()

    # --- one attempt ------------------------------------------------------------------------

    async def _attempt(self, push: Push) -> None:
        """Ends with the attempt finished or released, unless it was stopped."""
        try:
            order = checked(push.definition.encode())
        except (ProtocolError, UnicodeEncodeError) as error:
            fault = f"this worker can't read the definition: {error}"
            await self._finish(push, failed(fault, [f"💥 {fault}"]))
            return
        needs = Needs(order.cpus, order.gpus, order.memory)
        taken = await self._place(push, order, needs)
        if taken is None:
            return
        try:
            self._shared.on_slots()
            await self._execute(push, order, taken)
        finally:
            self._shared.slots.give(taken)
            self._shared.on_slots()

    async def _place(self, push: Push, order: Checked, needs: Needs) -> Taken | None:
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
        self._release(push, why_not)
        # In the same frame, and there credit stands in front: or it would come straight back.
        self._shared.on_no_room(self)
        return None

    async def _execute(self, push: Push, order: Checked, taken: Taken) -> None:
        job, attempt = push.job, push.attempt

        def say(step: Step, lines: list[LogLine]) -> None:
            self.conversation.say(job, attempt, step, lines)
            self.connection.wake()

        def started() -> None:
            self.conversation.started(job, attempt, time.time_ns() // 1_000_000)
            self.connection.wake()
            self._shared.on_works()

        def uploading() -> None:
            self.conversation.uploading(job, attempt)

        config = self._shared.config
        execution = Execution(
            Order(
                push,
                order,
                self.queue,
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
            await self._finish(push, await self._ending(execution))
        except RuntimeUnavailable as error:
            self._shared.on_unavailable(error)
            self._release(push, f"the worker's runtime can't run jobs now: {error}")
        finally:
            await execution.clean()

    async def _ending(self, execution: Execution) -> Ending:
        try:
            return await execution.run()
        except (RuntimeUnavailable, asyncio.CancelledError):
            raise
        except Exception as error:  # our own fault; the job must not wait for ever
            _log.exception("a fault of the worker itself")
            fault = f"the worker failed by a fault of its own ({type(error).__name__})"
            return failed(fault, [f"💥 {fault}"])

    async def _finish(self, push: Push, ending: Ending) -> None:
        job, attempt = push.job, push.attempt
        running = self._running[job, attempt]
        running.stoppable = False
        self.conversation.uploading(job, attempt)
        finished = Finished(job, attempt, ending.reason, ending.result)
        spool = self._shared.spool
        if spool is not None:
            await spool.write(self._room, finished, self.conversation)
            if self.conversation.phase(job, attempt) is None:  # stopped meanwhile
                spool.remove(self._room, job, attempt)
                return
        self.conversation.finished(finished)
        self.connection.wake()
        if _log.isEnabledFor(self._shared.fact_level):
            _log.log(self._shared.fact_level, "%s", _told(push, ending, running))

    def _release(self, push: Push, why: str) -> None:
        if self.conversation.phase(push.job, push.attempt) is None:
            return
        _log.info("gave job %s (attempt %d) back: %s", push.job[:8], push.attempt, why)
        self.conversation.release(push.job, push.attempt, why)
        self.connection.wake()

    def _on_gone(self, push: Push, task: asyncio.Task[None]) -> None:
        """The task has ended; whatever happened, the attempt must not stay open without one."""
        del self._running[push.job, push.attempt]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a fault of the worker itself", exc_info=error)
        if self.conversation.phase(push.job, push.attempt) not in (
            Phase.FINISHED,
            Phase.RELEASED,
            None,
        ):
            self._release(push, self._give_back or "the run was broken off by the worker")
        self._changed.set()


def _told(push: Push, ending: Ending, running: _Running) -> str:
    took_s = time.monotonic() - running.began
    if ending.error is not None:
        how = f"{ending.reason}: {ending.error}"
    else:
        how = f"{ending.reason}, exit code {ending.exit_code}"
    return f"finished job {push.job[:8]} (attempt {push.attempt}) after {took_s:.1f} s: {how}"
