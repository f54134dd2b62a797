"""WIRE 3 as peers on sockets see it: who holds a job, what runs again, and under which id."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd_protocol import job_id
from tests.system.support.sockets import Peer, client, ended, hello, queued, worker
from tests.upstream.browser import UpstreamBrowser
from tests.upstream.grid import Grid, grid, until
from tests.upstream.worker import UpstreamWorker

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors"
A = {"image": "a", "command": "first", "env": {"SECONDS": "1000"}}
B = {"image": "a", "command": "second", "env": {"SECONDS": "1000"}}
QUICK = {"image": "a", "command": "quick"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Grid]:
    async with grid(tmp_path, scale=0.1) as found:
        yield found


async def post(here: Grid, body: Any, queue: str = "q") -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, str) else json.dumps(body)
    async with aiohttp.ClientSession(here.url) as http, http.post(f"/q/{queue}", data=data) as said:
        return said.status, await said.json()


# --- namespaces -------------------------------------------------------------------------------


async def held_by(peer: Peer, job: str) -> list[str]:
    """The namespaces of ``job`` in the next update of it; none when it is gone."""
    while True:
        payload = (await peer.next("JobStateUpdates"))["payload"]
        if job in payload["state"]["jobs"]:
            return list(payload["state"]["jobs"][job]["namespaces"])
        if job in payload.get("gone", {}):
            return []


async def test_several_holders_let_go_one_by_one_or_all_at_once(here: Grid) -> None:
    """The observed exchange of WIRE 2.9, its part about namespaces."""
    job = job_id(A)
    async with client(here.url, "/q/q/client") as peer:
        for name, held in (("n1", ["n1"]), ("n2", ["n1", "n2"]), ("n3", ["n1", "n2", "n3"])):
            await peer.socket.send_json(queued(A, namespace=name))
            assert await held_by(peer, job) == held
        await peer.socket.send_json(ended("Cancelled", job, namespace="n2"))
        assert await held_by(peer, job) == ["n1", "n3"]
        await peer.socket.send_json(ended("Cancelled", job))  # "_", which does not hold it
        await peer.socket.send_json(ended("Cancelled", job, namespace="nobody"))
        await peer.socket.send_json({"type": "QueryJob", "payload": {"jobId": job}})
        assert await held_by(peer, job) == ["n1", "n3"]
        await peer.socket.send_json(ended("Cancelled", job, namespace="*"))
        assert await held_by(peer, job) == ["n3"]
        assert await held_by(peer, job) == []


@pytest.mark.parametrize("by", ["socket", "request"])
async def test_a_then_b_then_a_in_one_namespace_runs_a(here: Grid, by: str) -> None:
    """Upstream's server answers the third with 200 and runs nothing (FINDINGS 3)."""
    async with (
        UpstreamBrowser(here.url, "q") as page,
        UpstreamWorker(here.url, "q", "up", cpus=1, scale=0.1) as up,
    ):
        for number, definition in enumerate((A, B, A), 1):
            job = job_id(definition)
            if by == "socket":
                await page.submit(job, definition, namespace="slot")
            else:
                body = {"definition": definition, "control": {"namespace": "slot"}}
                assert (await post(here, body))[0] == 200
            await until(lambda n=number: len(up.started) == n, lambda: (up.started, page.states))
            assert up.started[-1] == job
            await until(lambda j=job: set(page.jobs) == {j}, lambda: page.jobs)
        assert up.killed == [job_id(A), job_id(B)]
        assert page.jobs[job_id(A)]["namespaces"] == ["slot"]


async def test_all_at_once_on_queues_that_nobody_used(here: Grid) -> None:
    """Of 30 tries on upstream's: 6 answers 500, the worker blind 7 times, the client 20 times
    (FINDINGS 8)."""

    async def everybody(queue: str) -> None:
        job = job_id(QUICK)
        async with (
            UpstreamWorker(here.url, queue, "up", scale=0.1) as up,
            UpstreamBrowser(here.url, queue) as page,
        ):
            body = {"definition": QUICK}
            assert await post(here, body, queue) == (200, {"success": True, "jobId": job})
            await until(lambda: up.finished == [job], lambda: up.frames)
            await until(
                lambda: page.jobs.get(job, {}).get("state") == "Finished", lambda: page.states
            )

    async with asyncio.timeout(30):
        await asyncio.gather(*(everybody(f"unused-{number}") for number in range(10)))


