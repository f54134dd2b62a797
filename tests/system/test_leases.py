"""Leases over real sockets and processes: one outcome for an attempt, and it is the right one.

Whatever is late, frozen, cut off, doubled or killed here, the journal is read in the end: each
attempt began with one lease and ended once, and a job has one outcome (``support.stories``).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gridd.core import records as r
from gridd_protocol.limits import ATTEMPTS_MAX
from tests.system.support.processes import (
    Api,
    Server,
    Worker,
    api,
    killed_at_end,
    processes_with,
    until,
)
from tests.system.support.relay import relay
from tests.system.support.sockets import DEFINITION, JOB, Peer, hello, worker
from tests.system.support.stories import judge, outcomes, read_journal

LEASE_S = 3.0


class Grid:
    """A server, and everything that was started beside it."""

    def __init__(self, folder: Path, lease_s: float) -> None:
        self.folder = folder
        self.server = Server(folder, lease_s=lease_s)
        self.workers: list[Worker] = []
        self.api: Api

    async def worker(self, name: str, *, url: str = "", **options: Any) -> Worker:
        made = Worker(self.folder, url or self.server.url, name, **options)
        self.workers.append(made)
        await made.start()
        return made

    async def at(self, job: str, attempt: int, state: str, timeout_s: float = 20) -> dict[str, Any]:
        """The job, once it is in this state of this attempt."""
        last: dict[str, Any] | None = None

        async def there() -> dict[str, Any] | None:
            nonlocal last
            last = await self.api.job(job)
            fits = last and (last.get("attempt"), last["state"]) == (attempt, state)
            return last if fits else None

        found: dict[str, Any] = await until(there, lambda: (last, *map(str, self.workers)))
        return found

    async def runs(self, job: str, attempt: int) -> dict[str, Any]:
        """The job, once its program has said something under this attempt."""
        view = await self.at(job, attempt, "Running")
        await until(lambda: self.api.lines(job), lambda: [*map(str, self.workers)])
        return view

    async def one_outcome(self, job: str, attempt: int) -> r.Finished:
        """Ends the server and reads its journal: the job's outcome, of this attempt."""
        await self.server.kill()
        stories = read_journal(self.server.data)
        for story in stories.values():
            assert judge(story) == [], story
        [outcome] = outcomes(stories["q", job])
        assert outcome.attempt == attempt, stories["q", job]
        return outcome


Gridded = Callable[..., Any]


@pytest.fixture
def grid(tmp_path: Path) -> Gridded:
    @asynccontextmanager
    async def made(lease_s: float = LEASE_S) -> AsyncIterator[Grid]:
        grid = Grid(tmp_path, lease_s)
        await grid.server.start()
        try:
            async with api(grid.server.url) as grid.api:
                yield grid
        finally:
            async with killed_at_end(*grid.workers, grid.server):
                for frozen in (*grid.workers, grid.server):
                    if frozen.alive:
                        frozen.thaw()

    return made


def speaking(seconds: float, say: str = "", more: str = "") -> dict[str, Any]:
    """A process job that says a line each 0.1 s, and whose exit code and output are its own."""
    script = (
        f"i=0; while [ $i -lt {int(seconds * 10)} ]; do echo {say or 'line'} $i; i=$((i+1)); "
        f"sleep 0.1; done; {more} exit 7"
    )
    return {"command": f"sh -c '{script}'"}


def lease(attempt: int, job: str = JOB) -> dict[str, Any]:
    return {"job": job, "attempt": attempt}


def done(attempt: int, code: int, job: str = JOB) -> dict[str, Any]:
    result = json.dumps({"StatusCode": code, "outputs": {}})
    return {"type": "finished", **lease(attempt, job), "reason": "Success", "result": result}


@asynccontextmanager
async def alive(peer: Peer) -> AsyncIterator[None]:
    """``peer`` says every now and then that it is there."""

    async def beat() -> None:
        while True:
            await peer.socket.send_json([{"type": "heartbeat"}])
            await asyncio.sleep(0.3)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


# --- spoken by hand -----------------------------------------------------------------------


