"""Housekeeping over real files: snapshots while things go on, retention, segments that go."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gridd import upkeep as module
from gridd.committer import Committer
from gridd.core.events import CarryAnswer, WorkerSaid
from gridd.core.records import Record
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.base import JournalError
from gridd.journal.files import FileJournal
from gridd.recovery import position_of
from gridd.upkeep import Upkeep
from gridd_protocol import messages as m

RETENTION_MS = 4_000_000
LOGS_MS = 1_000_000
DAY = 86_400_000
SEGMENT_MS = 1_000_000


class Worker:
    def __init__(self) -> None:
        self.pushed: list[m.Push] = []

    def send(self, message: m.ToWorker) -> None:
        if type(message) is m.Push:
            self.pushed.append(message)

    def close(self, code: int, reason: str) -> None:
        pass


class HandClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_000_000_000

    def now_ms(self) -> int:
        return self.ms


class World:
    """A daemon over files whose housekeeping is done by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = HandClock()
        self.numbers = 0
        self.open()

    def open(self) -> None:
        self.journal = FileJournal(
            self.directory, segment_bytes=20_000, segment_ms=SEGMENT_MS, now_ms=self.clock.now_ms
        )
        settings = Settings(retention_ms=RETENTION_MS, log_retention_ms=LOGS_MS, lease_ms=10 * DAY)
        self.daemon = Daemon(self.journal, JsonFrames(), settings, lambda _: self.clock)  # type: ignore[arg-type, return-value]
        self.daemon.start()
        daemon: Any = self.daemon
        self.upkeep = Upkeep(
            self.journal,
            daemon._committer,
            lambda: {queue: room.engine for queue, room in daemon._rooms.items()},
            daemon.step,
            daemon._expired.records,
            self.clock.now_ms,
            LOGS_MS,
        )
        self.worker, self.peer = Worker(), self.daemon.new_ref()
        self.daemon.join_worker("q", self.peer, self.worker)
        resources = m.Resources(cpus=100)
        self.say(m.Hello("w", credit=0, resources=resources))

    def say(self, message: m.FromWorker) -> None:
        self.daemon.step("q", WorkerSaid(self.peer, message))

    async def crash(self) -> None:
        """Come back from the files alone."""
        daemon: Any = self.daemon
        daemon._upkeep.cancel()
        daemon._waking.stop()
        await daemon._committer.close()
        self.journal.close()
        self.open()

    async def submit(self, queue: str = "q") -> str:
        self.numbers += 1
        definition = {"image": "a", "command": f"job {self.numbers}", "tags": ["t"] * 20}
        body = json.dumps({"definition": definition}).encode()
        return (await self.daemon.submit(queue, body)).job

    async def answer(self, count: int) -> list[str]:
        """Submit and answer ``count`` jobs, but leave those that wait already alone."""
        jobs = [await self.submit("q2") for _ in range(count)]
        worker, peer = Worker(), self.daemon.new_ref()
        self.daemon.join_worker("q2", peer, worker)
        hello = m.Hello("w2", credit=100, resources=m.Resources(cpus=100, tags=("t",)))
        self.daemon.step("q2", WorkerSaid(peer, hello))
        while (await self.daemon.counts("q2"))["Queued"] or worker.pushed:
            for push in worker.pushed:
                line = m.LogLine(f"of {push.job}", 5)
                said = m.Log(push.job, push.attempt, "Running", 0, [line])
                self.daemon.step("q2", WorkerSaid(peer, said))
                done = m.Finished(push.job, push.attempt, "Success", '{"StatusCode":0}')
                self.daemon.step("q2", WorkerSaid(peer, done))
            worker.pushed.clear()
            await self.daemon._durable()
        self.daemon.leave_worker("q2", peer)
        return jobs

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.directory.glob("*.seg"))

    async def pass_time(self, ms: int) -> None:
        """Let time pass, and the engines notice it."""
        self.clock.ms += ms
        daemon: Any = self.daemon
        for queue, room in list(daemon._rooms.items()):
            daemon._waking._looked_ms = self.clock.ms  # it was not stopped: time was moved
            daemon._ring(queue, room)
        await self.daemon._durable()


@pytest.fixture
async def world(tmp_path: Path):
    world = World(tmp_path / "journal")
    yield world
    await world.daemon.close()
    world.journal.close()


