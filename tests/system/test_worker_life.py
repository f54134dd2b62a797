"""A worker's life on a real engine: killed in every phase, its engine gone, its disk full.

Real servers, real worker processes with real containers. The worker's containers are told by their
label, so that other tests' containers on the same engine do not matter.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from tests.system.support.engines import Line, second_engine
from tests.system.support.processes import (
    Api,
    Server,
    Worker,
    api,
    killed_at_end,
    processes_with,
    until,
)
from tests.system.support.small_disk import fill

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
GONE_S = 10.0
STOPPED_S = 2.0  # as promised; 0.4 s were measured on a busy machine


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"image": IMAGE, "command": f"sh -c '{quoted}'", **members}


class Grid:
    """A server, a worker that may be killed, and its containers."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.name = f"life-{uuid.uuid4().hex[:12]}"
        self.server = Server(folder, lease_s=10)
        options = {"runtime": "docker", "cpus": 2, "data": folder / "data", **options}
        self.worker = Worker(folder, self.server.url, self.name, **options)
        self.api: Api
        self.engine: aiodocker.Docker

    async def containers(self, state: str | None = None) -> list[Any]:
        filters = {"label": [f"gridd.worker={self.name}"]}
        if state:
            filters["status"] = [state]
        return list(await self.engine.containers.list(all=True, filters=filters))

    async def in_namespace(self, definition: dict[str, Any]) -> str:
        body = {"definition": definition, "control": {"namespace": "n"}}
        async with self.api.session.post(f"{self.server.url}/q/q", json=body) as answer:
            return str((await answer.json())["jobId"])

    def outputs(self, job: str) -> Path:
        """Of the first attempt, on this machine: a file here lets a job ``pass``."""
        [found] = (self.worker.data / "work").glob(f"*/jobs/{job}-1/outputs")
        return found

    async def no_container(self) -> None:
        async def none() -> bool:
            return not await self.containers()

        await until(none, self.worker.said, GONE_S)

    async def says(self, job: str, line: str) -> None:
        async def said() -> bool:
            return line in await self.api.lines(job)

        await until(said, self.worker.said)

    async def explained(self, job: str, words: str) -> None:
        """Until the server says of the worker, asked why the job waits, ``words``."""
        last: Any = None

        async def said() -> bool:
            nonlocal last
            async with self.api.session.get(f"{self.server.url}/q/q/j/{job}/explain") as answer:
                last = await answer.json()
            return words in str(last)

        await until(said, lambda: (last, self.worker.said()))

    async def result(self, job: str) -> dict[str, Any]:
        found = await until(lambda: self.api.finished(job), self.worker.said, 40)
        return dict(found)


Gridded = Callable[..., Any]


@pytest.fixture
def grid(tmp_path: Path) -> Gridded:
    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[Grid]:
        grid = Grid(tmp_path, **options)
        await grid.server.start()
        async with (
            killed_at_end(grid.worker, grid.server),
            api(grid.server.url) as grid.api,
            aiodocker.Docker(url="unix:///var/run/docker.sock") as grid.engine,
        ):
            try:
                await grid.worker.start()
                yield grid
            finally:
                await grid.worker.kill()
                for left in await grid.containers():
                    with contextlib.suppress(aiodocker.DockerError):
                        await left.delete(force=True, v=True)

    return made


