"""The socket of upstream's worker, spoken by hand and by the stand-in, its times shortened."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gridd.core.logs import JobLog
from gridd.edge import upstream_worker
from gridd.edge.upstream_hand import GUARDED_SLOTS_MAX
from gridd.edge.upstream_messages import limited, split_lines, why_unfit
from gridd.edge.upstream_results import native_result
from gridd_protocol import job_id
from gridd_protocol.limits import (
    LOG_LINE_BYTES_MAX,
    RESULT_BYTES_MAX,
    UPSTREAM_DEFINITION_BYTES_MAX,
)
from gridd_protocol.messages import LogLine
from tests.system.support.sockets import Peer, connected, hello, worker
from tests.upstream.grid import Grid, grid, until
from tests.upstream.worker import UpstreamWorker

SCALE = 0.1
DEFINITION = {"image": "a", "command": "one two"}
JOB = job_id(DEFINITION)
SLOW = {"image": "a", "command": "one two", "env": {"SECONDS": "1"}}
SLOW_A, SLOW_B = ({"image": "a", "command": name} for name in ("sa", "sb"))
ENDLESS = {"image": "a", "command": "one two", "env": {"SECONDS": "1000"}}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Grid]:
    async with grid(tmp_path, scale=SCALE) as found:
        yield found


def by_hand(here: Grid) -> Any:
    return connected(here.url, "/q/q/worker")


def registration(name: str = "w", **members: Any) -> dict[str, Any]:
    payload = {"time": 1, "version": "0", "id": name, "cpus": 2, "gpus": 0, "maxJobDuration": "5m"}
    return {"type": "WorkerRegistration", "payload": payload | members}


def change(state: str, job: str = JOB, name: str = "w", **value: Any) -> dict[str, Any]:
    value = {"type": state, "worker": name, "time": 7, **value}
    payload = {"tag": name, "state": state, "job": job, "value": value}
    return {"type": "StateChange", "payload": payload}


def finished(job: str = JOB, reason: str = "Success", **result: Any) -> dict[str, Any]:
    result = {"logs": [], "isTimedOut": False, "StatusCode": 0, "outputs": {}, **result}
    return change("Finished", job, reason=reason, result=result)


async def shown(peer: Peer, job: str, state: str | None) -> dict[str, Any]:
    """The next frame of states in which ``job`` is as said; ``None``: gone, in a full state."""
    while True:
        frame = await peer.next("JobStates", "JobStateUpdates")
        jobs = frame["payload"]["state"]["jobs"]
        assert frame["payload"]["isSubset"] == (frame["type"] == "JobStateUpdates")
        if state is None and frame["type"] == "JobStates" and job not in jobs:
            return frame
        if job in jobs and jobs[job]["state"] == state:
            return jobs[job]


def shown_states(peer: Peer, job: str, since: int = 0) -> list[str]:
    """In frame after frame; those without the job left out."""
    frames = [one for one in peer.seen[since:] if isinstance(one, dict)]
    maps = [one["payload"]["state"]["jobs"] for one in frames if "state" in one["payload"]]
    return [jobs[job]["state"] for jobs in maps if job in jobs]


async def holding(peer: Peer, here: Grid, definition: dict[str, Any] = DEFINITION) -> str:
    """Registers, is offered the job, and claims it."""
    await peer.socket.send_json(registration())
    job = await here.submit(definition)
    await shown(peer, job, "Queued")
    await peer.socket.send_json(change("Running", job))
    await guarded(peer, job)
    return job


async def guarded(peer: Peer, job: str) -> None:
    """The next frame in which ``job`` runs here: as waiting for a GPU that this worker lacks."""
    await peer.socket.send_str("PING")  # what is to be told goes with the answer
    view: dict[str, Any] = {}
    while view.get("requirements") != {"gpus": 1}:
        view = await shown(peer, job, "Queued")


async def over(here: Grid, job: str) -> None:
    async def finished() -> bool:
        return (await here.state(job))[0] == "Finished"

    await until(finished, lambda: job)


# --- the exchange of WIRE 2.9 ---------------------------------------------------------------


async def test_the_observed_exchange(here: Grid) -> None:
    empty = {"type": "JobStates", "payload": {"state": {"jobs": {}}, "isSubset": False}}
    async with by_hand(here) as peer:
        assert await peer.next("JobStates", "Workers") == empty
        await peer.socket.send_str("PING")
        assert await peer.next("PONG unknown")
        await peer.socket.send_json(registration("wb", gpus=1))
        workers = (await peer.next("Workers"))["payload"]["workers"]
        assert [(w["id"], w["cpus"], w["gpus"], w["maxJobDuration"]) for w in workers] == [
            ("wb", 2, 1, "5m")
        ]
        assert await peer.next("JobStates", "JobStateUpdates") == empty
        await peer.socket.send_str("PING")
        assert await peer.next("PONG wb")
        await here.submit(DEFINITION)
        queued = await shown(peer, JOB, "Queued")
        assert queued == {
            "state": "Queued",
            "queuedTime": queued["time"],
            "time": queued["time"],
            "worker": "",
            "namespaces": ["_"],
        }
        asked = {"type": "RequestJobDefinitions", "payload": {"jobIds": [JOB, "0" * 64]}}
        await peer.socket.send_json(asked)
        answer = await peer.next("BroadcastJobDefinitions")
        assert answer["payload"] == {"definitions": {JOB: DEFINITION}}
        await peer.socket.send_json(change("Running", name="wb"))
        running = await shown(peer, JOB, "Running")
        assert (running["worker"], running["time"]) == ("wb", 7)
        assert running["queuedTime"] == queued["queuedTime"]
        await peer.socket.send_json(finished())
        over = await shown(peer, JOB, "Finished")
        assert (over["worker"], over["finishedReason"]) == ("wb", "Success")
        assert "finished" not in over
        assert (await here.state(JOB))[0] == "Finished"


ODD = [
    "",
    "undefined",
    "hello",
    "[]",
    "{bad json",
    "{}",
    '{"type":5}',
    '{"type":"Nope"}',
    '{"type":"StateChange"}',
    '{"type":"StateChange","payload":null}',
    json.dumps(change("Removed")),
    json.dumps(change("Running", "no id")),
    json.dumps(change("Finished", "0" * 64)),
    '{"type":"WorkerRegistration"}',
    '{"type":"WorkerRegistration","payload":{"id":{}}}',
    '{"type":"WorkerRegistration","payload":{"id":"w","cpus":-1}}',
    '{"type":"WorkerRegistration","payload":{"id":"w","cpus":1e300}}',
    '{"type":"WorkerRegistration","payload":{"id":"w","maxJobDuration":"soon"}}',
    '{"type":"JobStatusLogs","payload":{}}',
    '{"type":"RequestJobDefinitions","payload":{}}',
    '{"type":"RequestJobDefinitions","payload":{"jobIds":[]}}',
    '{"type":"WorkerStatusResponse","payload":{"id":"w","queue":{}}}',
    '{"type":"StateChange","payload":' + "[" * 5_000,
]


async def test_odd_frames_disturb_nothing(here: Grid) -> None:
    async with by_hand(here) as peer:
        for text in ODD:
            await peer.socket.send_str(text)
        await peer.socket.send_bytes(b"\x91\x01")
        job = await holding(peer, here)
        for text in ODD:
            await peer.socket.send_str(text)
        await peer.socket.send_bytes(b"\x91\x01")
        await peer.socket.send_str("PING")
        assert await peer.next("PONG w")
        assert await here.state(job) == ("Running", "w", 1)


async def test_only_its_own_jobs_are_shown_and_told(here: Grid) -> None:
    async with by_hand(here) as peer, worker(here.url, path="/q/q/worker") as native:
        await native.socket.send_json([hello("n")])
        await native.next("welcome")
        other = await here.submit({"image": "a", "command": "other"})
        assert (await native.next("push"))["job"] == other
        mine = await holding(peer, here)
        asked = {"type": "RequestJobDefinitions", "payload": {"jobIds": [other, mine]}}
        await peer.socket.send_json(asked)
        answer = await peer.next("BroadcastJobDefinitions")
        assert list(answer["payload"]["definitions"]) == [mine]
        await peer.socket.send_json(change("Running", other))
        await peer.socket.send_json(finished(other))
        assert await shown(peer, other, None)
        assert await here.state(other) == ("Running", "n", 1)
        assert shown_states(peer, other) == []


async def test_full_states_come_also_when_nothing_happens(here: Grid) -> None:
    async with by_hand(here) as peer:
        await peer.socket.send_json(registration())
        began = asyncio.get_running_loop().time()
        for _ in range(4):
            await peer.next("JobStates")
        assert asyncio.get_running_loop().time() - began < 4 * 10 * SCALE


async def test_a_finished_job_is_never_again_shown_as_running(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        await peer.socket.send_json(finished())
        await shown(peer, job, "Finished")
        before = len(peer.seen)
        await peer.socket.send_json(change("Running"))  # it started the job again (D20)
        await shown(peer, job, "Finished")
        await peer.socket.send_json(finished(StatusCode=9))
        await shown(peer, job, "Finished")
        await peer.next("JobStates")
        assert set(shown_states(peer, job, before)) == {"Finished"}
        document = json.loads(await here.daemon.finished("q", job) or b"")
        assert document["finished"]["result"]["StatusCode"] == 0


async def test_a_running_job_is_guarded_as_long_as_it_is_announced(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        for _ in range(3):
            await peer.next("JobStates")
            await peer.socket.send_json(change("Running"))  # a worker that has it answers so
        assert set(shown_states(peer, job)) == {"Queued"}
        assert await here.state(job) == ("Running", "w", 1)
        await shown(peer, job, "Running")  # it was silent about it
        await peer.socket.send_json(change("Running"))  # it had forgotten it, and starts it again
        await guarded(peer, job)
        await peer.socket.send_json(finished())
        await shown(peer, job, "Finished")


@pytest.mark.parametrize("more", [{"gpus": 1}, {"cpus": GUARDED_SLOTS_MAX + 1}])
async def test_where_a_guard_is_of_no_use_a_running_job_is_shown_as_such(
    here: Grid, more: dict[str, int]
) -> None:
    async with by_hand(here) as peer:
        await peer.socket.send_json(registration(**more))
        job = await here.submit(DEFINITION)
        await shown(peer, job, "Queued")
        await peer.socket.send_json(change("Running", job))
        assert (await shown(peer, job, "Running"))["worker"] == "w"


async def test_a_job_that_ends_while_a_frame_is_on_its_way_is_not_started_again(
    here: Grid,
) -> None:
    """Whatever the worker is shown just then, its list never says that the job is to be started:
    what it sends is held up here, what it is sent is not."""
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        first = await here.submit(SLOW)
        await until(lambda: up.started == [first], lambda: up.frames)
        await until(lambda: up.list[first].get("requirements") == {"gpus": 1}, lambda: up.list)
        up.held_up = []
        await until(lambda: up.finished == [first], lambda: up.frames)
        states = up.kinds.count("JobStates")
        second = await here.submit(DEFINITION)
        await until(lambda: up.kinds.count("JobStates") >= states + 2, lambda: up.kinds)
        assert second in up.started
        assert up.started.count(first) == 1
        up.let_out()
        await over(here, first)
        await over(here, second)
        # The other may have been offered anew, when what was held up came later than its patience.
        assert up.started.count(first) == 1


# --- being stopped --------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["Cancelled", "Deleted"])
async def test_the_end_of_a_job_is_told_at_once(here: Grid, reason: str) -> None:
    """By its absence from the very next frame; it would be 9 s (here 0.9) until one in turn."""
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        await peer.next("JobStates")
        before = len(peer.seen)
        if reason == "Deleted":
            await here.daemon.delete("q", job, "_")
        else:
            await here.daemon.cancel("q", job, "_", "")
        await shown(peer, job, None)
        kinds = [one["type"] for one in peer.seen[before:]]
        assert kinds == (["ClearJobCache", "JobStates"] if reason == "Deleted" else ["JobStates"])
        await peer.socket.send_json(finished())  # too late
        await shown(peer, job, None)
        assert await here.daemon.finished("q", job) is None


async def long_ago(here: Grid, job: str) -> None:
    """So that it has a grace of 8 s when it is replaced; that time is not shortened here."""
    here.daemon.room("q").engine.jobs.by_id[job].queued_time -= 70_000


async def test_a_replaced_job_is_stopped_in_time_whatever_its_grace(here: Grid) -> None:
    """Its grace and the worker's own 6 s would make 14: it is told while the grace lasts."""
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        older = await here.submit(ENDLESS, namespace="slot")
        await until(lambda: up.started == [older], lambda: up.frames)
        await long_ago(here, older)
        newer = await here.submit(DEFINITION, namespace="slot")
        await until(lambda: up.killed == [older], lambda: up.list, 5)
        assert await here.state(older) == ("Running", "up", 1)  # as far as the grace goes
        await over(here, newer)
        assert up.started == [older, newer]


