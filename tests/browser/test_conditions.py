"""The page where it has it hard: a server that goes away, little room, the dark, no mouse."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.browser.conftest import QUEUE, WEB, Grid, Opening, Watched, encoded, shell, started
from tests.browser.test_jobs import run, see_state
from tests.system.support.up import grid_up

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = "for i in $(seq 40); do echo line $i; sleep 0.1; done"


async def test_a_server_that_restarts_costs_no_line(opened: Opening, tmp_path: Path) -> None:
    async with started(tmp_path) as grid:
        page = await opened(grid.link(shell(COUNT)))
        await run(page)
        await expect(page.get_by_role("log")).to_contain_text("line 5")
        await grid.server.kill()
        await expect(page.get_by_text("connecting again")).to_be_visible()
        await grid.server.start()
        await expect(page.get_by_text("connecting again")).to_have_count(0)
        await see_state(page, "Done")
        await expect(page.get_by_role("log")).to_contain_text("line 40")
        lines = await page.locator(".line").all_inner_texts()
        seen = [int(match[1]) for it in lines if (match := re.search(r"line (\d+)", it))]
        assert seen == list(range(1, 41))


async def test_a_tiny_frame_shows_the_strip_alone(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    page = await opened(grid.link(shell("echo hi"), autostart="true"), 400, 100)
    await see_state(page, "Done")
    await expect(page.get_by_role("main")).to_be_hidden()
    await expect(page.get_by_role("button", name="Run again")).to_be_in_viewport()
    await page.set_viewport_size({"width": 900, "height": 700})
    await expect(page.get_by_role("log")).to_contain_text("hi")
    await page.set_viewport_size({"width": 400, "height": 100})
    await expect(page.get_by_role("main")).to_be_hidden()
    assert len(watched.posted()) == 1, "a frame that changes its size runs nothing again"


async def test_a_phone(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("echo on a phone")), 390, 760, has_touch=True)
    await expect(page.get_by_label("Command")).to_be_visible()
    await run(page)
    await see_state(page, "Done")
    await expect(page.get_by_role("log")).to_contain_text("on a phone")
    for name in ("Job", "Log", "Outputs", "Runs", "Queue"):
        await page.get_by_role("tab", name=name).click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, name


async def test_dark_where_the_reader_wants_it(grid: Grid, opened: Opening) -> None:
    async def ground(scheme: str) -> int:
        page = await opened(f"{grid.url}/", color_scheme=scheme)
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert await ground("dark") < 120
    assert await ground("light") > 600


async def test_with_the_keyboard_alone(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("echo typed; sleep 60")))
    await see_state(page, "Ready")
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Run":
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("log")).to_contain_text("typed")
    await page.get_by_role("tab", name="Log").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Outputs")).to_have_attribute("aria-selected", "true")
    await page.get_by_role("button", name="Share").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Short link to read")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("Short link to read")).to_have_count(0)
    await page.get_by_role("button", name="Stop").focus()
    await page.keyboard.press("Enter")
    await see_state(page, "Stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_barrier(grid: Grid, opened: Opening, scheme: str) -> None:
    axe = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    page = await opened(
        grid.link(
            shell("echo out; echo err >&2; echo a,b > $JOB_OUTPUTS/a.csv; exit 2"),
            {"a.py": "print()"},
        ),
        color_scheme=scheme,
    )
    await run(page)
    await see_state(page, "Exit code 2")
    await page.evaluate(axe)
    for tab in ("Log", "Outputs", "Runs", "Queue"):
        await page.get_by_role("tab", name=tab).click()
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        serious = [
            (it["id"], [node["html"][:120] for node in it["nodes"][:3]])
            for it in found["violations"]
            if it["impact"] in ("serious", "critical")
        ]
        assert not serious, tab


async def test_a_link_starts_nothing_on_the_visitors_own_machine(
    opened: Opening, watched: Watched, tmp_path: Path
) -> None:
    link = f"/#?autostart=true&job={encoded({'command': 'true'})}&queue=local"
    with grid_up(tmp_path, "process") as url:
        page = await opened(url + link)
        await expect(page.get_by_text("you start it")).to_be_visible()
        assert watched.posted() == []
        await run(page)
        await see_state(page, "Done")


PARENT = """<!doctype html><title>parent</title><iframe name="mf" width="600" height="400"></iframe>
<script>
const frame = document.querySelector("iframe");
window.said = [];
const answer = (method, params) => frame.contentWindow.postMessage(
  {jsonrpc: "2.0", id: "_", method, params, iframeId: "mf", parentId: "p1"}, "*");
window.give = (inputs) => answer("InputsUpdate", {inputs, parentId: "p1"});
setTimeout(() => addEventListener("message", ({data}) => {
  window.said.push(data);
  if (data.method === "SetupIframeClientRequest") answer("SetupIframeServerResponse",
    {iframeId: "mf", parentId: "p1", state: {inputs: {"first.txt": "one"}}, version: "2"});
}), 700);
</script>"""


@pytest_asyncio.fixture(loop_scope="session")
async def parent() -> AsyncIterator[str]:
    """The address of a page of another origin, with an empty frame."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=PARENT, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_as_a_frame_in_a_page_that_listens_late(
    grid: Grid, opened: Opening, parent: str
) -> None:
    page = await opened(parent)
    script = "cat $JOB_INPUTS/* > $JOB_OUTPUTS/all.txt"
    link = grid.link(shell(script), autostart="true", allowsetjob="true")
    await page.evaluate("link => { document.querySelector('iframe').src = link }", link)

    async def outputs(condition: str) -> object:
        found = "said.filter(it => it.method === 'OutputsUpdate').map(it => it.params)"
        await page.wait_for_function(f"{found}.some(it => {condition})")
        return await page.evaluate(f"{found}.findLast(it => {condition})")

    first = await outputs("it['all.txt']?.value === 'b25l'")
    assert first["all.txt"]["type"] == "base64"  # type: ignore[index]
    assert first["job/result.json"]["statusCode"] == 0  # type: ignore[index]
    await page.evaluate("give({'large.bin': new Uint8Array(300000).fill(97)})")
    second = await outputs("it['all.txt']?.type === 'url'")
    assert "/f/" in second["all.txt"]["value"]  # type: ignore[index]
    await page.evaluate("give({job: {command: 'true'}})")
    third = await outputs("'all.txt' in it && it['all.txt'] === undefined")
    assert third["job/result.json"]["stdout"] == []  # type: ignore[index]
    await page.wait_for_function("said.some(it => it.method === 'HashParamsUpdate')")
    assert QUEUE in await page.evaluate(
        "said.find(it => it.method === 'HashParamsUpdate').params.hash"
    )