@pytest.mark.parametrize("way", ["cancelled", "replaced", "timed out"])
async def test_a_stopped_job_leaves_nothing_behind(grid: Gridded, way: str) -> None:
    """Its children ignore signals and have sessions of their own."""
    async with grid() as g:
        word = str(70_000 + uuid.uuid4().int % 10_000)
        script = (
            f'trap "" TERM INT HUP; sleep {word} & nohup setsid sleep {word} & '
            f'setsid sh -c "sleep {word}; sleep {word}" & echo up; wait'
        )
        more = {"maxDuration": "3s"} if way == "timed out" else {}
        job = await g.in_namespace({"image": IMAGE, "command": f"sh -c '{script}'", **more})
        await g.says(job, "up\n")
        assert len(processes_with(f"sleep {word}")) >= 3
        if way == "cancelled":
            url = f"{g.server.url}/q/q/j/{job}/cancel?namespace=*"
            async with g.api.session.post(url) as answer:
                assert (await answer.json())["success"]
        elif way == "replaced":
            await g.in_namespace(shell("echo newer"))
        began = time.monotonic()
        await until(lambda: not processes_with(f"sleep {word}"), g.worker.said, GONE_S)

        async def gone() -> bool:
            return all(c["Labels"]["gridd.job"] != job for c in await g.containers())

        await until(gone, g.worker.said, GONE_S)
        assert time.monotonic() - began < STOPPED_S + (3 if way == "timed out" else 0)
        if way == "timed out":
            assert (await g.result(job))["finished"]["reason"] == "TimedOut"


PASS = "pass() { until [ -e /outputs/$1 ]; do sleep 0.05; done; rm /outputs/$1; }"
GATED = f"""{PASS}
say() {{ for i in $(seq $1 $2); do echo line $i; echo err $i >&2; done; }}
say 1 20; pass first; say 21 40; pass second; say 41 60; echo ok > /outputs/o; exit 7
"""


async def test_a_run_goes_on_while_its_worker_is_killed_and_comes_back(grid: Gridded) -> None:
    """Twice, and the second time it ends while nobody watches. Same attempt, every line once."""
    async with grid() as g:
        job = await g.api.submit(shell(GATED))
        await g.says(job, "line 20\n")
        outputs = g.outputs(job)
        [container] = await g.containers("running")
        await g.worker.kill()
        await g.worker.start()
        (outputs / "first").touch()
        await g.says(job, "line 40\n")
        assert [c.id for c in await g.containers("running")] == [container.id]
        await g.worker.kill()
        (outputs / "second").touch()

        async def ended() -> bool:
            return bool(await g.containers("exited"))

        await until(ended, g.worker.said)
        await g.worker.start()
        finished = (await g.result(job))["finished"]
        view = await g.api.job(job)
        assert (view["attempt"], finished["reason"]) == (1, "Success"), finished
        assert finished["result"]["StatusCode"] == 7
        assert finished["result"]["outputs"] == {"o": {"value": "b2sK", "type": "base64"}}
        lines = await g.api.lines(job)
        for word in ("line", "err"):
            said = [line for line in lines if line.startswith(word)]
            assert said == [f"{word} {i}\n" for i in range(1, 61)]
        await g.no_container()
        assert g.worker.said().count("took up job") == 2
        await until(lambda: not list((g.worker.data / "running").iterdir()), g.worker.said)
        assert list((g.worker.data / "work").glob("*/jobs/*")) == []


