"""The worker's agent against a small stand-in server, with runs that the test plays itself.

Everything but the server and the runtime is real: sockets, frames, spool, directories, signals.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gridd_protocol.codec import SUBPROTOCOLS, Codec
from gridd_protocol.definitions import checked
from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Credit,
    Drain,
    Finished,
    FromWorker,
    Heartbeat,
    Held,
    Hello,
    Kept,
    Kind,
    Log,
    LogLine,
    Push,
    Release,
    Stale,
    Started,
    ToWorker,
    Welcome,
)
from gridd_worker import agent as agent_module
from gridd_worker import attempt as attempt_module
from gridd_worker import delays as delays_module
from gridd_worker import machine as machine_module
from gridd_worker import serving as serving_module
from gridd_worker import spread as spread_module
from gridd_worker.agent import Agent, CannotStart
from gridd_worker.checkpoints import Checkpoint, Checkpoints, Said
from gridd_worker.config import Config
from gridd_worker.health import Clock
from gridd_worker.runtime import LogSink, Outcome, Run, Runtime, RuntimeUnavailable, Task
from gridd_worker.spool import queue_hash

M = TypeVar("M")
PATIENCE_S = 10.0


# --- the stand-in server ---------------------------------------------------------------------


class Session:
    """One connection of a worker, as the server sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path if socket.request else ""
        self.codec = Codec(socket.subprotocol or SUBPROTOCOLS[0])
        self.said: list[FromWorker] = []
        self.news = asyncio.Event()
        self.over = False

    async def listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in self.socket:
                decoded = self.codec.decode_from_worker(data)
                assert not decoded.errors, decoded.errors
                self.said += decoded.messages
                self.news.set()
        self.over = True
        self.news.set()

    async def send(self, *messages: ToWorker) -> None:
        await self.socket.send(self.codec.encode(messages))

    async def hear(self, kind: type[M], of: Callable[[M], bool] = lambda message: True) -> M:
        """The first message of this kind that ``of`` accepts, said already or to come."""

        def found() -> M | None:
            return next((m for m in self.said if isinstance(m, kind) and of(m)), None)

        message: M = await until(found, self.news, lambda: self.said[-10:])
        return message

    def count(self, kind: type) -> int:
        return sum(isinstance(message, kind) for message in self.said)

    @property
    def credit(self) -> int:
        """The newest that was said."""
        newest = [m for m in self.said if isinstance(m, Credit | Hello)][-1]
        return newest.jobs if isinstance(newest, Credit) else newest.credit

    def lines(self) -> list[tuple[int, str]]:
        """All log lines with their cursors."""
        return [
            (message.cursor + at, line.text)
            for message in self.said
            if isinstance(message, Log)
            for at, line in enumerate(message.lines)
        ]


