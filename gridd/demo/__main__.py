"""``python -m gridd.demo``: start a grid and a worker, run a real job, show what came of it.

Exit codes: 0 when the job found what it should, 1 when anything went wrong, 130 on Ctrl-C.
Nothing of it is left running; outputs are in ``demo-output`` in the current directory.
"""

import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from gridd.client.api import GridClient
from gridd.client.errors import GridError
from gridd.client.files import save_output, text_upload
from gridd.client.follow import Final, Lines, StateChanged
from gridd.client.progress import Progress
from gridd.client.target import Target
from gridd.demo import engine, show, survey
from gridd.demo.local_grid import NotStarted, local_grid
from gridd.demo.show import say

QUEUE = "local"
OUTPUTS = Path("demo-output")
JOB_SECONDS = 300.0  # a slow machine pulls the image first
JOB_SCRIPT = Path(__file__).with_name("periods.py")
# The run's own shell reads the variables, so that one command serves containers and processes.
COMMAND = """sh -c 'cd "$JOB_INPUTS" && exec python3 periods.py observations.csv "$JOB_OUTPUTS"'"""


class Failed(Exception):
    """The job did not do what it should; the message is for people."""


def main() -> int:
    try:
        asyncio.run(_until_ended())
    except (Failed, GridError, NotStarted) as error:
        say(f"The demo failed: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("Stopped; nothing is left running.")
        return 130
    return 0


async def _until_ended() -> None:
    """Ends in order on SIGTERM and SIGHUP too, as ``asyncio.run`` does on Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="gridd-demo-") as directory:
        await _demo(Path(directory))


async def _demo(directory: Path) -> None:
    choice = await engine.choose()
    say(choice.sentence)
    async with local_grid(directory, choice.runtime) as url, GridClient(url, QUEUE) as grid:
        say(f"A grid with one worker is up at {url}")
        job = await grid.submit(await _definition(grid, url, choice))
        say(f"The job:  {Target(url, QUEUE).page(job)}")
        try:
            async with asyncio.timeout(JOB_SECONDS):
                reason = await _follow(grid, job)
        except TimeoutError:
            raise Failed(f"the job did not end within {JOB_SECONDS:.0f} s") from None
        result = await _result(grid, job, reason)
        for name, reference in sorted(result.get("outputs", {}).items()):
            await save_output(grid, job, name, reference, OUTPUTS, quiet=True)
    _conclude(result)


async def _definition(grid: GridClient, url: str, choice: engine.Choice) -> dict[str, Any]:
    """The job: two files brought to the grid under their hashes, and a command that reads them."""
    files = {"observations.csv": survey.observations(), "periods.py": JOB_SCRIPT.read_bytes()}
    inputs = {}
    for name, data in files.items():
        upload = text_upload(name, data)
        await grid.upload(upload, Progress(name, len(data)))
        inputs[name] = upload.reference(url)
        say(f"Sent {name}, {len(data):,} bytes, sha256 {upload.sha256[:12]}…")
    definition: dict[str, Any] = {"command": COMMAND, "inputs": inputs, "maxDuration": "2m"}
    return definition if choice.runtime == "process" else {"image": choice.image, **definition}


async def _follow(grid: GridClient, job: str) -> str:
    """Prints what happens as it happens; returns the reason of the end."""
    async for event in grid.follow(job):
        if isinstance(event, Lines):
            for line in event.lines:
                show.log_text(line.text)
        elif isinstance(event, StateChanged):
            say(f"{event.state}.")
        elif isinstance(event, Final):
            return event.reason
    raise Failed("the grid stopped telling about the job before it ended")


async def _result(grid: GridClient, job: str, reason: str) -> dict[str, Any]:
    finished = await grid.result(job)
    result: dict[str, Any] = (finished or {}).get("finished", {}).get("result", {})
    if reason != "Success" or result.get("StatusCode") != 0:
        remarks = "".join(line[0] for line in result.get("logs", [])[-5:])
        raise Failed(f"{reason}, exit code {result.get('StatusCode')}\n{remarks}")
    seconds = (result.get("duration") or 0) / 1000
    say(f"{reason}: exit code 0 after {seconds:.1f} s.")
    return result


def _conclude(result: dict[str, Any]) -> None:
    say()
    right = show.table(OUTPUTS / "periods.csv")
    say()
    say(f"The job found {right} of {len(survey.STARS)} periods that were hidden in the data.")
    names = ", ".join(sorted(result["outputs"]))
    say(f"Saved in {OUTPUTS}/: {names}")
    say("`make run` starts the same grid and stays.")
    if right < len(survey.STARS):
        raise Failed("a period is wrong, and the data is the same every time")


if __name__ == "__main__":
    sys.exit(main())
