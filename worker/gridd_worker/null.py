"""A runtime that runs nothing: every job ends at once, with exit code 0. For benches and tests."""

import asyncio
import time
from collections.abc import Callable

from gridd_protocol.messages import Kind
from gridd_worker.runtime import LogSink, Outcome, Run, Runtime, Task


class Ended(Run):
    """A run that is over already: what ``start`` answers when there is nothing to wait for."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    async def wait(self) -> Outcome:
        return self._outcome

    async def stop(self) -> None:
        pass


class NullRuntime(Runtime):
    """``delay_ms`` is how long each job seems to run."""

    kinds: tuple[Kind, ...] = ("container", "process")

    def __init__(self, delay_ms: int = 0) -> None:
        self._delay_ms = delay_ms

    def describe(self) -> str:
        return "null: runs nothing, every job succeeds"

    async def open(self) -> None:
        pass

    async def start(
        self, task: Task, log: LogSink, started: Callable[[], None]
    ) -> "Ended | NullRun":
        started()
        if self._delay_ms == 0:
            return Ended(Outcome(exit_code=0, duration_ms=0))
        return NullRun(min(self._delay_ms, task.allowance.run_ms_max), self._delay_ms)

    async def close(self) -> None:
        pass


class NullRun(Run):
    """Waits for its time to pass, or to be stopped."""

    def __init__(self, run_ms: int, wanted_ms: int) -> None:
        self._run_ms = run_ms
        self._timed_out = wanted_ms > run_ms
        self._began = time.monotonic()
        self._stopped = asyncio.Event()

    async def wait(self) -> Outcome:
        left = self._run_ms / 1000 - (time.monotonic() - self._began)
        try:
            async with asyncio.timeout(left):
                await self._stopped.wait()
        except TimeoutError:
            if not self._timed_out:
                return Outcome(exit_code=0, duration_ms=self._run_ms)
        return Outcome(exit_code=137, duration_ms=self._run_ms, timed_out=self._timed_out)

    async def stop(self) -> None:
        self._stopped.set()
