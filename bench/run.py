"""How many jobs a second, how long from submit to result, at what cost to the server?

``make bench`` runs this with no arguments: a real ``gridd serve`` with its durable journal, one
real ``gridd-worker`` with the null runtime, and this process as the client, each a process of its
own. Jobs are submitted over a client socket, a bounded number in flight, and are done when the
client has been told that they finished.

Beside it stands the limit: the same frames, between the same processes, through a server that
does nothing but pass them on (``echo.py``). Both run in turns, so that a noisy machine troubles
both alike; read the ratio before the figures.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import log_lag
import uvloop
from client import Measured, load
from processes import Process, cpu_seconds, start_echo, start_echo_worker, start_grid, start_worker


async def measure_gridd(folder: Path, jobs: int, in_flight: int) -> tuple[Measured, float, float]:
    """The load on gridd; CPU seconds that the server and the worker spent on it."""
    with start_grid(folder) as grid, start_worker(folder, grid.url) as worker:
        await load(grid.url, min(jobs, 500), in_flight, "warm")
        return await _with_cpu(grid, worker, grid.url, jobs, in_flight)


async def measure_echo(folder: Path, jobs: int, in_flight: int) -> tuple[Measured, float, float]:
    """The same frames through a server that only passes them on."""
    with start_echo(folder) as echo, start_echo_worker(echo.url) as worker:
        await load(echo.url, min(jobs, 500), in_flight, "warm")
        return await _with_cpu(echo, worker, echo.url, jobs, in_flight)


async def _with_cpu(
    server: Process, worker: Process, url: str, jobs: int, in_flight: int
) -> tuple[Measured, float, float]:
    before = cpu_seconds(server.pid), cpu_seconds(worker.pid)
    measured = await load(url, jobs, in_flight, "load")
    after = cpu_seconds(server.pid), cpu_seconds(worker.pid)
    return measured, after[0] - before[0], after[1] - before[1]


def row(name: str, runs: list[tuple[Measured, float, float]]) -> dict[str, float | str]:
    """The median of several runs."""

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    return {
        "what": name,
        "jobs/s": round(middle([m.jobs / m.seconds for m, _, _ in runs])),
        "p50 ms": round(middle([m.quantile_ms(0.50) for m, _, _ in runs]), 2),
        "p99 ms": round(middle([m.quantile_ms(0.99) for m, _, _ in runs]), 2),
        "server us/job": round(middle([cpu / m.jobs * 1e6 for m, cpu, _ in runs]), 1),
        "worker us/job": round(middle([cpu / m.jobs * 1e6 for m, _, cpu in runs]), 1),
    }


def show(rows: list[dict[str, float | str]]) -> None:
    names = list(rows[0])
    widths = [max(len(str(x)) for x in [name, *(r[name] for r in rows)]) for name in names]
    for line in [dict(zip(names, names, strict=True)), *rows]:
        cells = [str(line[name]).ljust(w) for name, w in zip(names, widths, strict=True)]
        print("  ".join(cells).rstrip())


async def run(arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    rows = []
    for in_flight, jobs in ((1, arguments.jobs // 20), (arguments.in_flight, arguments.jobs)):
        grid, echo = [], []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory(prefix="gridd-bench-") as folder:
                echo.append(await measure_echo(Path(folder), jobs, in_flight))
                grid.append(await measure_gridd(Path(folder), jobs, in_flight))
        label = f"{in_flight} in flight"
        rows.append(row(f"gridd, durable, {label}", grid))
        rows.append(row(f"bare echo, {label}", echo))
        rows.append(ratio(rows[-2], rows[-1], label))
    return rows


def ratio(
    ours: dict[str, float | str], limit: dict[str, float | str], label: str
) -> dict[str, float | str]:
    return {
        "what": f"ratio, {label}",
        **{
            name: round(float(ours[name]) / float(limit[name]), 2) if float(limit[name]) else "-"
            for name in list(ours)[1:]
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in one run, many in flight")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the median is shown")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    began = time.monotonic()
    rows = uvloop.run(run(arguments))
    print(
        f"{arguments.jobs} jobs of about 250 bytes, {arguments.rounds} rounds, median; "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    show(rows)
    with tempfile.TemporaryDirectory(prefix="gridd-bench-") as folder:
        print("\n" + "\n".join(uvloop.run(log_lag.rows(Path(folder)))))
    print(f"took {time.monotonic() - began:.0f} s; these machines are shared: read the ratios")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
