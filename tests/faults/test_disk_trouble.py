"""A whole server in one process on a disk that fails: what its peers see, and that it mends.

The journal is a real one over real files; only the calls to the system fail when they are told to.
"""

import asyncio
import contextlib
import errno
import gc
import json
import logging
import random
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd import trouble
from gridd.config import Config
from gridd.core.engine import Engine
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal import files
from gridd.journal.base import Fenced
from gridd.journal.files import FileJournal
from gridd.server import running
from gridd_protocol import job_id
from gridd_protocol.errors import ProtocolError
from gridd_worker.agent import Agent
from gridd_worker.config import Config as WorkerConfig
from tests.system.support.processes import Api, api, until
from tests.system.support.sockets import JOB, client, hello, queued, worker

Disk = Any  # conftest.FailingFiles


class World:
    """``disk`` is the journal's. Each ``serving`` is one life of the server."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.disk = disk
        self.failed: asyncio.Future[None]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Api]:
        config = Config(port=0, data_dir=self.folder)
        async with running(config) as (url, self.failed), api(url) as grid:
            yield grid


@pytest.fixture
def world(
    tmp_path: Path, failing_disk: Callable[[], Disk], monkeypatch: pytest.MonkeyPatch
) -> World:
    disk = failing_disk()
    monkeypatch.setattr(files, "RealFiles", lambda: disk)
    monkeypatch.setattr(trouble, "PAUSE_MIN_S", 0.01)
    monkeypatch.setattr(trouble, "PAUSE_MAX_S", 0.05)
    return World(tmp_path, disk)


def numbered(number: int) -> dict[str, str]:
    return {"image": "a", "command": f"job {number}"}


async def answer(grid: Api, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with grid.session.request(method, grid.url + path, **options) as response:
        text = await response.text()
        return response.status, json.loads(text) if text[:1] in '{["' else text


async def submit(grid: Api, number: int) -> tuple[int, Any]:
    return await answer(grid, "POST", "/q/q1", json={"definition": numbered(number)})


async def mended(grid: Api) -> None:
    await until(
        lambda: _is(grid, "/healthz", 200),
        lambda: "unhealthy",
    )


async def _is(grid: Api, path: str, status: int) -> bool:
    return (await answer(grid, "GET", path))[0] == status


@pytest.mark.parametrize(
    ("operation", "code", "lands", "words"),
    [
        ("write", errno.ENOSPC, 0, "the disk is full"),
        ("write", errno.ENOSPC, 100, "the disk is full"),
        ("sync", errno.EIO, 0, "the disk fails"),
        ("write", errno.EROFS, 0, "the disk is read-only"),
    ],
)
@pytest.mark.parametrize("can_truncate", [True, False])
async def test_nothing_is_taken_reads_go_on_and_it_mends_by_itself(
    world: World, operation: str, code: int, lands: int, words: str, can_truncate: bool
) -> None:
    async with world.serving() as grid:
        kept = await grid.submit(numbered(1), "q1")
        world.disk.fail(operation, code, lands=lands)
        if not can_truncate:
            world.disk.fail("truncate", code, lands=lands)
        for number in (2, 3):
            status, said = await submit(grid, number)
            assert (status, said["code"]) == (503, "unavailable")
            assert words in said["error"]
            assert str(world.folder) not in said["error"], "a path is not for peers"
        assert await answer(grid, "GET", "/healthz") == (
            503,
            f"unhealthy: the journal can't be written now: {words}; nothing new is accepted",
        )
        status, document = await answer(grid, "GET", f"/q/q1/j/{kept}")
        assert (status, document["data"]["definition"]) == (200, numbered(1))
        assert list(await grid.jobs("q1")) == [kept]
        assert (await answer(grid, "GET", f"/q/q1/j/{job_id(numbered(2))}"))[0] == 404
        for path in (f"/q/q1/j/{kept}/cancel", "/q/q1/j/" + "0" * 64 + "/cancel"):
            assert (await answer(grid, "POST", path))[0] == 503
        assert (await answer(grid, "PUT", "/f/name", data=b"bytes"))[0] == 200
        assert await answer(grid, "GET", "/f/name") == (200, "bytes")
        tried = world.disk.failures
        await until(lambda: world.disk.failures > tried + 2, lambda: world.disk.failures)
        world.disk.heal()
        await mended(grid)
        later = await grid.submit(numbered(2), "q1")
        assert list(await grid.jobs("q1")) == [kept, later]
    async with world.serving() as grid:
        assert list(await grid.jobs("q1")) == [kept, later]


async def test_sockets_in_trouble(world: World) -> None:
    async with world.serving() as grid, client(grid.url) as before, worker(grid.url) as machine:
        await before.next("JobStates")
        await machine.socket.send_json([hello()])
        await machine.next("welcome")
        world.disk.fail("sync")
        await before.socket.send_json(queued())
        refused = await before.next("Error")
        assert refused["payload"]["code"] == "unavailable"
        assert "the disk fails" in refused["payload"]["error"]
        assert (await before.closed())[0] == 1013
        assert (await machine.closed())[0] == 1013
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with worker(grid.url):
                pass
        assert caught.value.status == 503
        async with client(grid.url) as during:
            assert (await during.next("JobStates"))["payload"]["state"]["jobs"] == {}
            await during.socket.send_json(queued())
            assert (await during.next("Error"))["payload"]["code"] == "unavailable"
            world.disk.heal()
            await mended(grid)
            await during.socket.send_json(queued())
            assert await during.states(JOB, "Queued") == ["Queued"]
        async with worker(grid.url) as machine:
            await machine.socket.send_json([hello()])
            assert (await machine.next("push"))["job"] == JOB


async def test_an_event_stream_ends_and_its_reader_comes_back(world: World) -> None:
    async with world.serving() as grid:
        job = await grid.submit(numbered(1), "q1")
        path = f"{grid.url}/q/q1/j/{job}/stream"
        async with grid.session.get(path) as stream:
            assert b"Queued" in await stream.content.readuntil(b"\n\n")
            world.disk.fail("sync")
            assert (await submit(grid, 2))[0] == 503
            assert b"final" not in await stream.content.read()
        async with grid.session.get(path) as stream:
            assert b"Queued" in await stream.content.readuntil(b"\n\n")
            world.disk.heal()
            await mended(grid)
            assert (await answer(grid, "POST", f"/q/q1/j/{job}/cancel"))[0] == 200
            assert b"Cancelled" in await stream.content.read()


async def test_a_result_that_could_not_be_kept_is_delivered_afterwards(world: World) -> None:
    async with world.serving() as grid:
        job = await grid.submit(numbered(1), "q1")
        lease = {"job": job, "attempt": 1}
        result = json.dumps({"StatusCode": 7, "outputs": {}})
        finished = {"type": "finished", **lease, "reason": "Success", "result": result}
        async with worker(grid.url) as machine:
            await machine.socket.send_json([hello()])
            await machine.next("push")
            world.disk.fail("sync")
            await machine.socket.send_json([finished])
            assert (await machine.closed())[0] == 1013
            assert [m["type"] for m in machine.seen] == ["welcome", "push"], "not acknowledged"
        assert (await grid.jobs("q1"))[job]["state"] == "Running"
        assert await grid.finished(job, "q1") is None
        world.disk.heal()
        await mended(grid)
        async with worker(grid.url) as machine:
            await machine.socket.send_json([hello(running=[lease])])
            assert (await machine.next("welcome"))["kept"] == [{**lease, "cursor": 0}]
            await machine.socket.send_json([finished])
            assert await machine.next("acknowledged", "stale") == {"type": "acknowledged", **lease}
        answered = await grid.finished(job, "q1")
        assert answered is not None
        assert answered["finished"]["result"]["StatusCode"] == 7


async def test_a_push_that_was_never_durable_is_unknown_afterwards(world: World) -> None:
    """The lease was decided and lost with the failed write: it is leased anew, as attempt 1."""
    async with world.serving() as grid:
        job = await grid.submit(numbered(1), "q1")
        async with worker(grid.url) as machine:
            world.disk.fail("sync")
            await machine.socket.send_json([hello()])
            assert (await machine.closed())[0] == 1013
            assert [m["type"] for m in machine.seen if m["type"] == "push"] == []
        assert (await grid.jobs("q1"))[job]["state"] == "Queued"
        world.disk.heal()
        await mended(grid)
        async with worker(grid.url) as machine:
            await machine.socket.send_json([hello()])
            assert (await machine.next("push"))["attempt"] == 1


class Load:
    """Submitters and readers that go on through any trouble, and what they were told."""

    def __init__(self, grid: Api) -> None:
        self.grid = grid
        self.acknowledged: list[str] = []
        self.seen: set[str] = set()
        self.refused = 0
        self.reads = 0
        self._numbers = iter(range(1_000_000))

    async def submit(self) -> None:
        while True:
            status, said = await submit(self.grid, next(self._numbers))
            if status == 200:
                self.acknowledged.append(said["jobId"])
            else:
                assert (status, said["code"]) == (503, "unavailable"), said
                self.refused += 1
                await asyncio.sleep(0.01)

    async def read(self) -> None:
        """A job that was shown must never be gone again; and no read may fail."""
        while True:
            jobs = await self.grid.jobs("q1")
            assert self.seen <= set(jobs), "a job was shown and is gone"
            self.seen |= set(jobs)
            self.reads += 1
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running_tasks(*loops: Any) -> AsyncIterator[None]:
    """The block ends with the first of them that does, and with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_under_load_what_was_shown_or_acknowledged_stays(
    world: World, tmp_path: Path, seed: int
) -> None:
    """Trouble after trouble, at random places, while a real worker runs what is submitted."""
    chance = random.Random(seed)
    async with world.serving() as grid:
        load = Load(grid)
        config = WorkerConfig(
            queues=("q1",),
            data_directory=tmp_path / "worker",
            api_address=grid.url,
            cpus=8,
            runtime="null",
        )
        loops = [load.submit(), load.submit(), load.read(), Agent(config).run()]
        async with running_tasks(*loops):
            for _ in range(6):
                before = len(load.acknowledged)
                await until(lambda b=before: len(load.acknowledged) > b + 5, lambda: load.refused)
                refused, reads = load.refused, load.reads
                world.disk.fail(
                    chance.choice(["write", "sync"]),
                    chance.choice([errno.EIO, errno.ENOSPC]),
                    after=chance.randint(0, 3),
                    lands=chance.choice([0, 50, 500]),
                )
                if chance.random() < 0.5:
                    world.disk.fail("truncate", lands=world.disk.lands)
                await until(lambda r=refused: load.refused > r + 3, lambda: load.refused)
                await until(lambda r=reads: load.reads > r + 3, lambda: load.reads)
                world.disk.heal()
                await mended(grid)
            states: dict[str, Any] = {}

            async def all_ended() -> bool:
                nonlocal states
                states = await grid.jobs("q1")
                return all(states[job]["state"] == "Finished" for job in some)

            some = list(load.acknowledged)
            await until(all_ended, lambda: [v for v in states.values() if v["state"] != "Finished"])
    async with world.serving() as grid:
        jobs = await grid.jobs("q1")
        assert set(load.acknowledged) <= set(jobs)
        assert load.seen <= set(jobs)
        assert {jobs[job]["finishedReason"] for job in some} == {"Success"}


