"""What does the grid add to a container, how do its fast logs arrive, and is an input kept?

Run as ``bench/containers.py``: a real ``gridd serve``, a real ``gridd-worker`` on this machine's
Docker engine (``.ci/docker-engine``, ``.ci/test-image``), and this process as the client.

1. From submit to result for a container that does nothing, beside the bare cost of the same
   container (the same create options) through aiodocker: create, start, wait, logs, remove. One
   at a time and eight at once, in turns, so that a noisy machine troubles both alike. The goal is
   a ratio of 1.15.
2. Ten thousand lines a second of one container, to a client socket: ``fast_log.py``.
3. Two jobs with the same large input, and how many bytes the worker fetched: ``same_input.py``.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiodocker
import aiohttp
import fast_log
import same_input
import uvloop
from client import QUEUE, change, finished
from processes import start_grid, start_worker
from run import show

from gridd_protocol import job_id
from gridd_protocol.definitions import Definition
from gridd_worker.config import machine_memory
from gridd_worker.docker.config import LABEL_WORKER, ContainerOptions, container_config
from gridd_worker.runtime import Allowance, Task

IMAGE = "gridd-test:busybox"
AT_ONCE = 8
GOAL = 1.15
_TIMEOUT_S = 60


class Bare:
    """The engine alone: the same container, each call after the other."""

    def __init__(self, engine: aiodocker.Docker, folder: Path) -> None:
        self._engine = engine
        inputs, outputs = folder / "bare" / "inputs", folder / "bare" / "outputs"
        for made in (inputs, outputs):
            made.mkdir(parents=True)
        task = Task(
            job="0" * 64,
            attempt=1,
            queue=QUEUE,
            worker=f"bare-{os.getpid()}",
            definition=Definition(image=IMAGE, command="true"),
            inputs=inputs,
            outputs=outputs,
            config_files={},
            environment={"JOB_ID": "0" * 64},
            allowance=Allowance(),
        )
        options = ContainerOptions(memory_max=machine_memory())  # as the worker's by default
        self._config = container_config(task, IMAGE, float(os.cpu_count() or 1), options)
        self.before_remove: list[float] = []  # seconds of each, without the last call

    async def one(self) -> float:
        """Seconds that one container takes."""
        began = time.perf_counter()
        container = await self._engine.containers.create(self._config)
        try:
            await container.start()
            await container.wait()
            await container.log(stdout=True, stderr=True)
            self.before_remove.append(time.perf_counter() - began)
        finally:
            await container.delete(force=True, v=True)
        return time.perf_counter() - began

    async def batch(self, count: int) -> list[float]:
        return list(await asyncio.gather(*(self.one() for _ in range(count))))


class Grid:
    """The same as jobs, over a client socket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, engine: aiodocker.Docker) -> None:
        self._ws = ws
        self._engine = engine
        self._number = time.monotonic_ns()

    async def batch(self, count: int) -> list[float]:
        """Seconds from submit to result, a job each. Returns when the containers are gone too, or
        the next measurement would pay for their removal."""
        began = {}
        for _ in range(count):
            self._number += 1
            definition = {"image": IMAGE, "command": "true", "env": {"N": str(self._number)}}
            began[job_id(definition)] = time.perf_counter()
            await self._ws.send_str(change(definition))
        took: list[float] = []
        async with asyncio.timeout(_TIMEOUT_S):
            while began:
                took += [
                    time.perf_counter() - began.pop(job)
                    for job in finished(await self._ws.receive_str())
                    if job in began
                ]
            await self._swept()
        return took

    async def _swept(self) -> None:
        mark = {"label": [f"{LABEL_WORKER}={same_input.WORKER}"]}
        while await self._engine.containers.list(all=True, filters=mark):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def ratios(grid: Grid, bare: Bare, rounds: int) -> list[dict[str, float | str]]:
    """Both in turns, each first in every other round; medians over all containers."""
    rows = []
    for count in (1, AT_ONCE):
        took: dict[Grid | Bare, list[float]] = {grid: [], bare: []}
        bare.before_remove.clear()
        for number in range(rounds):
            for side in (grid, bare) if number % 2 else (bare, grid):
                took[side] += await side.batch(count)
        rows.append(_row(count, took[grid], took[bare], bare.before_remove))
    return rows


def _row(
    count: int, grid: list[float], bare: list[float], before_remove: list[float]
) -> dict[str, float | str]:
    def ms(values: list[float], q: float) -> float:
        return round(sorted(values)[int(len(values) * q)] * 1000, 1)

    ratio = statistics.median(grid) / statistics.median(bare)
    return {
        "a container that does nothing": "one at a time" if count == 1 else f"{count} at once",
        "n": len(grid),
        "gridd p50 ms": ms(grid, 0.5),
        "p90": ms(grid, 0.9),
        "bare p50 ms": ms(bare, 0.5),
        "bare p90": ms(bare, 0.9),
        "bare, not removed, p50": ms(before_remove, 0.5),
        "ratio of medians": round(ratio, 3),
        "goal": f"<= {GOAL}",
    }


async def containers(folder: Path, rounds: int) -> list[dict[str, float | str]]:
    options = ("--cpus", str(AT_ONCE), "--id", same_input.WORKER)
    with start_grid(folder) as served, start_worker(folder, served.url, "docker", *options):
        async with (
            aiodocker.Docker(url="unix:///var/run/docker.sock") as engine,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{served.url}/q/{QUEUE}/client", max_msg_size=1 << 30) as ws,
        ):
            grid, bare = Grid(ws, engine), Bare(engine, folder)
            await grid.batch(1)
            await bare.batch(1)
            return await ratios(grid, bare, rounds)


async def run(arguments: argparse.Namespace) -> dict[str, list[dict[str, float | str]]]:
    tables = {}
    with tempfile.TemporaryDirectory(prefix="gridd-bench-") as name:
        folder = Path(name)
        for part in ("containers", "log", "input"):
            (folder / part).mkdir()
        tables["containers"] = await containers(folder / "containers", arguments.rounds)
        show(tables["containers"])
        tables["log"] = await fast_log.rows(folder / "log", arguments.log_seconds)
        print()
        show(tables["log"])
        size = arguments.input_mb * 1_000_000
        tables["input"] = await same_input.rows(folder / "input", size)
        print()
        show(tables["input"])
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of each, one at a time and eight")
    parser.add_argument("--log-seconds", type=int, default=15, help="how long the log is fast")
    parser.add_argument("--input-mb", type=int, default=200, help="size of the input; try 1000")
    parser.add_argument("--json", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    began = time.monotonic()
    tables = uvloop.run(run(arguments))
    print(f"\ntook {time.monotonic() - began:.0f} s; these machines are shared: read the ratios")
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
