"""Our worker on an upstream server, with real containers: killed, and cut off, while a job runs.

That server has no leases: it queues the jobs of a lost worker again, and lets whoever claims them
have them (WIRE 3.11, 6.11). What is promised all the same: the container goes on or is removed,
there are never two of one job on this machine, its result arrives, and the server's log has every
line once.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from tests.system.support.processes import Worker, killed_at_end, until
from tests.system.support.upstream_server import UpstreamServer

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
PASS = "pass() { until [ -e /outputs/$1 ]; do sleep 0.05; done; rm /outputs/$1; }"
SAY = "say() { for i in $(seq $1 $2); do echo line $i; done; }"


class Grid:
    """A stand-in of upstream's server, a worker that may be killed, and its containers."""

    def __init__(self, folder: Path) -> None:
        self.name = f"upstream-{uuid.uuid4().hex[:12]}"
        self.server = UpstreamServer()
        self.folder = folder
        self.worker: Worker
        self.engine: aiodocker.Docker
        self.most = 0  # containers of this worker that were seen at once

    async def containers(self) -> list[Any]:
        filters = {"label": [f"gridd.worker={self.name}"]}
        found = list(await self.engine.containers.list(all=True, filters=filters))
        self.most = max(self.most, len(found))
        return found

    async def watch(self) -> None:
        while True:
            await self.containers()
            await asyncio.sleep(0.1)

    def submit(self, script: str) -> str:
        return self.server.submit(f"sh -c '{PASS}; {SAY}; {script}'", image=IMAGE)

    def let_pass(self, job: str, gate: str) -> None:
        [outputs] = (self.worker.data / "work").glob(f"*/jobs/{job}-*/outputs")
        (outputs / gate).touch()

    def seen(self) -> Any:
        return self.server.jobs, self.server.buffers, self.worker.said()

    async def log_has(self, job: str, line: str) -> None:
        await until(lambda: line in self.lines(job), self.seen)

    def lines(self, job: str) -> list[str]:
        return [line[0] for line in self.server.log(job)]

    async def result(self, job: str) -> dict[str, Any]:
        """Of the one Finished that the server has, when no container is left."""
        await until(lambda: job in self.server.results, self.seen)
        await self.no_container()
        [value] = self.server.results[job]
        return dict(value)

    async def no_container(self) -> None:
        async def none() -> bool:
            return not await self.containers()

        await until(none, self.seen)


Gridded = Callable[[], Any]


@pytest.fixture
def grid(tmp_path: Path) -> Gridded:
    @asynccontextmanager
    async def made() -> AsyncIterator[Grid]:
        g = Grid(tmp_path)
        async with (
            g.server.running(),
            aiodocker.Docker(url="unix:///var/run/docker.sock") as g.engine,
        ):
            url = f"http://127.0.0.1:{g.server.port}"
            data = tmp_path / "data"
            g.worker = Worker(tmp_path, url, g.name, runtime="docker", cpus=2, data=data)
            async with killed_at_end(g.worker):
                watching = asyncio.create_task(g.watch())
                try:
                    await g.worker.start()
                    yield g
                finally:
                    watching.cancel()
                    await g.worker.kill()
                    for left in await g.containers():
                        with contextlib.suppress(aiodocker.DockerError):
                            await left.delete(force=True, v=True)

    return made


def numbered(last: int) -> list[str]:
    return [f"line {i}\n" for i in range(1, last + 1)]


async def test_a_run_goes_on_while_its_worker_is_killed_and_comes_back(grid: Gridded) -> None:
    """First before the server has noticed, then after it has queued the job again."""
    async with grid() as g:
        g.server.requeues = False
        script = "say 1 20; pass a; say 21 40; pass b; say 41 60; echo ok >/outputs/o; exit 7"
        job = g.submit(script)
        await g.log_has(job, "line 20\n")
        [container] = await g.containers()
        await g.worker.kill()
        g.let_pass(job, "a")
        await g.worker.start()
        await g.log_has(job, "line 40\n")
        assert g.lines(job) == numbered(40)
        await g.worker.kill()
        g.server.requeues = True
        await until(lambda: g.server.jobs[job]["state"] == "Queued", g.seen)
        await g.worker.start()
        await until(lambda: g.lines(job) == numbered(40), g.seen)
        assert [c.id for c in await g.containers()] == [container.id]
        g.let_pass(job, "b")
        value = await g.result(job)
        assert (value["reason"], value["result"]["StatusCode"]) == ("Success", 7)
        assert value["result"]["outputs"] == {"o": {"value": "b2sK", "type": "base64"}}
        assert [line[0] for line in value["result"]["logs"]][:60] == numbered(60)
        assert g.lines(job) == numbered(60)
        assert g.most == 1
        assert g.worker.said().count("took up job") == 2


async def test_a_run_that_ends_while_its_worker_is_dead_is_not_run_again(grid: Gridded) -> None:
    async with grid() as g:
        job = g.submit("say 1 20; pass a; say 21 40")
        await g.log_has(job, "line 20\n")
        await g.worker.kill()
        g.let_pass(job, "a")

        async def ended() -> bool:
            return [c["State"] for c in await g.containers()] == ["exited"]

        await until(ended, g.seen)
        await until(lambda: g.server.jobs[job]["state"] == "Queued", g.seen)
        await g.worker.start()
        value = await g.result(job)
        assert [line[0] for line in value["result"]["logs"]] == numbered(40)
        assert g.lines(job) == numbered(40)
        assert g.worker.said().count("took job") == 1


async def test_a_worker_that_was_cut_off_tells_what_was_said_meanwhile(grid: Gridded) -> None:
    """The server forgets the lines of a job that it queues again (D28): it needs all of them."""
    async with grid() as g:
        job = g.submit("say 1 20; pass a; say 21 40; pass b; say 41 60")
        await g.log_has(job, "line 20\n")
        async with g.server.cut_off():
            g.let_pass(job, "a")
            await until(lambda: g.server.jobs[job]["state"] == "Queued", g.seen)
            await until(lambda: "trying until there is one" in g.worker.said(), g.seen)
        await g.log_has(job, "line 40\n")
        assert g.lines(job) == numbered(40)
        g.let_pass(job, "b")
        value = await g.result(job)
        assert [line[0] for line in value["result"]["logs"]] == numbered(60)
        assert g.lines(job) == numbered(60)
        assert g.most == 1
        assert g.worker.said().count("took job") == 1


async def test_what_another_worker_has_taken_meanwhile_is_removed(grid: Gridded) -> None:
    """One that sorts first keeps it; 6 s are upstream's own grace."""
    async with grid() as g:
        job = g.submit("say 1 20; pass never")
        await g.log_has(job, "line 20\n")
        await g.worker.kill()
        await until(lambda: g.server.jobs[job]["state"] == "Queued", g.seen)
        g.server.requeues = False
        g.server.jobs[job].update(state="Running", worker="another")
        await g.worker.start()
        await until(lambda: g.server.claims[-1] == (job, g.name), g.seen)
        await g.no_container()
        assert g.server.jobs[job]["worker"] == "another"
        assert job not in g.server.results
        assert g.most == 1
