"""One worker process: its data directory, its slots, its runtime, a ``Serving`` for each queue.

Owns what the queues share, how credit is spread over them, what happens when the runtime can't
run anything, and the order of stopping: take nothing more, let runs end, give the rest back, wait
for acknowledgements, close.
"""

import asyncio
import contextlib
import logging
import os
import signal
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from gridd_protocol.errors import ProtocolError
from gridd_protocol.names import check_worker_id
from gridd_worker.config import Config
from gridd_worker.runtime import Runtime, RuntimeUnavailable
from gridd_worker.serving import Serving, Shared, SpoolWriter
from gridd_worker.slots import Slots
from gridd_worker.spool import Spool
from gridd_worker.workspace import DiskWorkspaces, NoWorkspaces, Workspaces

MEND_DELAY_FIRST_S = 1.0
MEND_DELAY_MAX_S = 60.0
NO_ROOM_S = 5.0  # a queue that pushed what did not fit is given no more credit for so long
STOPPED_MAX_S = 25.0  # for runs that are stopped at the end to be gone; above execution.STOP_MAX_S
ACKNOWLEDGED_MAX_S = 3.0  # for the server's last words; results are in the spool anyway
CLOSED_MAX_S = 3.0

_log = logging.getLogger("gridd_worker")


class CannotStart(Exception):
    """A sentence for the owner: what is missing, and what to do."""