async def test_a_late_result_is_stale_and_the_right_one_stands(grid: Gridded) -> None:
    async with grid(2) as g, worker(g.server.url, path="/q/q/worker") as other:
        await g.api.submit(DEFINITION)
        async with worker(g.server.url, path="/q/q/worker") as late:
            await late.socket.send_json([hello("late")])
            await late.next("push")
            await other.socket.send_json([hello("other")])
            async with alive(other):
                assert (await other.next("push"))["attempt"] == 2
                assert (await late.closed())[0] == 4003
        async with alive(other), worker(g.server.url, path="/q/q/worker") as late:
            held = {"running": [lease(1)], "credit": 0}
            await late.socket.send_json([hello("late", **held), done(1, 11)])
            for _ in range(2):  # for the hello, and for the result
                assert await late.next("stale", "acknowledged") == {"type": "stale", **lease(1)}
            for attempt in (2, 3):  # an attempt of somebody else, of nobody
                await late.socket.send_json([done(attempt, 12)])
                assert (await late.next("stale", "acknowledged"))["type"] == "stale"
            assert (await g.api.job(JOB))["state"] == "Running"

            await other.socket.send_json([done(2, 22)])
            await other.next("acknowledged")
            first = await g.api.finished(JOB)
            assert first["finished"]["result"]["StatusCode"] == 22
            await late.socket.send_json([done(1, 13), done(2, 14)])
            for _ in range(2):
                assert (await late.next("stale", "acknowledged"))["type"] == "stale"
            assert await g.api.finished(JOB) == first
        assert b'"StatusCode": 22' in (await g.one_outcome(JOB, 2)).result


async def test_a_result_of_a_job_that_was_never_leased_is_stale(grid: Gridded) -> None:
    async with grid() as g, worker(g.server.url, path="/q/q/worker") as liar:
        job = await g.api.submit({**DEFINITION, "requirements": {"gpus": 4}})
        await liar.socket.send_json([hello(running=[lease(1, job)])])
        assert (await liar.next("stale"))["job"] == job
        for attempt, name in ((1, job), (1, "f" * 64)):  # it waits; nobody ever submitted it
            await liar.socket.send_json([done(attempt, 4, name)])
            told = await liar.next("acknowledged", "stale")
            assert told == {"type": "stale", **lease(attempt, name)}
        view = await g.api.job(job)
        assert (view["state"], view.get("attempt", 0)) == ("Queued", 0)
        await g.server.kill()
        assert [type(record) for record in read_journal(g.server.data)["q", job]] == [r.Submitted]


async def test_a_repeated_result_is_acknowledged_again_and_changes_nothing(grid: Gridded) -> None:
    async with grid() as g, worker(g.server.url, path="/q/q/worker") as machine:
        await g.api.submit(DEFINITION)
        await machine.socket.send_json([hello()])
        await machine.next("push")
        await machine.socket.send_json([done(1, 1), done(1, 2)])  # and with other bytes
        for _ in range(2):
            assert (await machine.next("acknowledged", "stale"))["type"] == "acknowledged"
        first = await g.api.finished(JOB)
        await g.server.kill()  # the acknowledgement may have been lost with the server
        await g.server.start()
        async with worker(g.server.url, path="/q/q/worker") as back:
            await back.socket.send_json([hello(running=[lease(1)]), done(1, 3)])
            for _ in range(2):
                assert (await back.next("acknowledged", "stale"))["type"] == "acknowledged"
        assert await g.api.finished(JOB) == first
        assert b'"StatusCode": 1' in (await g.one_outcome(JOB, 1)).result


async def test_of_two_connections_under_one_id_the_newer_one_reports(grid: Gridded) -> None:
    """The older one's result, on its way when it was replaced, is nobody's any more."""
    async with grid() as g, worker(g.server.url, path="/q/q/worker") as old:
        await g.api.submit(DEFINITION)
        await old.socket.send_json([hello()])
        await old.next("push")
        async with worker(g.server.url, path="/q/q/worker") as new:
            await new.socket.send_json([hello()])  # another process: it knows nothing of the job
            assert (await new.next("push"))["attempt"] == 2
            with contextlib.suppress(ConnectionError):
                await old.socket.send_json([done(1, 1)])
            assert (await old.closed())[0] == 4001
            async with worker(g.server.url, path="/q/q/worker") as third:
                await third.socket.send_json([hello(running=[lease(1), lease(2)])])
                kept = (await third.next("welcome"))["kept"]
                assert [(one["job"], one["attempt"]) for one in kept] == [(JOB, 2)]
                assert await third.next("stale") == {"type": "stale", **lease(1)}
                assert (await new.closed())[0] == 4001
                await third.socket.send_json([done(1, 1), done(2, 2)])
                assert (await third.next("stale", "acknowledged"))["type"] == "stale"
                assert (await third.next("stale", "acknowledged"))["type"] == "acknowledged"
        assert b'"StatusCode": 2' in (await g.one_outcome(JOB, 2)).result


# --- real workers -------------------------------------------------------------------------


