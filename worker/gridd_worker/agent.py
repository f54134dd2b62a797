"""One worker process: its data directory, its slots, its runtime, a ``Serving`` for each queue.

Owns what the queues share, what the last process left, and the order of stopping: take nothing
more, let runs end, give the rest back, wait for acknowledgements, close. Whether this machine can
run anything is ``machine``'s to know, and how many jobs a queue is offered ``spread``'s.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from gridd_worker.checkpoints import Checkpoint, Checkpoints
from gridd_worker.config import Config
from gridd_worker.home import CannotStart, kept_id, own_directory, own_id
from gridd_worker.keeping import Keeping
from gridd_worker.machine import Machine
from gridd_worker.runtime import Runtime, RuntimeUnavailable
from gridd_worker.runtimes import make_runtime
from gridd_worker.serving import Serving
from gridd_worker.shared import Shared
from gridd_worker.slots import Slots
from gridd_worker.spool import Spool, queue_hash
from gridd_worker.spread import Spread
from gridd_worker.told import Told
from gridd_worker.view import Picture, View
from gridd_worker.workspace import DiskWorkspaces, NoWorkspaces, Workspaces

__all__ = ["Agent", "CannotStart", "run_worker"]

STOPPED_MAX_S = 25.0  # for runs that are stopped at the end to be gone; above execution.STOP_MAX_S
ACKNOWLEDGED_MAX_S = 3.0  # for the server's last words; results are in the spool anyway
CLOSED_MAX_S = 3.0

_log = logging.getLogger("gridd_worker")


async def run_worker(
    config: Config,
    runtime: Runtime | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
    signals: bool = False,
    view: View | None = None,
) -> None:
    """Serve until stopped: by SIGTERM or SIGINT when ``signals``, by the server, or by being
    cancelled (then runs are stopped and nothing is waited for). Raises ``CannotStart``.

    ``runtime`` overrides ``config.runtime``. ``on_ready`` gets one line when every queue has
    welcomed us for the first time.
    """
    agent = Agent(config, runtime, on_ready=on_ready)
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT) if signals else ()
    with contextlib.suppress(NotImplementedError):  # Windows
        for number in caught:
            loop.add_signal_handler(number, agent.stop)
    showing = asyncio.create_task(view.show(agent.picture, agent.measure)) if view else None
    try:
        await agent.run()
    finally:
        if showing is not None:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
        with contextlib.suppress(NotImplementedError):
            for number in caught:
                loop.remove_signal_handler(number)


class Agent:
    """``run`` once. ``stop`` drains; called again, it does not wait for runs any longer."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime | None = None,
        *,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        self._config = config
        self._given_runtime = runtime
        self._on_ready = on_ready
        self._worker = config.id or ""  # known when the data directory is ours
        self._slots = Slots(config.cpus, config.memory, config.gpus)
        self._servings: list[Serving] = []
        self._not_welcomed: set[str] = set(config.queues)
        weights = dict(zip(config.queues, config.weights_of_queues, strict=True))
        self._spread = Spread(config.credit, weights, lambda: self._slots.free_cpus)
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    def stop(self) -> None:
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def picture(self) -> Picture:
        """This moment, for people."""
        return Picture(
            worker=self._worker,
            queues=self._config.queues,
            connected=sum(one.conversation.open for one in self._servings),
            cpus=self._config.cpus,
            free_cpus=self._slots.free_cpus,
            holds=tuple(self._machine.holds.reasons) if self._servings else (),
            jobs=tuple(job for one in self._servings for job in one.pictures()),
            draining=self._stopping.is_set(),
        )

    async def measure(self) -> None:
        """For ``picture``: look at what each job uses. Bounded as ``AttemptTask.measure`` is."""
        await asyncio.gather(*(one.measure() for one in self._servings))

    async def run(self) -> None:
        """Raises ``CannotStart``."""
        config = self._config
        with contextlib.ExitStack() as locks:
            locks.enter_context(own_directory(config.data_directory))
            self._worker = config.id or kept_id(config.data_directory)
            locks.enter_context(own_id(self._worker, config.api_address))
            self._runtime = self._given_runtime or make_runtime(config, self._worker)
            workspaces = self._workspaces()
            self._machine = Machine(
                config,
                self._runtime,
                on_change=self._on_holds,
                in_hand=lambda: {key for one in self._servings for key in one.in_hand},
                relieve=workspaces.relieve,
            )
            spool = self._spool()
            try:
                left_over = self._left_over(spool)
                await self._open(workspaces, left_over)
                await self._serve(self._shared(workspaces, spool), left_over)
            finally:
                await self._close(workspaces, spool)

    # --- beginning and end ------------------------------------------------------------------

    def _workspaces(self) -> Workspaces:
        data = self._config.data_directory
        if self._config.runtime == "null":
            return NoWorkspaces(data)
        private = self._config.private_addresses == "allow"
        inputs_s = self._config.input_timeout_ms / 1000
        return DiskWorkspaces(
            data,
            self._config.api_address,
            private=private,
            inputs_s_max=inputs_s,
            erase=self._runtime.erase,
        )

    def _spool(self) -> Keeping | None:
        """None for the null runtime: its results are worth nothing, and the bench counts."""
        if self._config.runtime == "null":
            return None
        try:
            spool = Spool(self._config.data_directory / "spool")
            spool.prune()
            checkpoints = Checkpoints(self._config.data_directory / "running")
            checkpoints.prune()
            told = Told(self._config.data_directory / "told")
            told.prune()
        except OSError as error:
            raise CannotStart(f"the data directory can't be used: {error}") from None
        return Keeping(spool, checkpoints, told)

    def _left_over(self, spool: Keeping | None) -> dict[str, list[Checkpoint]]:
        """By queue, what the last process of this worker ran and may still run."""
        if spool is None or not self._runtime.lasting:
            return {}
        api = self._config.api_address
        return {q: spool.left_over(queue_hash(api, q)) for q in self._config.queues}

    async def _open(
        self, workspaces: Workspaces, left_over: Mapping[str, list[Checkpoint]]
    ) -> None:
        """A runtime that is missing is waited for, unless that is of no use."""
        api = self._config.api_address
        notes = [note for found in left_over.values() for note in found]
        try:
            await workspaces.open(
                {(queue_hash(api, n.queue), n.push.job, n.push.attempt) for n in notes}
            )
        except OSError as error:
            raise CannotStart(f"the data directory can't be used: {error}") from None
        try:
            await self._runtime.open()
            _log.info("runtime %s", self._runtime.describe())
            await self._runtime.sweep({note.key for note in notes})
        except RuntimeUnavailable as error:
            if error.final:
                raise CannotStart(str(error)) from None
            self._machine.on_unavailable(error)

    async def _close(self, workspaces: Workspaces, spool: Keeping | None) -> None:
        self._spread.close()
        await self._machine.close()
        await self._runtime.close()
        await workspaces.close()
        if spool is not None:
            await asyncio.to_thread(spool.close)

    def _shared(self, workspaces: Workspaces, spool: Keeping | None) -> Shared:
        null = self._config.runtime == "null"
        return Shared(
            config=self._config,
            worker=self._worker,
            runtime=self._runtime,
            workspaces=workspaces,
            slots=self._slots,
            spool=spool,
            on_slots=self._spread.on_slots,
            on_took=self._spread.on_took,
            on_left_over_gone=self._machine.sweep_soon,
            on_no_room=self._spread.on_no_room,
            on_unavailable=self._machine.on_unavailable,
            disk_is_full=self._machine.disk_is_full,
            on_works=self._machine.on_works,
            on_welcome=self._on_welcome,
            fact_level=logging.DEBUG if null else logging.INFO,
        )

    async def _serve(self, shared: Shared, left_over: Mapping[str, list[Checkpoint]]) -> None:
        self._servings = [
            Serving(queue, shared, left_over.get(queue, ())) for queue in self._config.queues
        ]
        self._on_holds()
        self._spread.begin(self._servings)
        watching = asyncio.create_task(self._machine.watch(), name="gridd-worker watch")
        serving = [asyncio.create_task(s.run(), name=s.queue) for s in self._servings]
        stopping = asyncio.create_task(self._stopping.wait())
        everyone = asyncio.gather(*serving)
        try:
            first: list[asyncio.Future[Any]] = [everyone, stopping]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not everyone.done():
                await self._drain()
                for one in self._servings:
                    one.connection.leave()
            async with asyncio.timeout(CLOSED_MAX_S):
                await everyone  # a fault of ours in a connection comes out here
        except TimeoutError:
            _log.debug("the server did not answer the goodbye")
        finally:
            stopping.cancel()
            watching.cancel()
            everyone.cancel()
            for one in self._servings:  # only when we were cancelled is there anything to stop
                one.give_back("the worker was stopped")
            await asyncio.gather(everyone, stopping, watching, return_exceptions=True)
            await self._all(Serving.idle, STOPPED_MAX_S)

    async def _drain(self) -> None:
        """The order of stopping. Every wait in it has a bound."""
        for one in self._servings:
            one.drain()
        running = sum(one.running for one in self._servings)
        if running:
            grace_s = self._config.drain_ms / 1000
            _log.info("stopping: %d jobs may run on for %.0f s", running, grace_s)
            hurrying = asyncio.create_task(self._hurrying.wait())
            idle = asyncio.create_task(self._all(Serving.idle, grace_s))
            await asyncio.wait([idle, hurrying], return_when=asyncio.FIRST_COMPLETED)
            hurrying.cancel()
            idle.cancel()
            for one in self._servings:
                one.give_back("the worker was stopped")
            await self._all(Serving.idle, STOPPED_MAX_S)
        if any(one.conversation.open for one in self._servings):
            await self._all(Serving.settled, ACKNOWLEDGED_MAX_S)

    async def _all(
        self, wait: Callable[[Serving], Coroutine[Any, Any, None]], bound_s: float
    ) -> None:
        """``wait`` for every queue, at most ``bound_s`` in all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                for one in self._servings:
                    await wait(one)

    def _on_holds(self) -> None:
        self._spread.hold(bool(self._machine.holds))

    # --- said once ----------------------------------------------------------------------------

    def _on_welcome(self, queue: str) -> None:
        if queue not in self._not_welcomed:
            return
        self._not_welcomed.discard(queue)
        if not self._not_welcomed and self._on_ready is not None:
            self._on_ready(self._ready_line())

    def _ready_line(self) -> str:
        config = self._config
        has = f"{config.cpus:g} cpus"
        if config.gpus:
            has += f", {len(config.gpus)} gpus"
        return (
            f"gridd-worker {self._worker} serves {', '.join(config.queues)} at "
            f"{config.api_address} with {has}, runtime {config.runtime}"
        )