async def test_a_replaced_job_may_end_in_its_grace_or_be_held_again(here: Grid) -> None:
    async with by_hand(here) as peer:
        await peer.socket.send_json(registration())
        jobs = [await here.submit(one, namespace=one["command"]) for one in (SLOW_A, SLOW_B)]
        for job in jobs:
            await shown(peer, job, "Queued")
            await peer.socket.send_json(change("Running", job))
            await guarded(peer, job)
            await long_ago(here, job)
        for one in (SLOW_A, SLOW_B):
            await here.submit({"image": "a", "command": "x" + one["command"]}, one["command"])
        for job in jobs:
            view = await shown(peer, job, "Finished")
            assert view["finishedReason"] == "JobReplacedByClient"
        await here.submit(SLOW_A, namespace="again")
        await guarded(peer, jobs[0])
        await peer.socket.send_json(finished(jobs[1]))
        await over(here, jobs[1])
        assert await here.daemon.finished("q", jobs[1])
        assert await here.state(jobs[0]) == ("Running", "w", 1)


async def test_a_deleted_answer_is_cleared_and_runs_again(here: Grid) -> None:
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        job = await here.submit(DEFINITION)
        await until(lambda: up.finished == [job], lambda: up.frames)
        await until(lambda: up.list.get(job, {}).get("state") == "Finished", lambda: up.list)
        await here.daemon.delete("q", job, "_")
        await until(lambda: up.cleared == [job], lambda: up.frames)
        await here.submit(DEFINITION)
        await until(lambda: up.finished == [job, job], lambda: up.frames[-3:])


