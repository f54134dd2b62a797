"""``gridd up`` as a child of the demo: started, waited for, and ended whatever happens."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

READY_SECONDS = 30.0
STOP_SECONDS = 15.0  # `gridd up` promises 10
_URL = re.compile(rb"http://[^\s/]+")


class NotStarted(Exception):
    """``gridd up`` did not get ready. The message holds what it said last."""


@contextlib.asynccontextmanager
async def local_grid(directory: Path, runtime: str) -> AsyncIterator[str]:
    """The URL of a grid with one worker. It is gone, worker included, when this returns."""
    log = directory / "grid.log"
    with log.open("wb") as stderr:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gridd.cli", "up", "--port", "0"),
            *("--data-dir", str(directory / "data"), "--runtime", runtime),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            # Ctrl-C reaches all that a terminal started; the grid is ours to end, in order.
            start_new_session=True,
        )
    try:
        yield await _ready(child, log)
    finally:
        await asyncio.shield(_end(child))


async def _ready(child: asyncio.subprocess.Process, log: Path) -> str:
    assert child.stdout is not None, "it was started with a pipe"
    try:
        async with asyncio.timeout(READY_SECONDS):
            async for line in child.stdout:
                if found := _URL.search(line):
                    return found.group().decode()
            await child.wait()
    except TimeoutError:
        raise NotStarted(f"not ready within {READY_SECONDS:.0f} s; {_said(log)}") from None
    raise NotStarted(f"`gridd up` ended with {child.returncode}; {_said(log)}")


def _said(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return "it said:\n  " + "\n  ".join(lines) if lines else "it said nothing"


async def _end(child: asyncio.subprocess.Process) -> None:
    """In order if it goes, by force if it does not; with the session, so that none is left."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await child.wait()
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
