"""What is not seen first comes later, and nobody notices."""

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Grid, Opening, Watched, shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What is likely to be looked at; the rest waits until somebody asks for it.
LIKELY = ("runs", "queue", "outputs", "preview", "share", "fields", "pipes", "changelist")
HEAVY = ("editor", "terminal", "plot", "compare", "browser")

# Opens a tab, and tells what is in it two frames later.
TWO_FRAMES = """name => new Promise(done => {
  document.getElementById(`tab-${name}`).click();
  requestAnimationFrame(() => requestAnimationFrame(() =>
    done(document.querySelector("#panel").innerText)));
})"""


async def at_rest(page: Page) -> None:
    """Everything that is loaded ahead is here."""
    await page.wait_for_function(
        """names => {
          const here = performance.getEntriesByType("resource").filter(it => it.responseEnd > 0);
          return names.every(name => here.some(it => it.name.includes(`/assets/${name}-`)));
        }""",
        arg=list(LIKELY),
    )


async def test_tabs_open_within_two_frames(grid: Grid, opened: Opening, watched: Watched) -> None:
    page = await opened(grid.link(shell("true")))
    await at_rest(page)
    loaded = [it.url.rsplit("/", 1)[-1] for it in watched.requests]
    assert not [name for name in loaded if name.startswith(HEAVY) and name.endswith(".js")]

    async def refused(route: Route) -> None:
        await route.abort()

    await page.route("**/assets/**", refused)
    shown = {name: await page.evaluate(TWO_FRAMES, name) for name in ("Outputs", "Runs", "Queue")}
    assert "Files that the job writes" in shown["Outputs"], shown
    assert "Runs of this page" in shown["Runs"], shown
    assert "waiting" in shown["Queue"], shown
    await page.get_by_role("button", name="Share").click()
    await expect(page.get_by_text("to put this into a page of yours")).to_be_visible()


async def test_a_part_that_can_not_be_had_says_so(grid: Grid, opened: Opening) -> None:
    page = await opened("about:blank")

    async def refused(route: Route) -> None:
        await route.abort()

    await page.route("**/assets/queue-*", refused)
    await page.goto(grid.link(shell("true")))
    await page.get_by_role("tab", name="Queue").click()
    await expect(page.get_by_text("This part of the page could not be loaded")).to_be_visible()
    await page.get_by_role("tab", name="Runs").click()
    await expect(page.get_by_role("heading", name="Runs of this page's job")).to_be_visible()
