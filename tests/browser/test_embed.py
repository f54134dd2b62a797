"""Jobs in other people's pages, by nothing but the script tag that ``/embed/`` hands out."""

import gzip
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from html import unescape
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page, expect

from tests.browser.conftest import QUEUE, Grid, Opening, shell
from tests.browser.test_edit import no_serious_barrier
from tests.browser.test_jobs import see_state

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT_BYTES_MAX = 10_000
STRICT = "default-src 'none'; script-src {grid} {own}; frame-src {grid}; connect-src {grid}"

Served = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(loop_scope="session")
async def served() -> AsyncIterator[Served]:
    """``await served(html)``: the address of that page, on an origin of its own."""
    runners = []

    async def serve(html: str, headers: dict[str, str] | None = None, script: str = "") -> str:
        async def show(_: web.Request) -> web.Response:
            return web.Response(text=html, content_type="text/html", headers=headers)

        async def show_script(_: web.Request) -> web.Response:
            return web.Response(text=script, content_type="text/javascript")

        app = web.Application()
        app.add_routes([web.get("/", show), web.get("/own.js", show_script)])
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/"

    yield serve
    for runner in runners:
        await runner.cleanup()


async def snippet(page: Page, number: int) -> str:
    """As its copy button gives it, for the grid of these tests: it has no containers."""
    text = await page.locator("pre.copy").nth(number).inner_text()
    text = text.replace("my-queue", QUEUE).replace(' image="alpine:3.20"', "")
    return text.replace(' image="python:3.12-slim"', "")


async def test_the_script_is_small_and_stands_alone(built_page: Path) -> None:
    script = (built_page / "embed" / "gridd.js").read_bytes()
    assert len(gzip.compress(script)) < SCRIPT_BYTES_MAX
    assert script.startswith(b"(function(){"), "it leaves names behind"
    assert b"import" not in script


async def test_the_page_shows_two_jobs_that_work_together(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/embed/")
    await page.get_by_label("A queue with a worker").fill(QUEUE)
    await page.evaluate(  # the worker of these tests has no containers
        "document.querySelector('#example').content.querySelectorAll('gridd-job')"
        ".forEach(it => it.removeAttribute('image'))"
    )
    await page.get_by_role("button", name="Show the two jobs").click()
    await expect(page.locator("#largest")).to_have_text("14\n")
    await page.get_by_label("Numbers").fill("5 4")
    await page.get_by_label("Numbers").press("Tab")
    await expect(page.locator("#largest")).to_have_text("5\n")
    await no_serious_barrier(page)


async def test_the_lines_for_two_jobs_work_in_a_page_of_anybody(
    grid: Grid, opened: Opening, served: Served
) -> None:
    page = await opened(f"{grid.url}/embed/")
    lines = await snippet(page, 2)
    page = await opened(await served(f"<!doctype html><title>mine</title>{lines}"))
    await expect(page.locator("#largest")).to_have_text("14")
    frames = [frame for frame in page.frames if frame.parent_frame]
    assert len({frame.name for frame in frames}) == 2
    # Nothing ran without its inputs.
    for frame in frames:
        await expect(frame.get_by_role("status")).to_have_attribute("aria-label", "State: Done")
    await page.locator("#numbers").fill("7 9 8")
    await page.locator("#numbers").press("Tab")
    await expect(page.locator("#largest")).to_have_text("9")


async def test_the_lines_for_one_job_that_is_written_down(
    grid: Grid, opened: Opening, served: Served
) -> None:
    page = await opened(f"{grid.url}/embed/")
    lines = await snippet(page, 1)
    page = await opened(await served(lines))  # no doctype, no title: what people paste
    frame = page.frame_locator("gridd-job iframe")
    await frame.get_by_role("button", name="Run", exact=True).click()
    await expect(frame.get_by_role("log")).to_contain_text(str(2**100))


async def test_the_lines_that_share_gives(grid: Grid, opened: Opening, served: Served) -> None:
    context = {"permissions": ["clipboard-read", "clipboard-write"]}
    page = await opened(grid.link(shell('echo shared & echo "it"')), **context)
    await see_state(page, "Ready")
    await page.get_by_role("button", name="Share").click()
    await page.get_by_role("listitem").filter(has_text="Script tag").get_by_role("button").click()
    lines = await page.evaluate("navigator.clipboard.readText()")
    page = await opened(await served(lines))
    frame = page.frame_locator("gridd-job iframe")
    await frame.get_by_role("button", name="Run", exact=True).click()
    await expect(frame.get_by_role("log")).to_contain_text("shared")


async def test_under_a_strict_policy_late_and_with_large_files(
    grid: Grid, opened: Opening, served: Served
) -> None:
    """The element is there before its script, the frame is loaded when it is scrolled to, and
    200 kB go through, by a reference that the page reads from the grid."""
    own = """
    const job = document.querySelector("gridd-job");
    job.setInputs({ "large.bin": new Blob([new Uint8Array(200_000).fill(97)]) });
    document.title = "waits";
    job.addEventListener("ready", () => { document.title = "ready"; });
    job.addEventListener("outputs", async () => {
      document.title = (await job.text("copy.bin")).length;
    });
    """
    command = f"sh -c 'cp $JOB_INPUTS/large.bin $JOB_OUTPUTS/copy.bin; : {uuid.uuid4().hex}'"
    html = (
        "<!doctype html><title>strict</title>"
        + "<br>" * 400
        + f'<gridd-job queue="{QUEUE}" command="{command}" autostart loading="lazy"></gridd-job>'
        f'<script src="{grid.url}/embed/gridd.js"></script><script src="/own.js"></script>'
    )
    policy = STRICT.format(grid=grid.url, own="'self'")
    page = await opened(await served(html, {"Content-Security-Policy": policy}, own))
    await expect(page).to_have_title("waits")
    await page.locator("gridd-job").scroll_into_view_if_needed()
    await expect(page).to_have_title("200000")
    value = await page.evaluate("document.querySelector('gridd-job').outputs['copy.bin'].value")
    assert value.startswith(f"{grid.url}/f/")


async def test_an_edit_in_the_frame_is_told(grid: Grid, opened: Opening, served: Served) -> None:
    lines = (
        f'<script src="{grid.url}/embed/gridd.js"></script>'
        f'<gridd-job queue="{QUEUE}" command="true" height="600"></gridd-job>'
        "<script>document.querySelector('gridd-job').addEventListener("
        "'link', event => { window.said = event.detail; });</script>"
    )
    page = await opened(await served(lines))
    frame = page.frame_locator("gridd-job iframe")
    await frame.get_by_label("Command").fill("echo edited")
    await page.wait_for_function("window.said")
    link = await page.evaluate("document.querySelector('gridd-job').link")
    assert link == await page.evaluate("said")
    page = await opened(unescape(link))
    await expect(page.get_by_label("Command")).to_have_value("echo edited")
