"""The daemon in one process over a journal in memory: the face, restarts, watchers, failure."""

import asyncio
import json

import pytest

from gridd.core.events import WorkerSaid
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.base import Fenced
from gridd.journal.memory import MemoryJournal
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import OUTBOX_BYTES_MAX


class RecordingWorker:
    def __init__(self) -> None:
        self.messages: list[m.ToWorker] = []
        self.closed: tuple[int, str] | None = None

    def send(self, message: m.ToWorker) -> None:
        self.messages.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class RecordingClient:
    def __init__(self) -> None:
        self.frames: list[dict] = []

    def send(self, frame: bytes, key: str | None = None) -> None:
        self.frames.append(json.loads(frame[frame.index(b"{") :]))

    def send_log(self, frame: bytes, job: str, step: str) -> None:
        self.send(frame)

    def close(self, code: int, reason: str) -> None:
        self.frames.append({"type": "closed", "code": code})


class World:
    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.daemon = self.new_daemon()

    def new_daemon(self) -> Daemon:
        daemon = Daemon(self.journal, JsonFrames(), Settings())
        daemon.start()
        return daemon

    async def restart(self) -> None:
        """Come back from the records alone: no goodbye, no snapshot."""
        await self.daemon._committer.close()
        self.daemon = self.new_daemon()

    async def submit(self, command: str, queue: str = "q", namespace: str = "_") -> str:
        body = {"definition": {"image": "a", "command": command}}
        body["control"] = {"namespace": namespace}
        return (await self.daemon.submit(queue, json.dumps(body).encode())).job

    def worker(self, name: str = "w", queue: str = "q", running=(), credit: int = 4):
        worker, peer = RecordingWorker(), self.daemon.new_ref()
        self.daemon.join_worker(queue, peer, worker)
        hello = m.Hello(
            worker=name, credit=credit, resources=m.Resources(cpus=credit), running=list(running)
        )
        self.daemon.step(queue, WorkerSaid(peer, hello))
        return worker, peer

    def say(self, peer: int, message: m.FromWorker, queue: str = "q") -> None:
        self.daemon.step(queue, WorkerSaid(peer, message))


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.daemon.close()


async def finish(world: World, peer: int, job: str, attempt: int = 1) -> None:
    line = m.LogLine("out\n", 5)
    if attempt == 1:
        world.say(peer, m.Log(job, attempt, "docker build", 0, [m.LogLine("built\n", 4)]))
        world.say(peer, m.Log(job, attempt, "Running", 1, [line]))
    world.say(peer, m.Finished(job, attempt, "Success", '{"StatusCode":3,"logs":[["bye",9]]}'))
    await world.daemon._durable()


async def test_a_job_from_submission_to_its_documents(world):
    job = await world.submit("x")
    assert (await world.daemon.job("q", job)).state == "Queued"
    worker, peer = world.worker()
    await world.daemon._durable()
    assert [type(x) for x in worker.messages] == [m.Welcome, m.Push]
    assert json.loads(worker.messages[1].definition) == {"image": "a", "command": "x"}
    await finish(world, peer, job)
    assert worker.messages[-1] == m.Acknowledged(job, 1)
    finished = json.loads(await world.daemon.finished("q", job))
    assert finished["state"] == "Finished"
    assert finished["finished"]["result"]["StatusCode"] == 3
    assert finished["finished"]["result"]["logs"] == [["out\n", 5], ["bye", 9]]
    assert json.loads(await world.daemon.definition(None, job)) == {"image": "a", "command": "x"}
    build = await world.daemon.logs("q", job, "build", 0)
    assert ([line.text for line in build.data], build.is_final) == (["built\n"], True)


@pytest.mark.parametrize("with_snapshot", [False, True])
async def test_a_restart_brings_everything_back(world, with_snapshot):
    done, waiting, running = [await world.submit(name) for name in ("done", "waiting", "running")]
    _, peer = world.worker(credit=1)
    await finish(world, peer, done)
    other = await world.submit("elsewhere", queue="q2")
    before = await world.daemon.jobs("q")
    if with_snapshot:
        await world.daemon.close()
    await world.restart()
    assert await world.daemon.jobs("q") == before
    assert {job: view.state for job, view in before.items()} == {
        done: "Finished",
        waiting: "Running",
        running: "Queued",
    }
    assert json.loads(await world.daemon.finished("q", done))["finished"]["result"]["logs"]
    assert json.loads(await world.daemon.definition("q", done))["command"] == "done"
    assert json.loads(await world.daemon.definition("q", waiting))["command"] == "waiting"
    assert (await world.daemon.job(None, other)).state == "Queued"
    assert (await world.daemon.logs("q", done, "run", 0)).data[0].text == "out\n"
    assert world.daemon.replayed == (0 if with_snapshot else 7)


