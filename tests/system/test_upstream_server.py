"""Our worker on a server that speaks upstream's protocol only: no option, no subprotocol.

The stand-in is written from WIRE 2 and 3: it shows every worker the whole queue, takes claims from
anyone, keeps the claimant that sorts first, and tells a cancellation by absence.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gridd_protocol import job_id
from gridd_protocol.messages import Kind, LogLine
from gridd_worker import upstream
from gridd_worker.agent import Agent
from gridd_worker.config import Config
from gridd_worker.preference import preferred
from gridd_worker.runtime import LogSink, Outcome, Runtime, Task


class UpstreamServer:
    """One queue."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.definitions: dict[str, Any] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.logs: dict[str, list[Any]] = {}
        self.claims: list[tuple[str, str]] = []
        self.workers: dict[ServerConnection, str] = {}
        self.sockets: set[ServerConnection] = set()
        self.paths: list[str] = []
        self.offered: list[str | None] = []  # the subprotocols that a worker would speak
        self.asked: list[list[str]] = []  # for definitions
        self.deaf_to_first = False  # the first registration on a socket is lost (FINDINGS 9)
        self.silent_about_jobs = False  # on sockets of a queue object that was made twice (D18)
        self.holds_back = False  # changes are not shown yet
        self.port = 0
        self.clock = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with serve(self._on_socket, "127.0.0.1", self.port, max_size=64 << 20) as server:
            self.port = server.sockets[0].getsockname()[1]
            ticking = asyncio.create_task(self._tick())
            yield
            ticking.cancel()

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
        lost = self.workers.pop(socket, None)
        for job in self.jobs.values():
            if job["state"] == "Running" and job["worker"] == lost:
                job.update(state="Queued", worker="")
        self._show()

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
                    self.logs.setdefault(payload["jobId"], []).extend(payload["logs"])
            case "StateChange":
                self._on_change(payload)

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
        elif value["reason"] == "WorkerLost":
            job.update(state="Queued", worker="")
            self._show(change["job"])
        else:
            self.results.setdefault(change["job"], []).append(value)
            job.update(state="Finished", finishedReason=value["reason"])
            self._show(change["job"])

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
            await asyncio.sleep(0.2)  # 10 s in upstream
            self._show()


