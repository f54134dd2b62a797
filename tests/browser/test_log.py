"""The log as a reader meets it: steps, what fits the eye, what is found, and a terminal."""

import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, WEB, Grid, Opening, Watched, shell
from tests.browser.test_jobs import run, see_state
from tests.system.support.processes import api
from tests.system.support.sockets import Peer, hello, worker

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

AT_END = "it => it.scrollHeight - it.scrollTop - it.clientHeight < 3"
BOX = "document.querySelector('[role=log]')"


class Played:
    """A worker that pulls, builds and runs one job as it is told, at times that it makes up."""

    def __init__(self, peer: Peer, job: str) -> None:
        self.job = job
        self._peer = peer
        self._cursor = 0
        self._now = int(time.time() * 1000) - 60_000

    async def says(self, step: str, *texts: str, after_ms: int = 0, stderr: bool = False) -> None:
        self._now += after_ms
        lines = [[f"{text}\n", self._now, *([True] if stderr else [])] for text in texts]
        await self._send("log", step=step, cursor=self._cursor, lines=lines)
        self._cursor += len(lines)

    async def starts(self) -> None:
        await self._send("started", time=self._now)

    async def ends(self, reason: str, **result: Any) -> None:
        await self._send("finished", reason=reason, result=json.dumps(result))
        await self._peer.next("acknowledged")

    async def _send(self, kind: str, **members: Any) -> None:
        message = {"type": kind, "job": self.job, "attempt": 1, **members}
        await self._peer.socket.send_json([message])


@asynccontextmanager
async def played(grid: Grid, definition: dict[str, Any]) -> AsyncIterator[tuple[Played, str]]:
    """A job of a queue of its own, in the hands of such a worker; and the queue's name."""
    queue = uuid.uuid4().hex[:8]
    async with api(grid.url) as rest, worker(grid.url, path=f"/q/{queue}/worker") as peer:
        job = await rest.submit(definition, queue)
        await peer.socket.send_json([hello("played")])
        assert (await peer.next("push"))["job"] == job
        yield Played(peer, job), queue


def step(page: Page, name: str) -> Any:
    return page.get_by_role("log").get_by_role("button", name=re.compile(name))


async def see_steps(page: Page, *names: str) -> None:
    await expect(page.get_by_role("log").get_by_role("heading")).to_have_text(
        [re.compile(re.escape(name)) for name in names]
    )


async def test_pull_build_and_run_are_steps(grid: Grid, opened: Opening) -> None:
    definition = {"build": {"dockerfile": "FROM python:3.12-slim"}, "command": "x"}
    async with played(grid, definition) as (it, queue):
        await it.says("docker image pull", "3.12-slim: Pulling from library/python")
        await it.says("docker build", "Step 1/1 : FROM python:3.12-slim", after_ms=12_000)
        page = await opened(f"{grid.url}/j/{it.job}#?queue={queue}")
        await expect(step(page, "Pull python:3.12-slim.*done · 12 s · 1 line")).to_be_visible()
        await expect(step(page, "Build.*running")).to_have_attribute("aria-expanded", "true")
        await it.says("docker build", "Successfully built", after_ms=3_000)
        await it.starts()
        await it.says("Running", "hello")
        # What went well makes room for the run.
        await expect(step(page, "Build.*done")).to_have_attribute("aria-expanded", "false")
        await expect(page.get_by_role("log")).to_contain_text("hello")
        await expect(page.get_by_text("Step 1/1")).to_have_count(0)
        await it.ends("Success", StatusCode=0, duration=1_500)

        ends = ("Pull python:3.12-slimdone · 12 s", "Builddone · 3.0 s", "Rundone · 1.5 s · 1 line")
        await see_steps(page, *ends)
        late = await opened(f"{grid.url}/j/{it.job}")
        await see_steps(late, *ends)
        await step(late, "Build").click()
        await expect(late.get_by_text("Step 1/1")).to_be_visible()
        # What is found in a closed step opens it.
        await late.get_by_label("Find in the log").fill("PULLING")
        await expect(late.locator(".line.hit mark")).to_have_text("Pulling")


