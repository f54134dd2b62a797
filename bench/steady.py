"""A modest load that goes on whatever happens: how long its jobs take is what the others suffer.

Jobs are due at an even pace, each timed from submit to the news that it finished. One that had to
wait for a place among those in flight is timed from when it was due, so a stall counts for every
job that it held up, not only for those that were under way.
"""

import asyncio
import time

import aiohttp
from client import QUEUE, Measured, finished, submission

PER_SECOND = 200
IN_FLIGHT = 16
_LAST_S = 60  # for those in flight at the end; a stall as long as that is the result


class CutOffError(Exception):
    """The server let the load's own client go, which never was slow."""


async def steady(
    url: str, seconds: float, run: str, enough: asyncio.Event | None = None
) -> Measured:
    """For so long, or until there is ``enough``. Raises TimeoutError when jobs are still not
    finished a minute after the last was due, and ``CutOffError``."""
    load = _Steady(f"{run}-{time.monotonic_ns()}", max(int(seconds * PER_SECOND), 1), enough)
    async with (
        asyncio.timeout(seconds + _LAST_S),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/q/{QUEUE}/client", max_msg_size=1 << 30) as ws,
    ):
        submitting = asyncio.create_task(load.submit(ws))
        try:
            await load.read(ws)
        finally:
            submitting.cancel()
            await asyncio.wait([submitting])
    return load.measured


class _Steady:
    def __init__(self, run: str, jobs: int, enough: asyncio.Event | None) -> None:
        self._enough = enough or asyncio.Event()
        self._frames = [submission(number, run) for number in range(jobs)]
        self._began: dict[str, float] = {}
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self.measured = Measured(jobs)

    async def submit(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        start = time.perf_counter()
        for number, (job, frame) in enumerate(self._frames):
            due = start + number / PER_SECOND
            await asyncio.sleep(due - time.perf_counter())
            if self._enough.is_set():
                self.measured.jobs = number
                await ws.send_str("PING")  # its answer wakes a reader that has seen the last job
                break
            had_to_wait = self._places.locked()
            await self._places.acquire()
            self._began[job] = due if had_to_wait else time.perf_counter()
            await ws.send_str(frame)

    async def read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        start = time.perf_counter()
        while len(self.measured.latencies_s) < self.measured.jobs:
            message = await ws.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise CutOffError(f"the others were let go: {message.data} {message.extra or ''}")
            for job in finished(message.data):
                began = self._began.pop(job, None)
                if began is not None:
                    self.measured.latencies_s.append(time.perf_counter() - began)
                    self._places.release()
        self.measured.seconds = time.perf_counter() - start
