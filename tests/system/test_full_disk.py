"""A real file system of a few megabytes, full under load and then free again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gridd_protocol import job_id
from tests.system.support.processes import Api, Server, Worker, api, killed_at_end, until
from tests.system.support.small_disk import fill


def definition(number: int) -> dict[str, Any]:
    return {"image": "a", "command": f"job {number}", "env": {"X": "y" * 2_000}}


class Load:
    """Goes on submitting; notes what was acknowledged and what was refused."""

    def __init__(self, grid: Api) -> None:
        self.grid = grid
        self.acknowledged: list[str] = []
        self.refusals: list[str] = []
        self.numbers = iter(range(1_000_000))

    async def submit(self) -> None:
        while True:
            number = next(self.numbers)
            body = {"definition": definition(number)}
            async with self.grid.session.post(f"{self.grid.url}/q/q", json=body) as answer:
                said = await answer.json()
            if answer.status == 200:
                assert said["jobId"] == job_id(definition(number))
                self.acknowledged.append(said["jobId"])
            else:
                assert (answer.status, said["code"]) == (503, "unavailable"), said
                self.refusals.append(said["error"])
                await asyncio.sleep(0.02)


@asynccontextmanager
async def going_on(*loops: Any) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


async def status(grid: Api, path: str, method: str = "GET", **options: Any) -> int:
    async with grid.session.request(method, grid.url + path, **options) as answer:
        await answer.read()
        return answer.status


async def answered(grid: Api, jobs: list[str]) -> bool:
    return all([await status(grid, f"/q/q/j/{job}") == 200 for job in jobs])


async def test_a_full_disk_refuses_reads_go_on_and_it_mends(
    tmp_path: Path, small_disk: Path
) -> None:
    server = Server(small_disk)
    machine = Worker(tmp_path, server.url, runtime="null")
    async with killed_at_end(server, machine):
        await server.start()
        await machine.start()
        async with api(server.url) as grid:
            load = Load(grid)
            assert await status(grid, "/f/before", "PUT", data=b"kept") == 200
            async with going_on(load.submit(), load.submit(), load.submit()):
                await until(lambda: len(load.acknowledged) > 100, lambda: load.refusals)
                ballast = fill(small_disk)
                await until(lambda: len(load.refusals) > 20, lambda: len(load.acknowledged))
                await in_trouble(grid, load)
                in_time = len(load.acknowledged)
                ballast.unlink()
                await until(
                    lambda: len(load.acknowledged) > in_time + 50,
                    lambda: f"{len(load.acknowledged)} {load.refusals[-1:]} {server}",
                    timeout_s=60,
                )
            assert await status(grid, "/healthz") == 200
            assert await status(grid, "/f/after", "PUT", data=bytes(1 << 20)) == 200
            some = load.acknowledged[::7]
            await until(lambda: _all_ended(grid, some), lambda: f"not all of {len(some)} ended", 60)
        await server.kill()
        await server.start()
        async with api(server.url) as grid:
            assert await answered(grid, load.acknowledged), "an acknowledged job is lost"
            for job in some:
                assert (await grid.finished(job) or {}).get("finishedReason") == "Success"
        assert await server.stop() == 0
    assert "Traceback" not in server.said(), server


async def _all_ended(grid: Api, jobs: list[str]) -> bool:
    return all([await grid.finished(job) is not None for job in jobs])


async def in_trouble(grid: Api, load: Load) -> None:
    assert "the disk is full" in load.refusals[-1]
    async with grid.session.get(f"{grid.url}/healthz") as answer:
        assert answer.status == 503
        assert "the disk is full" in await answer.text()
    assert await answered(grid, load.acknowledged), "an acknowledged job can't be read"
    await grid.jobs()
    async with grid.session.put(f"{grid.url}/f/now", data=bytes(1 << 20)) as answer:
        assert answer.status == 503
        assert "the disk is full" in (await answer.json())["error"]
    assert await status(grid, "/f/now") == 404
    async with grid.session.get(f"{grid.url}/f/before") as answer:
        assert (answer.status, await answer.read()) == (200, b"kept")


async def test_a_stop_while_the_disk_is_full_is_a_clean_one(small_disk: Path) -> None:
    server = Server(small_disk)
    async with killed_at_end(server):
        await server.start()
        async with api(server.url) as grid:
            load = Load(grid)
            async with going_on(load.submit()):
                await until(lambda: len(load.acknowledged) > 10, lambda: load.refusals)
                ballast = fill(small_disk)
                await until(lambda: load.refusals, lambda: len(load.acknowledged))
        assert await server.stop() == 0
        ballast.unlink()
        await server.start()
        async with api(server.url) as grid:
            assert await answered(grid, load.acknowledged)
