"""Three of our pages as frames of a metapage that is made with its published library."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from tests.browser.conftest import WEB, Grid, Opening, shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIBRARY = WEB / "node_modules" / "@metapages" / "metapage" / "dist" / "index.js"
PAGE = """<!doctype html><title>metapage</title>
<div id="root" style="width:900px;height:700px"></div>
<script type="module">
import { renderMetapage } from "/metapage.js";
window.begin = async (definition) => {
  window.seen = {};
  await renderMetapage({
    definition,
    rootDiv: document.getElementById("root"),
    onOutputs: (outputs) => {
      for (const [frame, pipes] of Object.entries(outputs)) {
        Object.assign(seen[frame] ??= {}, pipes);
      }
    },
  });
};
window.ready = true;
</script>"""


@pytest_asyncio.fixture(loop_scope="session")
async def metapage() -> AsyncIterator[str]:
    async def show(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def library(_: web.Request) -> web.FileResponse:
        return web.FileResponse(LIBRARY)

    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/metapage.js", library)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_data_goes_through_three_frames(grid: Grid, opened: Opening, metapage: str) -> None:
    def frame(script: str) -> dict[str, str]:
        return {"url": grid.link(shell(script), autostart="true")}

    def fed(by: str, source: str, target: str) -> list[dict[str, str]]:
        return [{"metaframe": by, "source": source, "target": target}]

    definition = {
        "version": "2",
        "metaframes": {
            "first": frame("seq 5 > $JOB_OUTPUTS/numbers.txt"),
            "second": frame("sort -rn $JOB_INPUTS/numbers.txt > $JOB_OUTPUTS/sorted.txt")
            | {"inputs": fed("first", "numbers.txt", "numbers.txt")},
            "third": frame("head -n 1 $JOB_INPUTS/in > $JOB_OUTPUTS/largest.txt")
            | {"inputs": fed("second", "sorted.txt", "in")},
        },
        "meta": {"layouts": {}},
    }
    page = await opened(metapage)
    await page.wait_for_function("window.ready")
    await page.evaluate("definition => { begin(definition) }", definition)
    # "5" and a line's end, as a reference that any frame of its kind reads
    await page.wait_for_function("seen.third?.['largest.txt']?.value === 'NQo='")
    assert await page.evaluate("seen.third['largest.txt'].type") == "base64"