async def _send(socket: ServerConnection, text: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        await socket.send(text)


class SlowRun:
    def __init__(self, task: Task, log: LogSink, gate: asyncio.Event) -> None:
        self._gate = gate
        self.stopped = asyncio.Event()
        log("Running", [LogLine(f"{task.definition.command}\n", 5)])

    async def wait(self) -> Outcome:
        waits = {asyncio.ensure_future(e.wait()) for e in (self._gate, self.stopped)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return Outcome(exit_code=0, duration_ms=1)

    async def stop(self) -> None:
        self.stopped.set()


class GatedRuntime(Runtime):
    """Runs end when the gate opens; which jobs ran here is on record."""

    kinds: tuple[Kind, ...] = ("container", "process")

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.runs: list[SlowRun] = []
        self.ran: list[str] = []

    def describe(self) -> str:
        return "gated"

    async def open(self) -> None:
        pass

    async def start(self, task: Task, log: LogSink, started: Callable[[], None]) -> SlowRun:
        self.ran.append(task.job)
        started()
        self.runs.append(SlowRun(task, log, self.gate))
        return self.runs[-1]

    async def close(self) -> None:
        pass


class Workers:
    def __init__(self, server: UpstreamServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._tasks: list[tuple[Agent, asyncio.Task[None]]] = []

    def start(self, name: str, cpus: int = 2) -> GatedRuntime:
        runtime = GatedRuntime()
        config = Config(
            queues=("q1",),
            api_address=f"http://127.0.0.1:{self._server.port}",
            data_directory=self._folder / name,
            id=name,
            cpus=cpus,
            drain_ms=0,
        )
        agent = Agent(config, runtime)
        self._tasks.append((agent, asyncio.create_task(agent.run())))
        return runtime

    async def stop(self) -> None:
        for agent, task in self._tasks:
            agent.stop()
            agent.stop()
            await asyncio.wait_for(task, 30)


@pytest.fixture
async def server() -> AsyncIterator[UpstreamServer]:
    server = UpstreamServer()
    async with server.running():
        yield server


@pytest.fixture
async def workers(server: UpstreamServer, tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(server, tmp_path)
    yield workers
    await workers.stop()


async def until(condition: Callable[[], Any], seen: Callable[[], Any], seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"last seen: {seen()!r}"
        await asyncio.sleep(0.01)


async def test_a_job_runs_with_live_log_and_whole_result(
    server: UpstreamServer, workers: Workers
) -> None:
    job = server.submit("hello")
    workers.start("w1")
    await until(lambda: server.results, lambda: server.jobs)
    assert server.paths == ["/q/q1/worker"]
    assert server.logs[job] == [["hello\n", 5]]
    (value,) = server.results[job]
    assert (value["reason"], value["worker"]) == ("Success", "w1")
    assert value["result"]["StatusCode"] == 0
    assert value["result"]["logs"] == [["hello\n", 5]]


async def test_two_workers_share_a_queue_and_no_job_runs_twice(
    server: UpstreamServer, workers: Workers
) -> None:
    runtimes = [workers.start("w1"), workers.start("w2")]
    await until(lambda: len(server.workers) == 2, lambda: server.workers)
    jobs = [server.submit(f"job {number}") for number in range(40)]
    await until(lambda: len(server.results) == 40, lambda: len(server.results), 60)
    ran = runtimes[0].ran + runtimes[1].ran
    assert sorted(ran) == sorted(jobs), "a job ran twice, or never"
    assert all(len(values) == 1 for values in server.results.values())
    assert runtimes[0].ran, "w1 had nothing to do"


async def test_a_cancelled_job_is_stopped(server: UpstreamServer, workers: Workers) -> None:
    runtime = workers.start("w1")
    runtime.gate.clear()
    job = server.submit("long")
    await until(lambda: runtime.runs, lambda: server.jobs)
    server.cancel(job)
    await until(runtime.runs[0].stopped.is_set, lambda: server.jobs)
    assert server.results == {}


async def test_a_broken_connection_neither_stops_the_run_nor_loses_its_result(
    server: UpstreamServer, workers: Workers
) -> None:
    runtime = workers.start("w1")
    runtime.gate.clear()
    job = server.submit("long")
    await until(lambda: runtime.runs, lambda: server.jobs)
    for socket in list(server.sockets):
        socket.transport.abort()
    await until(lambda: len(server.paths) == 2, lambda: server.paths)
    await until(lambda: server.jobs[job]["worker"] == "w1", lambda: server.jobs)
    runtime.gate.set()
    await until(lambda: server.results, lambda: server.jobs)
    assert len(runtime.runs) == 1, "it ran twice"
    assert server.results[job][0]["result"]["logs"] == [["long\n", 5]]


async def test_what_does_not_fit_waits_for_somebody_else(
    server: UpstreamServer, workers: Workers
) -> None:
    big = server.submit("big", requirements={"cpus": 64})
    small = server.submit("small")
    workers.start("w1")
    await until(lambda: small in server.results, lambda: server.jobs)
    assert server.jobs[big]["state"] == "Queued"
    assert [job for job, _ in server.claims] == [small]


async def test_which_protocol_is_spoken_is_found_out_without_an_option(
    server: UpstreamServer, workers: Workers
) -> None:
    """Ours is offered on each connection; a server that does not take it up is upstream's."""
    workers.start("w1")
    await until(lambda: server.workers, lambda: server.paths)
    assert server.offered == ["gridd.v1.msgpack, gridd.v1.json"]


async def test_of_two_that_claim_at_once_the_one_that_sorts_first_runs_it(
    server: UpstreamServer, workers: Workers
) -> None:
    runtimes = {name: workers.start(name) for name in ("w2", "w1")}
    await until(lambda: len(server.workers) == 2, lambda: server.workers)
    job = server.submit("wanted")
    server.holds_back = True
    await until(lambda: len(server.claims) >= 2, lambda: server.claims)
    assert {name for _, name in server.claims} == {"w1", "w2"}
    server.holds_back = False
    await until(lambda: job in server.results, lambda: server.jobs)
    assert (runtimes["w1"].ran, runtimes["w2"].ran) == ([job], [])
    assert [value["worker"] for value in server.results[job]] == ["w1"]


async def test_a_definition_is_asked_for_once_and_only_where_there_is_room(
    server: UpstreamServer, workers: Workers
) -> None:
    runtime = workers.start("w1", cpus=1)
    runtime.gate.clear()
    await until(lambda: server.workers, lambda: server.paths)
    jobs = [server.submit(f"job {number}") for number in range(5)]
    await until(lambda: runtime.runs, lambda: server.jobs)
    asked = [job for each in server.asked for job in each]
    assert asked[:1] == jobs[:1], "the oldest first"
    runtime.gate.set()
    await until(lambda: len(server.results) == 5, lambda: server.jobs)
    asked = [job for each in server.asked for job in each]
    assert sorted(asked) == sorted(jobs)


async def test_a_lost_registration_is_repeated(
    server: UpstreamServer, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "HEARTBEAT_MS", 500)
    server.deaf_to_first = True
    workers.start("w1")
    await until(lambda: server.sockets, lambda: server.paths)
    assert not server.workers
    await until(lambda: server.workers, lambda: server.paths)  # told by the answer to a PING
    job = server.submit("heard")
    await until(lambda: job in server.results, lambda: server.jobs)
    assert len(server.paths) == 1


async def test_a_connection_that_shows_no_jobs_is_given_up_for_another(
    server: UpstreamServer, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers every PING, so it looks alive, and the worker would stand idle for ever."""
    monkeypatch.setattr(upstream, "STATES_MS", 1_000)
    workers.start("w1")
    await until(lambda: server.workers, lambda: server.paths)
    server.silent_about_jobs = True
    job = server.submit("unseen")
    await until(lambda: len(server.paths) >= 2, lambda: server.paths)
    server.silent_about_jobs = False
    await until(lambda: job in server.results, lambda: server.jobs)
