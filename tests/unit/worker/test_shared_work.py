"""Work that several want is done once, heard by all, and ends with the last of them."""

import asyncio

import pytest

from gridd_protocol.messages import LogLine
from gridd_worker.shared_work import SharedWork


class Work:
    def __init__(self) -> None:
        self.runs = self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, tell) -> str:
        self.runs += 1
        try:
            tell("docker build", [LogLine("one", 1), LogLine("two", 2)])
            await self.go.wait()
            tell("docker build", [LogLine("three", 3)])
            if self.error:
                raise self.error
            return "done"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Ear:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, step, lines) -> None:
        self.heard += [line.text for line in lines]


async def started(shared: SharedWork[str], work: Work, count: int):
    ears = [Ear() for _ in range(count)]
    tasks = []
    for ear in ears:
        tasks.append(asyncio.create_task(shared.run("key", work, ear)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks, ears


async def test_one_run_all_lines_for_all():
    shared: SharedWork[str] = SharedWork()
    work = Work()
    tasks, ears = await started(shared, work, 3)
    work.go.set()
    assert await asyncio.gather(*tasks) == ["done"] * 3
    assert work.runs == 1
    assert [ear.heard for ear in ears] == [["one", "two", "three"]] * 3
    await shared.run("key", work, ears[0])
    assert work.runs == 2


async def test_another_key_is_other_work():
    shared: SharedWork[str] = SharedWork()
    work = Work()
    work.go.set()
    await asyncio.gather(*(shared.run(key, work, Ear()) for key in "ab"))
    assert work.runs == 2


async def test_a_failure_reaches_all():
    shared: SharedWork[str] = SharedWork()
    work = Work()
    work.error = ValueError("no")
    tasks, _ = await started(shared, work, 2)
    work.go.set()
    assert [str(e) for e in await asyncio.gather(*tasks, return_exceptions=True)] == ["no", "no"]


async def test_it_goes_on_for_those_who_stay_and_ends_with_the_last():
    shared: SharedWork[str] = SharedWork()
    work = Work()
    tasks, _ = await started(shared, work, 2)
    for task, cancelled in zip(tasks, (0, 1), strict=True):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.cancelled == cancelled
    again, ears = await started(shared, work, 1)
    work.go.set()
    assert await again[0] == "done"
    assert work.runs == 2
    assert ears[0].heard == ["one", "two", "three"]
