"""One queue: its conversation, its connection, and a task for each attempt in hand.

Carries out what the conversation answers (start, stop, forget) and tells it how runs went. What
queues share (slots, runtime, spool, credit) is the agent's, and comes in as ``Shared``.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Sequence

from gridd_protocol.messages import Push, Started
from gridd_protocol.version import __version__
from gridd_worker.actions import Action, Complaint, Forget, Leave, Start, Stop, Welcomed
from gridd_worker.attempt import AttemptTask
from gridd_worker.checkpoints import Checkpoint
from gridd_worker.connection import Connection, worker_url
from gridd_worker.conversation import Conversation
from gridd_worker.in_hand import Phase
from gridd_worker.keeping import Keeping
from gridd_worker.rival import is_connected
from gridd_worker.runtime import Key
from gridd_worker.shared import Shared
from gridd_worker.spool import queue_hash
from gridd_worker.upstream.dialect import UpstreamDialect
from gridd_worker.view import JobPicture

_log = logging.getLogger("gridd_worker")


class Serving:
    """``run`` lasts until the agent or the server ends it."""

    def __init__(self, queue: str, shared: Shared, left_over: Sequence[Checkpoint] = ()) -> None:
        config = shared.config
        self.queue = queue
        self._shared = shared
        self._room = queue_hash(config.api_address, queue)
        self._running: dict[tuple[str, int], AttemptTask] = {}
        self._newest: dict[str, AttemptTask] = {}  # of those, by job
        self._changed = asyncio.Event()
        self._give_back: str | None = None  # set when runs are stopped to be given back
        self._leaver: asyncio.Task[None] | None = None
        self.conversation = Conversation(
            shared.worker,
            __version__,
            config.resources(shared.runtime.kinds, shared.runtime.offers),
            config.credit,
            sharing=len(config.queues) > 1,
        )
        if shared.spool is not None:
            restored = shared.spool.restore(self._room, self.conversation)
            if restored:
                _log.info("%d results of an earlier start are to be sent to %s", restored, queue)
        self._left_over = [
            note
            for note in left_over
            if self.conversation.take_up(
                Started(note.push.job, note.push.attempt, note.started_ms),
                note.buffer(),
                time.time_ns() // 1_000_000,
            )
        ]
        self._not_taken_up = len(left_over) > len(self._left_over)
        self.connection = Connection(
            worker_url(config.api_address, queue),
            self.conversation,
            self.act,
            proxy=True if config.proxy == "system" else config.proxy,
            user_agent=f"gridd-worker/{__version__}",
            rival=lambda: is_connected(config.api_address, queue, shared.worker, config.proxy),
            dialect=self._upstream_dialect(shared.spool),
        )

    def _upstream_dialect(self, keeping: Keeping | None) -> UpstreamDialect:
        """Call it when the conversation has what was left over."""
        if keeping is None:
            return UpstreamDialect()
        dialect = UpstreamDialect(functools.partial(keeping.told, self._room))
        for (job, attempt), lines in keeping.told_before(self._room).items():
            if self.conversation.phase(job, attempt) is None:
                keeping.told(self._room, job, attempt, None)
            else:
                dialect.take_up(job, attempt, lines)
        return dialect

    async def run(self) -> None:
        for note in self._left_over:
            self._begin(note.push, note)
        if self._not_taken_up:
            self._shared.on_left_over_gone()
        try:
            await self.connection.run()
        finally:
            if self._leaver is not None:
                self._leaver.cancel()

    @property
    def running(self) -> int:
        """Tasks, those of stopped attempts that are still going away included."""
        return len(self._running)

    @property
    def active(self) -> int:
        """Attempts in hand that have not ended."""
        return self.conversation.active

    @property
    def in_hand(self) -> set[Key]:
        """The attempts whose runs are ours to end."""
        return {(self.queue, job, attempt) for job, attempt in self._running}

    async def measure(self) -> None:
        """For ``pictures``. Bounded as ``AttemptTask.measure`` is."""
        await asyncio.gather(*(attempt.measure() for attempt in self._running.values()))

    def pictures(self) -> list[JobPicture]:
        """What runs, for people."""
        return [attempt.picture() for attempt in self._running.values()]

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
        for attempt in self._running.values():
            attempt.stop()

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
                    self._shared.on_welcome(self.queue)
                case Complaint(text):
                    _log.warning("%s: %s", self.queue, text)
                case Leave():
                    self._leave()
        self._changed.set()

    def _start(self, push: Push) -> None:
        key = (push.job, push.attempt)
        if key in self._running:  # given again after a stop that is still under way
            why = "an earlier run of this attempt is still being stopped"
            self._attempt(push).release(why)
            return
        _log.log(
            self._shared.fact_level,
            "took job %s (attempt %d) from %s",
            *(push.job[:8], push.attempt, self.queue),
            extra={"job": push.job},
        )
        self._begin(push)

    def _begin(self, push: Push, left_over: Checkpoint | None = None) -> None:
        attempt = self._attempt(push, left_over, self._newest.get(push.job))
        self._running[push.job, push.attempt] = self._newest[push.job] = attempt
        attempt.start().add_done_callback(lambda task: self._on_gone(attempt, task, left_over))

    def _attempt(
        self, push: Push, left_over: Checkpoint | None = None, older: AttemptTask | None = None
    ) -> AttemptTask:
        return AttemptTask(
            push,
            left_over,
            older.task if older is not None else None,
            queue=self.queue,
            room=self._room,
            conversation=self.conversation,
            wake=self.connection.wake,
            shared=self._shared,
        )

    def _stop(self, job: str, attempt: int, why: str) -> None:
        running = self._running.get((job, attempt))
        _log.info("job %s (attempt %d) is stopped: %s", job[:8], attempt, why, extra={"job": job})
        if running is not None:
            running.stop()

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

    # --- the end of an attempt --------------------------------------------------------------

    def _on_gone(
        self, attempt: AttemptTask, task: asyncio.Task[None], left_over: Checkpoint | None
    ) -> None:
        """The task has ended; whatever happened, the attempt must not stay open without one."""
        push = attempt.push
        del self._running[push.job, push.attempt]
        if self._newest.get(push.job) is attempt:
            del self._newest[push.job]
        if self._shared.spool is not None and self._shared.runtime.lasting:
            self._shared.spool.forget(self._room, push.job, push.attempt)
        if left_over is not None:
            self._shared.on_left_over_gone()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a fault of the worker itself", exc_info=error)
        if self.conversation.phase(push.job, push.attempt) not in (
            Phase.FINISHED,
            Phase.RELEASED,
            None,
        ):
            attempt.release(self._give_back or "the run was broken off by the worker")
        self._changed.set()
