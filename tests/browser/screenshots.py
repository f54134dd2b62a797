"""Pictures of the page's main states, to be looked at: ``python -m tests.browser.screenshots DIR``.

A real local grid, a real job. No test: whether it looks well is for people to say.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.conftest import encoded
from tests.browser.studio import studio

SCRIPT = """
import math, os, pathlib, sys
out = pathlib.Path(os.environ["JOB_OUTPUTS"])
for step in range(300):
    print(f"step {step:4d}  loss {1 / (step + 1):.5f}", flush=True)
print("learning rate is small", file=sys.stderr)
losses = [(1 + 0.3 * math.sin(step)) / (step + 5) for step in range(300)]
rows = (f"{step},{loss:.4f},{loss * 1.2 + 0.01:.4f}\\n" for step, loss in enumerate(losses))
(out / "losses.csv").write_text("step,training,validation\\n" + "".join(rows))
(out / "summary.json").write_text('{"best": 0.0033, "steps": 300}')
(out / "checkpoints").mkdir()
(out / "checkpoints" / "last.npy").write_bytes(bytes(4096))
"""
COMMAND = "sh -c 'python3 $JOB_INPUTS/train.py'"
PHONE = {"width": 390, "height": 780}


def take(browser: Browser, url: str, folder: Path) -> None:
    job = encoded({"command": COMMAND})
    link = f"{url}/#?inputs={encoded({'train.py': SCRIPT})}&job={job}&queue=local"

    def show(
        name: str, address: str, act: Callable[[Page], Any] = lambda _: None, **how: Any
    ) -> None:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **how})
        page = context.new_page()
        page.goto(address)
        act(page)
        page.wait_for_timeout(400)  # for what comes after the state that was waited for
        page.screenshot(path=folder / f"{name}.png")
        context.close()

    def run(page: Page, word: str = "Done") -> None:
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_label(f"State: {word}").wait_for()

    def tab(name: str) -> Callable[[Page], None]:
        return lambda page: page.get_by_role("tab", name=name).click()

    def plot(page: Page) -> None:
        tab("Outputs")(page)
        page.get_by_role("treeitem", name="losses.csv").click()
        page.get_by_role("button", name="Plot").click()

    def runs(page: Page) -> None:
        run(page)
        tab("Runs")(page)

    def compared(page: Page) -> None:
        tab("Runs")(page)
        page.get_by_role("button", name="Compare").nth(1).click()

    show("empty", f"{url}/")
    show("done", link, run)
    show("outputs", link, tab("Outputs"))
    show("plot", link, plot)
    again = f"{url}/#?inputs={encoded({'train.py': SCRIPT.replace('300', '200')})}&job={job}"
    show("runs", f"{again}&queue=local", runs)
    show("compared", link, compared)
    show("queue", f"{url}/q/local")
    show("dark", link, color_scheme="dark")
    show("phone", link, tab("Log"), viewport=PHONE)
    show("tiny", link, viewport={"width": 480, "height": 100})
    failing = f"{url}/#?job={encoded({'command': 'python3 -c raise'})}&queue=local"
    show("failed", failing, lambda page: run(page, "Exit code 1"))
    show("terminal", link, lambda page: page.get_by_role("button", name="Terminal").click())
    waiting = f"{url}/#?job={encoded({'image': 'python:3.12-slim'})}&queue=nobody"
    show("embed", f"{url}/embed/")
    show("no-worker", waiting, lambda page: run(page, "Waiting"))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with studio() as (browser, url):
        take(browser, url, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
