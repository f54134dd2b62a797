"""``make demo``, without Docker: it shows a real job, and leaves nothing behind."""

import asyncio
import os
import secrets
import signal
import sys
import time
from pathlib import Path

import pytest

from gridd.demo import survey

ENDED_SECONDS = 120.0


class Demo:
    """One demo in its own directory; every process that comes of it carries ``mark``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"GRIDD_TEST_MARK={secrets.token_hex(8)}"
        self.lines: list[str] = []
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        name, _, value = self.mark.partition("=")
        nowhere = f"unix://{self.directory}/no-engine.sock"
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gridd.demo"),
            cwd=self.directory,
            env={**os.environ, name: value, "DOCKER_HOST": nowhere},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def read_until(self, words: str | None) -> None:
        """Until a line holds ``words``, or to the end."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode())
            if words is not None and words in self.lines[-1]:
                return
        assert words is None, f"the demo ended without saying {words!r}:\n{self.text}"

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def left(self) -> list[str]:
        """Command lines of processes that carry the mark."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (directory / "environ").read_bytes():
                    words = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(words.decode(errors="replace"))
            except OSError:  # gone meanwhile, or somebody else's
                continue
        return found

    async def assert_gone(self) -> None:
        deadline = time.monotonic() + 10
        while left := self.left():
            assert time.monotonic() < deadline, f"left running: {left}\n{self.text}"
            await asyncio.sleep(0.05)


@pytest.fixture
async def demo(tmp_path: Path) -> Demo:
    started = Demo(tmp_path)
    await started.start()
    return started


async def test_it_runs_a_real_job_and_shows_what_came_of_it(demo: Demo) -> None:
    async with asyncio.timeout(ENDED_SECONDS):
        await demo.read_until(None)
        code = await demo.process.wait()
    assert code == 0, demo.text
    assert demo.lines[0].startswith("Jobs run as processes on this machine: no Docker engine")
    assert "/j/" in demo.text
    assert "exit code 0 after" in demo.text
    for star in survey.STARS:
        assert f"  | {star.name}: a period of" in demo.text
    assert "The job found 6 of 6 periods" in demo.text
    saved = sorted(path.name for path in (demo.directory / "demo-output").iterdir())
    assert saved == ["light-curves.svg", "periods.csv"]
    await demo.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
async def test_it_leaves_nothing_when_it_is_interrupted(demo: Demo, number: int) -> None:
    async with asyncio.timeout(ENDED_SECONDS):
        await demo.read_until("GV-1:")
        demo.process.send_signal(number)
        await demo.read_until(None)
        code = await demo.process.wait()
    assert code == 130, demo.text
    assert demo.lines[-1] == "Stopped; nothing is left running.\n"
    await demo.assert_gone()
