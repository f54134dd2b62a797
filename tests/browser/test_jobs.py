"""A scientist's ways through the page: run, watch, stop, give files, look at what came out."""

import re
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, Grid, Opening, Watched, encoded, shell
from tests.system.support.processes import api, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

ANALYSIS = """
import os, pathlib, sys
inputs, out = (pathlib.Path(os.environ[name]) for name in ("JOB_INPUTS", "JOB_OUTPUTS"))
rows = (inputs / "data.csv").read_text().split()
print(len(rows), "rows")
print("a warning", file=sys.stderr)
(out / "table.csv").write_text("name,value\\n" + "\\n".join(rows))
(out / "plots").mkdir()
(out / "plots" / "curve.svg").write_text(
    '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><circle r="9"/></svg>')
"""


def state(page: Page) -> object:
    return expect(page.get_by_role("status").first)


async def see_state(page: Page, word: str) -> None:
    await expect(page.get_by_label(f"State: {word}")).to_be_visible()


async def run(page: Page, label: str = "Run") -> None:
    await page.get_by_role("button", name=label, exact=True).click()


async def test_a_job_is_sent_watched_and_stopped(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("echo it is up; sleep 60")))
    await see_state(page, "Ready")
    await run(page)
    await see_state(page, "Running")
    await expect(page.get_by_role("log")).to_contain_text("it is up")
    await page.get_by_role("button", name="Stop").click()
    await see_state(page, "Stopped")
    await expect(page.get_by_role("button", name="Run again")).to_be_visible()


async def test_a_job_is_written_on_an_empty_page(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/")
    await page.get_by_role("radio", name="No container").click()
    await page.get_by_label("Command").fill("sh -c 'cat $JOB_INPUTS/words.txt'")
    await page.get_by_role("button", name="+ Add a file or script").click()
    await page.get_by_label("Name of the file").fill("words.txt")
    await page.keyboard.press("Enter")
    await page.get_by_label("Contents of words.txt").fill("written on the page\n")
    await page.get_by_role("button", name="Choose a queue").click()
    await page.get_by_label("Queue", exact=True).fill(QUEUE)
    await page.keyboard.press("Enter")
    await page.keyboard.press("Escape")
    await run(page)
    await see_state(page, "Done")
    await expect(page.get_by_role("log")).to_contain_text("written on the page")
    again = await opened(page.url)  # the address is the job
    await see_state(again, "Done")


async def test_files_go_in_and_come_out(grid: Grid, opened: Opening, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("".join(f"row{i},{i}.5\n" for i in range(40_000)))
    definition = {"command": "sh -c 'python3 $JOB_INPUTS/run.py'"}
    page = await opened(grid.link(definition, {"run.py": ANALYSIS}))
    await page.get_by_label("Upload files as inputs").set_input_files(tmp_path / "data.csv")
    await expect(page.get_by_label("What runs")).to_contain_text("uploaded")
    await run(page)
    await see_state(page, "Done")
    log = page.get_by_role("log")
    await expect(log).to_contain_text("40000 rows")
    await expect(log.locator(".err")).to_have_text(re.compile("a warning"))
    await page.get_by_role("tab", name="Outputs").click()
    await page.get_by_role("treeitem", name="table.csv").click()
    await expect(page.get_by_role("columnheader", name="value")).to_be_visible()
    await expect(page.get_by_role("cell", name="1.5", exact=True)).to_be_visible()
    await page.get_by_role("treeitem", name="curve.svg").click()
    picture = page.get_by_alt_text("plots/curve.svg")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("it => it.naturalWidth") == 90
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download all").click()
    assert (await downloading.value).suggested_filename.endswith(".zip")
    async with page.expect_download() as downloading:
        await page.get_by_label("Download table.csv").click()
    saved = await (await downloading.value).path()
    assert saved.read_text().startswith("name,value\nrow0,0.5\n")


async def test_a_strangers_html_runs_nothing(grid: Grid, opened: Opening, watched: Watched) -> None:
    html = "<h1>Report</h1><script>parent.document.title=1</script>"
    page = await opened(grid.link(shell(f'echo "{html}" > $JOB_OUTPUTS/page.html')))
    await run(page)
    await see_state(page, "Done")
    await page.get_by_role("tab", name="Outputs").click()
    report = page.frame_locator("iframe").get_by_role("heading", name="Report")
    await expect(report).to_be_visible()
    assert await page.title() == "Done · gridd"
    # The browser says that it kept the script from running: that is what was wanted here.
    watched.wrong = [it for it in watched.wrong if "script" not in it.lower()]


async def test_a_change_is_marked_until_it_is_run(grid: Grid, opened: Opening) -> None:
    definition = shell("echo one")
    page = await opened(grid.link(definition))
    await run(page)
    await see_state(page, "Done")
    await page.get_by_label("Command").fill("sh -c 'echo two'")
    await expect(page.locator(".changes")).to_contain_text("command")
    await expect(page.get_by_role("log")).to_contain_text("one")
    await run(page, "Run changes")
    await expect(page.get_by_role("log")).to_contain_text("two")
    await see_state(page, "Done")


async def test_run_again_runs_it_anew(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("cat /proc/sys/kernel/random/uuid")))
    await run(page)
    await see_state(page, "Done")
    line = page.get_by_role("log").locator(".line")
    first = await line.inner_text()
    await run(page, "Run again")
    await expect(line).not_to_have_text(first)
    await see_state(page, "Done")


async def test_a_failure_is_told_in_plain_words(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("echo the file is not there >&2; exit 3")))
    await run(page)
    await see_state(page, "Exit code 3")
    card = page.locator(".card")
    await expect(card).to_contain_text("The program ended with exit code 3")
    await expect(card).to_contain_text("the file is not there")