class Client:
    """A client socket that only notes what it gets."""

    def __init__(self) -> None:
        self.frames = 0
        self.closed: int | None = None

    def send(self, frame: bytes, key: str | None = None) -> None:
        self.frames += 1

    def send_log(self, frame: bytes, job: str, step: str) -> None:
        self.frames += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = code


@asynccontextmanager
async def started(folder: Path, disk: Disk) -> AsyncIterator[Daemon]:
    journal = FileJournal(folder / "journal", fs=disk)
    daemon = Daemon(journal, JsonFrames())
    daemon.start()
    yield daemon
    await daemon.close()
    journal.close()


def body(number: int) -> bytes:
    return json.dumps({"definition": numbered(number)}).encode()


async def test_whoever_joins_while_it_fails_is_let_go_too(world: World) -> None:
    """What it would be shown first waits for a write that never comes about."""
    async with started(world.folder, world.disk) as daemon:
        world.disk.fail("sync")
        asking = asyncio.create_task(daemon.submit("q1", body(1)))
        await asyncio.sleep(0)  # the submission is taken, its append not over
        arriving = Client()
        daemon.join_client("q1", daemon.new_ref(), arriving)
        with pytest.raises(ProtocolError, match="the disk fails"):
            await asking
        assert (arriving.frames, arriving.closed) == (0, 1013)