async def test_two_worker_processes_with_one_id(grid: Gridded) -> None:
    """As on two machines: on one, the second would not start (each has temporary files of its
    own here)."""
    async with grid() as g:
        first = await g.worker("twin", data=g.folder / "first")
        job = await g.api.submit(speaking(2))
        await g.runs(job, 1)
        (g.folder / "elsewhere").mkdir()
        elsewhere = {"TMPDIR": str(g.folder / "elsewhere")}
        await g.worker("twin", data=g.folder / "second", environment=elsewhere)
        view = await g.at(job, 2, "Finished")
        assert (view["finishedReason"], view["worker"]) == ("Success", "twin")
        assert await g.api.lines(job) == [f"line {i}\n" for i in range(20)]
        await until(lambda: "another worker uses the same id" in first.said(), first.said)
        await g.one_outcome(job, 2)


async def test_a_worker_frozen_past_its_lease_is_stopped_when_it_is_back(grid: Gridded) -> None:
    async with grid() as g:
        frozen = await g.worker("frozen")
        job = await g.api.submit(speaking(4, "FrozenPast"))
        await g.runs(job, 1)
        frozen.freeze()
        await g.worker("other")
        view = await g.runs(job, 2)
        assert view["worker"] == "other"
        assert processes_with("echo FrozenPast") != []
        frozen.thaw()
        await until(lambda: "is stopped" in frozen.said(), frozen.said)
        view = await g.at(job, 2, "Finished")
        assert (view["finishedReason"], view["worker"]) == ("Success", "other")
        assert await g.api.lines(job) == [f"FrozenPast {i}\n" for i in range(40)]
        assert processes_with("echo FrozenPast") == []
        assert "finished job" not in frozen.said()
        await g.one_outcome(job, 2)


async def test_a_result_that_lay_ready_in_a_frozen_worker_is_stale(grid: Gridded) -> None:
    """The program goes on while its worker is frozen: there is a result when it wakes."""
    async with grid() as g:
        frozen = await g.worker("frozen")
        job = await g.api.submit(speaking(1.5))
        await g.runs(job, 1)
        frozen.freeze()
        async with worker(g.server.url, path="/q/q/worker") as other:
            await other.socket.send_json(
                [hello("other", resources={"cpus": 1, "runs": ["process"]})]
            )
            async with alive(other):
                assert (await other.next("push"))["attempt"] == 2
                frozen.thaw()
                told = ("finished job", "is stopped")  # whichever comes first when it wakes
                await until(lambda: any(word in frozen.said() for word in told), frozen.said)
                await until(lambda: not list((frozen.data / "spool").glob("*")), frozen.said)
                assert (await g.api.job(job))["state"] == "Running"
                await other.socket.send_json([done(2, 9, job)])
                await other.next("acknowledged")
        assert b'"StatusCode": 9' in (await g.one_outcome(job, 2)).result


async def test_a_worker_frozen_within_its_lease_keeps_its_job(grid: Gridded) -> None:
    async with grid(6) as g:
        for name in ("one", "other"):
            await g.worker(name)
        job = await g.api.submit(speaking(3))
        view = await g.runs(job, 1)
        holder = next(one for one in g.workers if one.id == view["worker"])
        holder.freeze()
        await asyncio.sleep(4)  # longer than its patience with a silent server (3 s), not the lease
        holder.thaw()
        view = await g.at(job, 1, "Finished")
        assert view["finishedReason"] == "Success"
        assert await g.api.lines(job) == [f"line {i}\n" for i in range(30)]
        await g.one_outcome(job, 1)


async def test_a_cut_shorter_than_the_lease_costs_nothing(grid: Gridded) -> None:
    async with grid(6) as g, relay(g.server.port) as cable:
        url = f"http://127.0.0.1:{cable.port}"
        far = await g.worker("far", url=url)
        job = await g.api.submit(speaking(5))
        await g.runs(job, 1)
        cable.cut()
        await until(lambda: "no connection" in far.said(), far.said)  # after half a lease
        cable.mend()
        view = await g.at(job, 1, "Finished")
        assert view["finishedReason"] == "Success"
        assert cable.connections > 1, "it was never reconnected"
        assert await g.api.lines(job) == [f"line {i}\n" for i in range(50)]
        await g.one_outcome(job, 1)


async def test_a_cut_longer_than_the_lease_gives_the_job_to_another(grid: Gridded) -> None:
    async with grid() as g, relay(g.server.port) as cable:
        far = await g.worker("far", url=f"http://127.0.0.1:{cable.port}")
        job = await g.api.submit(speaking(4, "CutLong"))
        await g.runs(job, 1)
        cable.cut()
        await g.worker("near")
        view = await g.runs(job, 2)
        assert view["worker"] == "near"
        cable.mend()
        await until(lambda: "is stopped" in far.said(), far.said)
        view = await g.at(job, 2, "Finished")
        assert (view["finishedReason"], view["worker"]) == ("Success", "near")
        assert await g.api.lines(job) == [f"CutLong {i}\n" for i in range(40)]
        assert "finished job" not in far.said()
        await g.one_outcome(job, 2)


