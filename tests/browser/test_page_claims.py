"""What the page promises and no other file here shows: secrets in answers, links of upstream, what
is typed wrong, files beside their place, and barriers on every view in both colours."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Response, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, WEB, Grid, Opening, Watched, shell
from tests.browser.test_edit import no_serious_barrier, until_parameter
from tests.browser.test_jobs import run, see_state
from tests.system.support.processes import api, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

UPSTREAM = {  # BROWSER 2.8: made for upstream's page, with the ids that they have there
    "#?ignoreQueueOverride=true&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMmVjaG8lMjAlNUMlMjJoZWxsbyUyMHdvcmxk"
    "JTVDJTIyJTIyJTJDJTIyaW1hZ2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlN0Q%3D&queue=public1": (
        "9a684c59f4270fa102f102d2aafe92d5e78ad285116f02d845e5dabbfb0ba873"
    ),
    "#?ALPHA=a%20b&BETA=1&autostart=true&inputs=JTdCJTIycnVuLnNoJTIyJTNBJTIyZWNobyUyMGhpJTIyJTdE"
    "&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMnJ1biUyMCUyNCU3QkFMUEhBJTdEJTIyJTJDJTIyaW1hZ2UlMjIlM0ElMjJh"
    "bHBpbmUlM0EzLjE5LjElMjIlMkMlMjJlbnYlMjIlM0ElN0IlMjJLJTIyJTNBJTIydiUyMiU3RCU3RA==&mp-channel=zz"
    "&queue=q1&readonly=true": "be8fc6a70bef22b0104b75f0c85e5f921bad7a528eb371ddd4447494d80c2fcb",
}


@pytest.mark.parametrize("link", UPSTREAM, ids=["public example", "parameters"])
async def test_a_link_of_upstream_sends_the_job_that_it_was(
    grid: Grid, opened: Opening, watched: Watched, link: str
) -> None:
    page = await opened(f"{grid.url}/{link}")
    if "autostart" not in link:
        await run(page)
    await see_state(page, "Waiting")
    sent = [it for it in watched.requests if it.method == "POST"]
    assert [json.loads(it.post_data or "")["id"] for it in sent] == [UPSTREAM[link]]
    await page.get_by_role("button", name="Stop").click()


class Heard:
    """All that pages were told: the bodies and headers of answers, and frames of lines."""

    def __init__(self) -> None:
        self._answers: list[Response] = []
        self.lines: list[str] = []

    def listen(self, page: Page) -> None:
        page.on("response", self._answered)
        page.on("websocket", lambda line: self.lines.append(line.url))

    def _answered(self, answer: Response) -> None:
        self._answers.append(answer)

    async def texts(self) -> dict[str, str]:
        found = {}
        for it in self._answers:
            body = b"" if 300 <= it.status < 400 else await it.body()
            found[it.url] = f"{await it.all_headers()} {body.decode('utf-8', 'replace')}"
        return found


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo a; echo b >&2; echo x > $JOB_OUTPUTS/x.txt", "Done"),
        ("exit 3", "Exit code 3"),
        ("echo a; sleep 60", "Running"),
    ],
)
async def test_a_short_link_is_told_the_queue_by_nobody(
    grid: Grid, opened: Opening, script: str, state: str
) -> None:
    async with api(grid.url) as rest:
        job = await rest.submit(shell(script), QUEUE)
        if state != "Running":
            await until(lambda: rest.finished(job, QUEUE), lambda: "no result")
        page = await opened("about:blank")
        heard = Heard()
        heard.listen(page)
        await page.goto(f"{grid.url}/j/{job}")
        await see_state(page, state)
        for tab in await page.get_by_role("tab").all():
            await tab.click()
        await page.get_by_role("button", name="Share").click()
        await page.wait_for_load_state("networkidle")
        texts = await heard.texts()
        assert f"{grid.url}/j/{job}/result" in texts, list(texts)
        assert f"{grid.url}/j/{job}/definition.json" in texts, list(texts)
        assert [url for url, text in texts.items() if QUEUE in url + text] == []
        assert heard.lines == [], "a line is to a queue"
        assert QUEUE not in await page.content()
        await page.request.post(f"{grid.url}/q/{QUEUE}/j/{job}/cancel")


async def test_it_asks_no_other_host_and_installs_nothing(grid: Grid, opened: Opening) -> None:
    """Requests are watched in every test of this folder; lines are not, and workers outlive it."""
    page = await opened("about:blank")
    heard = Heard()
    heard.listen(page)
    await page.goto(grid.link(shell("echo hi"), {"a.py": "print()"}, autostart="true"))
    await see_state(page, "Done")
    await page.get_by_label("Contents of a.py").click()
    await expect(page.locator(".cm-content")).to_be_focused()
    for tab in await page.get_by_role("tab").all():
        await tab.click()
    assert heard.lines
    assert {url.split("/q/")[0] for url in heard.lines} == {grid.url.replace("http", "ws")}
    assert set(await heard.texts()) >= {f"{grid.url}/"}
    assert (
        await page.evaluate("navigator.serviceWorker.getRegistrations().then(it => it.length)") == 0
    )
    assert await page.context.cookies() == []


async def test_a_foreign_script_does_not_run(grid: Grid, opened: Opening, watched: Watched) -> None:
    page = await opened(f"{grid.url}/")
    await page.evaluate(
        "const script = document.createElement('script'); script.text = 'window.ran = 1';"
        "document.body.append(script)"
    )
    assert await page.evaluate("window.ran") is None
    assert any("script" in it for it in watched.wrong), "its policy says so"
    watched.wrong.clear()


async def test_the_licences_of_what_is_bundled_go_with_it(grid: Grid, opened: Opening) -> None:
    page = await opened(f"{grid.url}/")
    answer = await page.request.get(f"{grid.url}/assets/licenses.md")
    assert answer.ok
    sections = re.findall(
        r"^## (\S+) - \S+ \(([^)\n]+)\)\n(.*?)(?=^## |\Z)", await answer.text(), re.M | re.S
    )
    shipped = {name: (licence, text) for name, licence, text in sections}
    needed = set(json.loads((WEB / "package.json").read_text())["dependencies"])
    assert needed <= set(shipped)
    for name, (licence, text) in shipped.items():
        assert licence == "MIT", name
        assert "Permission is hereby granted" in text, name


async def typed(page: Page, label: str, text: str) -> None:
    """Letter by letter, as people do; ``fill`` puts a text there at once."""
    field = page.get_by_label(label).first
    await field.click()
    await page.keyboard.type(text)
    assert await field.input_value() == text


async def test_what_is_typed_stays_as_it_was_typed(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link({"image": "alpine"}))
    await page.get_by_text("Resources", exact=True).click()
    await typed(page, "Cpus", "1.5")
    await typed(page, "Worker tags", "a100 big")
    await page.get_by_role("radio", name="Build an image").click()
    await page.get_by_text("More about the build").click()
    await typed(page, "Build arguments", "A=1\nB=2")
    build = {"dockerfile": "FROM alpine\n", "buildArgs": ["A=1", "B=2"]}
    job = {
        "image": "alpine",
        "build": build,
        "requirements": {"cpus": 1.5},
        "tags": ["a100", "big"],
    }
    await until_parameter(page, "job", job)


async def test_what_is_surely_wrong_is_said_beside_it(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link({"image": "Not An Image", "command": "true"}))
    await expect(page.get_by_text("no spaces, then a colon")).to_be_visible()
    await page.get_by_text("Resources", exact=True).click()
    for label, text, said in (
        ("Cpus", "abc", "Write a number"),
        ("Memory", "lots", "such as 512m or 2g"),
        ("Time limit", "10", "these are milliseconds"),
    ):
        await typed(page, label, text)
        await expect(page.get_by_text(said)).to_be_visible()
    await no_serious_barrier(page)
    await page.get_by_text("Environment", exact=True).click()
    await page.get_by_role("button", name="Add a variable").click()
    await page.get_by_label("Name of the variable").fill("LEVEL=a=b")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Value of LEVEL")).to_have_value("a=b")


DROP = """([selector, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) data.items.add(new File([text], name));
  const how = {dataTransfer: data, bubbles: true, cancelable: true};
  const event = (type) => new DragEvent(type, how);
  const at = document.querySelector(selector);
  return [at.dispatchEvent(event("dragover")), at.dispatchEvent(event("drop"))];
}"""


async def drop(page: Page, selector: str, *files: tuple[str, str]) -> list[bool]:
    """Whether the browser was left to do what it does with files: to open them in place of us."""
    left: list[bool] = await page.evaluate(DROP, [selector, files])
    return left


async def test_files_that_miss_their_place_arrive_all_the_same(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("cat $JOB_INPUTS/x.txt $JOB_INPUTS/2-x.txt")))
    assert await drop(page, ".strip", ("x.txt", "one\n"), ("x.txt", "two\n")) == [False, False]
    inputs = page.locator(".inputs .rows li")
    await expect(inputs).to_have_count(2)
    await run(page)
    await expect(page.get_by_role("log")).to_contain_text("two")
    assert await drop(page, ".inputs", ("x.txt", "a newer one\n")) == [False, False]
    await expect(page.get_by_text("x.txt: replaced by")).to_be_visible()
    await expect(inputs).to_have_count(2)
    await see_state(page, "Done")


async def test_a_job_is_not_sent_without_the_files_that_are_on_their_way(
    grid: Grid, opened: Opening, watched: Watched
) -> None:
    page = await opened(grid.link(shell("cat $JOB_INPUTS/late.txt")))
    arrives = asyncio.Event()

    async def hold(route: Any) -> None:
        if route.request.method == "PUT":
            await arrives.wait()
        await route.continue_()

    await page.route("**/f/*", hold)
    await drop(page, ".inputs", ("late.txt", "it came\n"))
    waits = page.get_by_role("button", name="Uploading…")
    await expect(waits).to_have_attribute("aria-disabled", "true")
    await waits.click(force=True)
    assert watched.posted() == []
    arrives.set()
    await run(page)
    await expect(page.get_by_role("log")).to_contain_text("it came")


async def test_a_refused_upload_says_why(grid: Grid, opened: Opening, tmp_path: Path) -> None:
    page = await opened(grid.link(shell("true")))
    refusal = {"error": "the file has 9 bytes; at most 5 are taken"}
    await page.route("**/f/*", lambda route: route.fulfill(status=413, json=refusal))
    await drop(page, ".inputs", ("big.bin", "x" * 9))
    await expect(page.get_by_text("The upload failed: the file has 9 bytes")).to_be_visible()
    await expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()


async def test_a_log_that_is_slow_to_come_is_not_called_empty(grid: Grid, opened: Opening) -> None:
    async with api(grid.url) as rest:
        job = await rest.submit(shell("true"), QUEUE)
        await until(lambda: rest.finished(job, QUEUE), lambda: "no result")
    page = await opened("about:blank")
    comes = asyncio.Event()

    async def hold(route: Any) -> None:
        await comes.wait()
        await route.continue_()

    await page.route("**/run-logs.json*", hold)
    await page.goto(f"{grid.url}/j/{job}#?queue={QUEUE}")
    await see_state(page, "Done")
    await expect(page.get_by_text("Reading the log…")).to_be_visible()
    comes.set()
    await expect(page.get_by_text("It printed nothing.")).to_be_visible()


async def test_back_from_no_network_at_all_it_goes_on(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("for i in $(seq 600); do echo line $i; sleep 0.1; done")))
    await run(page)
    log = page.get_by_role("log")
    await expect(log).to_contain_text("line 2")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("The grid does not answer")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_text("The grid does not answer")).to_have_count(0)
    await page.get_by_role("button", name="Stop").click()
    await see_state(page, "Stopped")
    lines = await log.locator(".line").all_inner_texts()
    seen = [int(match[1]) for it in lines if (match := re.search(r"line (\d+)", it))]
    assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_serious_barrier_on_any_page(grid: Grid, opened: Opening, scheme: str) -> None:
    """Those that the scans elsewhere do not see: theirs are of a job and its tabs."""
    async with api(grid.url) as rest:
        job = await rest.submit(shell("echo a; exit 1"), QUEUE)
        await until(lambda: rest.finished(job, QUEUE), lambda: "no result")
    for path in ("/", f"/q/{QUEUE}", "/j/" + "0" * 64, "/embed/", "/docs/"):
        page = await opened(f"{grid.url}{path}", color_scheme=scheme)
        await expect(
            page.get_by_text(re.compile("queue|Nobody on this grid")).first
        ).to_be_visible()
        await no_serious_barrier(page)
    page = await opened(f"{grid.url}/j/{job}#?queue={QUEUE}", 390, 760, color_scheme=scheme)
    await see_state(page, "Exit code 1")
    await page.get_by_role("tab", name="Job").click()
    await no_serious_barrier(page)
