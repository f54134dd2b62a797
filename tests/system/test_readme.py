"""What the README tells people to type works."""

import asyncio
import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gridd.demo.local_grid import local_grid

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def commands() -> list[list[str]]:
    """Each command line of the ``sh`` blocks, as words; comments and continued lines joined."""
    text = "".join(blocks("sh")).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line for line in words if line]


OURS = [words for words in commands() if words[0] in ("gridd", "gridd-worker")]
CURLS = [words for words in commands() if words[0] == "curl"]


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a grid whose jobs all succeed at once."""
    async with local_grid(tmp_path, "null") as url:
        yield url.removeprefix("http://")


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_each_option_of_our_commands_exists(words: list[str]) -> None:
    ours = words[: words.index("--")] if "--" in words else words
    command = [word for word in ours[:3] if re.fullmatch("[a-z][a-z-]*", word)]
    script = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [str(script), *command[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for option in (word for word in ours if word.startswith("--")):
        assert re.search(rf"{option}\b", done.stdout), f"{' '.join(command)} has no {option}"


async def test_the_curl_lines_submit_follow_and_fetch(grid: str) -> None:
    submit, stream, result = CURLS
    base = f"http://{grid}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        body = submit[submit.index("-d") + 1]
        async with session.post(at(submit[-1], base), data=body) as response:
            job = (await response.json())["jobId"]
        async with session.get(at(stream[-1], base).replace("JOB", job)) as response:
            events = await response.text()
        async with session.get(at(result[-1], base).replace("JOB", job)) as response:
            finished = (await response.json())["data"]
    assert events.rstrip().endswith('data: {"state":"Finished","reason":"Success"}')
    assert finished["finished"]["result"]["StatusCode"] == 0


def at(url: str, base: str) -> str:
    assert url.startswith(f"http://{ADDRESS}/"), url
    return url.replace(f"http://{ADDRESS}", base)


async def test_the_websocket_example_prints_each_change(grid: str) -> None:
    (example,) = (text for text in blocks("python") if "websockets" in text)
    assert ADDRESS in example
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", example.replace(ADDRESS, grid)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            await submit_until_watched(session, grid)
            states = await printed_states(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert states[-1] == "Finished Success"


async def test_the_python_example_submits_follows_and_waits(grid: str) -> None:
    (example,) = (text for text in blocks("python") if "gridd.client" in text)
    assert len(example.splitlines()) <= 10
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example.replace(ADDRESS, grid)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert out.decode().startswith("Result(reason='Success', exit_code=0, ")


async def submit_until_watched(session: aiohttp.ClientSession, grid: str) -> None:
    """Submit once the example is connected, so that it sees the job from its beginning."""
    while True:
        async with session.get(f"http://{grid}/q/local/status") as response:
            if (await response.json())["clientCount"]:
                break
        await asyncio.sleep(0.02)
    definition = {"image": "any", "command": "anything"}
    body = json.dumps({"definition": definition})
    async with session.post(f"http://{grid}/q/local", data=body) as response:
        assert response.status == 200, await response.text()


async def printed_states(process: asyncio.subprocess.Process) -> list[str]:
    """What the example prints behind the job's id, until the job is finished."""
    assert process.stdout is not None
    states: list[str] = []
    async for line in process.stdout:
        states.append(line.decode().strip().partition(" ")[2])
        if states[-1].startswith("Finished"):
            return states
    raise AssertionError(f"the example ended; it had printed {states}")
