"""Our worker on a server that speaks upstream's protocol only: no option, no subprotocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gridd_protocol.messages import Kind, LogLine
from gridd_worker.agent import Agent
from gridd_worker.config import Config
from gridd_worker.runtime import LogSink, Outcome, Runtime, Task
from gridd_worker.upstream import claims as upstream_claims
from gridd_worker.upstream import dialect as upstream
from tests.system.support.upstream_server import UpstreamServer


class SlowRun:
    def __init__(self, task: Task, log: LogSink, runtime: "GatedRuntime") -> None:
        self._gate = runtime.gate
        self._may_stop = runtime.may_stop
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
        await self._may_stop.wait()


class GatedRuntime(Runtime):
    """Runs end when the gate opens; which jobs ran here is on record."""

    kinds: tuple[Kind, ...] = ("container", "process")

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.runs: list[SlowRun] = []
        self.ran: list[str] = []

    def describe(self) -> str:
        return "gated"

    async def open(self) -> None:
        pass

    async def start(self, task: Task, log: LogSink, started: Callable[[], None]) -> SlowRun:
        self.ran.append(task.job)
        started()
        self.runs.append(SlowRun(task, log, self))
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
    assert server.log(job) == [["hello\n", 5]]
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


async def test_a_job_that_comes_back_waits_for_its_former_run_to_be_gone(
    server: UpstreamServer, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_claims, "GONE_GRACE_MS", 100)
    runtime = workers.start("w1")
    runtime.gate.clear()
    runtime.may_stop.clear()
    job = server.submit("long")
    await until(lambda: runtime.runs, lambda: server.jobs)
    server.cancel(job)
    await until(runtime.runs[0].stopped.is_set, lambda: server.jobs)
    assert server.submit("long") == job
    await until(lambda: server.jobs[job]["worker"] == "w1", lambda: server.jobs)
    other = server.submit("another")
    await until(lambda: other in runtime.ran, lambda: runtime.ran)
    assert runtime.ran == [job, other], "two programs of one job at once"
    runtime.may_stop.set()
    await until(lambda: runtime.ran == [job, other, job], lambda: runtime.ran)
    runtime.gate.set()
    await until(lambda: job in server.results, lambda: server.jobs)


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