# --- answers ----------------------------------------------------------------------------------


async def test_an_answer_is_used_again_in_its_queue_and_in_no_other(here: Grid) -> None:
    job = job_id(QUICK)
    async with UpstreamWorker(here.url, "q", "up", scale=0.1) as up:
        await here.submit(QUICK)
        await until(lambda: up.finished == [job], lambda: up.frames)
        async with UpstreamBrowser(here.url, "q") as page, UpstreamBrowser(here.url, "p") as other:
            await until(lambda: page.kinds and other.kinds, lambda: (page.kinds, other.kinds))
            page.states.clear()
            for one in (page, other):
                await one.query(job)
                await one.submit(job, QUICK)
            await until(lambda: other.states.get(job) == ["Queued"], lambda: other.states)
            await until(lambda: page.states.get(job) == ["Finished"], lambda: page.states)
        assert up.started == [job]


@pytest.mark.parametrize("reason", ["Success", "Error", "TimedOut"])
async def test_a_late_cancel_leaves_an_answer_and_a_deletion_does_not(
    here: Grid, reason: str
) -> None:
    """Each of the three is an answer: only after ``Deleted`` is the job run again (WIRE 3.7)."""
    job = job_id(QUICK)
    async with (
        client(here.url, "/q/q/client") as peer,
        worker(here.url, path="/q/q/worker") as machine,
    ):
        await machine.socket.send_json([hello()])
        await peer.socket.send_json(queued(QUICK))
        for attempt in (1, 2):
            assert (await machine.next("push"))["attempt"] == attempt
            lease = {"job": job, "attempt": attempt}
            report = {"type": "finished", **lease, "reason": reason, "result": "{}"}
            await machine.socket.send_json([report])
            await peer.states(job, "Finished")
            await peer.socket.send_json(ended("Cancelled", job, namespace="*"))
            await peer.socket.send_json(queued(QUICK))
            assert await peer.states(job, "Finished") == ["Finished"]
            if attempt == 1:
                await peer.socket.send_json(ended("Deleted", job))
                assert await held_by(peer, job) == []
                await peer.socket.send_json(queued(QUICK))


# --- job ids ----------------------------------------------------------------------------------


def as_text(definition: object) -> str:
    return json.dumps(definition).replace("Infinity", "1e400")


async def test_ids_are_those_of_the_vectors_in_requests_and_on_sockets(here: Grid) -> None:
    """With the id that is right, with none, and with a wrong one; half of a surrogate pair and
    what else is odd in them goes through both doors as it is."""
    cases = json.loads((VECTORS / "job-id.json").read_text("utf-8"))
    async with (
        client(here.url, "/q/sockets/client") as peer,
        aiohttp.ClientSession(here.url) as http,
    ):
        for number, case in enumerate(cases):
            text, job = as_text(case["definition"]), case["id"]
            named = f'"id":"{job}",' if number % 2 else ""
            async with http.post("/q/requests", data=f'{{{named}"definition":{text}}}') as said:
                assert (await said.json()).get("jobId") == job, case["name"]
            change = f'"state":"Queued","job":"","value":{{"enqueued":{{{named}"definition":{text}'
            await peer.socket.send_str(f'{{"type":"StateChange","payload":{{{change}}}}}}}}}')
            found = await peer.next("JobStateUpdates", "Error")
            assert list(found["payload"].get("state", {}).get("jobs", found)) == [job], case["name"]
        wrong = {"id": "0" * 64, "definition": QUICK}
        async with http.post("/q/requests", json=wrong) as said:
            assert said.status == 409
        change = {"state": "Queued", "job": "", "value": {"enqueued": wrong}}
        await peer.socket.send_json({"type": "StateChange", "payload": change})
        assert (await peer.next("Error"))["payload"]["field"] == "id"