async def test_what_failed_is_open_and_its_first_error_is_pinned(
    grid: Grid, opened: Opening
) -> None:
    async with played(grid, {"build": {"dockerfile": "FROM a"}}) as (it, queue):
        await it.says("docker build", *(f"RUN {n}" for n in range(300)))
        await it.says("docker build", "cp: cannot stat 'x': No such file", stderr=True)
        await it.says("docker build", *(f"and then {n}" for n in range(300)))
        await it.ends("Error", error="Failure to build the docker image: exit code 1")
        page = await opened(f"{grid.url}/j/{it.job}#?queue={queue}")
    await see_steps(page, "Buildfailed · 0.0 s · 601 lines")
    await expect(page.get_by_text("and then 299")).to_be_visible()
    await expect(page.get_by_text("First error")).to_be_visible()
    await page.get_by_role("button", name="Show in log").click()
    await expect(page.locator(".line.marked")).to_contain_text("301cp: cannot stat")
    await expect(page.locator(".line.marked")).to_be_in_viewport()


LONG = """
import sys
for n in range(20_000):
    words = "word " * (n % 90)
    print(f"{n:05d} {words}" + (f"see https://example.org/{n}." if n % 100 == 0 else ""))
"""


async def test_long_lines_wrap_and_everything_is_still_found(grid: Grid, opened: Opening) -> None:
    command = "sh -c 'python3 $JOB_INPUTS/long.py'"
    definition = {"command": command, "env": {"NONCE": uuid.uuid4().hex}}
    page = await opened(grid.link(definition, {"long.py": LONG}))
    await run(page)
    await see_state(page, "Done")
    log = page.get_by_role("log")
    await expect(page.get_by_text("19999 word")).to_be_visible()
    await page.get_by_role("button", name="Wrap").click()
    await page.get_by_label("Times").select_option("Since start")
    await expect(page.get_by_text("19999 word")).to_be_visible()
    await page.wait_for_function(f"({AT_END})({BOX})")
    assert await log.evaluate("it => it.scrollWidth <= it.clientWidth"), "nothing to scroll to"
    await expect(page.locator(".line time").last).to_have_text(re.compile(r"^\d+:\d\d\.\d{3}$"))

    find = page.get_by_label("Find in the log")
    await find.fill("07000")
    await expect(page.get_by_text("1 of 1")).to_be_visible()
    await expect(page.locator(".line.hit")).to_be_in_viewport()
    link = page.locator(".line.hit").get_by_role("link")
    await expect(link).to_have_attribute("href", "https://example.org/7000")
    await expect(link).to_have_attribute("target", "_blank")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    # The line that is in the middle stays there when it wraps no more.
    await page.get_by_role("button", name="Wrap").click()
    await expect(page.locator(".line.hit")).to_be_in_viewport()
    await page.get_by_role("button", name="Wrap").click()

    await find.fill("HTTPS://")
    await expect(page.get_by_text("1 of 200")).to_be_visible()
    await find.press("Shift+Enter")
    await expect(page.get_by_text("200 of 200")).to_be_visible()
    await expect(page.locator(".line.hit")).to_contain_text("19900")
    await page.get_by_role("button", name="Next hit").click()
    await expect(page.locator(".line.hit")).to_contain_text("00000")
    await find.press("Escape")
    await expect(find).to_have_value("")
    await expect(page.locator("mark")).to_have_count(0)

    await log.focus()
    await page.keyboard.press("End")
    await expect(page.get_by_text("19999 word")).to_be_in_viewport()
    await page.keyboard.press("PageUp")
    await expect(page.get_by_role("button", name="To the end")).to_be_visible()
    await page.keyboard.press("Home")
    await expect(page.locator(".line").get_by_text("00001 word")).to_be_in_viewport()
    await page.reload()  # what was chosen is remembered
    await expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_label("Times")).to_have_value("Since start")