async def run_worker(
    config: Config,
    runtime: Runtime | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
    signals: bool = False,
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
    try:
        await agent.run()
    finally:
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
        self._slots = Slots(config.cpus, config.memory, config.gpus)
        self._servings: list[Serving] = []
        self._not_welcomed: set[str] = set(config.queues)
        self._no_room: dict[str, asyncio.TimerHandle] = {}  # by queue
        self._mending: asyncio.Task[None] | None = None
        self._mend_delay_s = MEND_DELAY_FIRST_S
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    def stop(self) -> None:
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def run(self) -> None:
        """Raises ``CannotStart``."""
        with _own_directory(self._config.data_directory):
            self._worker = self._config.id or _kept_id(self._config.data_directory)
            self._runtime = self._given_runtime or make_runtime(self._config, self._worker)
            workspaces = self._workspaces()
            spool = self._spool()
            try:
                await self._open(workspaces)
                await self._serve(self._shared(workspaces, spool))
            finally:
                await self._close(workspaces, spool)

    # --- beginning and end ------------------------------------------------------------------

    def _workspaces(self) -> Workspaces:
        data = self._config.data_directory
        if self._config.runtime == "null":
            return NoWorkspaces(data)
        return DiskWorkspaces(data, self._config.api_address)

    def _spool(self) -> SpoolWriter | None:
        """None for the null runtime: its results are worth nothing, and the bench counts."""
        if self._config.runtime == "null":
            return None
        try:
            spool = Spool(self._config.data_directory / "spool")
            spool.prune()
        except OSError as error:
            raise CannotStart(f"the data directory can't be used: {error}") from None
        return SpoolWriter(spool)

    async def _open(self, workspaces: Workspaces) -> None:
        try:
            await workspaces.open()
            await self._runtime.open()
            _log.info("runtime %s", self._runtime.describe())
        except OSError as error:
            raise CannotStart(f"the data directory can't be used: {error}") from None
        except RuntimeUnavailable as error:
            raise CannotStart(str(error)) from None

    async def _close(self, workspaces: Workspaces, spool: SpoolWriter | None) -> None:
        for timer in self._no_room.values():
            timer.cancel()
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        await self._runtime.close()
        await workspaces.close()
        if spool is not None:
            await asyncio.to_thread(spool.close)

    def _shared(self, workspaces: Workspaces, spool: SpoolWriter | None) -> Shared:
        null = self._config.runtime == "null"
        return Shared(
            config=self._config,
            worker=self._worker,
            runtime=self._runtime,
            workspaces=workspaces,
            slots=self._slots,
            spool=spool,
            on_slots=self._on_slots,
            on_no_room=self._on_no_room,
            on_unavailable=self._on_unavailable,
            on_works=self._on_works,
            on_welcome=self._on_welcome,
            fact_level=logging.DEBUG if null else logging.INFO,
        )

    async def _serve(self, shared: Shared) -> None:
        self._servings = [Serving(queue, shared) for queue in self._config.queues]
        self._spread_credit()
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
            everyone.cancel()
            for one in self._servings:  # only when we were cancelled is there anything to stop
                one.give_back("the worker was stopped")
            await asyncio.gather(everyone, stopping, return_exceptions=True)
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

    # --- credit -----------------------------------------------------------------------------

    def _spread_credit(self) -> None:
        """One queue: all of it, the server counts what is free. Several queues do not know of
        each other, so each is offered what it holds and what is free now."""
        several = len(self._servings) > 1
        active = {one.queue: one.conversation.active for one in self._servings}
        free = max(0, min(self._config.credit - sum(active.values()), int(self._slots.free_cpus)))
        for one in self._servings:
            if self._mending is not None:
                one.set_credit(0)
            elif one.queue in self._no_room:
                one.set_credit(active[one.queue])
            else:
                one.set_credit(active[one.queue] + free if several else self._config.credit)

    def _on_slots(self) -> None:
        if len(self._servings) > 1:
            self._spread_credit()

    def _on_no_room(self, serving: Serving) -> None:
        queue = serving.queue
        former = self._no_room.pop(queue, None)
        if former is not None:
            former.cancel()
        loop = asyncio.get_running_loop()
        self._no_room[queue] = loop.call_later(NO_ROOM_S, self._on_room, queue)
        self._spread_credit()

    def _on_room(self, queue: str) -> None:
        del self._no_room[queue]
        self._spread_credit()

    # --- the runtime ------------------------------------------------------------------------

    def _on_unavailable(self, error: RuntimeUnavailable) -> None:
        if self._mending is None:
            _log.error("%s; no jobs are taken until this works again", error)
            self._mending = asyncio.create_task(self._mend())
            self._spread_credit()

    async def _mend(self) -> None:
        while True:
            await asyncio.sleep(self._mend_delay_s)
            # Kept until a program really started: it may open and fail again at once.
            self._mend_delay_s = min(self._mend_delay_s * 2, MEND_DELAY_MAX_S)
            if any(one.running for one in self._servings):
                break  # opening clears away what those still use; the next start is the test
            try:
                await self._runtime.close()
                await self._runtime.open()
                break
            except RuntimeUnavailable as error:
                _log.debug("%s; looking again in %.0f s", error, self._mend_delay_s)
            except Exception:  # our own fault, and no reason to stand still for ever
                _log.exception("a fault of the worker itself")
        self._mending = None
        _log.info("trying the runtime again; taking jobs")
        self._spread_credit()

    def _on_works(self) -> None:
        self._mend_delay_s = MEND_DELAY_FIRST_S

    # --- said once ----------------------------------------------------------------------------

    def _on_welcome(self, serving: Serving) -> None:
        if serving.queue not in self._not_welcomed:
            return
        self._not_welcomed.discard(serving.queue)
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


def make_runtime(config: Config, worker: str) -> Runtime:
    """The runtime that the owner chose; imported only then."""
    match config.runtime:
        case "docker":
            from gridd_worker.docker import DockerRuntime

            return DockerRuntime(worker=worker)
        case "process":
            from gridd_worker.process import ProcessRuntime

            return ProcessRuntime()
        case "null":
            from gridd_worker.null import NullRuntime

            return NullRuntime()


@contextlib.contextmanager
def _own_directory(data: Path) -> Iterator[None]:
    """Make the data directory and hold its lock: two workers would send under one id."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = os.open(data / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"the data directory can't be used: {error}") from None
    try:
        _lock(lock, data)
        yield
    finally:
        os.close(lock)


def _lock(descriptor: int, data: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CannotStart(
            f"another gridd-worker uses {data}; give this one its own with --data-directory"
        ) from None


def _kept_id(data: Path) -> str:
    """The id in the data directory, drawn once."""
    file = data / "worker-id"
    try:
        kept = check_worker_id(file.read_text().strip())
    except FileNotFoundError:
        kept = str(uuid.uuid4())
    except (ProtocolError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file} holds no worker id ({error}); remove it or use --id") from None
    except OSError as error:
        raise CannotStart(f"the data directory can't be used: {error}") from None
    with contextlib.suppress(OSError):
        file.write_text(f"{kept}\n")
    return kept
