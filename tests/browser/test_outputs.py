"""What came out: the tree, previews of each kind, plots, viewers of the reader's choice."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, WEB, Grid, Opening, Watched, encoded, shell
from tests.browser.test_jobs import see_state
from tests.system.support.processes import api, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

SCRIPT = """
import math, os, pathlib, struct, wave
out = pathlib.Path(os.environ["JOB_OUTPUTS"])
(out / "plots" / "raw").mkdir(parents=True)
(out / "losses.csv").write_text(
    "step,loss,note\\n" + "".join(f"{i},{math.sin(i):.4f},{'ab'[i % 2]}\\n" for i in range(9000)))
(out / "columns.json").write_text('{"t": [0, 1, 2], "y": [5, null, 3]}')
(out / "deep.json").write_text('{"best": {"loss": 0.25, "seen": [1, 2]}}')
(out / "report.html").write_text(
    '<!doctype html><h1>Report</h1><img src="ELSEWHERE/i"><iframe src="ELSEWHERE/f"></iframe>')
(out / "long.txt").write_text("a line of text\\n" * 300_000)
(out / "notes.md").write_text("# Notes")
(out / "plots" / "curve.svg").write_text(
    '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><circle r="9"/></svg>')
(out / "plots" / "raw" / "weights.npy").write_bytes(b"\\x93NUMPY\\0\\1" + bytes(100))
with wave.open(str(out / "tone.wav"), "wb") as tone:
    tone.setnchannels(1), tone.setsampwidth(2), tone.setframerate(8000)
    tone.writeframes(b"".join(struct.pack("<h", int(9e3 * math.sin(i / 5))) for i in range(8000)))
