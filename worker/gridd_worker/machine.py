"""Whether this machine can run jobs now: looked at all the time, mended where that is possible.

Owns the holds (see ``health``) and the waiting for a runtime that is gone. Refuses to stop what
runs: a hold only keeps new jobs away.
"""

import asyncio
import logging
from collections.abc import Callable

from gridd_worker.config import Config
from gridd_worker.health import Clock, Disk, Holds
from gridd_worker.runtime import Key, Runtime, RuntimeUnavailable

MEND_DELAY_FIRST_S = 1.0
MEND_DELAY_MAX_S = 10.0  # between two looks at a runtime that is gone
PAUSE_MAX_S = 60.0  # for one that is there, and fails whenever it is given a job
WATCH_S = 3.0  # how often disk, clock and runtime are looked at
RUNTIME, DISK = "runtime", "disk"  # names of holds

_log = logging.getLogger("gridd_worker")


class Machine:
    """``on_change`` is called when jobs may be taken again, or no more. ``in_hand`` tells the
    attempts whose runs are this process's to end. ``relieve`` frees what is only kept for later and
    tells how many bytes."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        *,
        on_change: Callable[[], None],
        in_hand: Callable[[], set[Key]],
        relieve: Callable[[], int],
    ) -> None:
        self._relieve = relieve
        self.holds = Holds(on_change)
        self._runtime = runtime
        self._in_hand = in_hand
        self._disk = Disk(config.data_directory, config.min_free_disk)
        self._writes = config.runtime != "null"
        self._mending: asyncio.Task[None] | None = None
        self._pause_s = MEND_DELAY_FIRST_S
        self._sweeping: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Says what changes for the worse or the better, once, whether there are jobs or not."""
        clock = Clock()
        while True:
            if self._writes:
                await self.disk_is_full()
            if (jump := clock.jump()) is not None:
                _log.warning("%s", jump)
            if not self.holds.has(RUNTIME):
                try:
                    await self._runtime.check()
                except RuntimeUnavailable as error:
                    self.on_unavailable(error)
            await asyncio.sleep(WATCH_S)

    async def disk_is_full(self) -> bool:
        """Looks now; true: no more jobs are taken."""
        trouble = await asyncio.to_thread(self._disk.trouble)
        if trouble is not None and self._relieve():
            trouble = await asyncio.to_thread(self._disk.trouble)
        if trouble is not None:
            self.holds.begin(DISK, trouble)
        else:
            self.holds.end(DISK, "the data directory can be written again")
        return trouble is not None

    def on_unavailable(self, error: RuntimeUnavailable) -> None:
        self.holds.begin(RUNTIME, str(error))
        if self._mending is None:
            self._mending = asyncio.create_task(self._mend())

    def on_works(self) -> None:
        """The runtime has started a program."""
        self._pause_s = MEND_DELAY_FIRST_S

    def sweep_soon(self) -> None:
        """What an earlier process left was given up, so maybe nobody has stopped it."""
        task = asyncio.get_running_loop().create_task(self._sweep())
        self._sweeping.add(task)
        task.add_done_callback(self._sweeping.discard)

    async def close(self) -> None:
        helpers = [*self._sweeping, *([self._mending] if self._mending else [])]
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)

    async def _sweep(self) -> None:
        await self._runtime.sweep(self._in_hand())

    async def _mend(self) -> None:
        delay_s = self._pause_s
        # Kept until a program really started: a runtime may open and fail again at once.
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
        while True:
            await asyncio.sleep(delay_s)
            try:
                if self._in_hand():
                    await self._runtime.check()  # opening anew would break what they use
                else:
                    await self._runtime.close()
                    await self._runtime.open()
                await self._sweep()
                break
            except RuntimeUnavailable as error:
                delay_s = min(delay_s * 2, MEND_DELAY_MAX_S)
                _log.debug("%s; looking again in %.0f s", error, delay_s)
            except Exception:  # our own fault, and no reason to stand still for ever
                _log.exception("a fault of the worker itself")
        self._mending = None
        self.holds.end(RUNTIME, f"runtime {self._runtime.describe()}")