@pytest.mark.parametrize("over_s", [0.5, 3])
async def test_a_frozen_server_takes_no_lease_back_for_its_own_sleep(
    grid: Gridded, over_s: float
) -> None:
    """Frozen a little longer than the lease, so that the alarm is hardly late, and much longer, so
    that the worker has given the connection up and is between two tries."""
    async with grid() as g:
        holder = await g.worker("holder")
        job = await g.api.submit(speaking(LEASE_S + over_s + 2))
        await g.runs(job, 1)
        g.server.freeze()
        await asyncio.sleep(LEASE_S + over_s)
        g.server.thaw()
        await g.worker("idle")
        view = await g.at(job, 1, "Finished")
        assert (view["finishedReason"], view["worker"]) == ("Success", "holder"), str(holder)
        count = int((LEASE_S + over_s + 2) * 10)
        assert await g.api.lines(job) == [f"line {i}\n" for i in range(count)]
        await g.one_outcome(job, 1)


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_a_server_restart_while_workers_run_jobs_loses_no_run(
    grid: Gridded, way: str
) -> None:
    async with grid(30) as g:
        for name in ("a", "b"):
            await g.worker(name, cpus=2)
        jobs = [await g.api.submit(speaking(4, f"job{n}")) for n in range(4)]
        for job in jobs:
            await g.runs(job, 1)
        for _ in range(2):
            await getattr(g.server, way)()
            await g.server.start()
            await asyncio.sleep(0.3)
        for n, job in enumerate(jobs):
            view = await g.at(job, 1, "Finished")
            assert view["finishedReason"] == "Success"
            assert (await g.api.finished(job))["finished"]["result"]["StatusCode"] == 7
            assert await g.api.lines(job) == [f"job{n} {i}\n" for i in range(40)]
        for job in jobs:
            await g.one_outcome(job, 1)


async def test_a_result_outlives_worker_and_server_with_its_whole_log(grid: Gridded) -> None:
    """The run ends while there is no server, and the worker dies before there is one again. Lines
    that the server had been sent were lost with it, and are asked for again."""
    async with grid() as g:
        holder = await g.worker("holder")
        job = await g.api.submit(speaking(1.5))
        await g.runs(job, 1)
        await g.server.kill()
        await until(lambda: list((holder.data / "spool").glob("*.json")), holder.said)
        await holder.kill()
        await g.server.start()
        await holder.start()
        view = await g.at(job, 1, "Finished")
        assert view["finishedReason"] == "Success"
        assert await g.api.lines(job) == [f"line {i}\n" for i in range(15)]
        await g.one_outcome(job, 1)


async def test_outputs_are_uploaded_when_the_server_is_back(grid: Gridded) -> None:
    async with grid() as g:
        holder = await g.worker("holder")
        job = await g.api.submit(speaking(1, "Uploads", more="seq 1000 >$JOB_OUTPUTS/table;"))
        await g.runs(job, 1)
        await g.server.kill()
        await until(lambda: not processes_with("echo Uploads"), holder.said)
        await asyncio.sleep(5)  # longer than a few quick tries take
        await g.server.start()
        await g.at(job, 1, "Finished")
        async with g.api.session.get(f"{g.server.url}/q/q/j/{job}/outputs/table") as answer:
            assert await answer.text() == "".join(f"{i}\n" for i in range(1, 1001))
        await g.one_outcome(job, 1)


async def test_a_job_whose_worker_dies_again_and_again_is_given_up_with_the_reason(
    grid: Gridded,
) -> None:
    async with grid() as g:
        doomed = await g.worker("doomed")
        job = await g.api.submit(speaking(60, "Doomed"))
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await g.at(job, attempt, "Running")
            await doomed.kill()
            await doomed.start()
        view = await g.at(job, ATTEMPTS_MAX, "Finished")
        assert view["finishedReason"] == "Error"
        result = (await g.api.finished(job))["finished"]["result"]
        assert f"its worker was lost {ATTEMPTS_MAX} times" in result["error"]
        started = time.monotonic()
        while time.monotonic() < started + 0.5:  # nobody takes it up again
            assert (await g.api.job(job))["state"] == "Finished"
            await asyncio.sleep(0.1)
        await until(lambda: not processes_with("echo Doomed"), lambda: processes_with("Doomed"))
        outcome = await g.one_outcome(job, ATTEMPTS_MAX)
        assert outcome.worker == ""