async def test_ended_jobs_are_put_away_and_still_answer(world):
    jobs = await world.answer(30)
    await world.pass_time(61_000)
    await world.upkeep.put_away()
    engine = world.daemon._rooms["q2"].engine
    assert len(engine.jobs.archive) == 30
    engine.check()
    finished = json.loads(await world.daemon.finished("q2", jobs[7]))
    assert finished["finished"]["result"]["StatusCode"] == 0
    assert finished["tags"] == ["t"] * 20
    assert json.loads(await world.daemon.definition("q2", jobs[7]))["command"] == "job 8"
    assert (await world.daemon.job(None, jobs[7])).finished_reason == "Success"
    assert (await world.daemon.counts("q2"))["Finished"] == 30


async def test_a_snapshot_taken_under_load_and_the_log_behind_it_are_the_whole_state(world):
    before = await world.answer(40)
    await world.pass_time(61_000)
    await world.upkeep.put_away()
    waiting = [await world.submit() for _ in range(20)]
    load = [asyncio.ensure_future(world.submit()) for _ in range(50)]
    snapshot = asyncio.ensure_future(world.upkeep.snapshot())
    cancels = [world.daemon.cancel("q", job, "_", "") for job in waiting[::2]]
    await asyncio.gather(*cancels)
    during = [await task for task in load]
    await snapshot
    assert world.upkeep.snapshots == 1
    assert list(world.directory.glob("*.snap"))
    await world.crash()
    assert world.daemon.replayed < 40 * 3 + 70, "the snapshot was not used"
    for job in during + waiting[1::2]:
        assert (await world.daemon.job("q", job)).state == "Queued"
    for job in waiting[::2]:
        assert (await world.daemon.job("q", job)).finished_reason == "Cancelled"
    for number, job in enumerate(before, 1):
        assert (await world.daemon.job("q2", job)).finished_reason == "Success"
        assert json.loads(await world.daemon.definition("q2", job))["command"] == f"job {number}"
        assert await world.daemon.finished("q2", job)
    for room in world.daemon._rooms.values():
        room.engine.check()


async def test_segments_go_when_their_answers_have_expired_and_waiting_jobs_are_carried_on(world):
    waiting = [await world.submit() for _ in range(3)]
    gone = await world.answer(150)
    assert len(world.segments()) > 3, "the test needs several segments"
    await world.upkeep.snapshot()
    await world.upkeep.segments.drop()
    assert world.segments()[0] == 1, "segments with answers that are still kept were dropped"
    await world.pass_time(RETENTION_MS + 1)
    kept = await world.answer(5)
    for _ in range(2):  # what is forgotten must be covered by both of the kept snapshots
        await world.upkeep.segments.drop()
        await world.upkeep.snapshot()
    await world.upkeep.segments.drop()
    assert world.segments()[0] >= 3, f"left: {world.segments()}"
    assert await world.daemon.job("q2", gone[0]) is None
    for number, job in enumerate(waiting, 1):
        assert json.loads(await world.daemon.definition("q", job))["command"] == f"job {number}"
    await world.crash()
    for number, job in enumerate(waiting, 1):
        assert (await world.daemon.job("q", job)).state == "Queued"
        assert json.loads(await world.daemon.definition("q", job))["command"] == f"job {number}"
    for job in kept:
        assert await world.daemon.finished("q2", job)
        assert await world.daemon.definition("q2", job)
    world.say(m.Hello("w", credit=3, resources=m.Resources(cpus=100, tags=("t",))))
    await world.daemon._durable()
    assert {push.job for push in world.worker.pushed} == set(waiting)