async def test_without_a_worker_it_says_how_to_start_one(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/#?job={encoded({'image': 'alpine'})}&queue=nobody")
    await run(page)
    await see_state(page, "Waiting")
    command = f"gridd-worker run --api-address {grid.url} nobody"
    await expect(page.get_by_text(command)).to_be_visible()


async def test_a_worker_that_can_not_run_it_is_named(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link({"command": "true", "requirements": {"gpus": 3}}))
    await run(page)
    await expect(page.locator(".card")).to_contain_text("has 0 gpus; 3 are asked for")
    await page.get_by_role("button", name="Stop").click()


async def test_opened_late_it_shows_everything(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    async with api(grid.url) as rest:
        # A link that names a job means that very job, also where the page itself would upload.
        inputs = {"inputs": {"long.txt": {"type": "utf8", "value": "x" * 300}}}
        job = await rest.submit(shell("seq 3000; echo x > $JOB_OUTPUTS/x.txt") | inputs, QUEUE)
        await until(lambda: rest.finished(job, QUEUE), lambda: "no result")
    page = await opened(f"{grid.url}/j/{job}#?queue={QUEUE}")
    await see_state(page, "Done")
    await page.get_by_label("Find in the log").fill("1234")
    await expect(page.get_by_text("1 of 1")).to_be_visible()
    await expect(page.locator(".line.hit")).to_contain_text("1234")
    assert await page.locator(".line").count() < 200, "only what is seen exists"

    watched.requests.clear()
    reader = await opened(f"{grid.url}/j/{job}")
    await see_state(reader, "Done")
    await expect(reader.get_by_role("log")).to_contain_text("3000")
    await reader.get_by_role("tab", name="Outputs").click()
    await expect(reader.get_by_label("Preview of x.txt")).to_contain_text("x")
    await expect(reader.get_by_role("button", name=re.compile("^(Run|Stop)"))).to_have_count(0)
    assert QUEUE not in await reader.content()
    assert not [it.url for it in watched.requests if "/q/" in it.url]


async def test_a_queue_has_a_page_of_its_own(grid: Grid, opened: Opening) -> None:
    async with api(grid.url) as rest:
        job = await rest.submit(shell("sleep 60"), QUEUE)
        page = await opened(f"{grid.url}/q/{QUEUE}")
        row = page.get_by_role("row", name=re.compile(job[:8]))
        await expect(row).to_contain_text("running")
        await expect(page.get_by_text("1 worker", exact=False).first).to_be_visible()
        await row.get_by_role("button", name="Stop").click()
        await expect(row).to_have_count(0)
        other = await rest.submit(shell("true"), QUEUE)
        await expect(page.get_by_role("row", name=re.compile(other[:8]))).to_contain_text(
            re.compile("ended|done")
        )


async def test_many_jobs_stay_smooth(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/q/crowd")
    async with aiohttp.ClientSession() as session:
        for i in range(300):
            body = {"definition": {"image": "i", "env": {"N": str(i)}}}
            async with session.post(f"{grid.url}/q/crowd", json=body) as answer:
                assert answer.status == 200
    await expect(page.get_by_text("300 waiting")).to_be_visible()
    assert await page.get_by_role("row").count() <= 102


async def test_an_empty_page_helps_to_begin(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/#?queue={QUEUE}")
    await page.get_by_role("button", name="Fill in an example").click()
    await page.get_by_role("radio", name="No container").click()
    await run(page)
    await see_state(page, "Done")
    await expect(page.get_by_role("log")).to_contain_text("pi is about 3.1")
    await page.get_by_label("Contents of pi.py").fill("print('something else')")
    await run(page, "Run changes")
    await expect(page.get_by_role("log")).to_contain_text("something else")
    await page.get_by_role("tab", name="Runs").click()
    earlier = page.get_by_role("row", name=re.compile("file pi.py"))
    await expect(earlier.first).to_be_visible()


async def test_the_editor_comes_when_it_is_needed(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("true"), {"run.py": "for i in range(3):"}))
    plain = page.get_by_label("Contents of run.py")
    await expect(plain).to_have_js_property("tagName", "TEXTAREA")
    await plain.click()
    editor = page.locator(".cm-content")
    await expect(editor).to_be_focused()
    await page.keyboard.press("Control+End")
    await page.keyboard.press("Enter")
    await page.keyboard.type("print(i)")
    await expect(editor).to_contain_text("    print(i)")
    again = await opened(page.url)
    await expect(again.get_by_label("Contents of run.py")).to_have_value(
        "for i in range(3):\n    print(i)"
    )


async def test_two_tabs_show_the_same(grid: Grid, opened: Opening) -> None:
    link = grid.link(shell("echo for both; sleep 60"))
    one, other = await opened(link), await opened(link)
    await see_state(other, "Ready")
    await run(one)
    await see_state(other, "Running")
    await expect(other.get_by_role("log")).to_contain_text("for both")
    await other.get_by_role("button", name="Stop").click()
    await see_state(one, "Stopped")
    await see_state(other, "Stopped")
    await run(one, "Run again")
    await see_state(other, "Running")
    await one.get_by_role("button", name="Stop").click()
    await see_state(other, "Stopped")