async def test_a_worker_that_comes_back_after_a_restart_keeps_its_job(world):
    job = await world.submit("x")
    world.worker()
    await world.daemon._durable()
    await world.restart()
    worker, peer = world.worker(running=[m.Held(job, 1)])
    assert worker.messages[0].kept == [m.Kept(job, 1, 0)]
    await finish(world, peer, job)
    assert (await world.daemon.job("q", job)).finished_reason == "Success"


async def test_a_worker_that_comes_back_without_its_job_gets_it_again_as_a_new_attempt(world):
    job = await world.submit("x")
    world.worker()
    await world.daemon._durable()
    await world.restart()
    worker, _ = world.worker()
    await world.daemon._durable()
    assert worker.messages[-1].attempt == 2
    assert (await world.daemon.job("q", job)).attempt == 2


async def test_lines_of_a_later_attempt_count_on_also_after_a_restart(world):
    job = await world.submit("x")
    _, peer = world.worker()
    world.say(peer, m.Log(job, 1, "Running", 0, [m.LogLine("first\n", 1)] * 3))
    world.say(peer, m.Release(job, 1))
    world.say(peer, m.Log(job, 2, "Running", 0, [m.LogLine("second\n", 2)]))
    await world.restart()
    _, peer = world.worker(running=[m.Held(job, 2)])
    world.say(peer, m.Log(job, 2, "Running", 0, [m.LogLine("second\n", 2)] * 2))
    page = await world.daemon.logs("q", job, "run", 0)
    assert (page.slice_start, page.next_cursor) == (3, 5)
    await finish(world, peer, job, attempt=2)
    page = await world.daemon.logs("q", job, "run", 4)
    assert (page.slice_start, [line.text for line in page.data]) == (4, ["second\n"])
    result = json.loads(await world.daemon.finished("q", job))["finished"]["result"]
    assert [line[0] for line in result["logs"]] == ["second\n", "second\n", "bye"]


async def test_reading_an_unknown_queue_makes_no_room_for_it(world):
    assert await world.daemon.jobs("nobody") == {}
    assert await world.daemon.job("nobody", "a" * 64) is None
    assert await world.daemon.finished("nobody", "a" * 64) is None
    assert await world.daemon.definition(None, "a" * 64) is None
    assert (await world.daemon.cancel("nobody", "a" * 64, "_", "")).was is None
    assert (await world.daemon.counts("nobody"))["Queued"] == 0
    assert await world.daemon.workers("nobody") == ()
    assert world.daemon._rooms == {}


async def test_a_queue_that_everybody_left_is_forgotten(world):
    _, peer = world.worker(queue="brief")
    client = RecordingClient()
    world.daemon.join_client("brief", 99, client)
    world.daemon.leave_worker("brief", peer)
    assert "brief" in world.daemon._rooms
    world.daemon.leave_client("brief", 99)
    assert world.daemon._rooms == {}


async def test_a_queue_of_jobs_with_long_tags_can_still_be_joined(world):
    """A full state that does not pass through an outbox would cost each client its connection."""
    for number in range(12):
        definition = {"image": "a", "command": str(number), "tags": ["t" * 400_000]}
        await world.daemon.submit("q", json.dumps({"definition": definition}).encode())
    small = await world.submit("small")
    client = RecordingClient()
    world.daemon.join_client("q", 99, client)
    jobs = client.frames[1]["payload"]["state"]["jobs"]
    assert small in jobs
    assert len(jobs) > 5
    assert len(json.dumps(client.frames)) < OUTBOX_BYTES_MAX


async def test_a_client_sees_the_queue_and_then_each_state_in_order(world):
    first = await world.submit("first")
    client = RecordingClient()
    world.daemon.join_client("q", 99, client)
    assert [frame["type"] for frame in client.frames] == ["Workers", "JobStates"]
    assert list(client.frames[1]["payload"]["state"]["jobs"]) == [first]
    second = await world.submit("second")
    _, peer = world.worker()
    await finish(world, peer, second)
    states = [
        frame["payload"]["state"]["jobs"][second]["state"]
        for frame in client.frames
        if frame["type"] == "JobStateUpdates" and second in frame["payload"]["state"]["jobs"]
    ]
    assert states == ["Queued", "Running", "Finished"]
    logs = [frame["payload"] for frame in client.frames if frame["type"] == "JobStatusPayload"]
    assert [(x["jobId"], x["step"]) for x in logs] == [
        (second, "docker build"),
        (second, "Running"),
    ]


def told(client: RecordingClient, job: str) -> list[tuple[str, int]]:
    """Each state of ``job`` that ``client`` was sent in an update, with when its program began."""
    views = (
        frame["payload"]["state"]["jobs"].get(job)
        for frame in client.frames
        if frame["type"] == "JobStateUpdates"
    )
    return [(view["state"], view.get("startedTime", 0)) for view in views if view]


