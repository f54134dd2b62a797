"""Upstream's worker, as WIRE 6 describes it, on a real ``gridd serve``, with its real times."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd_protocol import job_id
from tests.system.support.processes import Worker, killed_at_end
from tests.upstream.browser import UpstreamBrowser
from tests.upstream.grid import until
from tests.upstream.worker import Run, UpstreamWorker


@pytest.fixture
async def url(tmp_path: Path, serving: Any) -> AsyncIterator[str]:
    async with serving(tmp_path, "--log-level", "warning") as (url, _):
        yield url


async def story(run: Run) -> dict[str, Any]:
    """Pulls, prints on both streams, fails with 3."""
    await asyncio.sleep(0.1)
    for number in range(3):
        run.say(f"line {number}\n")
        await asyncio.sleep(0.02)
    run.say("half \ud800 a pair\n", stderr=True)
    run.say("no newline")
    return {
        "StatusCode": 3,
        "duration": 60,
        "isTimedOut": False,
        "outputs": {"out.txt": {"type": "base64", "value": "aGVsbG8K"}},
    }


async def test_a_job_from_submission_to_result(url: str) -> None:
    definition = {"image": "a", "command": "x", "tags": [], "later": None}
    job = job_id(definition)
    async with (
        UpstreamBrowser(url, "q") as page,
        UpstreamWorker(url, "q", "up-1", program=story) as up,
    ):
        await until(lambda: page.workers, lambda: page.kinds)
        assert page.workers[0]["maxJobDuration"] == "5m"
        await page.query(job)
        await page.submit(job, definition)
        await until(lambda: page.states.get(job, [])[-1:] == ["Finished"], lambda: page.states)
        assert page.states[job] == ["Queued", "Running", "Finished"]
        assert "".join(line[0] for line in page.lines[job] if len(line) == 2) == (
            "line 0\nline 1\nline 2\nno newline"
        )
        found = await page.result(job)
        assert (found["state"], found["finishedReason"], found["worker"]) == (
            "Finished",
            "Success",
            "up-1",
        )
        finished = found["finished"]
        assert {key: finished[key] for key in ("type", "reason", "worker")} == {
            "type": "Finished",
            "reason": "Success",
            "worker": "up-1",
        }
        result = finished["result"]
        told = result.pop("logs")
        assert [line[0] for line in told if len(line) == 2] == [
            "line 0\n", "line 1\n", "line 2\n", "no newline"
        ]  # fmt: skip
        assert [line[0] for line in told if len(line) == 3] == [
            "half \ufffd a pair\n",
            "StatusCode: 3",
        ]
        assert result == {
            "StatusCode": 3,
            "duration": 60,
            "isTimedOut": False,
            "outputs": {"out.txt": {"type": "base64", "value": "aGVsbG8K"}},
        }
        assert (up.started, up.finished, up.killed) == ([job], [job], [])


async def broken_build(run: Run) -> dict[str, Any]:
    run.say("step 1\n", step="docker build")
    run.say("no such file\n", step="docker build", stderr=True)
    run.remark("Failure to build the docker image")
    return {"reason": "Error", "error": "Error", "isTimedOut": False, "outputs": {}}


async def test_a_failed_build_is_told_once(url: str) -> None:
    definition = {"build": {"dockerfile": "FROM a"}}
    job = job_id(definition)
    async with (
        UpstreamBrowser(url, "q") as page,
        UpstreamWorker(url, "q", "up-1", program=broken_build),
    ):
        await page.submit(job, definition)
        await until(lambda: page.states.get(job, [])[-1:] == ["Finished"], lambda: page.states)
        found = (await page.result(job))["finished"]
        assert (found["reason"], found["result"]["error"]) == ("Error", "Error")
        assert [line[0] for line in found["result"]["logs"]] == [
            "step 1\n",
            "no such file\n",
            "Failure to build the docker image",
        ]
        async with aiohttp.ClientSession(url) as session:
            for kind, count in (("run", 0), ("build", 2)):
                async with session.get(f"/q/q/j/{job}/{kind}-logs.json") as response:
                    assert len((await response.json())["data"]) == count


async def test_two_upstream_and_two_native_workers_share_200_jobs(url: str, tmp_path: Path) -> None:
    """In parts, so that none of the four is done with all before the others have begun. That a
    job was run once is told by the workers that start what they like (theirs), and by the number
    of its leases (ours: each starts a lease once)."""
    definitions = [
        {"image": "a", "command": f"{n}", "env": {"SECONDS": "0.02"}} for n in range(200)
    ]
    ids = [job_id(definition) for definition in definitions]
    natives = [
        Worker(tmp_path, url, name, runtime="null", cpus=2) for name in ("native-1", "native-2")
    ]
    async with (
        killed_at_end(*natives),
        UpstreamBrowser(url, "q") as page,
        UpstreamWorker(url, "q", "up-1") as one,
        UpstreamWorker(url, "q", "up-2") as two,
    ):
        await asyncio.gather(*(native.start() for native in natives))
        await until(lambda: len(page.workers) == 4, lambda: page.workers)
        for first in range(0, 200, 20):
            part = ids[first : first + 20]
            for job, definition in zip(part, definitions[first:], strict=False):
                await page.submit(job, definition)
            await until(
                lambda part=part: all(
                    page.states.get(job, [])[-1:] == ["Finished"] for job in part
                ),
                lambda: page.states,
                60,
            )
        assert all(page.states[job] == ["Queued", "Running", "Finished"] for job in ids)
        assert {page.jobs[job]["attempt"] for job in ids} == {1}
        starts = Counter((*one.started, *two.started))
        assert set(starts.values()) == {1}, "an upstream worker started a job twice"
        shares = Counter(page.jobs[job]["worker"] for job in ids)
        assert (shares["up-1"], shares["up-2"]) == (len(one.started), len(two.started))
        assert set(shares) == {"up-1", "up-2", "native-1", "native-2"}
        assert min(shares.values()) >= 10, shares


async def test_cancelled_and_superseded_jobs_are_stopped_within_10_s(url: str) -> None:
    long = [{"image": "a", "command": name, "env": {"SECONDS": "100"}} for name in ("c", "s")]
    cancelled, superseded = map(job_id, long)
    async with UpstreamBrowser(url, "q") as page, UpstreamWorker(url, "q", "up-1") as up:
        await page.submit(cancelled, long[0])
        await page.submit(superseded, long[1], namespace="slot")
        await until(lambda: len(up.started) == 2, lambda: up.started)
        began = time.monotonic()
        await page.cancel(cancelled)
        newer = {"image": "a", "command": "newer"}
        await page.submit(job_id(newer), newer, namespace="slot")
        await until(lambda: len(up.killed) == 2, lambda: up.killed, 10)
        assert time.monotonic() - began < 10
        assert set(up.killed) == {cancelled, superseded}
        # Its slots are free again, and it is told so.
        await until(
            lambda: page.states.get(job_id(newer), [])[-1:] == ["Finished"], lambda: page.states
        )
        assert page.states[job_id(newer)] == ["Queued", "Running", "Finished"]
        assert up.started.count(cancelled) == up.started.count(superseded) == 1


async def test_a_worker_keeps_its_job_over_a_server_restart(tmp_path: Path, serving: Any) -> None:
    definition = {"image": "a", "command": "one two", "env": {"SECONDS": "4"}}
    job = job_id(definition)
    async with contextlib.AsyncExitStack() as stack:
        async with serving(tmp_path, "--log-level", "warning") as (url, _):
            up = UpstreamWorker(url, "q", "up-1", scale=0.2)
            await stack.enter_async_context(up)
            async with UpstreamBrowser(url, "q") as page:
                await page.submit(job, definition)
                await until(lambda: len(page.lines.get(job, [])) == 2, lambda: page.lines)
        port = url.rsplit(":", 1)[1]
        async with (
            serving(tmp_path, "--log-level", "warning", "--port", port) as (url, _),
            UpstreamBrowser(url, "q") as page,
        ):
            await until(lambda: up.finished == [job], lambda: up.frames[-3:])
            await until(
                lambda: page.jobs.get(job, {}).get("state") == "Finished", lambda: page.jobs
            )
            logs = (await page.result(job))["finished"]["result"]["logs"]
            assert [line[0] for line in logs] == ["one\n", "two\n"]
        await stack.aclose()
    assert up.started == [job]
