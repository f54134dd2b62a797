"""A queue as its page shows it: what waits, runs and ended, who works on it, and how long."""

import asyncio
import re
import uuid
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, Grid, Opening, Watched, shell
from tests.browser.test_edit import no_serious_barrier
from tests.browser.test_jobs import run, see_state
from tests.system.support.processes import api

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)


def row(page: Page, job: str) -> Any:
    return page.get_by_role("row", name=re.compile(job[:8]))


async def test_each_job_says_what_it_runs_how_long_and_how_it_ended(
    grid: Grid, opened: Opening
) -> None:
    page = await opened(f"{grid.url}/q/{QUEUE}")
    async with api(grid.url) as rest:
        await rest.submit({"image": "alpine:3.20", "env": {"N": uuid.uuid4().hex}}, QUEUE)
        runs = await rest.submit(shell("sleep 60"), QUEUE)
        await expect(row(page, runs)).to_contain_text("sh -c 'sleep 60'")
        await expect(row(page, runs)).to_contain_text("running")
        await expect(row(page, runs)).to_contain_text(re.compile(r"runs 0:0[1-9]"))
        waits = page.get_by_role("row").filter(has_text="alpine:3.20")
        await expect(waits).to_contain_text(re.compile(r"waiting, \d\w\w of \d"))
        worker = page.locator(".workers").get_by_role("row").filter(has_text="w")
        await expect(worker.last).to_contain_text("1 of 4")
        await no_serious_barrier(page)
        failed = await rest.submit(shell("exit 3"), QUEUE)
        await expect(row(page, failed)).to_contain_text(re.compile("ended|failed with exit code 3"))
        await page.get_by_role("button", name="Running").click()
        await expect(row(page, failed)).to_have_count(0)
        await row(page, runs).get_by_role("button", name="Stop").click()
        await expect(row(page, runs)).to_have_count(0)
        await page.get_by_role("button", name="Waiting").click()
        await waits.get_by_role("button", name="Stop").click()
        await expect(waits).to_have_count(0)


async def test_an_empty_queue_says_how_to_begin(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/q/two%20words")
    await expect(
        page.get_by_text(f"gridd-worker run --api-address {grid.url} 'two words'")
    ).to_be_visible()
    await expect(
        page.get_by_text(f"gridd run --api {grid.url} --queue 'two words' --image alpine:3.20")
    ).to_be_visible()


async def test_of_thousands_a_screen_is_shown_and_asked_about(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    async with aiohttp.ClientSession() as session:

        async def submit(number: int) -> int:
            body = {"definition": {"image": "i", "env": {"N": str(number)}}}
            async with session.post(f"{grid.url}/q/heap", json=body) as answer:
                return answer.status

        assert set(await asyncio.gather(*map(submit, range(250)))) == {200}
    page = await opened(f"{grid.url}/q/heap")
    await expect(page.get_by_text("250 waiting")).to_be_visible()
    await expect(page.get_by_text("its own command").first).to_be_visible()
    assert await page.locator(".jobs tbody tr").count() == 100
    looked = [it for it in watched.requests if it.url.endswith("/definition.json")]
    assert 0 < len(looked) < 60, "only what is seen is asked about"
    await page.get_by_role("button", name="Show more of 150").click()
    await expect(page.locator(".jobs tbody tr")).to_have_count(200)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 1200


async def test_the_clock_is_told_when_the_program_began(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    page = await opened(grid.link(shell("sleep 60")))
    await run(page)
    await see_state(page, "Running")
    status = page.get_by_role("status").first
    await expect(status).to_contain_text("on w")
    watched.requests.clear()
    await expect(status).to_contain_text(re.compile(r"0:0[2-9]"))
    assert not [it.url for it in watched.requests if it.url.endswith("/result")]
    await page.get_by_role("button", name="Stop").click()
    await see_state(page, "Stopped")


async def test_in_a_tiny_frame_the_button_is_there(grid: Grid, opened: Opening) -> None:
    """However long the command is, and whatever stands beside the state."""
    long = f"sh -c 'sleep 60; {': ' + 'x' * 300}'"
    page = await opened(grid.link({"command": long, "env": {"N": uuid.uuid4().hex}}), 480, 100)
    await run(page)
    await see_state(page, "Running")
    stop = page.get_by_role("button", name="Stop")
    for width, height in ((480, 100), (300, 60), (860, 110)):
        await page.set_viewport_size({"width": width, "height": height})
        box = await stop.bounding_box()
        assert box is not None
        assert (box["x"] >= 0, box["x"] + box["width"] <= width) == (True, True), box
        assert (box["y"] >= 0, box["y"] + box["height"] <= height) == (True, True), box
    await stop.click()
    await see_state(page, "Stopped")