async def until(found: Callable[[], Any], news: asyncio.Event, seen: Callable[[], object]) -> Any:
    """Wait for a condition; on a timeout tell what was seen last."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (result := found()):
                news.clear()
                await news.wait()
            return result
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S} s; seen last: {seen()}") from None


class StandIn:
    """Takes connections; what it says is up to the test."""

    def __init__(self, subprotocols: tuple[str, ...] = SUBPROTOCOLS) -> None:
        self.subprotocols = subprotocols
        self.sessions: list[Session] = []
        self.taken = 0
        self.news = asyncio.Event()
        self.port = 0
        self.server: Server | None = None

    async def start(self) -> None:
        self.server = await serve(
            self._on_socket,
            "127.0.0.1",
            self.port,
            subprotocols=[Subprotocol(name) for name in self.subprotocols] or None,
            compression=None,
            max_size=8 << 20,
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self, code: int = 1001) -> None:
        assert self.server is not None
        self.server.close(code=code)
        await self.server.wait_closed()

    async def _on_socket(self, socket: ServerConnection) -> None:
        session = Session(socket)
        self.sessions.append(session)
        self.news.set()
        await session.listen()

    async def session(self) -> Session:
        """The next connection."""
        await until(lambda: len(self.sessions) > self.taken, self.news, lambda: self.sessions)
        self.taken += 1
        return self.sessions[self.taken - 1]

    async def welcome(self, *kept: Kept, heartbeat_ms: int = 5_000) -> Session:
        """The next connection, greeted."""
        session = await self.session()
        await session.hear(Hello)
        await session.send(Welcome("q", lease_ms=30_000, heartbeat_ms=heartbeat_ms, kept=[*kept]))
        return session


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


# --- the played runtime ----------------------------------------------------------------------


class PlayedRun(Run):
    def __init__(self, task: Task, log: LogSink) -> None:
        self.task = task
        self.log = log
        self.stopped = asyncio.Event()
        self.discarding = asyncio.Event()
        self.may_go = asyncio.Event()  # a stop and a removal last until this is set
        self.may_go.set()
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def say(self, *texts: str) -> None:
        self.log("Running", [LogLine(text, time.time_ns() // 1_000_000) for text in texts])

    @property
    def over(self) -> bool:
        return self._outcome.done()

    def end(self, outcome: Outcome) -> None:
        self._outcome.set_result(outcome)

    def fail(self, error: Exception) -> None:
        self._outcome.set_exception(error)

    async def wait(self) -> Outcome:
        return await asyncio.shield(self._outcome)

    async def stop(self) -> None:
        self.stopped.set()
        await self.may_go.wait()

    async def discard(self) -> None:
        self.discarding.set()
        await self.may_go.wait()


class PlayedRuntime(Runtime):
    kinds: tuple[Kind, ...] = ("container", "process")

    def __init__(self) -> None:
        self.runs: dict[tuple[str, int], PlayedRun] = {}
        self.news = asyncio.Event()
        self.broken: str | None = None
        self.opened = 0
        self.closed = 0

    def describe(self) -> str:
        return "played: does what the test says"

    async def open(self) -> None:
        if self.broken:
            raise RuntimeUnavailable(self.broken)
        self.opened += 1

    async def start(self, task: Task, log: LogSink, started: Callable[[], None]) -> PlayedRun:
        if self.broken:
            raise RuntimeUnavailable(self.broken)
        run = self.runs[task.job, task.attempt] = PlayedRun(task, log)
        started()
        self.news.set()
        return run

    async def close(self) -> None:
        self.closed += 1

    async def run(self, job: str, attempt: int = 1) -> PlayedRun:
        found = await until(
            lambda: self.runs.get((job, attempt)), self.news, lambda: list(self.runs)
        )
        assert isinstance(found, PlayedRun)
        return found


def define(**members: Any) -> str:
    return json.dumps({"image": "busybox", **members})


def push(definition: str | None = None, attempt: int = 1, **members: Any) -> Push:
    definition = definition or define(**members)
    return Push(checked(definition.encode()).id, attempt, definition)


class Worker:
    """An agent under way. Whatever is left of it at the end of the test is cancelled."""

    def __init__(self, config: Config, runtime: PlayedRuntime) -> None:
        self.runtime = runtime
        self.ready: list[str] = []
        self.agent = Agent(config, runtime, on_ready=self.ready.append)
        self.task = asyncio.create_task(self.agent.run())

    async def ends(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.task


Start = Callable[..., Worker]


@pytest.fixture
async def start(server: StandIn, tmp_path: Path) -> AsyncIterator[Start]:
    workers: list[Worker] = []

    def begin(runtime: PlayedRuntime | None = None, **settings: Any) -> Worker:
        config = Config(
            queues=("q",),
            data_directory=tmp_path / "data",
            api_address=f"http://127.0.0.1:{server.port}",
            runtime="process",
            cpus=4,
            drain_ms=5_000,
        )
        worker = Worker(replace(config, **settings), runtime or PlayedRuntime())
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.task.cancel()
    await asyncio.gather(*(worker.task for worker in workers), return_exceptions=True)


# --- a job's life ----------------------------------------------------------------------------


async def test_a_job_from_push_to_acknowledgement(
    server: StandIn, start: Start, tmp_path: Path
) -> None:
    worker = start(id="w1", gpus=("5", "7"), tags=("lab",))
    session = await server.session()
    assert session.path == "/q/q/worker"
    hello = await session.hear(Hello)
    assert (hello.worker, hello.credit, hello.running) == ("w1", 4, [])
    assert (hello.resources.cpus, hello.resources.gpus) == (4, 2)
    assert (hello.resources.tags, hello.resources.runs) == (("lab",), ("container", "process"))
    assert worker.ready == []
    await session.send(Welcome("q", lease_ms=30_000, heartbeat_ms=5_000))

    job = push(
        inputs={"a.txt": {"type": "utf8", "value": "hello"}},
        env={"NAME": "x", "N": 5, "JOB_ID": "mine"},
        requirements={"gpus": 1, "cpus": 2, "memory": "1m"},
    )
    await session.send(job)
    run = await worker.runtime.run(job.job)
    assert worker.ready == [
        f"gridd-worker w1 serves q at http://127.0.0.1:{server.port} with 4 cpus, 2 gpus, "
        "runtime process"
    ]
    assert (await session.hear(Started)).job == job.job
    task = run.task
    assert (task.inputs / "a.txt").read_text() == "hello"
    assert task.environment["JOB_ID"] == job.job
    assert (task.environment["NAME"], task.environment["N"]) == ("x", "5")
    assert task.environment["JOB_OUTPUTS_URL_PREFIX"] == (
        f"http://127.0.0.1:{server.port}/j/{job.job}/outputs/"
    )
    assert task.environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert task.allowance.gpus == ("5",)
    assert (task.allowance.cpus, task.allowance.memory_bytes) == (2, 1 << 20)
    assert task.allowance.run_ms_max == 300_000

    (task.outputs / "out.txt").write_text("result")
    run.say("one\n", "two\n")
    run.end(Outcome(exit_code=3, duration_ms=12, remarks=["exit code 3"]))
    finished = await session.hear(Finished)
    assert (finished.job, finished.attempt, finished.reason) == (job.job, 1, "Success")
    result = json.loads(finished.result)
    assert (result["StatusCode"], result["duration"]) == (3, 12)
    assert result["outputs"] == {"out.txt": {"value": "cmVzdWx0", "type": "base64"}}
    assert [line[0] for line in result["logs"]] == ["exit code 3"]
    assert session.lines() == [(0, "one\n"), (1, "two\n")]

    assert len(list((tmp_path / "data" / "spool").iterdir())) == 1
    await session.send(Acknowledged(job.job, 1))
    worker.agent.stop()
    await worker.ends()
    assert list((tmp_path / "data" / "spool").iterdir()) == []
    assert list((tmp_path / "data" / "work").glob("*/jobs/*")) == []
    assert worker.runtime.closed == 1


@pytest.mark.parametrize(
    ("outcome", "reason", "members"),
    [
        (
            Outcome(exit_code=137, duration_ms=9, timed_out=True, remarks=["late"]),
            "TimedOut",
            {"StatusCode": 137, "isTimedOut": True},
        ),
        (Outcome(error="no such image", remarks=["r"]), "Error", {"error": "no such image"}),
        (Outcome(), "Error", {"error": "what became of the program is not known"}),
    ],
)
async def test_other_endings(
    server: StandIn, start: Start, outcome: Outcome, reason: str, members: dict[str, Any]
) -> None:
    worker = start()
    session = await server.welcome()
    await session.send(push())
    (await worker.runtime.run(push().job)).end(outcome)
    finished = await session.hear(Finished)
    assert finished.reason == reason
    result = json.loads(finished.result)
    assert {name: result[name] for name in members} == members
    assert "outputs" not in result
    assert result["logs"]


async def test_an_input_that_cannot_be_had_is_an_error(server: StandIn, start: Start) -> None:
    start()
    session = await server.welcome()
    await session.send(push(inputs={"a": {"type": "base64", "value": "!!"}}))
    finished = await session.hear(Finished)
    assert finished.reason == "Error"
    result = json.loads(finished.result)
    assert "'a'" in result["error"]
    assert result["logs"][0][0] == f"💥 {result['error']}"


async def test_a_definition_that_cannot_be_read_is_an_error(server: StandIn, start: Start) -> None:
    start()
    session = await server.welcome()
    await session.send(Push("f" * 64, 1, '{"image": 5}'))
    finished = await session.hear(Finished)
    assert finished.reason == "Error"
    assert "definition.image" in json.loads(finished.result)["error"]


async def test_a_fault_of_the_runtime_is_an_error_and_not_the_end(
    server: StandIn, start: Start
) -> None:
    worker = start()
    session = await server.welcome()
    await session.send(push())
    run = await worker.runtime.run(push().job)
    run.fail(ZeroDivisionError("secret internals"))
    finished = await session.hear(Finished)
    assert finished.reason == "Error"
    assert "ZeroDivisionError" in finished.result
    assert "secret" not in finished.result
    assert run.stopped.is_set()
    await session.send(push(env={"A": "next"}))
    await worker.runtime.run(push(env={"A": "next"}).job)


@pytest.mark.parametrize(
    ("asked", "defined", "ceiling_ms", "limit_ms"),
    [
        (0, {}, 9_000, 9_000),
        (2_000, {}, 9_000, 2_000),
        (99_000, {}, 5, 5),
        (2_000, {"maxDuration": "1s"}, 9_000, 1_000),
        (2_000, {"maxDuration": "3s"}, 9_000, 2_000),
        (0, {"maxDuration": "1s"}, 9_000, 1_000),
    ],
)
async def test_the_time_limit_is_the_smallest_one(
    server: StandIn,
    start: Start,
    asked: int,
    defined: dict[str, str],
    ceiling_ms: int,
    limit_ms: int,
) -> None:
    worker = start(max_job_duration_ms=ceiling_ms)
    session = await server.welcome()
    job = push(**defined).job
    await session.send(Push(job, 1, define(**defined), max_duration=asked))
    run = await worker.runtime.run(job)
    assert run.task.allowance.run_ms_max == limit_ms


async def test_the_json_coding_serves_as_well(server: StandIn, start: Start) -> None:
    server.subprotocols = SUBPROTOCOLS
    await server.stop()
    server.subprotocols = ("gridd.v1.json",)
    await server.start()
    worker = start()
    session = await server.welcome()
    assert session.socket.subprotocol == "gridd.v1.json"
    await session.send(push())
    run = await worker.runtime.run(push().job)
    run.say("ä\n")
    run.end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    assert session.lines() == [(0, "ä\n")]


# --- logs ------------------------------------------------------------------------------------


async def test_a_line_is_at_the_server_within_50_ms(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    await session.send(push())
    run = await worker.runtime.run(push().job)
    delays: list[float] = []
    for number in range(20):
        began = time.monotonic()
        run.say(f"{number}\n")
        await session.hear(Log, lambda log, n=number: log.lines[-1].text == f"{n}\n")  # type: ignore[misc]
        delays.append(time.monotonic() - began)
    assert sorted(delays)[len(delays) // 2] < 0.05, delays


async def test_twenty_thousand_lines_arrive_in_few_messages(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    await session.send(push())
    run = await worker.runtime.run(push().job)
    for number in range(20_000):
        run.say(f"{number}\n")
        if number % 100 == 0:
            await asyncio.sleep(0)
    run.end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    assert session.lines() == [(number, f"{number}\n") for number in range(20_000)]
    assert session.count(Log) < 500


# --- reconnecting ----------------------------------------------------------------------------


async def test_after_a_reconnect_no_line_is_lost_or_said_twice(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gridd_worker")
    worker = start()
    session = await server.welcome()
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    run.say(*(f"{number}\n" for number in range(10)))
    await session.hear(Log, lambda log: log.cursor + len(log.lines) == 10)
    session.socket.transport.abort()
    run.say("10\n")
    again = await server.welcome(Kept(job.job, 1, 7))
    assert (await again.hear(Hello)).running == [Held(job.job, 1)]
    await again.hear(Log, lambda log: log.cursor + len(log.lines) == 11)
    assert again.lines() == [(number, f"{number}\n") for number in range(7, 11)]
    assert not run.stopped.is_set()
    lost = [r.message for r in caplog.records if "no connection" in r.message]
    assert len(lost) == 1, lost


async def test_a_result_is_sent_until_it_is_acknowledged(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    job = push()
    await session.send(job)
    (await worker.runtime.run(job.job)).end(Outcome(exit_code=0, duration_ms=1))
    first = await session.hear(Finished)
    await session.socket.close(1012)
    again = await server.welcome(Kept(job.job, 1, 0))
    assert await again.hear(Finished) == first
    await again.send(Acknowledged(job.job, 1))
    await again.socket.close(1012)
    third = await server.session()
    assert (await third.hear(Hello)).running == []


async def test_a_result_outlives_the_worker(server: StandIn, start: Start, tmp_path: Path) -> None:
    worker = start()
    session = await server.welcome()
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    await session.socket.close(1012)
    await server.session()  # not welcomed: what follows can't be sent
    run.say("last words\n")
    run.end(Outcome(exit_code=4, duration_ms=1))
    spool = tmp_path / "data" / "spool"
    await until(lambda: [*spool.glob("*.json")], _poll(), lambda: [*spool.iterdir()])
    worker.task.cancel()
    await asyncio.gather(worker.task, return_exceptions=True)

    start()
    again = await server.welcome(Kept(job.job, 1, 0))
    assert (await again.hear(Hello)).running == [Held(job.job, 1)]
    finished = await again.hear(Finished)
    assert json.loads(finished.result)["StatusCode"] == 4
    assert again.lines() == [(0, "last words\n")]
    await again.send(Acknowledged(job.job, 1))
    await until(lambda: not [*spool.iterdir()], _poll(), lambda: [*spool.iterdir()])


class _poll(asyncio.Event):
    """News that come every 10 ms: for what can't announce itself, such as a file."""

    async def wait(self) -> Any:
        await asyncio.sleep(0.01)
        return True


