"""A stand-in of upstream's server, written from WIRE 2 and 3: one queue.

It shows every worker the whole queue, takes claims from anyone, keeps the claimant that sorts
first, tells a cancellation by absence, and queues the jobs of lost workers again.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gridd_protocol import job_id
from gridd_worker.preference import preferred


class UpstreamServer:
    """One queue."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.definitions: dict[str, Any] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.buffers: dict[str, list[Any]] = {}  # of the lines of running jobs
        self.stored: dict[str, list[Any]] = {}
        self.claims: list[tuple[str, str]] = []
        self.workers: dict[ServerConnection, str] = {}
        self.sockets: set[ServerConnection] = set()
        self.paths: list[str] = []
        self.offered: list[str | None] = []  # the subprotocols that a worker would speak
        self.asked: list[list[str]] = []  # for definitions
        self.deaf_to_first = False  # the first registration on a socket is lost (FINDINGS 9)
        self.silent_about_jobs = False  # on sockets of a queue object that was made twice (D18)
        self.holds_back = False  # changes are not shown yet
        self.requeues = True  # jobs of workers that are gone
        self.unreachable = False
        self.port = 0
        self.clock = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with serve(self._on_socket, "127.0.0.1", self.port, max_size=64 << 20) as server:
            self.port = server.sockets[0].getsockname()[1]
            ticking = asyncio.create_task(self._tick())
            yield
            ticking.cancel()

    @contextlib.asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Every connection breaks, and none can be made."""
        self.unreachable = True
        for socket in list(self.sockets):
            socket.transport.abort()
        yield
        self.unreachable = False

    def submit(self, command: str, **more: Any) -> str:
        definition = {"image": "a", "command": command, **more}
        job = job_id(definition)
        self.clock += 1
        self.definitions[job] = definition
        self.jobs[job] = {"state": "Queued", "worker": "", "queuedTime": self.clock, "time": 0}
        self._show()
        return job

    def cancel(self, job: str) -> None:
        del self.jobs[job]
        self._show()

    async def _on_socket(self, socket: ServerConnection) -> None:
        if self.unreachable:
            socket.transport.abort()
            return
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.offered.append(socket.request.headers.get("Sec-WebSocket-Protocol"))
        deaf = self.deaf_to_first
        self.sockets.add(socket)
        with contextlib.suppress(ConnectionClosed):
            if not self.silent_about_jobs:
                await socket.send(self._states())
            async for data in socket:
                if deaf and "WorkerRegistration" in data:
                    deaf = False
                    continue
                assert isinstance(data, str), "upstream ignores binary frames"
                if data == "PING":
                    await socket.send(f"PONG {self.workers.get(socket, 'unknown')}")
                else:
                    await self._on_message(socket, json.loads(data))
        self.sockets.discard(socket)
        self.workers.pop(socket, None)

    async def _on_message(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        payload = message["payload"]
        match message["type"]:
            case "WorkerRegistration":
                self.workers[socket] = payload["id"]
                self._show_workers()
                self._show()
            case "RequestJobDefinitions":
                self.asked.append(payload["jobIds"])
                found = {job: self.definitions[job] for job in payload["jobIds"]}
                text = {"type": "BroadcastJobDefinitions", "payload": {"definitions": found}}
                for each in list(self.sockets):  # to all, as upstream does
                    await each.send(json.dumps(text))
            case "JobStatusLogs":
                job = self.jobs.get(payload["jobId"])
                if job and (job["state"], job["worker"]) == ("Running", self.workers[socket]):
                    self.buffers.setdefault(payload["jobId"], []).extend(payload["logs"])
            case "StateChange":  # processed in line, and logs at once: they may overtake it
                asyncio.get_running_loop().call_later(0.01, self._on_change, payload)

    def _on_change(self, change: dict[str, Any]) -> None:
        job = self.jobs.get(change["job"])
        value = change["value"]
        if job is None:
            return
        if change["state"] == "Running":
            self.claims.append((change["job"], value["worker"]))
            if job["state"] == "Queued" or (
                job["state"] == "Running" and preferred(value["worker"], job["worker"])
            ):
                job.update(state="Running", worker=value["worker"])
                self._show(change["job"])
            return
        self._flush(change["job"])
        if value["reason"] == "WorkerLost":
            self._requeue(change["job"])
        else:
            self.results.setdefault(change["job"], []).append(value)
            job.update(state="Finished", finishedReason=value["reason"])
            self._show(change["job"])

    def log(self, job: str) -> list[Any]:
        """As its users are shown it: the live buffer if there is one, else what was stored."""
        return self.buffers.get(job) or self.stored.get(job, [])

    def _flush(self, job: str) -> None:
        """Whatever was stored before is gone (D28)."""
        if lines := self.buffers.pop(job, None):
            self.stored[job] = lines

    def _requeue(self, job: str) -> None:
        if self.jobs[job]["state"] == "Running":
            self.jobs[job].update(state="Queued", worker="")
            self._show(job)

    def _states(self, job: str | None = None) -> str:
        jobs = self.jobs if job is None else {job: self.jobs[job]}
        kind = "JobStates" if job is None else "JobStateUpdates"
        payload = {"state": {"jobs": jobs}, "isSubset": job is not None}
        return json.dumps({"type": kind, "payload": payload})

    def _show_workers(self) -> None:
        workers = [{"id": worker} for worker in self.workers.values()]
        text = json.dumps({"type": "Workers", "payload": {"workers": workers}})
        for socket in list(self.sockets):
            asyncio.get_running_loop().create_task(_send(socket, text))

    def _show(self, job: str | None = None) -> None:
        if self.holds_back or self.silent_about_jobs:
            return
        text = self._states(job)
        for socket in list(self.sockets):
            asyncio.get_running_loop().create_task(_send(socket, text))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.2)  # 10 s in upstream, and 5 s for the workers that are gone
            self._show()
            there = set(self.workers.values())
            for name, job in self.jobs.items():
                if self.requeues and job["state"] == "Running" and job["worker"] not in there:
                    self._flush(name)
                    self._requeue(name)


async def _send(socket: ServerConnection, text: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        await socket.send(text)
