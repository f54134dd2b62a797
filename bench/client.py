"""The load: one client socket, a bounded number of jobs in flight, each timed to its end."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

QUEUE = "bench"
_TIMEOUT_S = 120


@dataclass
class Measured:
    jobs: int
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    def quantile_ms(self, q: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1000


class _Job(msgspec.Struct):
    state: str


class _State(msgspec.Struct):
    jobs: dict[str, _Job]


class _Payload(msgspec.Struct):
    state: _State


class _Update(msgspec.Struct):
    type: str
    payload: _Payload


_read_update = msgspec.json.Decoder(_Update).decode


def submission(number: int, run: str) -> tuple[str, str]:
    """A job's id and the frame that submits it. Ids are made here so that the client can tell
    its jobs apart without waiting for an answer."""
    from gridd_protocol import job_id

    definition = {
        "image": "busybox:latest",
        "command": f"sh -c 'echo {run} {number} > /outputs/out.txt'",
        "env": {"RUN": run, "NUMBER": str(number), "PADDING": "x" * 100},
        "maxDuration": "5m",
    }
    return job_id(definition), change(definition)


def change(definition: dict[str, Any]) -> str:
    """The frame that submits this definition."""
    enqueued = {"definition": definition, "control": {"namespace": "_"}}
    queued = {"tag": "", "state": "Queued", "job": "", "value": {"enqueued": enqueued}}
    return json.dumps({"type": "StateChange", "payload": queued})


def finished(text: str) -> list[str]:
    """The jobs that this frame says are finished."""
    if '"Finished"' not in text or '"JobStateUpdates"' not in text:
        return []
    jobs = _read_update(text).payload.state.jobs
    return [job for job, state in jobs.items() if state.state == "Finished"]


async def load(url: str, jobs: int, in_flight: int, run: str) -> Measured:
    """Submit ``jobs`` jobs, never more than ``in_flight`` at once; raises TimeoutError."""
    run = f"{run}-{time.monotonic_ns()}"
    waiting = [submission(number, run) for number in range(jobs)]
    waiting.reverse()
    began: dict[str, float] = {}
    measured = Measured(jobs)
    async with (
        asyncio.timeout(_TIMEOUT_S),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/q/{QUEUE}/client", max_msg_size=1 << 30) as ws,
    ):
        start = time.perf_counter()
        for _ in range(min(in_flight, jobs)):
            await _send(ws, waiting, began)
        while began:
            for job in finished(await ws.receive_str()):
                if job in began:
                    measured.latencies_s.append(time.perf_counter() - began.pop(job))
                    if waiting:
                        await _send(ws, waiting, began)
        measured.seconds = time.perf_counter() - start
    return measured


async def _send(
    ws: aiohttp.ClientWebSocketResponse, waiting: list[tuple[str, str]], began: dict[str, float]
) -> None:
    job, frame = waiting.pop()
    began[job] = time.perf_counter()
    await ws.send_str(frame)