async def test_the_end_of_a_deleted_run_is_no_answer_to_the_next(here: Grid) -> None:
    """``ClearJobCache`` kills it (WIRE 6.11), and it ends as a success with code 137."""
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        await here.daemon.delete("q", job, "_")
        await here.submit(DEFINITION)
        await peer.next("ClearJobCache")
        await peer.socket.send_json(change("Running"))
        await peer.socket.send_json(finished(StatusCode=137))
        view = await shown(peer, job, "Queued")  # offered once the run is gone
        assert "requirements" not in view
        await peer.socket.send_json(change("Running"))
        await guarded(peer, job)
        await peer.socket.send_json(finished(StatusCode=0))
        await over(here, job)
        document = json.loads(await here.daemon.finished("q", job) or b"")
        assert document["finished"]["result"]["StatusCode"] == 0


async def test_a_slot_is_free_only_when_the_job_in_it_was_stopped(here: Grid) -> None:
    async with UpstreamWorker(here.url, "q", "up", cpus=1, scale=SCALE) as up:
        first = await here.submit(ENDLESS)
        await until(lambda: up.started == [first], lambda: up.frames)
        await here.daemon.cancel("q", first, "_", "")
        second = await here.submit(DEFINITION)
        await until(lambda: up.finished == [second], lambda: up.frames[-3:])
        await over(here, second)
        assert up.killed == [first]
        assert await here.state(second) == ("Finished", "up", 1)