async def test_who_scrolls_up_stays_there_until_he_follows(grid: Grid, opened: Opening) -> None:
    async with played(grid, {"image": "i"}) as (it, queue):
        await it.starts()
        await it.says("Running", *(f"early {n}" for n in range(500)))
        page = await opened(f"{grid.url}/j/{it.job}#?queue={queue}")
        log = page.get_by_role("log")
        await expect(page.get_by_text("early 499")).to_be_in_viewport()
        await expect(page.get_by_role("button", name="Follow")).to_have_count(0)
        await log.hover()
        await page.mouse.wheel(0, -30)
        await expect(page.get_by_role("button", name="Follow")).to_be_visible()
        await page.wait_for_function(f"!({AT_END})({BOX})")
        before = await log.evaluate("it => it.scrollTop")
        await it.says("Running", *(f"later {n}" for n in range(50)))
        await expect(step(page, "Run.*550 lines")).to_be_in_viewport()  # it stays in sight
        assert await log.evaluate("it => it.scrollTop") == before
        await page.get_by_role("button", name="Follow").click()
        await expect(page.get_by_text("later 49")).to_be_in_viewport()
        await it.says("Running", "newest")
        await expect(page.get_by_text("newest")).to_be_in_viewport()
        await it.ends("Success", StatusCode=0)


async def test_a_terminal_draws_what_lines_cannot(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    async with played(grid, {"image": "i"}) as (it, queue):
        await it.starts()
        await it.says("Running", "\x1b[32mone\x1b[0m 10%", "two 10%")
        page = await opened(f"{grid.url}/j/{it.job}#?queue={queue}")
        await expect(page.get_by_text("one 10%")).to_be_visible()
        assert not [at.url for at in watched.requests if "terminal" in at.url]
        await it.says("Running", "\x1b[2A\x1b[32mone\x1b[0m 50%\x1b[K", "two 50%\x1b[K")
        await page.get_by_role("button", name="Show in a terminal").click()
        screen = page.get_by_role("region", name="Terminal")
        await expect(screen.locator(".xterm-rows")).to_have_text(re.compile("^one 50%two 50%\\s*$"))
        await it.says("Running", "\x1b[2Aone 99%\x1b[K", "two 99%\x1b[K")
        await expect(screen.locator(".xterm-rows")).to_have_text(re.compile("^one 99%two 99%\\s*$"))
        await expect(screen.locator(".xterm-accessibility")).to_contain_text("one 99%")
        await expect(screen.get_by_text("It keeps the last 10,000 lines")).to_be_visible()

        await screen.locator("textarea").focus()
        await page.keyboard.type("nothing is typed here")
        await page.keyboard.press("Tab")
        assert not await screen.evaluate("it => it.contains(document.activeElement)")
        await page.evaluate((WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8"))
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        assert not [
            (at["id"], [node["html"][:120] for node in at["nodes"][:3]])
            for at in found["violations"]
            if at["impact"] in ("serious", "critical")
        ]
        await page.get_by_role("button", name="Terminal", exact=True).click()
        await expect(page.get_by_role("log")).to_contain_text("two 10%")
        await it.ends("Success", StatusCode=0)


async def test_terminal_true_begins_with_the_log_where_there_is_room_for_one(
    grid: Grid, opened: Opening
) -> None:
    link = grid.link(shell("echo hi"), terminal="true")
    phone = await opened(link, 390, 760)
    await expect(phone.get_by_role("tab", name="Log")).to_have_attribute("aria-selected", "true")
    wide = await opened(link)
    await expect(wide.get_by_label("Command")).to_be_visible()
    await expect(wide.get_by_role("log")).to_be_visible()
