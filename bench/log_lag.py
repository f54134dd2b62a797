"""How long from a printed line to the client socket?

A real program prints the time, a hundred times a second; a client socket notes when each line
arrives. Beside it stands the limit: the same program read straight from its pipe. The goal is
200 ms, which a person still feels as now.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from client import QUEUE
from processes import start_grid, start_worker

LINES = 300
_PROGRAM = (
    "import time\n"
    f"for _ in range({LINES}):\n"
    "    print(time.time_ns(), flush=True)\n"
    "    time.sleep(0.01)\n"
)
_TIMEOUT_S = 60


@dataclass
class Lag:
    """Milliseconds from print to arrival, a line each."""

    name: str
    lags_ms: list[float] = field(default_factory=list)

    def heard(self, text: str) -> None:
        now = time.time_ns()
        self.lags_ms += [(now - int(stamp)) / 1e6 for stamp in text.split()]

    def row(self) -> str:
        ordered = sorted(self.lags_ms)
        if len(ordered) != LINES:
            raise RuntimeError(f"{self.name}: {len(ordered)} of {LINES} lines arrived")
        p50, p99 = ordered[LINES // 2], ordered[int(LINES * 0.99)]
        return f"{self.name:<34}{p50:>8.2f}{p99:>10.2f}{ordered[-1]:>10.2f}"


async def from_a_pipe() -> Lag:
    lag = Lag("bare pipe")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async for line in child.stdout:
        lag.heard(line.decode())
    await child.wait()
    return lag


async def through_gridd(folder: Path) -> Lag:
    """The program as a job of the process runtime, its log heard on a client socket."""
    lag = Lag("gridd, process runtime, to a client")
    enqueued = {"definition": {"command": f"python3 -c '{_PROGRAM}'"}}
    change = {"tag": "", "state": "Queued", "job": "", "value": {"enqueued": enqueued}}
    with start_grid(folder) as grid, start_worker(folder, grid.url, runtime="process"):
        async with (
            asyncio.timeout(_TIMEOUT_S),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{grid.url}/q/{QUEUE}/client") as ws,
        ):
            await ws.send_json({"type": "StateChange", "payload": change})
            while len(lag.lags_ms) < LINES:
                message = json.loads(await ws.receive_str())
                if message["type"] == "JobStatusPayload":
                    lag.heard("".join(line[0] for line in message["payload"]["logs"]))
                elif '"Finished"' in json.dumps(message):
                    break
    return lag


async def rows(folder: Path) -> list[str]:
    head = f"{'log line, print to reader':<34}{'p50 ms':>8}{'p99 ms':>10}{'max ms':>10}"
    return [head, (await from_a_pipe()).row(), (await through_gridd(folder)).row()]