"""

VIEWER = """<!doctype html><title>viewer</title><p id="said">nothing</p>
<script type="module">
import { Metaframe } from "/metapage.js";
const frame = new Metaframe();
frame.onInputs(async (inputs) => {
  for (const [name, value] of Object.entries(inputs)) {
    let text = value instanceof Blob ? `blob of ${value.size}` : JSON.stringify(value);
    if (String(value).startsWith("data:text/x-uri")) {
      const url = decodeURIComponent(value.slice(value.indexOf(",") + 1));
      text = `${(await (await fetch(url)).text()).length} fetched from ${new URL(url).pathname}`;
    }
    document.getElementById("said").textContent = `${name}: ${text}`;
  }
  if (!location.hash.includes("zoom")) frame.setParameter("zoom", "3");
});
</script>"""

HOST = """<!doctype html><title>host</title>
<script>
const frame = document.createElement("iframe");
frame.name = "mf"; frame.width = 1100; frame.height = 700;
frame.src = decodeURIComponent(location.search.slice(1)) + location.hash;
document.documentElement.append(frame);
</script>"""


@dataclass
class Elsewhere:
    """Another host, as far as a browser can tell: a viewer, a page that frames ours."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere() -> AsyncIterator[Elsewhere]:
    found = Elsewhere()
    library = WEB / "node_modules" / "@metapages" / "metapage" / "dist" / "index.js"

    async def answer(request: web.Request) -> web.StreamResponse:
        found.asked.append(request.path)
        if request.path == "/metapage.js":
            return web.FileResponse(library)
        return web.Response(
            text=HOST if request.path == "/host" else VIEWER, content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def job(grid: Grid, elsewhere: Elsewhere) -> str:
    """An ended job with outputs of every kind."""
    async with api(grid.url) as rest:
        script = {"run.py": {"type": "utf8", "value": SCRIPT.replace("ELSEWHERE", elsewhere.url)}}
        job: str = await rest.submit(
            shell("python3 $JOB_INPUTS/run.py") | {"inputs": script}, QUEUE
        )
        await until(lambda: rest.finished(job, QUEUE), lambda: "no result")
        return job


async def outputs(opened: Opening, grid: Grid, job: str, **how: object) -> Page:
    page = await opened(f"{grid.url}/j/{job}#?queue={QUEUE}", **how)
    await see_state(page, "Done")
    await page.get_by_role("tab", name="Outputs").click()
    return page


async def choose(page: Page, name: str, way: str = "") -> None:
    await page.get_by_role("treeitem", name=name).click()
    if way:
        await page.get_by_role("button", name=way, exact=True).click()


async def test_a_tree_for_the_keyboard(grid: Grid, opened: Opening, job: str) -> None:
    page = await outputs(opened, grid, job)
    await expect(page.get_by_text(re.compile(r"^9 files · 4\.\d MB"))).to_be_visible()
    drawing = page.get_by_label("Preview of plots/curve.svg")
    await expect(drawing.get_by_role("img")).to_have_js_property("naturalWidth", 90)
    await expect(drawing).not_to_contain_text("pixels")
    await choose(page, "tone.wav")
    for key in ("ArrowDown", "ArrowLeft", "ArrowRight", "ArrowRight"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("treeitem", name="plots/curve.svg")).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    folder = page.get_by_role("treeitem", name="plots/ 2 files")
    await expect(folder).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(folder).to_have_attribute("aria-expanded", "false")
    await expect(page.get_by_role("treeitem", name="curve.svg")).to_have_count(0)
    await page.keyboard.press("Home")
    await expect(page.get_by_label("Preview of columns.json")).to_be_visible()


async def test_previews_of_each_kind(
    grid: Grid, opened: Opening, job: str, elsewhere: Elsewhere, watched: Watched
) -> None:
    page = await outputs(opened, grid, job)
    preview = page.get_by_role("figure")
    await choose(page, "losses.csv")
    await expect(preview).to_contain_text("First 200 of 9,000 rows · 3 columns")
    await expect(page.get_by_role("row")).to_have_count(201)
    loss = page.get_by_role("columnheader", name="loss")
    assert await loss.evaluate("it => getComputedStyle(it).textAlign") == "right"
    wide = await page.locator("table.data").evaluate("it => it.offsetWidth")
    assert wide < 400, "a narrow table stays narrow"
    await choose(page, "deep.json")
    await expect(preview).to_contain_text("loss: 0.25")
    await preview.get_by_text("best", exact=False).click()
    await expect(preview).not_to_contain_text("loss: 0.25")
    await choose(page, "weights.npy")
    await expect(preview).to_contain_text(".NUMPY")
    await choose(page, "notes.md")
    await expect(preview).to_contain_text("# Notes")
    await choose(page, "long.txt")
    await expect(preview).to_contain_text("Only the beginning of the file (4.0 MB)")
    await choose(page, "tone.wav")
    await expect(page.locator("audio")).to_have_js_property("duration", 1)
    await choose(page, "report.html")
    await expect(page.frame_locator("figure iframe").get_by_text("Report")).to_be_visible()
    assert elsewhere.asked == [], "a stranger's page asks nobody for anything"
    watched.wrong = [it for it in watched.wrong if elsewhere.url not in it]


async def test_numbers_are_drawn(grid: Grid, opened: Opening, job: str) -> None:
    page = await outputs(opened, grid, job)
    await choose(page, "losses.csv", "Plot")
    preview = page.get_by_role("figure")
    await expect(preview.locator("canvas")).to_be_visible()
    await expect(preview).to_contain_text(re.compile(r"\d,\d\d\d points of 9,000 rows"))
    await expect(preview.get_by_role("checkbox", name="note")).to_have_count(0)
    await page.get_by_label("Across").select_option("number of the row")
    await preview.get_by_role("checkbox", name="step").check()
    await expect(preview.get_by_role("img", name="Plot of step, loss over the row")).to_be_visible()
    await choose(page, "columns.json", "Plot")
    await expect(preview).to_contain_text("3 rows")


async def test_a_viewer_of_ones_own(
    grid: Grid, opened: Opening, job: str, elsewhere: Elsewhere
) -> None:
    page = await outputs(opened, grid, job)
    said = page.frame_locator("figure iframe").locator("#said")
    address = page.get_by_label("Address of a viewer metaframe")
    await choose(page, "deep.json", "View with…")
    await expect(page.get_by_text("It is loaded when you choose it")).to_be_visible()
    await address.fill(f"{elsewhere.url}/viewer")
    await page.keyboard.press("Enter")
    await expect(said).to_have_text('deep.json: {"best":{"loss":0.25,"seen":[1,2]}}')
    # What the viewer keeps behind its address is kept for the next file of that kind.
    await expect(address).to_have_value(re.compile(r"/viewer#\?zoom="))
    await choose(page, "columns.json", "View with…")
    await expect(address).to_have_value(re.compile(r"/viewer#\?zoom="))
    await page.get_by_role("button", name="View", exact=True).click()
    await expect(said).to_contain_text('columns.json: {"t":[0,1,2]')
    for name, words in (
        ("weights.npy", "plots/raw/weights.npy: blob of 108"),
        ("long.txt", f"long.txt: 4500000 fetched from /j/{job}/outputs/long.txt"),
    ):
        await choose(page, name, "View with…")
        await address.fill(f"{elsewhere.url}/viewer")
        await page.get_by_role("button", name="View", exact=True).click()
        await expect(said).to_have_text(words)
    await choose(page, "deep.json")  # it is still open where it was opened
    await expect(said).to_contain_text("deep.json:")
    frame = page.locator("figure iframe")
    assert "allow-top-navigation" not in (await frame.get_attribute("sandbox") or "")


async def test_what_is_declared_and_missing_and_what_was_sent(
    grid: Grid, opened: Opening, job: str, elsewhere: Elsewhere
) -> None:
    declared = encoded({"version": "2", "outputs": {"losses.csv": {}, "model.pt": {}}})
    ours = f"{grid.url}/j/{job}"
    page = await opened(f"{elsewhere.url}/host?{ours}#?definition={declared}&queue={QUEUE}")
    frame = page.frame_locator("iframe")
    await frame.get_by_role("tab", name="Outputs").click()
    await expect(frame.get_by_text("1 declared output is not there")).to_be_visible()
    await expect(frame.locator(".card code")).to_have_text("model.pt")
    await expect(
        frame.get_by_text("9 sent to the page around this one as references")
    ).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_it(
    grid: Grid, opened: Opening, job: str, elsewhere: Elsewhere, scheme: str
) -> None:
    axe = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
    page = await outputs(opened, grid, job, color_scheme=scheme)
    await page.evaluate(axe)
    for name, way in (
        ("losses.csv", "Table"), ("losses.csv", "Plot"), ("deep.json", "Tree"),
        ("weights.npy", "Bytes"), ("notes.md", "View with…"),
    ):  # fmt: skip
        await choose(page, name, way)
        await expect(page.get_by_text("Loading…")).to_have_count(0)
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        serious = [
            (it["id"], [node["html"][:120] for node in it["nodes"][:3]])
            for it in found["violations"]
            if it["impact"] in ("serious", "critical")
        ]
        assert not serious, (name, way, serious)