async def test_another_writer_ends_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.serving() as grid:
        await grid.submit(numbered(1), "q1")
        world.disk.fail("sync")
        assert (await submit(grid, 2))[0] == 503
        (world.folder / "journal" / "lock").unlink()
        world.disk.failing.clear()
        with contextlib.suppress(OSError):
            FileJournal(world.folder / "journal", fs=files.RealFiles()).close()
        with pytest.raises(Fenced, match="another process has written to it"):
            async with asyncio.timeout(10):
                await world.failed
        assert (await submit(grid, 2))[0] == 503
        assert (await answer(grid, "GET", "/healthz"))[0] == 503


async def test_a_journal_that_can_not_be_read_is_read_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gridd.reading._READABLE_S", 0.2)
    async with world.serving() as grid:
        job = await grid.submit(numbered(1), "q1")
        world.disk.fail("sync")
        world.disk.fail("open")
        assert (await submit(grid, 2))[0] == 503
        status, said = await answer(grid, "GET", "/q/q1/j")
        assert (status, said["code"]) == (503, "unavailable")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with client(grid.url):
                pass
        assert caught.value.status == 503
        world.disk.heal()
        await mended(grid)
        assert list(await grid.jobs("q1")) == [job]


async def test_the_log_has_a_line_for_each_change_not_for_each_try(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.serving() as grid:
        await grid.submit(numbered(1), "q1")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            world.disk.fail("write", errno.ENOSPC)
            await submit(grid, 2)
            await until(lambda: world.disk.failures > 5, lambda: world.disk.failures)
            world.disk.fail("write", errno.EROFS)
            await until(lambda: world.disk.failures > 10, lambda: world.disk.failures)
            world.disk.heal()
            await mended(grid)
        ours = [record.getMessage() for record in caplog.records if record.name == "gridd"]
        assert len(ours) == 3, ours
        assert "No space left" in ours[0]
        assert str(world.folder / "journal") in ours[0]
        assert "Read-only file system" in ours[1]
        assert "is written again after" in ours[2]


async def test_it_stops_well_in_the_middle_of_trouble(world: World) -> None:
    async with world.serving() as grid:
        kept = await grid.submit(numbered(1), "q1")
        world.disk.fail("sync")
        assert (await submit(grid, 2))[0] == 503
    world.disk.heal()
    async with world.serving() as grid:
        assert list(await grid.jobs("q1")) == [kept]


async def test_a_fault_of_ours_is_no_trouble_of_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.serving() as grid:
        await grid.submit(numbered(1), "q1")

        def stumble(*_: Any) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(Engine, "step", stumble)
        assert (await submit(grid, 2))[0] == 503
        with pytest.raises(ZeroDivisionError):
            await world.failed


async def test_the_engines_of_before_are_not_kept_in_memory(world: World) -> None:
    async with started(world.folder, world.disk) as daemon:
        await daemon.submit("q1", body(1))
        former = weakref.ref(daemon.room("q1").engine)
        gc.freeze()  # as the recovery of a large journal leaves it
        world.disk.fail("sync")
        with pytest.raises(ProtocolError, match="the disk fails"):
            await daemon.submit("q2", body(1))
        await daemon.readable()
        assert former() is None
        assert list(await daemon.jobs("q1")) == [job_id(numbered(1))]


async def test_reads_wait_while_the_journal_is_read_again(world: World) -> None:
    """At that moment the daemon knows no job at all, which must not be told."""
    kept, lost = job_id(numbered(1)), job_id(numbered(2))
    async with started(world.folder, world.disk) as daemon:
        await daemon.submit("q1", body(1))
        world.disk.fail("sync")
        with pytest.raises(ProtocolError, match="the disk fails"):
            await daemon.submit("q1", body(2))
        assert not daemon._readable.is_set()
        with pytest.raises(ProtocolError, match="the disk fails"):
            await daemon.cancel("q1", kept, "_", "")
        jobs, one, none, definition, counts, page = await asyncio.gather(
            daemon.jobs("q1"),
            daemon.job("q1", kept),
            daemon.job("q1", lost),
            daemon.definition(None, kept),
            daemon.counts("q1"),
            daemon.logs("q1", kept, "run", 0),
        )
        assert list(jobs) == [kept]
        assert jobs[kept] == one
        assert none is None
        assert definition is not None
        assert (counts["Queued"], page.data) == (1, [])


async def test_a_stop_without_room_for_a_snapshot_is_a_good_stop(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.serving() as grid:
        kept = await grid.submit(numbered(1), "q1")
        world.disk.fail("create", errno.ENOSPC)
    assert "the snapshot was not kept" in caplog.text
    assert not list((world.folder / "journal").glob("*.snap"))
    world.disk.heal()
    async with world.serving() as grid:
        assert list(await grid.jobs("q1")) == [kept]
