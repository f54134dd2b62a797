"""Upstream's page on a real ``gridd serve``: what it does (WIRE 9.3) and what it must then see."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gridd_protocol import job_id
from tests.upstream.browser import UpstreamBrowser
from tests.upstream.grid import until
from tests.upstream.worker import UpstreamWorker

DEFINITION = {"image": "a", "command": "one two"}
JOB = job_id(DEFINITION)
ENDLESS = {"image": "a", "command": "x", "env": {"SECONDS": "1000"}}


@pytest.fixture
async def url(tmp_path: Path, serving: Any) -> AsyncIterator[str]:
    async with serving(tmp_path, "--log-level", "warning") as (url, _):
        yield url


def last(page: UpstreamBrowser, job: str) -> Any:
    return page.jobs.get(job, {}).get("state")


async def test_a_page_is_answered_and_shown_everything_on_connect(url: str) -> None:
    async with UpstreamBrowser(url, "q", scale=0.02) as page:
        await until(lambda: page.pongs >= 3, lambda: page.pongs)
        assert page.kinds == ["Workers", "JobStates"]  # nothing about the frame ``undefined``
        await page.query("0" * 64)
        await until(lambda: page.kinds[2:] == ["JobStateUpdates"], lambda: page.kinds)
        assert page.jobs == {}


async def test_a_page_that_submits_an_answered_job_sees_the_answer(url: str) -> None:
    async with UpstreamWorker(url, "q", "up") as up:
        async with UpstreamBrowser(url, "q") as page:
            await page.submit(JOB, DEFINITION)
            await page.submit(JOB, DEFINITION)  # embedded pages do so twice
            await until(lambda: last(page, JOB) == "Finished", lambda: page.states)
            assert page.states[JOB] == ["Queued", "Running", "Finished"]
        async with UpstreamBrowser(url, "q") as page:
            page.jobs.clear()
            await page.query(JOB)
            await until(lambda: last(page, JOB) == "Finished", lambda: page.kinds)
            updates = page.kinds.count("JobStateUpdates")
            await page.submit(JOB, DEFINITION, namespace="mine")
            await until(lambda: page.kinds.count("JobStateUpdates") > updates, lambda: page.kinds)
            assert (last(page, JOB), page.jobs[JOB]["namespaces"]) == ("Finished", ["_", "mine"])
            assert "finished" not in page.jobs[JOB]
            assert (await page.result(JOB))["finished"]["reason"] == "Success"
        assert up.started == [JOB]


async def test_run_again_runs_again(url: str) -> None:
    async with UpstreamWorker(url, "q", "up") as up, UpstreamBrowser(url, "q") as page:
        await page.submit(JOB, DEFINITION)
        await until(lambda: last(page, JOB) == "Finished", lambda: page.states)
        await page.delete(JOB)
        await until(lambda: JOB not in page.jobs and up.cleared == [JOB], lambda: page.jobs)
        await page.submit(JOB, DEFINITION)
        await until(lambda: last(page, JOB) == "Finished", lambda: page.states)
        assert page.states[JOB] == ["Queued", "Running", "Finished"] * 2
        assert up.started == [JOB, JOB]


async def test_a_cancelled_job_goes_and_an_answer_stays(url: str) -> None:
    async with UpstreamWorker(url, "q", "up") as up, UpstreamBrowser(url, "q") as page:
        job = job_id(ENDLESS)
        await page.submit(JOB, DEFINITION)
        await page.submit(job, ENDLESS)
        await until(lambda: last(page, JOB) == "Finished", lambda: page.states)
        await until(lambda: job in up.started, lambda: up.started)
        await page.cancel(JOB)
        await page.cancel(job)
        await until(lambda: job not in page.jobs, lambda: page.jobs)
        assert last(page, JOB) == "Finished"
        assert page.states[job] == ["Queued", "Running"]
        assert await page.result(job) is None
