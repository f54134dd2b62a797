"""What an engine needs more than ours has, on a second engine: devices that are handed out one by
one, and a runtime with a kernel of its own.

There is no gpu here. The engine believes that it could hand some out, because the program that it
asks for that is there: a stand-in that does nothing. All else is real: what the worker asks for,
and which devices the engine would make visible in which container.
"""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.system.support.engines import Engine, second_engine
from tests.system.support.grids import IMAGE, Grid, docker_grid, shell
from tests.system.support.processes import until

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

IN_CI = os.environ.get("CI") == "true"
PASS = "until [ -e /outputs/go ]; do sleep 0.05; done; rm /outputs/go"
SEEN = 'echo "$NVIDIA_VISIBLE_DEVICES / $CUDA_VISIBLE_DEVICES"'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    folder = tmp_path_factory.mktemp("devices")
    programs = folder / "programs"
    programs.mkdir()
    runsc = shutil.which("runsc")
    for name, text in {
        "nvidia-container-runtime-hook": "exec cat >/dev/null",
        # With a network of its own it does not run on every kernel.
        "gvisor": f'exec {runsc} --network=none "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    options = ("--add-runtime", f"gvisor={programs}/gvisor")
    async with second_engine(folder, *options, programs=programs) as engine:
        await engine.give(IMAGE)
        yield engine


async def go(grid: Grid, job: str) -> None:
    [outputs] = (grid.worker.data / "work").glob(f"*/jobs/{job}-1/outputs")
    (outputs / "go").touch()


async def seen(grid: Grid, job: str) -> str:
    """The devices that the job's container has."""

    async def said() -> str:
        return "".join(line[0] for line in await grid.log(job))

    return str(await until(said, grid.worker.said)).strip()


async def test_devices_are_given_singly_and_come_back_after_a_crash(
    engine: Engine, tmp_path: Path
) -> None:
    """Three, of which one job has two; the worker is killed while both are in use."""
    options = ("--gpus", "device=0,2,3", "--log-format", "json")
    environment = {"DOCKER_HOST": engine.host}
    async with docker_grid(tmp_path, "gpus", options=options, environment=environment) as grid:

        async def submit(gpus: int, word: str) -> str:
            script = f"{SEEN}; {PASS}; echo {word}"
            greedy = {"NVIDIA_VISIBLE_DEVICES": "all"}
            return await grid.submit(shell(script, env=greedy, requirements={"gpus": gpus}))

        two = await submit(2, "two")
        assert await seen(grid, two) == "0,2 / 0,1"
        one = await submit(1, "one")
        assert await seen(grid, one) == "3 / 0"
        next_one = await submit(1, "next")
        await grid.explained(next_one, "gpu")
        await grid.worker.kill()
        await grid.worker.start()
        await until(lambda: grid.worker.said().count("took up job") == 2, grid.worker.said)
        assert await grid.log(next_one) == []
        await go(grid, one)
        assert (await grid.result(one))["reason"] == "Success"
        assert await seen(grid, next_one) == "3 / 0", "what came back, and nothing that is in use"
        for job in (two, next_one):
            await go(grid, job)
            assert (await grid.result(job))["reason"] == "Success"
        everything = await submit(3, "all")
        assert await seen(grid, everything) == "0,2,3 / 0,1,2"
        await go(grid, everything)
        assert (await grid.result(everything))["reason"] == "Success"
        greedy = shell(SEEN, env={"NVIDIA_VISIBLE_DEVICES": "all"})
        assert (await grid.said(greedy)).strip() == "void /", "none was asked for"
        lines = [json.loads(line) for line in grid.worker.said().splitlines()]
        told = {line["job"] for line in lines if line["event"].startswith("finished job")}
        assert told >= {two, one, next_one, everything}


@contextlib.asynccontextmanager
async def gvisor(engine: Engine, folder: Path) -> AsyncIterator[Grid]:
    options = ("--docker-runtime", "gvisor", "--job-network", "none")
    environment = {"DOCKER_HOST": engine.host}
    async with docker_grid(folder, "gvisor", options=options, environment=environment) as grid:
        yield grid


async def test_jobs_run_on_a_kernel_of_their_own(engine: Engine, tmp_path: Path) -> None:
    if shutil.which("runsc") is None:
        (pytest.fail if IN_CI else pytest.skip)("there is no runsc; `make test` installs one")
    file = {"type": "utf8", "value": "in"}
    script = "dmesg | head -1; cat /inputs/f; echo out >/outputs/f; echo err >&2; exit 3"
    memory = shell("head -c 300m /dev/zero | tail -c 299m | wc -c", requirements={"memory": "64m"})
    async with gvisor(engine, tmp_path) as grid:
        result, starved = await asyncio.gather(
            grid.run(shell(script, inputs={"f": file})), grid.run(memory)
        )
        assert (result["reason"], result["StatusCode"]) == ("Success", 3), result
        assert list(result["outputs"]) == ["f"]
        log = await grid.log(result["job"])
        assert "gVisor" in log[0][0]
        assert sorted((line[0], *line[2:]) for line in log[1:]) == [("err\n", True), ("in",)]
        assert "313524224" not in str(await grid.log(starved["job"]))
        long = await grid.submit(shell("echo up; trap '' TERM; sleep 60"))
        assert await seen(grid, long) == "up"
        await grid.cancel(long)  # and the grid looks that no container is left
