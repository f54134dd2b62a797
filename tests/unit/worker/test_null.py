"""The runtime that runs nothing."""

import asyncio
from pathlib import Path

import pytest

from gridd_protocol.definitions import Definition
from gridd_worker.null import NullRuntime
from gridd_worker.runtime import Allowance, Task


def task(run_ms_max: int = 1_000) -> Task:
    here = Path()
    definition = Definition(image="x")
    allowance = Allowance(run_ms_max=run_ms_max)
    return Task("j", 1, "q", "w", definition, here, here, {}, {}, allowance)


async def test_ends_at_once() -> None:
    runtime = NullRuntime()
    await runtime.open()
    started: list[int] = []
    run = await runtime.start(task(), lambda *_: None, lambda: started.append(1))
    outcome = await run.wait()
    assert (outcome.exit_code, outcome.duration_ms, started) == (0, 0, [1])
    await run.stop()
    await runtime.close()


@pytest.mark.parametrize(("limit_ms", "timed_out"), [(1_000, False), (10, True)])
async def test_delay_and_time_limit(limit_ms: int, timed_out: bool) -> None:
    run = await NullRuntime(20).start(task(limit_ms), lambda *_: None, lambda: None)
    outcome = await run.wait()
    assert outcome.timed_out == timed_out
    assert outcome.exit_code == (137 if timed_out else 0)


async def test_stop_ends_a_long_run() -> None:
    run = await NullRuntime(60_000).start(task(60_000), lambda *_: None, lambda: None)
    waiting = asyncio.create_task(run.wait())
    await asyncio.sleep(0)
    await run.stop()
    outcome = await asyncio.wait_for(waiting, 1)
    assert (outcome.exit_code, outcome.timed_out) == (137, False)