async def test_what_is_left_of_a_run_is_removed_behind_its_result(
    server: StandIn, start: Start, tmp_path: Path
) -> None:
    """Not before the result is safe on disk, and nobody waits for it."""
    worker = start()
    session = await server.welcome()
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    run.may_go.clear()
    run.end(Outcome(exit_code=0, duration_ms=1))
    assert (await session.hear(Finished)).job == job.job
    assert len(list((tmp_path / "data" / "spool").iterdir())) == 1
    async with asyncio.timeout(PATIENCE_S):
        await run.discarding.wait()
    await session.send(Acknowledged(job.job, 1))
    run.may_go.set()
    worker.agent.stop()
    await worker.ends()


async def test_the_worker_keeps_its_id(server: StandIn, start: Start) -> None:
    ids = []
    for _ in range(2):
        worker = start()
        session = await server.session()
        ids.append((await session.hear(Hello)).worker)
        worker.agent.stop()
        await worker.ends()
    assert ids[0] == ids[1]
    assert len(ids[0]) == 36


async def test_a_server_that_falls_silent_is_left(server: StandIn, start: Start) -> None:
    start()
    session = await server.welcome(heartbeat_ms=340)
    await session.hear(Heartbeat)
    again = await server.session()  # never answered, so after three heartbeats it was given up
    await again.hear(Hello)
    await until(lambda: session.over, session.news, lambda: session.said)