async def test_clients_are_told_when_a_program_began(world):
    _, peer = world.worker()
    client = RecordingClient()
    world.daemon.join_client("q", 99, client)
    short, long = await world.submit("short"), await world.submit("long")
    for job in (short, long):
        world.say(peer, m.Started(job, 1, 7))
    await finish(world, peer, short)
    async with asyncio.timeout(5):
        while ("Running", 7) not in told(client, long):
            await asyncio.sleep(0.01)
    assert told(client, long) == [("Queued", 0), ("Running", 0), ("Running", 7)]
    assert told(client, short) == [("Queued", 0), ("Running", 0), ("Finished", 7)], (
        "what ended at once was not worth an update of its own"
    )
    await finish(world, peer, long)
    assert told(client, long)[3:] == [("Finished", 7)]


async def test_a_cancelled_job_is_named_and_then_absent_from_a_full_state(world):
    job = await world.submit("x")
    client = RecordingClient()
    world.daemon.join_client("q", 99, client)
    assert (await world.daemon.cancel("q", job, "_", "why")).ended
    assert client.frames[-1]["payload"]["gone"] == {job: "Cancelled"}
    async with asyncio.timeout(10):
        while client.frames[-1]["type"] != "JobStates":
            await asyncio.sleep(0.01)
    assert client.frames[-1]["payload"]["state"]["jobs"] == {}
    assert await world.daemon.jobs("q") == {}
    assert await world.daemon.finished("q", job) is None


async def watched(world: World, job: str, story: list) -> None:
    async for change in world.daemon.watch("q", job):
        if change.view is not None:
            story.append(change.view.finished_reason or change.view.state)
        else:
            kind, first, lines = change.log
            story.append((kind, first, [line.text for line in lines]))


async def test_a_watcher_sees_states_and_lines_as_they_come(world):
    job = await world.submit("x")
    story: list = []
    task = asyncio.create_task(watched(world, job, story))
    async with asyncio.timeout(10):
        while story != ["Queued"]:
            await asyncio.sleep(0.001)
        _, peer = world.worker()
        while story != ["Queued", "Running"]:
            await asyncio.sleep(0.001)
        await finish(world, peer, job)
        await task
    assert story[2:] == [("build", 0, ["built\n"]), ("run", 0, ["out\n"]), "Success"]
    assert "q" in world.daemon._rooms
    assert world.daemon._rooms["q"].watchers == {}


async def test_a_late_watcher_is_told_the_whole_story(world):
    job = await world.submit("x")
    _, peer = world.worker()
    await finish(world, peer, job)
    story: list = []
    async with asyncio.timeout(10):
        await watched(world, job, story)
    assert story == [("build", 0, ["built\n"]), ("run", 0, ["out\n"]), "Success"]


async def test_a_watcher_of_an_unknown_job_waits_for_it(world):
    story: list = []
    job = await world.submit("x")
    await world.daemon.delete("q", job, "_")
    task = asyncio.create_task(watched(world, job, story))
    await asyncio.sleep(0.01)
    assert story == []
    await world.submit("x")
    async with asyncio.timeout(10):
        while story != ["Queued"]:
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_the_journal_is_not_ours_any_more_that_is_the_end():
    world = World()
    job = await world.submit("kept")

    def fail(batch, after):
        raise Fenced("another process has written to it")

    world.journal.append = fail
    with pytest.raises(ProtocolError) as caught:
        await world.submit("lost")
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert world.daemon.trouble == "see the server's log"
    with pytest.raises(Fenced, match="another process"):
        await world.daemon.failed
    with pytest.raises(ProtocolError):
        await world.submit("later")
    with pytest.raises(ProtocolError):
        await world.daemon.job("q", job)
    await world.daemon.close()


async def test_a_server_that_was_stopped_gives_every_lease_its_full_term_again(world, monkeypatch):
    job = await world.submit("x")
    world.worker()
    await world.daemon._durable()
    room, now = world.daemon._rooms["q"], world.daemon.clock.now_ms()
    lease_ms = world.daemon.settings.lease_ms
    for later, attempt, state in (
        (lease_ms + 1, 1, "Running"),  # nobody could be heard meanwhile
        (lease_ms + 60_000, 1, "Running"),
        (2 * lease_ms + 60_000, 1, "Queued"),  # nobody was there, and it was listened for
    ):
        monkeypatch.setattr(world.daemon.clock, "now_ms", lambda later=later: now + later)
        if state == "Queued":
            world.daemon._waking._looked_ms = now + later - 1_000
        room.alarm.cancel()
        world.daemon._ring("q", room)
        view = await world.daemon.job("q", job)
        assert (view.state, view.attempt) == (state, attempt), later
