"""A client as upstream's page behaves on its socket, written from WIRE 9.3 and BROWSER.md 2.9."""

import asyncio
import json
import time
from typing import Any

import aiohttp


class UpstreamBrowser:
    """``async with`` it. Keeps the list as the page does, and each job's states in order."""

    def __init__(self, url: str, queue: str, *, scale: float = 1.0) -> None:
        self.url = url
        self.path = f"/q/{queue}/client"
        self.scale = scale
        self.jobs: dict[str, dict[str, Any]] = {}
        self.states: dict[str, list[str]] = {}  # repeats left out
        self.lines: dict[str, list[list[Any]]] = {}
        self.workers: list[dict[str, Any]] = []
        self.kinds: list[str] = []  # of frames, as they came
        self.pongs = 0
        self._session: aiohttp.ClientSession
        self._socket: aiohttp.ClientWebSocketResponse
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> "UpstreamBrowser":
        self._session = aiohttp.ClientSession(self.url)
        self._socket = await self._session.ws_connect(self.path, max_msg_size=0)
        await self._socket.send_str("undefined")  # it says so on every connect
        await self._socket.send_str("PING")
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._socket.close()
        await self._session.close()

    async def _read(self) -> None:
        async for message in self._socket:
            if message.data == "PONG":
                self.pongs += 1
                asyncio.get_running_loop().call_later(5 * self.scale, self._ping)
            else:
                self._hear(json.loads(message.data))

    def _ping(self) -> None:
        if not self._socket.closed:
            self._pinging = asyncio.ensure_future(self._socket.send_str("PING"))

    def _hear(self, message: dict[str, Any]) -> None:
        kind, payload = message["type"], message["payload"]
        self.kinds.append(kind)
        if kind == "Workers":
            for worker in payload["workers"]:
                assert {"id", "cpus", "gpus", "maxJobDuration"} <= set(worker), worker
            self.workers = payload["workers"]
        elif kind == "JobStatusPayload":
            if self.jobs.get(payload["jobId"], {}).get("state") == "Running":
                self.lines.setdefault(payload["jobId"], []).extend(payload["logs"])
        elif kind in ("JobStates", "JobStateUpdates"):
            jobs = payload["state"]["jobs"]
            self.jobs = jobs if kind == "JobStates" else self.jobs | jobs
            for job, view in jobs.items():
                assert "reason" not in view, f"the page takes {view} for broken"
                states = self.states.setdefault(job, [])
                if states[-1:] != [view["state"]]:
                    states.append(view["state"])

    async def submit(self, job: str, definition: Any, namespace: str = "_") -> None:
        enqueued = {"id": job, "definition": definition, "control": {"namespace": namespace}}
        await self._change("Queued", job, {"type": "Queued", "time": 1, "enqueued": enqueued})

    async def cancel(self, job: str) -> None:
        value = {"type": "Finished", "reason": "Cancelled", "time": _now()}
        await self._change("Finished", job, value | {"message": "Job cancelled by client"})

    async def delete(self, job: str) -> None:
        value = {"type": "Finished", "reason": "Deleted", "time": _now(), "namespace": "_"}
        await self._change("Finished", job, value)

    async def query(self, job: str) -> None:
        await self._socket.send_json({"type": "QueryJob", "payload": {"jobId": job}})

    async def result(self, job: str) -> dict[str, Any]:
        """The finished job, fetched when it is seen ``Finished`` without its result."""
        async with self._session.get(f"/j/{job}/result.json") as response:
            found: dict[str, Any] = (await response.json())["data"]
            return found

    async def _change(self, state: str, job: str, value: Any) -> None:
        payload = {"tag": "", "state": state, "job": job, "value": value}
        await self._socket.send_json({"type": "StateChange", "payload": payload})


def _now() -> int:
    return time.time_ns() // 1_000_000