# --- connections that break -----------------------------------------------------------------


async def test_a_worker_that_reconnects_keeps_its_job(here: Grid) -> None:
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        job = await here.submit(SLOW)
        await until(lambda: up.started == [job], lambda: up.frames)
        await up.cut()
        await until(lambda: up.connections == 2, lambda: up.connections)
        await until(lambda: up.finished == [job], lambda: up.frames[-3:])
        await until(lambda: up.list.get(job, {}).get("state") == "Finished", lambda: up.list)
        assert await here.state(job) == ("Finished", "up", 1)
        assert up.started == [job]


async def test_what_it_could_not_send_comes_before_its_registration(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
    async with by_hand(here) as peer:
        logs = {"jobId": job, "step": "Running", "logs": [["a\n", 1]]}
        await peer.socket.send_json({"type": "JobStatusLogs", "payload": logs})
        await peer.socket.send_json(finished(logs=[["a\n", 1], ["bye", 2, True]]))
        await peer.socket.send_json(registration())
        await shown(peer, job, "Finished")
        document = json.loads(await here.daemon.finished("q", job) or b"")
        assert document["attempt"] == 1
        assert document["finished"]["result"]["logs"] == [["a\n", 1], ["bye", 2, True]]
        assert [line.text for line in (await here.daemon.logs("q", job, "run", 0)).data] == ["a\n"]


async def test_only_a_result_may_be_very_large(here: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_worker, "FRAME_BYTES_MAX", 2_000)
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        logs = {"jobId": job, "step": "Running", "logs": [["x" * 3_000, 1]]}
        await peer.socket.send_json({"type": "JobStatusLogs", "payload": logs})
        assert (await peer.next("Error"))["payload"]["limit"] == 2_000
        await peer.socket.send_json(finished(job, logs=[["x" * 3_000, 1]]))
        await over(here, job)
        assert (await here.daemon.logs("q", job, "run", 0)).data == []
        document = json.loads(await here.daemon.finished("q", job) or b"")
        assert document["finished"]["result"]["logs"] == [["x" * 3_000, 1]]


async def test_too_much_before_a_registration_is_refused(
    here: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_worker, "EARLY_FRAMES_MAX", 3)
    async with by_hand(here) as peer:
        for _ in range(4):
            await peer.socket.send_json(finished())
        assert (await peer.closed())[0] == 1013


async def test_a_restarted_worker_is_shown_its_job_and_runs_it_again(here: Grid) -> None:
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        job = await here.submit(SLOW)
        await until(lambda: up.started == [job], lambda: up.frames)
    async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
        await until(lambda: up.finished == [job], lambda: up.frames)
        await until(lambda: up.list.get(job, {}).get("state") == "Finished", lambda: up.list)
        assert await here.state(job) == ("Finished", "up", 1)
        document = json.loads(await here.daemon.finished("q", job) or b"")
        logs = document["finished"]["result"]["logs"]
        assert [line[0] for line in logs] == ["one\n", "two\n"]  # told twice, kept once


async def test_a_worker_that_comes_back_without_its_job_gives_it_back(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
    async with by_hand(here) as peer:
        await peer.socket.send_json(registration())
        assert (await shown(peer, job, "Running"))["worker"] == "w"
        await shown(peer, job, None)  # it said nothing
        await shown(peer, job, "Queued")
        assert await here.state(job) == ("Running", "w", 2)  # offered anew


async def test_a_second_socket_of_the_same_worker_replaces_the_first(here: Grid) -> None:
    async with by_hand(here) as first, by_hand(here) as second:
        job = await holding(first, here)
        await second.socket.send_json(registration(cpus=7))
        await shown(second, job, "Running")  # whether it has it is not known yet
        assert (await first.closed())[0] == 4001
        await second.socket.send_json(change("Running"))
        await second.socket.send_json(finished())
        await shown(second, job, "Finished")
        assert await here.state(job) == ("Finished", "w", 1)


async def test_registering_again_disturbs_nothing(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        for again in (registration(), registration(cpus=7)):
            await peer.socket.send_json(again)
            await peer.next("JobStates")
        await peer.next("JobStates")
        (view,) = await here.daemon.workers("q")
        assert (view.resources.cpus, view.held) == (7, (job,))
        await peer.socket.send_json(finished())
        await shown(peer, job, "Finished")
        assert await here.state(job) == ("Finished", "w", 1)


async def test_another_id_on_the_same_socket_is_another_worker(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        await peer.socket.send_json(registration("v"))
        await shown(peer, job, None)
        await peer.socket.send_str("PING")
        assert await peer.next("PONG v")
        await peer.socket.send_json(finished())  # no longer its own
        await shown(peer, job, None)
        assert (await here.state(job))[:2] == ("Running", "w")


async def test_the_jobs_of_a_lost_worker_go_to_another(tmp_path: Path) -> None:
    async with grid(tmp_path, scale=SCALE, lease_ms=1_500, heartbeat_ms=500) as here:
        async with UpstreamWorker(here.url, "q", "lost", scale=SCALE) as lost:
            job = await here.submit(SLOW)
            await until(lambda: lost.started == [job], lambda: lost.frames)
        async with UpstreamWorker(here.url, "q", "other", scale=SCALE) as other:
            await until(lambda: other.finished == [job], lambda: other.frames[-3:])
            await over(here, job)
        assert await here.state(job) == ("Finished", "other", 2)


async def test_the_result_of_a_lost_lease_changes_nothing(tmp_path: Path) -> None:
    async with grid(tmp_path, scale=SCALE, lease_ms=1_000, heartbeat_ms=300) as here:
        async with by_hand(here) as peer:
            job = await holding(peer, here)
        async with worker(here.url, path="/q/q/worker") as native:
            await native.socket.send_json([hello("n")])
            beating = asyncio.create_task(heartbeats(native))
            assert (await native.next("push"))["attempt"] == 2
            async with by_hand(here) as peer:
                await peer.socket.send_json(finished(StatusCode=9))
                await peer.socket.send_json(registration())
                await shown(peer, job, None)
                lease = {"job": job, "attempt": 2}
                ended = {"type": "finished", **lease, "reason": "Success", "result": "{}"}
                await native.socket.send_json([ended])
                await native.next("acknowledged")
            beating.cancel()
        assert await here.state(job) == ("Finished", "n", 2)


async def heartbeats(peer: Peer) -> None:
    while True:
        await peer.socket.send_json([{"type": "heartbeat"}])
        await asyncio.sleep(0.1)


async def test_a_silent_worker_is_alive_as_long_as_it_pings(tmp_path: Path) -> None:
    async with (
        grid(tmp_path, scale=SCALE, lease_ms=1_000, heartbeat_ms=300) as here,
        by_hand(here) as peer,
    ):
        job = await holding(peer, here)
        for _ in range(15):
            await peer.socket.send_str("PING")
            await peer.next("PONG w")
            await asyncio.sleep(0.1)
        assert await here.state(job) == ("Running", "w", 1)


# --- offers that are not taken ----------------------------------------------------------------


async def test_an_offer_that_is_not_claimed_goes_to_another(here: Grid) -> None:
    async with by_hand(here) as deaf:
        await deaf.socket.send_json(registration("deaf"))
        job = await here.submit(DEFINITION)
        await shown(deaf, job, "Queued")
        async with UpstreamWorker(here.url, "q", "up", scale=SCALE) as up:
            pinging = asyncio.create_task(pings(deaf))
            await shown(deaf, job, None)
            await until(lambda: up.finished == [job], lambda: up.frames[-3:])
            await over(here, job)
            pinging.cancel()
        state, name, attempt = await here.state(job)
        assert (state, name) == ("Finished", "up")
        assert attempt == 2
        await deaf.socket.send_json(change("Running", name="deaf"))  # too late
        await shown(deaf, job, None)
        assert (await here.state(job))[1] == "up"


async def pings(peer: Peer) -> None:
    while True:
        await peer.socket.send_str("PING")
        await asyncio.sleep(0.2)


async def test_a_worker_that_gives_a_job_up_is_offered_another_attempt(here: Grid) -> None:
    async with by_hand(here) as peer:
        job = await holding(peer, here)
        await peer.socket.send_json(change("Finished", reason="WorkerLost"))
        await shown(peer, job, "Queued")
        assert await here.state(job) == ("Running", "w", 2)


FATAL = {"image": "a", "command": "echo ${"}


async def refusals(here: Grid, job: str) -> bool:
    state, _, attempt = await here.state(job)
    return state == "Queued" and attempt > 0


async def test_a_job_that_would_end_the_worker_is_for_others(here: Grid) -> None:
    async with by_hand(here) as peer:
        await peer.socket.send_json(registration())
        await peer.next("Workers")
        job = await here.submit(FATAL)
        await over(here, job)
        document = json.loads(await here.daemon.finished("q", job) or b"")
        assert document["finished"]["reason"] == "Error"
        assert "unclosed ${" in document["finished"]["result"]["error"]
        async with worker(here.url, path="/q/q/worker") as native:
            await native.socket.send_json([hello("n", credit=0)])
            await native.next("welcome")
            other = await here.submit({**FATAL, "workdir": "/"})
            await until(lambda: refusals(here, other), lambda: here.daemon.room("q").held("w"))
            await native.socket.send_json([{"type": "credit", "jobs": 1}])
            assert (await native.next("push"))["job"] == other
        assert shown_states(peer, job) == shown_states(peer, other) == []


@pytest.mark.parametrize(
    ("definition", "fits"),
    [
        ({"command": "echo ${A} $B ${C:-d}"}, True),
        ({"command": "echo ${}"}, False),
        ({"command": "${A} ${B"}, False),
        ({"entrypoint": "${"}, False),
        ({"env": {"A": "${"}}, True),
        ({"command": "a" * (UPSTREAM_DEFINITION_BYTES_MAX - 15)}, True),
        ({"command": "a" * UPSTREAM_DEFINITION_BYTES_MAX}, False),
        ({"command": "é" * (UPSTREAM_DEFINITION_BYTES_MAX // 2)}, False),
    ],
)
def test_definitions_that_upstreams_worker_dies_of(definition: dict[str, Any], fits: bool) -> None:
    assert (why_unfit(json.dumps(definition, ensure_ascii=False)) is None) == fits


@pytest.mark.parametrize(
    ("definition", "limit_ms", "sent"),
    [
        ('{"a": 1.50}', 0, '{"a": 1.50}'),
        ('{"a":1.50}', 90_000, '{"a":1.50,"maxDuration":"1m30s"}'),
        ('{"maxDuration":"1h"}', 1_500, '{"maxDuration":"1s500ms"}'),
        ('{"maxDuration": "1s"}', 1_500, '{"maxDuration": "1s"}'),
        ('{"maxDuration": 900}', 1_500, '{"maxDuration": 900}'),
    ],
)
def test_the_submitters_bound_reaches_the_worker_in_the_definition(
    definition: str, limit_ms: int, sent: str
) -> None:
    assert limited(definition, limit_ms) == sent


# --- results ----------------------------------------------------------------------------------

A, B, C = LogLine("a\n", 1), LogLine("b\n", 2, True), LogLine("c", 3)


def told(*lines: LogLine, **members: Any) -> bytes:
    logs = [[line.text, line.time, *([True] if line.stderr else [])] for line in lines]
    return json.dumps({"logs": logs, "StatusCode": 0, **members}).encode()


def streamed(*lines: LogLine, step: str = "Running") -> JobLog:
    log = JobLog()
    log.add(step, 0, list(lines))
    return log


def lines_of(result: str) -> tuple[list[str], bool]:
    found = json.loads(result)
    return [line[0] for line in found["logs"]], found.get("logsComplete", False)


@pytest.mark.parametrize(
    ("log", "lines", "kept", "complete"),
    [
        (streamed(A, B), (A, B, C), ["c"], False),
        (streamed(A, B), (A, B), [], False),
        (streamed(), (A, B), ["a\n", "b\n"], False),
        (None, (A,), ["a\n"], False),
        (streamed(B), (A, B, C), ["a\n", "b\n", "c"], True),  # we lost the beginning
        (streamed(A, A), (A, B), ["a\n", "b\n"], True),  # told twice
        (streamed(A, B, C), (A, B), ["a\n", "b\n"], True),
        (streamed(A, step="docker build"), (A, C), ["a\n", "c"], False),  # not of the run
    ],
)
def test_no_line_is_lost_or_doubled(
    log: JobLog | None, lines: tuple[LogLine, ...], kept: list[str], complete: bool
) -> None:
    reason, result = native_result("Success", told(*lines), log, 9)
    assert reason == "Success"
    assert lines_of(result) == (kept, complete)


def test_of_a_failed_build_the_build_log_is_what_was_streamed() -> None:
    log = streamed(A, B, step="docker build")
    reason, result = native_result("Error", told(A, B, C, error="Error"), log, 9)
    assert (reason, lines_of(result)) == ("Error", (["c"], False))


def test_a_log_beyond_the_bound_keeps_its_tail_and_says_so() -> None:
    many = [LogLine(f"{n} " + "x" * 60_000, n) for n in range(100)]
    _, result = native_result("Success", told(*many), None, 9)
    texts, _ = lines_of(result)
    assert len(result) <= RESULT_BYTES_MAX
    assert "earlier lines were too much to keep" in texts[0]
    assert texts[-1].startswith("99 ")
    assert texts[1].startswith(f"{100 - len(texts) + 1} ")
    log = streamed(*many[50:])  # what we have of them comes in front
    _, result = native_result("Success", told(*many, C), log, 9)
    assert lines_of(result) == (["c"], False)


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[]",
        b"{oops",
        b'{"logs":5}',
        b'{"logs":[["a"]]}',
        b'{"a":' + b"[" * 5_000,
        json.dumps({"outputs": "x" * RESULT_BYTES_MAX}).encode(),
    ],
)
def test_a_result_that_cannot_be_kept_is_an_error_that_says_why(raw: bytes) -> None:
    reason, result = native_result("Success", raw, None, 9)
    assert reason == "Error"
    assert "its worker" in json.loads(result)["error"]
    assert len(result) < 2_000


def test_long_lines_are_split_alike_in_stream_and_result() -> None:
    long = LogLine("é" * LOG_LINE_BYTES_MAX, 1)
    parts = split_lines([A, long])
    assert "".join(part.text for part in parts[1:]) == long.text
    assert all(len(part.text.encode()) <= LOG_LINE_BYTES_MAX for part in parts)
    _, result = native_result("Success", told(A, long, C), streamed(*parts), 9)
    assert lines_of(result) == (["c"], False)


def test_a_log_of_equal_lines_is_compared_in_no_time() -> None:
    same = [LogLine("x\n", 1)] * 60_000
    log = streamed(B, *same)
    _, result = native_result("Success", told(*same, *same), log, 9)
    assert json.loads(result)["logsComplete"]


def test_times_that_are_none_are_0() -> None:
    (line,) = split_lines([LogLine("a", 1 << 60)])
    assert line == LogLine("a", 0)
