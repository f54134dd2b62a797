"""What a long log and a full queue cost the page: ``python bench/page.py``.

A real server, a worker that prints 100,000 lines, and the browser's own figures: its list of long
tasks (over 50 ms), the times of its frames, its heap. No test: machines differ. For each thing
done it prints how long until it was seen, the longest task meanwhile, the slowest and the median
frame as frames a second, and the heap after a collection.
"""

import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import CDPSession, Page, async_playwright

from gridd_protocol.limits import LOG_LINES_PER_JOB_MAX, LOG_LINES_PER_MESSAGE_MAX
from tests.browser.conftest import FLAGS
from tests.system.support.processes import Server, api, killed_at_end
from tests.system.support.sockets import hello, worker

JOBS = 5_000
SCROLLS = 120  # frames in which something is scrolled
QUEUE = "numbers"
NEEDLE = "needle"

# Counts from when it is called; `seen()` answers and begins anew.
WATCH = """() => {
  const seen = { tasks: [], frames: [], last: 0 };
  new PerformanceObserver(list => seen.tasks.push(...list.getEntries().map(it => it.duration)))
    .observe({ type: "longtask" });
  const frame = at => {
    if (seen.last) seen.frames.push(at - seen.last);
    seen.last = at;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.seen = () => ({ tasks: seen.tasks.splice(0), frames: seen.frames.splice(0) });
}"""
SCROLL = """async ([count, part]) => {
  const log = document.querySelector("[role=log]");
  for (let at = 0; at < count; at++) {
    log.scrollTop = log.scrollHeight * part(at, count);
    await new Promise(done => requestAnimationFrame(done));
  }
}"""


class Numbers:
    """One page, and what its browser says of it."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self._page = page
        self._session = session

    async def of(self, what: str, act: Callable[[], Awaitable[Any]]) -> None:
        """``act`` ends when what it did can be seen."""
        await self._page.evaluate("window.seen?.()")
        began = time.perf_counter()
        await act()
        seconds = time.perf_counter() - began
        await self._page.wait_for_timeout(300)  # what was put off counts too
        seen = await self._page.evaluate("window.seen()")
        frames = sorted(seen["frames"])
        median, slowest = (1000 / frames[at] for at in (len(frames) // 2, -1))
        await self._session.send("HeapProfiler.collectGarbage")
        heap = (await self._session.send("Runtime.getHeapUsage"))["usedSize"] / 1e6
        print(
            f"{what:<42} {seconds:6.2f} s   longest task {max(seen['tasks'], default=0):5.0f} ms"
            f"   frames/s {median:3.0f} (slowest {slowest:3.0f})   heap {heap:4.0f} MB",
            flush=True,
        )


async def long_log(url: str) -> str:
    """A job that has printed as much as a grid keeps."""
    async with api(url) as rest, worker(url, path=f"/q/{QUEUE}/worker") as peer:
        job = await rest.submit({"image": "i", "env": {"N": uuid.uuid4().hex}}, QUEUE)
        await peer.socket.send_json([hello()])
        await peer.next("push")
        base = {"job": job, "attempt": 1}
        words = "some words as a program prints them "
        now = int(time.time() * 1000)
        for at in range(0, LOG_LINES_PER_JOB_MAX, LOG_LINES_PER_MESSAGE_MAX):
            lines = [
                [f"{n} {words * (n % 3)}{NEEDLE * (n % 1000 == 0)}\n", now + n, n % 50 == 0]
                for n in range(at, at + LOG_LINES_PER_MESSAGE_MAX)
            ]
            message = {"type": "log", **base, "step": "Running", "cursor": at, "lines": lines}
            await peer.socket.send_json([message])
        result = {"type": "finished", **base, "reason": "Success", "result": '{"StatusCode":0}'}
        await peer.socket.send_json([result])
        await peer.next("acknowledged")
    return job


async def about_the_log(page: Page, numbers: Numbers, url: str, job: str) -> None:
    last = f"{LOG_LINES_PER_JOB_MAX - 2} some"

    def open_late(text: str) -> Callable[[], Awaitable[Any]]:
        async def opening() -> None:
            await page.goto(f"{url}/j/{job}", wait_until="commit")
            await page.locator(".line").filter(has_text=text).first.wait_for()

        return opening

    async def find(text: str, hits: str) -> None:
        await page.get_by_label("Find in the log").fill(text)
        await page.get_by_text(hits).wait_for()

    def scroll(part: str) -> Callable[[], Awaitable[Any]]:
        script = SCROLL.replace("part(at, count)", f"({part})").replace("[count, part]", "count")
        return lambda: page.evaluate(script, SCROLLS)

    async def press(name: str) -> None:
        await page.get_by_role("button", name=name, exact=True).click()

    async def wrap() -> None:
        await press("Wrap")
        await page.locator(".log.wraps").wait_for()

    async def terminal() -> None:
        await press("Terminal")
        await page.locator(".xterm-rows").get_by_text(last).wait_for()

    lines = f"{LOG_LINES_PER_JOB_MAX:,} lines"
    await numbers.of(f"{lines}, opened late: a line", open_late(""))
    await numbers.of("opened late: the last line", open_late(last))
    await numbers.of("scrolled from end to end", scroll("at / count"))
    await numbers.of("scrolled line by line", scroll("0.5 + at * 40 / log.scrollHeight"))
    await numbers.of("searched: 100 hits", lambda: find(NEEDLE, "1 of 100"))
    await numbers.of("searched: a hit in two of three lines", lambda: find("WORDS", "of 66,6"))
    await numbers.of("search ended", lambda: page.get_by_label("Find in the log").press("Escape"))
    await numbers.of("wrapped", wrap)
    await numbers.of("wrapped, scrolled from end to end", scroll("at / count"))
    await numbers.of("in a terminal", terminal)


async def about_the_queue(page: Page, numbers: Numbers, url: str) -> None:
    async def arrive() -> None:
        async with aiohttp.ClientSession() as session:
            for at in range(JOBS):
                body = {"definition": {"image": "i", "env": {"N": str(at)}}}
                async with session.post(f"{url}/q/crowd", json=body) as answer:
                    assert answer.status == 200
        await page.get_by_text(f"{JOBS:,} waiting").wait_for()

    await page.goto(f"{url}/q/crowd")
    await page.get_by_text("no worker", exact=False).first.wait_for()
    await numbers.of(f"a queue that is given {JOBS:,} jobs", arrive)
    await numbers.of("the same queue, opened late", lambda: reopened(page))


async def reopened(page: Page) -> None:
    await page.reload(wait_until="commit")
    await page.get_by_text(f"{JOBS:,} waiting").wait_for()


async def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        async with killed_at_end(server), async_playwright() as playwright:
            await server.start()
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            context = await browser.new_context(viewport={"width": 1280, "height": 800})
            await context.add_init_script(f"({WATCH})()")
            page = await context.new_page()
            numbers = Numbers(page, await context.new_cdp_session(page))
            job = await long_log(server.url)
            await about_the_log(page, numbers, server.url, job)
            await about_the_queue(page, numbers, server.url)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
