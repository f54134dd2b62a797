"""The README's three pictures: ``make pictures`` (``python -m tests.browser.pictures DIR``). A real
local grid runs the demo's job; what is shown is what it did. No test: whether they look well is
for people to say.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from gridd.client import Queue
from gridd.demo import survey
from gridd.demo.__main__ import COMMAND, JOB_SCRIPT
from tests.browser.conftest import encoded
from tests.browser.palette import reduced
from tests.browser.studio import studio

BYTES_MAX: Final = 120_000  # each; they stay in the repository for ever
SIZE: Final = {"width": 1280, "height": 800}
PATIENCE_S: Final = 60


def take(browser: Browser, url: str, folder: Path) -> None:
    def show(name: str, address: str, act: Callable[[Page], Any]) -> None:
        context = browser.new_context(viewport=SIZE, device_scale_factor=1, color_scheme="light")
        page = context.new_page()
        page.goto(address)
        act(page)
        page.wait_for_timeout(400)  # for what comes after the state that was waited for
        path = folder / f"{name}.png"
        path.write_bytes(reduced(browser, page.screenshot()))
        context.close()
        assert path.stat().st_size <= BYTES_MAX, f"{path} has {path.stat().st_size:,} bytes"

    def done(page: Page) -> None:
        page.get_by_label("State: Done").wait_for()

    def outputs(page: Page) -> None:
        done(page)
        page.get_by_role("tab", name="Outputs").click()
        page.get_by_text("light-curves.svg").first.click()

    def nobody(page: Page) -> None:
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_label("State: Waiting").wait_for()

    job = _survey(url)
    show("log", job, done)
    show("outputs", job, outputs)
    waits = {"image": "python:3.12-slim", "command": "python3 -c 'print(6 * 7)'"}
    show("waiting", f"{url}/#?job={encoded(waits)}&queue=survey", nobody)


def _survey(url: str) -> str:
    """The address of the demo's job, which has ended."""
    inputs = {"observations.csv": survey.observations(), "periods.py": JOB_SCRIPT.read_bytes()}
    with Queue(url, "local") as queue:
        job = queue.submit(command=COMMAND, inputs=inputs)
        result = job.wait(PATIENCE_S)
        assert result.exit_code == 0, result
        return job.url


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with studio() as (browser, url):
        take(browser, url, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