async def test_logs_go_in_their_time_and_answers_stay(world):
    old = await world.answer(60)
    assert (await world.daemon.logs("q2", old[3], "run", 0)).data[0].text == f"of {old[3]}"
    await world.upkeep.snapshot()
    await world.upkeep.segments.drop()
    assert world.segments()[0] == 1, "logs went before their time"
    await world.upkeep.put_away()
    await world.pass_time(SEGMENT_MS)  # the last segment is closed by the next record
    await world.submit()
    await world.pass_time(LOGS_MS)
    new = await world.answer(5)
    assert world.upkeep.segments.due
    for _ in range(2):  # what is forgotten must be covered by both of the kept snapshots
        await world.upkeep.segments.drop()
        await world.upkeep.snapshot()
    await world.upkeep.segments.drop()
    assert not world.upkeep.segments.due
    bytes_kept = b"".join(path.read_bytes() for path in world.directory.glob("*.seg"))
    assert not [job for job in old if f"of {job}".encode() in bytes_kept]
    assert f"of {new[3]}".encode() in bytes_kept

    async def check() -> None:
        for number, job in enumerate(old, 1):
            answer = json.loads(await world.daemon.finished("q2", job))
            assert answer["finished"]["result"]["logsExpired"] is True
            assert answer["finished"]["result"]["StatusCode"] == 0
            assert answer["finished"]["result"]["logs"] == []
            definition = json.loads(await world.daemon.definition("q2", job))
            assert definition["command"] == f"job {number}"
            page = await world.daemon.logs("q2", job, "run", 7)
            assert (page.data, page.next_cursor, page.is_final, page.expired) == ([], 7, True, True)
        for job in new:
            page = await world.daemon.logs("q2", job, "run", 0)
            assert [line.text for line in page.data] == [f"of {job}"]
            answer = json.loads(await world.daemon.finished("q2", job))
            assert "logsExpired" not in answer["finished"]["result"]
        for room in world.daemon._rooms.values():
            room.engine.check()

    await check()
    await world.crash()
    await check()
    await world.pass_time(RETENTION_MS - SEGMENT_MS - LOGS_MS)
    assert await world.daemon.job("q2", old[3]) is None, "what was carried on aged anew"
    assert await world.daemon.job("q2", new[3]) is not None


async def test_a_quiet_grid_forgets_its_logs_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "TIDY_S", 0.01)
    world = World(tmp_path / "journal")
    try:
        jobs = await world.answer(2)
        await world.pass_time(SEGMENT_MS)  # the next record begins a new segment
        await world.submit()
        await world.pass_time(LOGS_MS + 1)
        async with asyncio.timeout(10):
            while world.segments()[0] == 1:
                await asyncio.sleep(0.01)
        assert b'"logsExpired":true' in await world.daemon.finished("q2", jobs[0])
    finally:
        await world.daemon.close()
        world.journal.close()


async def test_an_answer_that_is_of_an_earlier_run_is_not_carried_on(world):
    (job,) = await world.answer(1)
    await world.pass_time(1)
    daemon: Any = world.daemon
    engine = daemon._rooms["q2"].engine
    payload = world.journal.read(position_of(engine.jobs.look(job).result_at))
    answer = msgspec.msgpack.decode(payload, type=Record)
    await world.daemon.delete("q2", job, "_")
    before = world.daemon._committer.records
    world.daemon.step("q2", CarryAnswer(answer))
    await world.daemon._durable()
    assert world.daemon._committer.records == before


async def test_a_snapshot_that_fails_harms_nothing_and_is_tried_again_later(world, monkeypatch):
    await world.answer(5)

    def fail(at, payloads):
        raise JournalError("no room")

    monkeypatch.setattr(world.journal, "write_snapshot", fail)
    with pytest.raises(JournalError, match="no room"):
        await world.upkeep.snapshot()
    monkeypatch.undo()
    await world.upkeep.snapshot()
    assert len(list(world.directory.glob("*.snap"))) == 1
    assert await world.submit()


async def test_a_walk_that_breaks_off_leaves_no_snapshot(world, monkeypatch):
    await world.answer(5)

    async def break_off(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(module, "_feed", break_off)
    with pytest.raises((asyncio.CancelledError, JournalError)):
        await world.upkeep.snapshot()
    assert list(world.directory.glob("*.snap")) == []
    monkeypatch.undo()
    await world.upkeep.snapshot()
    assert len(list(world.directory.glob("*.snap"))) == 1


async def test_housekeeping_is_due_after_so_many_records(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SNAPSHOT_RECORDS", 100)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    world = World(tmp_path / "journal")
    committer: Committer = world.daemon._committer
    try:
        await world.answer(60)
        assert committer.records >= 100
        async with asyncio.timeout(10):
            while not list(world.directory.glob("*.snap")):
                await asyncio.sleep(0.01)
    finally:
        await world.daemon.close()
        world.journal.close()


async def test_a_read_that_housekeeping_overtakes_is_done_again(world, monkeypatch):
    (job,) = await world.answer(1)
    await world.pass_time(61_000)
    await world.upkeep.put_away()
    read, failures = world.journal.read, []

    def forgotten_once(position):
        if not failures:
            failures.append(position)
            raise KeyError(position)
        return read(position)

    monkeypatch.setattr(world.journal, "read", forgotten_once)
    assert json.loads(await world.daemon.definition("q2", job))["command"] == "job 1"
    assert len(failures) == 1
