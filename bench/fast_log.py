"""Ten thousand lines a second from one container: are they all there, in order, and how late?

The program counts its lines and prints beside each the machine's time since boot, which a
container shares, in steps of 10 ms. A client socket, which is what a browser has, notes when each
line arrives. The goal is under 500 ms for the last of them, none lost, none out of order.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from client import QUEUE, change
from processes import cpu_seconds, start_grid, start_worker

from gridd_protocol import job_id

LINES_PER_S = 10_000
GOAL_MS = 500
_TIMEOUT_S = 90

# Each hundredth of a second as many lines as are due by then, so that the rate holds on average.
# Only builtins but for the sleep: a shell that forks can't print so fast.
_PROGRAM = """\
due() {{ read up rest < /proc/uptime; up=${{up%.*}}${{up#*.}}; }}
due; began=$up; n=0
while [ $n -lt {lines} ]; do
  due; goal=$(( (up - began) * {per_tick} ))
  [ $goal -gt {lines} ] && goal={lines}
  while [ $n -lt $goal ]; do echo "$n $up some words as a program prints them"; n=$((n+1)); done
  usleep 5000
done
"""


@dataclass
class Heard:
    """What came of the program's lines, as they arrived."""

    lags_ms: list[float] = field(default_factory=list)
    lost: int = 0
    disordered: int = 0
    frames: int = 0
    next: int = 0
    first_up: int = 0
    last_up: int = 0

    def frame(self, lines: list[Any]) -> None:
        now_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
        self.frames += 1
        for line in lines:
            number, up = map(int, line[0].split(" ", 2)[:2])
            self.first_up = self.first_up or up
            self.last_up = up
            self.lags_ms.append(max(0.0, now_ms - up * 10))
            if number < self.next:
                self.disordered += 1
            else:
                self.lost += number - self.next
                self.next = number + 1

    def row(self, count: int, cpu_s: tuple[float, float]) -> dict[str, float | str]:
        """``cpu_s``: what server and worker spent."""
        ordered = sorted(self.lags_ms)
        seconds = (self.last_up - self.first_up) / 100
        return {
            "fast log, print to client": f"{count} lines",
            "lines/s": round(len(ordered) / seconds),
            "p50 ms": round(ordered[len(ordered) // 2]),
            "p99 ms": round(ordered[int(len(ordered) * 0.99)]),
            "max ms": round(ordered[-1]),
            "lost": self.lost + count - self.next,
            "disordered": self.disordered,
            "frames": self.frames,
            "server us/line": round(cpu_s[0] / count * 1e6, 1),
            "worker us/line": round(cpu_s[1] / count * 1e6, 1),
            "goal": f"< {GOAL_MS} ms, 0, 0",
        }


async def rows(folder: Path, seconds: int) -> list[dict[str, float | str]]:
    count = seconds * LINES_PER_S
    program = _PROGRAM.format(lines=count, per_tick=LINES_PER_S // 100)
    definition = {"image": "gridd-test:busybox", "command": f"sh -c '{program}'"}
    job, heard = job_id(definition), Heard()
    with start_grid(folder) as grid, start_worker(folder, grid.url, "docker") as worker:
        before = cpu_seconds(grid.pid), cpu_seconds(worker.pid)
        async with (
            asyncio.timeout(_TIMEOUT_S),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{grid.url}/q/{QUEUE}/client", max_msg_size=1 << 30) as ws,
        ):
            await ws.send_str(change(definition))
            await _listen(ws, job, heard)
        spent = cpu_seconds(grid.pid) - before[0], cpu_seconds(worker.pid) - before[1]
    return [heard.row(count, spent)]


async def _listen(ws: aiohttp.ClientWebSocketResponse, job: str, heard: Heard) -> None:
    """Until the job is over: its last lines come before that."""
    while True:
        message = json.loads(await ws.receive_str())
        payload = message["payload"]
        if message["type"] == "JobStatusPayload" and payload["step"] == "Running":
            heard.frame(payload["logs"])
        elif message["type"] == "JobStateUpdates":
            told = payload["state"]["jobs"].get(job)
            if told is not None and told["state"] == "Finished":
                return
