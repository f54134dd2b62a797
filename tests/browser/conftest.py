"""The page in a real browser, against a real server and a real worker (process runtime).

One browser and one grid serve all tests of this folder; what a test needs to break, it starts for
itself. Each page is watched: an error in it, a request to another host, or something that its
policy forbids fails the test.
"""

import base64
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, async_playwright

from tests.system.support.processes import Server, Worker, killed_at_end

WEB = Path(__file__).parents[2] / "gridd" / "web"
IN_CI = os.environ.get("CI") == "true"
QUEUE = "the-secret-queue"
PATIENCE_MS = 15_000
# Without these the browser looks for its maker's hosts at every start.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)


def _missing(reason: str) -> None:
    (pytest.fail if IN_CI else pytest.skip)(reason)


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The folder with the built page."""
    if not (WEB / "dist" / "index.html").is_file():
        _missing("the page is not built; run: make page")
    return WEB / "dist"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(built_page: Path) -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        _missing("there is no browser; run: sudo apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@dataclass
class Grid:
    """A server with one worker on ``QUEUE``."""

    server: Server
    worker: Worker

    @property
    def url(self) -> str:
        return self.server.url

    def link(
        self, definition: dict[str, Any], files: dict[str, str] | None = None, **more: str
    ) -> str:
        """A link that holds the whole job, as upstream writes them."""
        parameters = {"job": encoded(definition), "queue": QUEUE, **more}
        if files:
            parameters["inputs"] = encoded(files)
        parts = (f"{name}={value}" for name, value in sorted(parameters.items()))
        return f"{self.url}/#?{'&'.join(parts)}"


def encoded(value: Any) -> str:
    text = quote(json.dumps(value, separators=(",", ":"), sort_keys=True), safe="-_.!~*'()")
    return base64.b64encode(text.encode()).decode()


def shell(script: str) -> dict[str, Any]:
    """Unlike any job before it, so that no stored answer comes back."""
    return {"command": f"sh -c '{script}'", "env": {"NONCE": uuid.uuid4().hex}}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grid]:
    async with started(tmp_path_factory.mktemp("grid")) as grid:
        yield grid


class started:
    """``async with started(folder) as grid``: a grid of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __aenter__(self) -> Grid:
        server = Server(self._folder)
        await server.start()
        worker = Worker(self._folder, server.url, queue=QUEUE)
        await worker.start()
        self._killing = killed_at_end(worker, server)
        await self._killing.__aenter__()
        return Grid(server, worker)

    async def __aexit__(self, *error: Any) -> None:
        await self._killing.__aexit__(None, None, None)


@dataclass
class Watched:
    """What went wrong in the pages of a test."""

    wrong: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        self.requests.append(request)

    def _said(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.wrong.append(message.text)

    def posted(self) -> list[str]:
        return [it.url for it in self.requests if it.method == "POST"]


Opening = Callable[..., Awaitable[Page]]


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest_asyncio.fixture(loop_scope="session")
async def opened(browser: Browser, watched: Watched) -> AsyncIterator[Opening]:
    """``await opened(url, width=…, height=…, **context)``: a page of a fresh visitor."""
    contexts = []

    async def open_page(url: str, width: int = 1200, height: int = 800, **context: Any) -> Page:
        contexts.append(
            await browser.new_context(viewport={"width": width, "height": height}, **context)
        )
        page = await contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        watched.watch(page)
        await page.goto(url)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert not watched.wrong
    foreign = [
        it.url
        for it in watched.requests
        if not it.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
    ]
    assert not foreign


def run_npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("npm") is None or not (WEB / "node_modules").is_dir():
        _missing("the page's own tests need npm and what `make page` installs")
    return subprocess.run(
        ["npm", "run", "--silent", *arguments],
        cwd=WEB, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
