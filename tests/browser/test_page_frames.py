"""Our page among frames of others: what a foreign viewer reads of it, what inputs do and do not
start, jobs of one namespace, and a page on plain http, where browsers keep things back."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.browser.conftest import PATIENCE_MS, Grid, Opening, Watched, encoded, shell
from tests.browser.test_jobs import run, see_state
from tests.browser.test_metapage import LIBRARY, PAGE

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

# As people write them: with the library, and with what it makes of each input.
VIEWER = """<!doctype html><title>viewer</title><pre id="got"></pre><script type="module">
import { Metaframe } from "/metapage.js";
const got = {};
new Metaframe().onInputs(async (inputs) => {
  for (const [name, value] of Object.entries(inputs)) {
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    got[name] = value instanceof Blob ? `Blob of ${value.size}: ${(await value.text()).slice(0, 3)}`
      : `${kind}: ${JSON.stringify(value).slice(0, 60)}`;
  }
  document.getElementById("got").textContent =
    Object.keys(got).sort().map((name) => `${name} = ${got[name]}`).join("\\n");
});
</script>"""


@pytest_asyncio.fixture(loop_scope="session")
async def metapage() -> AsyncIterator[str]:
    async def show(request: web.Request) -> web.StreamResponse:
        if request.path == "/metapage.js":
            return web.FileResponse(LIBRARY)
        if request.path.endswith("metaframe.json"):
            return web.json_response({"version": "2"})
        text = VIEWER if request.path == "/viewer" else PAGE
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_a_viewer_of_others_reads_contents_and_no_input_starts_what_was_not_asked(
    grid: Grid, opened: Opening, metapage: str, watched: Watched
) -> None:
    script = (
        "cd $JOB_OUTPUTS; printf abc > small.bin; head -c 300000 /dev/zero | tr \\\\0 z > large.bin"
    )
    fed = [{"metaframe": "job"}]
    link = grid.link(shell(script), autostart="true", resolverefs="true")
    definition = {
        "version": "2",
        "metaframes": {
            "job": {"url": link},
            "viewer": {"url": f"{metapage}viewer", "inputs": fed},
            "idle": {"url": grid.link(shell("true")), "inputs": fed},
        },
        "meta": {"layouts": {}},
    }
    page = await opened(metapage)
    await page.wait_for_function("window.ready")
    await page.evaluate("definition => { begin(definition) }", definition)
    got = page.frame_locator("iframe[name=viewer]").locator("#got")
    await expect(got).to_contain_text("small.bin = Blob of 3: abc")
    await expect(got).to_contain_text("large.bin = Blob of 300000: zzz")
    idle = page.frame_locator("iframe[name=idle]")
    await expect(idle.get_by_label("State: Ready")).to_be_attached()
    await expect(idle.get_by_text("large.bin").first).to_be_attached()
    assert len(watched.posted()) == 1


async def test_a_newer_job_of_a_namespace_ends_the_older_and_no_other(
    grid: Grid, opened: Opening
) -> None:
    def link(namespace: str) -> str:
        control = encoded({"namespace": namespace})
        return grid.link(shell("sleep 60"), autostart="true", control=control)

    other = await opened(link("other"))
    await see_state(other, "Running")
    older = await opened(link("mine"))
    await see_state(older, "Running")
    newer = await opened(link("mine"))
    await see_state(older, "Replaced")
    await see_state(newer, "Running")
    await see_state(other, "Running")
    for page in (other, newer):
        await page.get_by_role("button", name="Stop").click()
        await see_state(page, "Stopped")


# What is not there on http:// of a name that is not this machine's (BROWSER 1.10).
PLAIN = """
for (const name of ["subtle", "randomUUID"]) {
  Object.defineProperty(Crypto.prototype, name, {value: undefined});
}
for (const name of ["clipboard", "serviceWorker"]) {
  Object.defineProperty(Navigator.prototype, name, {value: undefined});
}
"""


async def test_on_plain_http_nothing_is_missing(grid: Grid, opened: Opening) -> None:
    page = await opened("about:blank")
    await page.add_init_script(PLAIN)
    files = {"long.txt": "it lies on the grid\n" * 40}
    await page.goto(grid.link(shell("head -n 1 $JOB_INPUTS/long.txt"), files))
    assert await page.evaluate("crypto.subtle === undefined")
    await run(page)
    await see_state(page, "Done")
    await expect(page.get_by_role("log")).to_contain_text("it lies on the grid")
    await page.get_by_role("button", name="Share").click()
    await page.get_by_role("listitem").first.get_by_role("button").click()
    await expect(page.get_by_text("Copied")).to_be_visible()
