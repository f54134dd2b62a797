"""Where pictures of the page are taken: a browser before a local grid of its own, both real."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import FLAGS
from tests.system.support.up import grid_up


@contextmanager
def studio() -> Iterator[tuple[Browser, str]]:
    """The browser, and the grid's address. Its jobs are processes."""
    with (
        tempfile.TemporaryDirectory() as data,
        grid_up(Path(data), "process") as url,
        sync_playwright() as playwright,
    ):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser, url
        browser.close()
