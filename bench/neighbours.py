"""What do the others suffer from a bad neighbour, and what does the server?

For each neighbour (``bad_neighbours.py``) a fresh ``gridd serve`` and one worker; a modest steady
load of well-behaved jobs runs alone, then beside the neighbour. Rows: how long the others' jobs
take from submit to finished, alone and beside it, as p50 and p99; the server's memory (RSS)
before, at its peak and after the neighbour left; and what became of the neighbour.

Read the ratios, and beside them those of ``nobody``: that is the machine's own noise. Neighbour,
load, worker and server share its cores, so a part of each ratio is the neighbour's own work.
"""

import argparse
import asyncio
import json
import math
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bad_neighbours import NEIGHBOURS
from client import Measured
from processes import HERE, Process, start_grid, start_worker
from run import show
from size import rss_bytes
from steady import IN_FLIGHT, PER_SECOND, CutOffError, steady

_LOOK_S = 0.05
_AFTER_S = 1.0  # for the server to see that a neighbour left
_TOO_LONG_S = 120


@dataclass
class Row:
    name: str
    alone: Measured
    beside: Measured
    memory: tuple[int, int, int]  # before, peak, after; bytes
    fate: str

    def cells(self) -> dict[str, float | str]:
        before, peak, after = (round(value / 2**20) for value in self.memory)
        cells: dict[str, float | str] = {"neighbour": self.name}
        for label, q in (("p50", 0.50), ("p99", 0.99)):
            alone, beside = self.alone.quantile_ms(q), self.beside.quantile_ms(q)
            cells[f"{label} ms alone"] = round(alone, 2)
            cells["beside" if label == "p50" else "beside it"] = round(beside, 2)
            cells[f"{label} ratio"] = round(beside / alone, 1)
        cells["max ms"] = round(max(self.beside.latencies_s) * 1000, 1)
        return {**cells, "MiB before": before, "peak": peak, "after": after}


async def measure(folder: Path, name: str, seconds: float, scale: float) -> Row:
    with start_grid(folder) as grid, start_worker(folder, grid.url):
        await steady(grid.url, 1, "warm")
        alone = await steady(grid.url, seconds * 2 / 3, "alone")
        before = rss_bytes(grid.pid)
        peak = asyncio.create_task(_peak(grid.pid))
        beside, fate = await _beside(grid, name, seconds, scale)
        await asyncio.sleep(_AFTER_S)
        peak.cancel()
        after = rss_bytes(grid.pid)
        await asyncio.wait([peak])
    return Row(name, alone, beside, (before, peak.result(), after), fate)


async def _beside(grid: Process, name: str, seconds: float, scale: float) -> tuple[Measured, str]:
    """The steady load until the neighbour has done its worst, ``seconds`` at most."""
    neighbour = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "bad_neighbours.py"),
        *(name, grid.url, str(seconds), str(scale)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert neighbour.stdout is not None
    try:
        async with asyncio.timeout(_TOO_LONG_S):
            await neighbour.stdout.readline()  # it begins
            over = asyncio.Event()
            telling = asyncio.create_task(_fate(neighbour.stdout, over))
            try:
                beside, news = await steady(grid.url, seconds, "beside", over), ""
            except CutOffError as error:
                beside, news = Measured(0, latencies_s=[math.nan]), f"; {error}"
            fate = await telling + news
            await neighbour.wait()
    finally:
        if neighbour.returncode is None:
            neighbour.kill()
            await neighbour.wait()
    return beside, fate if neighbour.returncode == 0 else "the neighbour itself failed"


async def _fate(told: asyncio.StreamReader, over: asyncio.Event) -> str:
    """What became of it; ``over`` is set when it has done its worst."""
    await told.readline()
    over.set()
    return (await told.read()).decode().strip()


async def _peak(pid: int) -> int:
    """The largest RSS seen until this is cancelled."""
    peak = 0
    try:
        while True:
            peak = max(peak, rss_bytes(pid))
            await asyncio.sleep(_LOOK_S)
    except asyncio.CancelledError:
        return peak


def raise_open_files() -> None:
    """As far as it is allowed: the server and its neighbours inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run(arguments: argparse.Namespace) -> list[Row]:
    rows = []
    for name in arguments.only or NEIGHBOURS:
        with tempfile.TemporaryDirectory(prefix="gridd-bench-") as folder:
            row = await measure(Path(folder), name, arguments.seconds, arguments.scale)
        print(f"{name}: {row.fate}", flush=True)
        rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[*NEIGHBOURS], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=6.0, help="beside each neighbour")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies their numbers")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    raise_open_files()
    began = time.monotonic()
    rows = [(row.cells(), row.fate) for row in uvloop.run(run(arguments))]
    print(
        f"\nthe others: {PER_SECOND} jobs/s, at most {IN_FLIGHT} in flight; {os.cpu_count()} cores"
    )
    show([cells for cells, _ in rows])
    print(f"took {time.monotonic() - began:.0f} s; these machines are shared: read the ratios")
    if arguments.json:
        written = [{**cells, "fate": fate} for cells, fate in rows]
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
