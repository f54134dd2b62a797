"""Earlier runs of a page: from the grid, for whoever opens it, and two of them compared."""

import re
import uuid
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, WEB, Grid, Opening
from tests.browser.test_jobs import run, see_state
from tests.system.support.processes import api, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

SCRIPT = """
import os, pathlib
out = pathlib.Path(os.environ["JOB_OUTPUTS"])
rate = RATE
print("begins")
print("rate", rate)
(out / "table.csv").write_text(f"rate\\n{rate}\\n")
(out / "same.txt").write_text("same")
if rate > 1:
    (out / "warning.txt").write_text("large")
    raise SystemExit(3)
"""


@dataclass
class Page3:
    """Three states of one page, each of which was run; the last one as well."""

    ids: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def runs(grid: Grid) -> Page3:
    program = f"page-{uuid.uuid4().hex[:8]}.py"  # no other test's jobs look like these
    ids = []
    async with api(grid.url) as rest:
        for rate in ("0.1", "2", "0.5"):
            files = {program: {"type": "utf8", "value": SCRIPT.replace("RATE", rate)}}
            definition = {
                "command": f"sh -c 'python3 -u $JOB_INPUTS/{program}'",
                "configFiles": files,
                "env": {"RATE": rate},
            }
            job: str = await rest.submit(definition, QUEUE)
            await until(lambda job=job: rest.finished(job, QUEUE), lambda: "no result")
            ids.append(job)
    return Page3(ids)


async def open_runs(opened: Opening, grid: Grid, job: str, **how: object) -> Page:
    page = await opened(f"{grid.url}/j/{job}#?queue={QUEUE}", **how)
    await see_state(page, "Done")
    await page.get_by_role("tab", name="Runs").click()
    return page


async def test_the_grid_tells_what_was_run_before(grid: Grid, opened: Opening, runs: Page3) -> None:
    """This visitor has started nothing."""
    first, second, third = runs.ids
    page = await open_runs(opened, grid, third)
    present = page.get_by_role("row", name=re.compile(third[:8]))
    await expect(present).to_contain_text("as it stands on this page")
    failed = page.get_by_role("row", name=re.compile(second[:8]))
    await expect(failed).to_contain_text("Exit code 3")
    await expect(failed).to_contain_text("variable RATE")
    await page.get_by_role("button", name="All", exact=True).click()
    await expect(page.get_by_role("heading", name="Jobs of this queue")).to_be_visible()
    await page.get_by_role("button", name="Like this one").click()
    await page.get_by_role("link", name=first[:8]).click()
    await page.wait_for_url(re.compile(f"/j/{first}"))
    await see_state(page, "Done")
    assert f"queue={QUEUE}" in page.url


async def test_two_runs_are_compared(grid: Grid, opened: Opening, runs: Page3) -> None:
    first, second, third = runs.ids
    page = await open_runs(opened, grid, third)
    await page.get_by_label(f"Compare {second[:8]}").click()
    asked = page.get_by_label("What was asked for")
    await expect(asked.get_by_role("row", name="variable RATE")).to_contain_text("0.5")
    await expect(asked.locator(".diff .gone")).to_have_text(re.compile("- rate = 2"))
    await expect(asked.locator(".diff .new")).to_have_text(re.compile(r"\+ rate = 0\.5"))
    outcome = page.get_by_label("What came of it")
    await expect(outcome.get_by_role("row", name="exit code 3 0")).to_be_visible()
    files = page.get_by_label("Outputs of both")
    await expect(files).to_contain_text("1 same · 1 changed · 1 only before")
    await files.get_by_text("table.csv").click()
    await expect(files.locator(".diff .new")).to_have_text(re.compile(r"0\.5"))
    await expect(page.get_by_label("Logs of both")).to_contain_text("They part at line 2")
    await page.get_by_label("Before").select_option(first)
    await expect(files).to_contain_text("1 same · 1 changed")
    await page.get_by_label("After").select_option(first)
    await expect(page.get_by_text("are the same run")).to_be_visible()
    await page.get_by_role("button", name="Back to the runs").click()
    await expect(page.get_by_role("row", name=re.compile(third[:8]))).to_be_visible()


async def test_a_run_is_opened_again_with_its_files_and_its_plot(
    grid: Grid, opened: Opening
) -> None:
    """The script is long enough to lie on the grid, not in the link."""
    script = SCRIPT.replace("RATE", "0.25") + "# " + "long " * 50
    definition = {"command": "sh -c 'python3 $JOB_INPUTS/long.py'"}
    page = await opened(grid.link(definition, {"long.py": script}))
    await run(page)
    await see_state(page, "Done")
    await page.get_by_role("tab", name="Outputs").click()
    await page.get_by_role("treeitem", name="table.csv").click()
    await page.get_by_role("button", name="Plot").click()
    await expect(page.locator("canvas")).to_be_visible()
    lines: list[str] = []
    page.on("websocket", lambda line: lines.append(line.url))
    await page.get_by_label("Contents of long.py").fill(script.replace("0.25", "0.75"))
    await run(page, "Run changes")
    await expect(page.locator(".changes")).to_have_count(0)
    assert not lines, "an edit closes no live line"
    await see_state(page, "Done")
    await expect(page.locator("canvas")).to_be_visible()
    await page.get_by_role("tab", name="Runs").click()
    earlier = page.get_by_role("row").filter(has_text=re.compile("Done.*file long.py"))
    await earlier.first.get_by_role("link").click()
    await page.wait_for_url(re.compile("/j/"))
    await expect(page.locator(".fixedfile")).to_contain_text("rate = 0.25")
    await page.get_by_role("button", name="Edit these files").click()
    await expect(page.get_by_label("Contents of long.py")).to_have_value(
        re.compile(r"rate = 0\.25")
    )
    await see_state(page, "Done")


async def test_everybody_can_read_it(grid: Grid, opened: Opening, runs: Page3) -> None:
    axe = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    page = await open_runs(opened, grid, runs.ids[2], color_scheme="dark")
    await page.evaluate(axe)
    for act in ("", f"Compare {runs.ids[1][:8]}"):
        if act:
            await page.get_by_label(act).click()
            await expect(page.get_by_text("They part at line 2")).to_be_visible()
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        serious = [
            it["id"] for it in found["violations"] if it["impact"] in ("serious", "critical")
        ]
        assert not serious, act or "the list"