async def test_a_server_that_is_not_there_yet(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays_module, "DELAY_MAX_S", 0.05)
    await server.stop()
    worker = start()
    await until(lambda: "no connection" in caplog.text, _poll(), lambda: caplog.text)
    await asyncio.sleep(0.2)  # a few more tries
    await server.start()
    await server.welcome()
    await until(lambda: worker.ready, _poll(), lambda: caplog.text)
    assert caplog.text.count("no connection") == 1


async def test_a_worker_that_was_replaced_does_not_fight_back(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start()
    session = await server.welcome()
    await session.socket.close(4001, "replaced")
    await until(lambda: "uses the same id" in caplog.text, _poll(), lambda: caplog.text)
    assert len(server.sessions) == 1
    worker.agent.stop()
    await worker.ends()


async def test_a_replaced_worker_is_back_when_the_other_is_gone(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays_module, "DELAY_SLOW_S", 0.02)
    asked: list[tuple[object, ...]] = []
    gone = False

    async def is_connected(*about: object) -> bool:
        asked.append(about)
        return not gone

    monkeypatch.setattr(serving_module, "is_connected", is_connected)
    worker = start(id="w")
    session = await server.welcome()
    await session.socket.close(4001, "replaced")
    await until(lambda: len(asked) > 3, _poll(), lambda: caplog.text)
    assert len(server.sessions) == 1
    assert asked[0] == (f"http://127.0.0.1:{server.port}", "q", "w", None)
    gone = True
    await server.welcome()
    assert caplog.text.count("uses the same id") == 1
    worker.agent.stop()
    await worker.ends()


async def test_two_workers_of_a_machine_do_not_share_an_id(
    server: StandIn, start: Start, tmp_path: Path
) -> None:
    start(id="w")
    await server.welcome()
    with pytest.raises(CannotStart, match="another --id"):
        await start(id="w", data_directory=tmp_path / "other").ends()
    start(id="w2", data_directory=tmp_path / "other")
    await server.welcome()


async def test_what_cannot_be_read_does_no_harm(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start()
    session = await server.welcome()
    job = push()
    await session.socket.send(b"\xc1 nonsense")
    await session.socket.send("text where bytes belong")
    await session.socket.send(b"\x92\x81\xa4type\xa4fish" + b"\x81\xa4type\xa9heartbeat")
    await session.send(Push("not-hex", 1, "{}"), Stale("a" * 64, 1), Acknowledged("b" * 64, 3))
    await session.send(job)
    (await worker.runtime.run(job.job)).end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    assert len(server.sessions) == 1
    assert caplog.text.count("can't be read") == 4


# --- cancel and slots ------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Cancel, Stale])
async def test_a_lost_lease_stops_the_run_and_nothing_is_reported(
    server: StandIn, start: Start, tmp_path: Path, message: Callable[[str, int], ToWorker]
) -> None:
    worker = start(cpus=1)
    session = await server.welcome()
    job, other = push(), push(env={"A": "b"})
    await session.send(job)
    run = await worker.runtime.run(job.job)
    began = time.monotonic()
    await session.send(message(job.job, 1))
    await asyncio.wait_for(run.stopped.wait(), 2)
    assert time.monotonic() - began < 2
    await session.send(other)
    (await worker.runtime.run(other.job)).end(Outcome(exit_code=0, duration_ms=1))
    assert (await session.hear(Finished)).job == other.job
    work = tmp_path / "data" / "work"
    await until(lambda: not [*work.glob("*/jobs/*")], _poll(), lambda: [*work.glob("*/jobs/*")])


async def test_a_push_waits_for_the_device_of_a_run_that_is_still_stopping(
    server: StandIn, start: Start
) -> None:
    worker = start(gpus=("0",))
    session = await server.welcome()
    job, other = (push(env={"A": a}, requirements={"gpus": 1}) for a in "12")
    await session.send(job)
    run = await worker.runtime.run(job.job)
    run.may_go.clear()
    await session.send(Cancel(job.job, 1), other)
    await asyncio.wait_for(run.stopped.wait(), 2)
    small = push(env={"A": "small"}, requirements={"cpus": 0})
    assert (other.job, 1) not in worker.runtime.runs
    await session.send(small)
    run.may_go.set()
    assert (await worker.runtime.run(other.job)).task.allowance.gpus == ("0",)
    await worker.runtime.run(small.job)


async def test_a_push_that_finds_no_room_for_long_is_given_back(
    server: StandIn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "SLOT_WAIT_S", 0.05)
    monkeypatch.setattr(spread_module, "NO_ROOM_S", 0.2)
    worker = start(cpus=2)
    session = await server.welcome()
    job, other = (push(env={"A": a}, requirements={"cpus": 2}) for a in "12")
    await session.send(job, other)
    await worker.runtime.run(job.job)
    release = await session.hear(Release)
    assert release.job == other.job
    assert "nothing got free" in release.message
    at = session.said.index(release)
    # What it still holds, and said before: the server must not push the same job again at once.
    assert Credit(1) in session.said[:at]
    await session.send(Acknowledged(other.job, 1))
    await session.hear(Credit, lambda credit: credit.jobs == 2)


async def test_a_push_that_never_fits_is_given_back(
    server: StandIn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread_module, "NO_ROOM_S", 0.2)
    start(cpus=2)
    session = await server.welcome()
    await session.send(push(requirements={"cpus": 3}))
    assert "3 cpus" in (await session.hear(Release)).message
    await session.hear(Credit, lambda credit: credit.jobs == 0)
    await session.hear(Credit, lambda credit: credit.jobs == 2)  # after a while it offers again


async def test_queues_share_the_slots(server: StandIn, start: Start) -> None:
    worker = start(queues=("q", "r s"), cpus=2)
    one, two = await server.welcome(), await server.welcome()
    if one.path != "/q/q/worker":
        one, two = two, one
    assert two.path == "/q/r%20s/worker"
    await one.send(push(requirements={"cpus": 2}))
    run = await worker.runtime.run(push(requirements={"cpus": 2}).job)
    await two.hear(Credit, lambda credit: credit.jobs == 0)
    run.end(Outcome(exit_code=0, duration_ms=1))
    await two.hear(Credit, lambda credit: credit.jobs > 0)
    assert len(worker.ready) == 1


async def test_weights_decide_whose_job_gets_the_next_slot(server: StandIn, start: Start) -> None:
    """Both queues always have jobs, and their server pushes whenever it may."""
    worker = start(queues=("q", "r"), weights=(3, 1), cpus=1)
    sessions = [await server.welcome(), await server.welcome()]
    order: list[str] = []
    given: dict[str, Session] = {}  # by job: who was pushed it and has not ended it
    deadline, number = time.monotonic() + PATIENCE_S, 0
    while len(order) < 24:
        assert time.monotonic() < deadline, order
        number += 1
        for session in sessions:
            for finished in (m for m in session.said if isinstance(m, Finished)):
                if given.pop(finished.job, None) is not None:
                    await session.send(Acknowledged(finished.job, 1))
        held = [sum(to is session for to in given.values()) for session in sessions]
        may = [s for s, has in zip(sessions, held, strict=True) if s.credit > has]
        for session in may:
            job = push(env={"N": f"{session.path} {number}"})
            given[job.job] = session
            await session.send(job)
        for (job_id, _), run in list(worker.runtime.runs.items()):
            if not run.over:
                order.append(given[job_id].path[3])
                run.end(Outcome(exit_code=0, duration_ms=1))
                await given[job_id].hear(Finished, lambda f, job=job_id: f.job == job)  # type: ignore[misc]
        await asyncio.sleep(0.005)
    assert 17 <= order.count("q") <= 19, order


async def test_a_run_of_an_earlier_process_is_taken_up_with_its_devices(
    server: StandIn, start: Start, tmp_path: Path
) -> None:
    """Its log is read from the beginning, behind what was said before it; the server gets only
    what it lacks. Nothing is prepared anew."""

    class Lasting(PlayedRuntime):
        lasting = True
        swept: list[Any]

        async def adopt(self, task: Task, log: LogSink, started: Callable[[], None]) -> Run:
            return await self.start(task, log, started)

        async def sweep(self, keep: Any) -> None:
            self.swept = sorted(keep)

    api = f"http://127.0.0.1:{server.port}"
    job, gone = push(requirements={"gpus": 1}), push(env={"GONE": "1"})
    room = queue_hash(api, "q")
    notes = Checkpoints(tmp_path / "data" / "running")
    pulled = [Said("docker image pull", [LogLine("pulled", 1), LogLine("done", 2)])]
    notes.save(room, Checkpoint("q", job, 77, ("7",), 0, pulled))
    notes.save(room, Checkpoint("q", gone, 78))
    outputs = tmp_path / "data" / "work" / room / "jobs" / f"{job.job}-1" / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "early").write_text("before")

    runtime = Lasting()
    start(runtime, gpus=("5", "7"))
    session = await server.session()
    hello = await session.hear(Hello)
    assert {held.job for held in hello.running} == {job.job, gone.job}
    run = await runtime.run(job.job)
    run.say("one\n", "two\n")
    kept = [Kept(job.job, 1, 3), Kept(gone.job, 1, 0)]
    await session.send(Welcome("q", lease_ms=30_000, heartbeat_ms=5_000, kept=kept))
    assert (await session.hear(Started, lambda s: s.job == job.job)).time == 77
    assert "the run is gone" in (await session.hear(Release)).message
    run.say("three\n")
    await session.hear(Log, lambda log: log.cursor + len(log.lines) == 5)
    assert session.lines() == [(3, "two\n"), (4, "three\n")]
    assert run.task.allowance.gpus == ("7",)

    other = push(requirements={"gpus": 1}, env={"OTHER": "1"})
    await session.send(other)
    assert (await runtime.run(other.job)).task.allowance.gpus == ("5",)
    run.end(Outcome(exit_code=0, duration_ms=1))
    finished = await session.hear(Finished)
    assert json.loads(finished.result)["outputs"]["early"]["value"] == "YmVmb3Jl"
    third = push(requirements={"gpus": 1}, env={"THIRD": "1"})
    await session.send(third)
    assert (await runtime.run(third.job)).task.allowance.gpus == ("7",)
    assert ("q", job.job, 1) not in runtime.swept


# --- a runtime that can't --------------------------------------------------------------------


async def test_without_its_runtime_a_worker_gives_back_and_waits(
    server: StandIn,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_module, "MEND_DELAY_FIRST_S", 0.01)
    monkeypatch.setattr(machine_module, "MEND_DELAY_MAX_S", 0.05)
    worker = start()
    session = await server.welcome()
    await until(lambda: worker.ready, _poll(), lambda: caplog.text)
    worker.runtime.broken = "no engine answers: start it"
    await session.send(push(), push(env={"A": "b"}))
    releases = [
        await session.hear(Release, lambda r, job=job: r.job == job)  # type: ignore[misc]
        for job in (push().job, push(env={"A": "b"}).job)
    ]
    assert all("start it" in release.message for release in releases)
    assert session.said.index(Credit(0)) < session.said.index(releases[0])
    await session.send(Acknowledged(push().job, 1))
    worker.runtime.broken = None
    await session.hear(Credit, lambda credit: credit.jobs == 4)
    await session.send(push(attempt=2))
    await worker.runtime.run(push().job, 2)
    assert caplog.text.count("no jobs are taken") == 1


async def test_a_clock_that_is_set_is_told_and_costs_no_job(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour on, two hours back, under a run: once each a line, and nothing is given back."""
    real, real_ns, ahead_s = time.time, time.time_ns, 0
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + ahead_s * 10**9)
    monkeypatch.setattr(machine_module, "WATCH_S", 0.01)
    monkeypatch.setattr(machine_module, "Clock", functools.partial(Clock, time.time))
    worker = start()
    session = await server.welcome(heartbeat_ms=50)
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    for jump_s, said in ((3_600, "set forward by 3600 s"), (-7_200, "set back by 7200 s")):
        ahead_s += jump_s
        await until(lambda said=said: said in caplog.text, _poll(), lambda: caplog.text)
        assert caplog.text.count(said) == 1
        heard = len(session.said)
        await until(lambda heard=heard: len(session.said) > heard, _poll(), lambda: session.said)
    run.say("still here\n")
    run.end(Outcome(0, 5))
    finished = await session.hear(Finished)
    assert finished.reason == "Success"
    assert not [said for said in session.said if isinstance(said, Release)]
    assert len(server.sessions) <= 1, "the connection is the same"


async def test_a_worker_without_a_runtime_says_so_and_waits_for_it(
    server: StandIn, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "MEND_DELAY_FIRST_S", 0.01)
    monkeypatch.setattr(machine_module, "MEND_DELAY_MAX_S", 0.05)
    caplog.set_level(logging.INFO, "gridd_worker")
    runtime = PlayedRuntime()
    runtime.broken = "no engine answers: start it"
    worker = start(runtime)
    session = await server.session()
    assert (await session.hear(Hello)).credit == 0
    await session.send(Welcome("q", lease_ms=30_000, heartbeat_ms=5_000))
    await until(lambda: worker.ready, _poll(), lambda: caplog.text)
    runtime.broken = None
    await session.hear(Credit, lambda credit: credit.jobs == 4)
    assert caplog.text.count("start it; no jobs are taken until this works again") == 1
    assert caplog.text.count("taking jobs") == 1


async def test_a_runtime_that_waiting_does_not_help_ends_the_start(
    server: StandIn, start: Start
) -> None:
    class Hopeless(PlayedRuntime):
        async def open(self) -> None:
            raise RuntimeUnavailable("not on this system", final=True)

    with pytest.raises(CannotStart, match="not on this system"):
        await start(Hopeless()).ends()
    assert server.sessions == []


async def test_two_workers_do_not_share_a_data_directory(server: StandIn, start: Start) -> None:
    start()
    await server.welcome()
    with pytest.raises(CannotStart, match="--data-directory"):
        await start().ends()


async def test_a_data_directory_that_cannot_be_is_named(
    server: StandIn, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="file"):
        await start(data_directory=tmp_path / "file" / "data").ends()


# --- leaving ---------------------------------------------------------------------------------


async def test_a_draining_worker_finishes_what_runs(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    job, late = push(), push(env={"A": "late"})
    await session.send(job)
    run = await worker.runtime.run(job.job)
    worker.agent.stop()
    await session.hear(Drain)
    await session.hear(Credit, lambda credit: credit.jobs == 0)
    await session.send(late)
    assert "draining" in (await session.hear(Release)).message
    run.end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    assert not worker.task.done()
    await session.send(Acknowledged(job.job, 1), Acknowledged(late.job, 1))
    await worker.ends()
    assert not run.stopped.is_set()
    await until(lambda: session.over, session.news, lambda: session.said)
    assert session.socket.close_code == 1000


@pytest.mark.parametrize("hurry", [False, True])
async def test_what_still_runs_after_the_grace_is_given_back(
    server: StandIn, start: Start, hurry: bool
) -> None:
    worker = start(drain_ms=60_000 if hurry else 50)
    session = await server.welcome()
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    worker.agent.stop()
    if hurry:
        await session.hear(Drain)
        worker.agent.stop()
    release = await session.hear(Release)
    assert (release.job, release.message) == (job.job, "the worker was stopped")
    assert run.stopped.is_set()
    await session.send(Acknowledged(job.job, 1))
    await worker.ends()


async def test_a_drain_without_a_server_has_an_end(server: StandIn, start: Start) -> None:
    worker = start(drain_ms=50)
    session = await server.welcome()
    await session.send(push())
    run = await worker.runtime.run(push().job)
    await server.stop()
    worker.agent.stop()
    await worker.ends()
    assert run.stopped.is_set()


async def test_a_server_that_never_acknowledges_does_not_hold_a_drain(
    server: StandIn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "ACKNOWLEDGED_MAX_S", 0.05)
    worker = start()
    session = await server.welcome()
    await session.send(push())
    (await worker.runtime.run(push().job)).end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    worker.agent.stop()
    await worker.ends()


async def test_the_server_may_ask_a_worker_to_leave(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    job = push()
    await session.send(job)
    run = await worker.runtime.run(job.job)
    await session.send(Drain())
    await session.hear(Credit, lambda credit: credit.jobs == 0)
    run.end(Outcome(exit_code=0, duration_ms=1))
    await session.hear(Finished)
    await session.send(Acknowledged(job.job, 1))
    await worker.ends()


async def test_a_cancelled_worker_leaves_no_run_behind(server: StandIn, start: Start) -> None:
    worker = start()
    session = await server.welcome()
    await session.send(push())
    run = await worker.runtime.run(push().job)
    worker.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker.task
    assert run.stopped.is_set()
    assert worker.runtime.closed == 1


async def test_the_command_runs_jobs_and_drains_on_a_signal(
    server: StandIn, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd_worker.cli", "run", "q", "--runtime", "null"),
        *("--api-address", f"http://127.0.0.1:{server.port}", "--data-directory", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        session = await server.welcome()
        assert (await session.hear(Hello)).credit == 256
        job = push()
        await session.send(job)
        assert json.loads((await session.hear(Finished)).result)["StatusCode"] == 0
        await session.send(Acknowledged(job.job, 1))
        assert process.stdout is not None
        ready = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        assert ready.decode().startswith("gridd-worker ")
        assert ready.decode().endswith("with 256 cpus, runtime null\n")
        process.send_signal(signal.SIGTERM)
        await session.hear(Drain)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 0, err.decode()
        assert out == b""
        assert b"Traceback" not in err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("plain", [False, True])
async def test_a_terminal_gets_a_view_unless_it_wants_lines(
    server: StandIn, tmp_path: Path, plain: bool
) -> None:
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd_worker.cli", "run", "q", "--runtime", "process"),
        *("--api-address", f"http://127.0.0.1:{server.port}", "--data-directory", str(tmp_path)),
        *(["--plain"] if plain else []),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = ""

    def reads(word: str) -> bool:
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65_536).decode()
        return word in shown

    try:
        session = await server.welcome()
        obeyed = "\\033[2J\\033]0;owned\\007\\r"  # by terminals: a clean screen, a title
        job = Push(*_process_job(f"sh -c 'printf \"hello from within{obeyed}\\n\"; sleep 60'"))
        await session.send(job)
        short = job.job[:8]
        word = f"took job {short}" if plain else "hello from within"
        await until(lambda: reads(word), _poll(), lambda: shown)
        if not plain:
            await until(lambda: reads("0% of 1 cpu  "), _poll(), lambda: shown)
        process.send_signal(signal.SIGTERM)
        await session.hear(Drain)
        process.send_signal(signal.SIGTERM)
        await session.hear(Release)
        await session.send(Acknowledged(job.job, 1))
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        reads("")
        assert ("\x1b[" in shown) is not plain, shown
        assert f"took job {short} (attempt 1) from q" in shown
        assert (f"  {short} running " in shown) is not plain, shown
        assert shown.count("serves q at") == 1
        ours_alone = {"[J", "[0m", "[1m", "[2m"} | {f"[{rows}A" for rows in range(20)}
        assert set(re.findall(r"\x1b(\[[0-9;]*[A-Za-z]|.)", shown)) <= ours_alone, shown
        assert "\x07" not in shown
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


def _process_job(command: str) -> tuple[str, int, str]:
    definition = json.dumps({"command": command})
    return checked(definition.encode()).id, 1, definition