@asynccontextmanager
async def stuck_service() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """An address that takes requests and answers none, and an event for the first one."""
    came = asyncio.Event()
    held: list[asyncio.StreamWriter] = []

    async def on_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        came.set()

    server = await asyncio.start_server(on_request, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


@pytest.mark.parametrize("phase", ["preparing", "pulling"])
async def test_killed_before_the_program_runs_the_job_is_begun_anew(
    grid: Gridded, phase: str
) -> None:
    options = ("--private-addresses", "allow")  # the service is on loopback
    async with grid(options=options) as g, stuck_service() as (address, came):
        if phase == "preparing":
            file = {"type": "url", "value": f"http://{address}/file"}
            definition = shell("true", inputs={"file": file})
        else:
            definition = {"image": f"{address}/none:1"}
        job = await g.api.submit(definition)
        await asyncio.wait_for(came.wait(), 20)
        await g.worker.kill()
        came.clear()
        await g.worker.start()
        await asyncio.wait_for(came.wait(), 20)
        assert (await g.api.job(job))["attempt"] == 2
        url = f"{g.server.url}/q/q/j/{job}/cancel?namespace=*"
        async with g.api.session.post(url) as answer:
            assert (await answer.json())["success"]
        assert await g.containers() == []
        await until(
            lambda: not list((g.worker.data / "work").glob("*/jobs/*")), g.worker.said, GONE_S
        )


async def test_killed_while_its_image_is_built_the_build_stops_and_begins_anew(
    grid: Gridded,
) -> None:
    async with grid() as g:
        word = f"sleep {80_000 + uuid.uuid4().int % 10_000}"
        job = await g.api.submit({"build": {"dockerfile": f"FROM {IMAGE}\nRUN {word}\n"}})
        await until(lambda: processes_with(word), g.worker.said)
        await g.worker.kill()
        await until(lambda: not processes_with(word), g.worker.said, GONE_S)
        await g.worker.start()
        await until(lambda: processes_with(word), g.worker.said)
        assert (await g.api.job(job))["attempt"] == 2
        url = f"{g.server.url}/q/q/j/{job}/cancel?namespace=*"
        async with g.api.session.post(url) as answer:
            assert (await answer.json())["success"]
        await until(lambda: not processes_with(word), g.worker.said, GONE_S)
        assert await g.containers() == []


class Stalling(Line):
    """Passes on all but what follows the first word to start a container: that word itself
    (``before``), or the engine's answer to it."""

    def __init__(self, path: Path, *, before: bool) -> None:
        super().__init__(path)
        self._before = before
        self.stalled = asyncio.Event()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if b"/start HTTP" in data:
                self.stalled.set()
                if not self._before:
                    writer.write(data)
            if self.stalled.is_set():
                await asyncio.Event().wait()  # until the line is cut
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("before", [True, False], ids=["created", "started"])
async def test_killed_around_the_start_of_its_container_the_job_is_begun_anew(
    grid: Gridded, tmp_path: Path, before: bool
) -> None:
    """The container is there, perhaps it runs, and the worker has not noted it yet."""
    line = Stalling(tmp_path / "engine.sock", before=before)
    await line.open()
    async with grid(environment={"DOCKER_HOST": f"unix://{line.path}"}) as g:
        job = await g.api.submit(shell("echo once; sleep 1; echo done"))
        await asyncio.wait_for(line.stalled.wait(), 20)
        await until(lambda: g.containers("created" if before else "running"), g.worker.said, GONE_S)
        [first] = await g.containers()
        await g.worker.kill()
        await line.cut()
        plain = Line(line.path)
        await plain.open()
        try:
            await g.worker.start()
            assert (await g.result(job))["finished"]["reason"] == "Success"
            assert (await g.api.job(job))["attempt"] == 2
            assert await g.api.lines(job) == ["once\n", "done\n"]
            await g.no_container()
            with pytest.raises(aiodocker.DockerError, match="No such container"):
                await first.show()
        finally:
            await plain.cut()


async def test_a_starting_worker_removes_its_own_containers_and_no_others(grid: Gridded) -> None:
    async with grid() as g:
        job = await g.api.submit(shell("echo up; sleep 60"))
        await g.says(job, "up\n")
        [running] = await g.containers()
        labels = dict(running["Labels"])
        await g.worker.kill()
        body = {"Image": IMAGE, "Cmd": ["sleep", "60"]}
        mine = labels | {"gridd.job": "f" * 64}
        its = labels | {"gridd.worker": f"{g.name}-other"}
        _, orphan, other = [
            await g.engine.containers.create({**body, "Labels": given})
            for given in (mine, mine | {"gridd.attempt": "2"}, its)
        ]
        try:
            for container in (orphan, other):
                await container.start()
            await g.worker.start()

            async def swept() -> bool:
                return {c.id for c in await g.containers()} == {running.id}

            await until(swept, g.worker.said, GONE_S)
            assert (await other.show())["State"]["Running"]
            assert (await g.api.job(job))["attempt"] == 1
        finally:
            await other.delete(force=True)


async def test_killed_while_outputs_are_uploaded_they_are_collected_again(grid: Gridded) -> None:
    async with grid() as g:
        job = await g.api.submit(shell(f"{PASS}; echo up; pass go; seq 1 500 > /outputs/big"))
        await g.says(job, "up\n")
        g.server.freeze()
        (g.outputs(job) / "go").touch()
        try:

            async def ended() -> bool:
                return bool(await g.containers("exited"))

            await until(ended, g.worker.said)
            await g.worker.kill()
        finally:
            g.server.thaw()
        await g.worker.start()
        finished = await g.result(job)
        assert (await g.api.job(job))["attempt"] == 1
        assert finished["finished"]["reason"] == "Success"
        [output] = finished["finished"]["result"]["outputs"].values()
        assert output["type"] == "url"
        assert await g.api.lines(job) == ["up\n"]
        await g.no_container()


async def test_killed_with_a_result_that_nobody_has_acknowledged(grid: Gridded) -> None:
    async with grid() as g:
        job = await g.api.submit(shell(f"{PASS}; echo up; pass go; echo down"))
        await g.says(job, "up\n")
        await g.server.kill()
        (g.outputs(job) / "go").touch()
        await until(lambda: list((g.worker.data / "spool").glob("*.json")), g.worker.said)
        await g.worker.kill()
        await g.server.start()
        await g.worker.start()
        finished = await g.result(job)
        assert ((await g.api.job(job))["attempt"], finished["finished"]["reason"]) == (1, "Success")
        assert await g.api.lines(job) == ["up\n", "down\n"]
        await g.no_container()
        assert "took up job" not in g.worker.said()


async def test_a_run_whose_lease_went_to_another_is_removed(grid: Gridded) -> None:
    async with grid() as g:
        job = await g.api.submit(shell("echo up; sleep 60"))
        await g.says(job, "up\n")
        await g.worker.kill()
        url = f"{g.server.url}/q/q/j/{job}/cancel?namespace=*"
        async with g.api.session.post(url) as answer:
            assert (await answer.json())["success"]
        assert len(await g.containers("running")) == 1
        await g.worker.start()
        await g.no_container()


async def test_a_second_signal_stops_what_runs_and_gives_it_back(grid: Gridded) -> None:
    async with grid(options=("--drain", "1h")) as g:
        job = await g.api.submit(shell("trap '' TERM; echo up; sleep 60"))
        await g.says(job, "up\n")
        os.kill(g.worker.pid, signal.SIGTERM)
        await until(lambda: "1 jobs may run on" in g.worker.said(), g.worker.said)
        assert await g.containers("running")
        assert await g.worker.stop() == 0
        assert await g.containers() == []
        view = await g.api.job(job)
        assert (view["state"], view["attempt"]) == ("Queued", 1)
        async with g.api.session.get(f"{g.server.url}/q/q/j/{job}/explain") as answer:
            assert (await answer.json())["data"]["losses"] == 0, "given back without blame"


# --- an engine that comes and goes ---------------------------------------------------------


async def test_an_engine_that_is_missing_is_waited_for_and_said_once(
    grid: Gridded, tmp_path: Path
) -> None:
    line = Line(tmp_path / "engine.sock")
    async with grid(environment={"DOCKER_HOST": f"unix://{line.path}"}) as g:
        try:
            job = await g.api.submit(shell("echo up"))
            await g.explained(job, "asks for no jobs now")
            assert g.worker.said().count("no jobs are taken until this works again") == 1
            await line.open()
            assert (await g.result(job))["finished"]["reason"] == "Success"
            await line.cut()  # nothing runs, and the owner hears of it all the same
            await until(lambda: g.worker.said().count("no jobs are taken") == 2, g.worker.said)
            await line.open()
            await until(lambda: g.worker.said().count("; taking jobs") == 2, g.worker.said)
        finally:
            await line.cut()


async def test_an_engine_that_is_restarted_costs_no_job(grid: Gridded, tmp_path: Path) -> None:
    """It ends the containers that it has; what became of the job says nothing about the job."""
    place = tmp_path / "engine"
    place.mkdir()
    async with second_engine(place) as engine:
        await engine.give(IMAGE)
        async with grid(environment={"DOCKER_HOST": engine.host}) as g:
            long = await g.api.submit(shell("echo up; sleep 3; echo down"))
            await g.says(long, "up\n")
            await engine.stop()
            await engine.start()
            assert (await g.result(long))["finished"]["result"]["StatusCode"] == 0
            assert await g.api.lines(long) == ["up\n", "down\n"]
            assert (await g.api.job(long))["attempt"] == 2
            assert g.worker.said().count("no jobs are taken") == 1, g.worker.said()
            assert "Traceback" not in g.worker.said()


# --- a disk that is full -------------------------------------------------------------------


async def test_a_full_disk_is_said_and_no_job_suffers_from_it(
    grid: Gridded, small_disk: Path
) -> None:
    options = ("--min-free-disk", "4m")
    async with grid(data=small_disk / "data", options=options) as g:
        big = {"type": "utf8", "value": "x" * 50_000}
        running = await g.api.submit(shell("echo up; sleep 3; echo down"))
        await g.says(running, "up\n")
        ballast = fill(small_disk)
        job = await g.api.submit(shell("wc -c < /inputs/big", inputs={"big": big}))
        await g.explained(job, "asks for no jobs now")
        assert (await g.result(running))["finished"]["reason"] == "Success"
        ballast.unlink()
        assert (await g.result(job))["finished"]["reason"] == "Success"
        assert await g.api.lines(job) == ["50000\n"]
        said = g.worker.said()
        assert said.count("no jobs are taken until this works again") == 1, said
        assert said.count("; taking jobs") == 1, said


async def test_inputs_that_are_kept_give_way_to_those_of_the_next_job(
    grid: Gridded, small_disk: Path
) -> None:
    """First to a job whose inputs would not fit beside them, then to ``--min-free-disk``."""
    async with grid(data=small_disk / "data", options=("--min-free-disk", "4m")) as g:
        for number in range(3):
            content = bytes([number]) * (15 << 20)
            sha256 = hashlib.sha256(content).hexdigest()
            address = f"{g.server.url}/f/{sha256}"
            async with g.api.session.put(address, data=io.BytesIO(content)) as answer:
                assert answer.status == 200, await answer.text()
            file = {"type": "key", "value": sha256}
            job = await g.api.submit(shell("sha256sum </inputs/file", inputs={"file": file}))
            assert (await g.result(job))["finished"]["reason"] == "Success", number
            assert await g.api.lines(job) == [f"{sha256}  -\n"]
        assert g.worker.said().count("15 MiB of kept inputs removed: the disk is short") == 1
        kept, jobs = g.worker.data / "cache", g.worker.data / "work"
        assert [path.name for path in kept.iterdir()] == [sha256]
        await until(lambda: not list(jobs.glob("*/jobs/*")), g.worker.said)
        (small_disk / "ballast").write_bytes(bytes(22 << 20))
        await until(lambda: not list(kept.iterdir()), g.worker.said)
        assert "no jobs are taken" not in g.worker.said()


async def test_inputs_that_never_fit_are_the_jobs_own_fault(
    grid: Gridded, small_disk: Path
) -> None:
    async with grid(data=small_disk / "data", options=("--min-free-disk", "4m")) as g:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(35 << 20))
        content = bytes(6 << 20)
        sha256 = hashlib.sha256(content).hexdigest()
        address = f"{g.server.url}/f/{sha256}"
        async with g.api.session.put(address, data=io.BytesIO(content)) as answer:
            assert answer.status == 200, await answer.text()
        file = {"type": "key", "value": sha256}
        job = await g.api.submit(shell("true", inputs={"file": file}))
        finished = (await g.result(job))["finished"]
        assert finished["reason"] == "Error"
        assert "do not fit on this worker's disk" in finished["result"]["error"]
        ok = await g.api.submit(shell("echo fine"))
        assert (await g.result(ok))["finished"]["reason"] == "Success"
