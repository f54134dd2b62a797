"""The installed command against real daemons: processes, signals, exit codes."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

GRIDD = (sys.executable, "-m", "gridd")
START_SECONDS = 30
STOP_SECONDS = 10
Line = tuple[str, ...]


@dataclass
class Done:
    code: int
    out: str
    err: str


@dataclass
class Daemon:
    """A ``gridd serve`` or ``gridd up`` that said that it is ready."""

    process: Process
    url: str
    log: Path

    async def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to go."""
        started = time.monotonic()
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        return time.monotonic() - started

    def said(self) -> str:
        return self.log.read_text()


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDD_", "CQ_"))}
    return {**kept, **more}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Daemon]]]:
    started: list[Process] = []

    async def start(*line: str, port: str = "0", **more: str) -> Daemon:
        log = tmp_path / f"log-{len(started)}"
        with log.open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *(*GRIDD, *line, "--port", port, "--data-dir", str(tmp_path / "data")),
                stdout=PIPE,
                stderr=err,
                env=environment(**more),
                cwd=tmp_path,
            )
        started.append(process)
        assert process.stdout is not None
        ready = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        text = ready.decode()
        assert text.startswith("gridd is ready at http://127.0.0.1:"), (text, log.read_text())
        return Daemon(process, text.split()[-1], log)

    yield start
    for process in started:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait_for(process.wait(), STOP_SECONDS + 5)
        # a pipe that is read to its end is closed; left alone it would be closed by chance
        assert process.stdout is not None
        await process.stdout.read()


async def gridd(grid: Daemon | str, *line: str, stdin: bytes | None = None, **more: str) -> Done:
    url = grid if isinstance(grid, str) else grid.url
    process = await asyncio.create_subprocess_exec(
        *(*GRIDD, *line),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(GRIDD_API=url, **more),
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    assert b"Traceback" not in err
    return Done(process.returncode, out.decode(), err.decode())


async def until(look: Callable[[], Awaitable[Any] | Any], seconds: float = 20) -> Any:
    """The first true value of ``look``; the last one seen is told when none comes."""
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        seen = look()
        seen = await seen if isinstance(seen, Awaitable) else seen
        if seen:
            return seen
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s; last seen: {seen!r}")


def alive(pid: int) -> bool:
    """False also for one that ended and waits to be collected."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def worker_pids(grid: Daemon) -> list[int]:
    """Those that its log says were started, and that live."""
    starts = [line for line in grid.said().splitlines() if "local worker started" in line]
    pids = [int(line.partition("pid=")[2].split()[0]) for line in starts]
    return [pid for pid in pids if alive(pid)]


# --- serve -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_prints_one_line_and_stops_when_told(
    daemon: Callable[..., Awaitable[Daemon]], number: int
) -> None:
    grid = await daemon("serve")
    await grid.stop(number)
    assert grid.process.returncode == 0
    assert grid.process.stdout is not None
    assert await grid.process.stdout.read() == b""
    assert "Traceback" not in grid.said()


async def test_serve_logs_json(daemon: Callable[..., Awaitable[Daemon]]) -> None:
    grid = await daemon("serve", GRIDD_LOG_FORMAT="json")
    await grid.stop()
    found = [json.loads(line) for line in grid.said().splitlines()]
    assert found[0]["level"] == "info"
    assert found[0]["url"] == grid.url


async def test_serve_tells_every_complaint(tmp_path: Path) -> None:
    done = await gridd("http://x", "serve", "--port", "x", GRIDD_LOG_LEVEL="loud")
    assert done.code == 2
    assert done.out == ""
    assert [line.split(":")[1].strip() for line in done.err.splitlines()] == [
        "--port",
        "GRIDD_LOG_LEVEL",
    ]


async def test_a_port_that_is_taken(
    daemon: Callable[..., Awaitable[Daemon]], tmp_path: Path
) -> None:
    grid = await daemon("serve")
    port = grid.url.rpartition(":")[2]
    done = await gridd(grid, "serve", "--port", port, "--data-dir", str(tmp_path / "other"))
    assert done.code not in (0, 2)
    assert "address already in use" in done.err


# --- a queue that nobody works on ------------------------------------------------------


async def test_a_waiting_job(daemon: Callable[..., Awaitable[Daemon]], tmp_path: Path) -> None:
    grid = await daemon("serve")
    large = tmp_path / "large"
    large.write_bytes(b"x" * 3_000_000)
    line = ("--image", "a", "--input", f"l=@{large}", "--input", "s=hi", "--", "cat", "/inputs/l")

    first = await gridd(grid, "submit", *line)
    assert first.code == 0
    job = first.out.strip()
    assert len(job) == 64
    assert first.err == f"{grid.url}/j/{job}#?queue=local\n"
    again = await gridd(grid, "submit", "--json", *line)
    assert json.loads(again.out)["jobId"] == job

    status = await gridd(grid, "status")
    assert status.out == "queue local: 1 queued; 0 workers\n"
    assert "gridd-worker run" in status.err
    assert json.loads((await gridd(grid, "status", "--json")).out)["jobs"][job] == {
        "state": "Queued"
    }
    assert (await gridd(grid, "result", job)).out == "null\n"
    assert (await gridd(grid, "logs", job)) == Done(0, "", "")

    assert (await gridd(grid, "cancel", job)) == Done(0, "", "cancelled\n")
    assert (await gridd(grid, "status")).out == "queue local: no jobs; 0 workers\n"
    waited = await gridd(grid, "wait", job)
    assert waited.code == 3
    assert "Cancelled" in waited.err


async def test_cancelling_ends_a_run(daemon: Callable[..., Awaitable[Daemon]]) -> None:
    grid = await daemon("serve")
    running = asyncio.create_task(gridd(grid, "run", "--image", "a", "--json", "--quiet"))

    async def job() -> str:
        jobs = json.loads((await gridd(grid, "status", "--json")).out)["jobs"]
        return next(iter(jobs), "")

    assert (await gridd(grid, "cancel", await until(job))).code == 0
    done = await running
    assert done.code == 3
    assert json.loads(done.out)["finishedReason"] == "Cancelled"


@pytest.mark.parametrize("cancels", [False, True])
async def test_ctrl_c(daemon: Callable[..., Awaitable[Daemon]], cancels: bool) -> None:
    grid = await daemon("serve")
    process = await asyncio.create_subprocess_exec(
        *(*GRIDD, "run", "--image", "a", *(["--cancel-on-interrupt"] if cancels else [])),
        stdout=PIPE,
        stderr=PIPE,
        env=environment(GRIDD_API=grid.url),
    )
    assert process.stderr is not None
    said = [(await asyncio.wait_for(process.stderr.readline(), 20)).decode() for _ in range(3)]
    assert said[2] == "queued\n"
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert out == b""
    job = said[0].split()[1]
    assert (f"gridd logs -f {job}" in err.decode()) == (not cancels)
    assert b"Traceback" not in err
    jobs = json.loads((await gridd(grid, "status", "--json")).out)["jobs"]
    assert (job in jobs) == (not cancels)


async def test_a_daemon_that_restarts_does_not_end_a_run(
    daemon: Callable[..., Awaitable[Daemon]], tmp_path: Path
) -> None:
    grid = await daemon("serve")
    process = await asyncio.create_subprocess_exec(
        *(*GRIDD, "run", "--image", "a"),
        stdout=PIPE,
        stderr=PIPE,
        env=environment(GRIDD_API=grid.url),
    )
    assert process.stderr is not None
    said = [(await asyncio.wait_for(process.stderr.readline(), 20)).decode() for _ in range(3)]
    grid.process.kill()
    await grid.process.wait()
    port = grid.url.rpartition(":")[2]
    later = await daemon("serve", port=port)
    assert (await gridd(later, "cancel", said[0].split()[1])).code == 0
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 3, err


async def test_upload_and_its_bounds(
    daemon: Callable[..., Awaitable[Daemon]], tmp_path: Path
) -> None:
    grid = await daemon("serve")
    (tmp_path / "f").write_bytes(b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    for _ in range(2):
        done = await gridd(grid, "upload", str(tmp_path / "f"))
        assert done == Done(0, f"{grid.url}/f/{sha256}\n", "")
    missing = await gridd(grid, "upload", str(tmp_path / "none"))
    assert missing.code == 2
    assert "can't be read" in missing.err


async def test_a_refused_definition_names_the_field(
    daemon: Callable[..., Awaitable[Daemon]],
) -> None:
    grid = await daemon("serve")
    done = await gridd(grid, "submit", "--definition", "-", stdin=b'{"image": 7}')
    assert done.code == 125
    assert done.out == ""
    assert "image" in done.err


async def test_a_reader_that_goes_away_ends_it_quietly(
    daemon: Callable[..., Awaitable[Daemon]],
) -> None:
    grid = await daemon("serve")
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(*GRIDD, "status"), stdout=writer, stderr=PIPE, env=environment(GRIDD_API=grid.url)
    )
    os.close(writer)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (141, b"")


# --- up --------------------------------------------------------------------------------


async def test_up_runs_a_job_and_takes_its_worker_along(
    daemon: Callable[..., Awaitable[Daemon]],
) -> None:
    grid = await daemon("up", "--runtime", "null")
    done = await gridd(grid, "run", "--image", "a", "--", "true")
    assert done.code == 0, (done, grid.said())
    [pid] = worker_pids(grid)
    assert await grid.stop() < STOP_SECONDS
    assert grid.process.returncode == 0
    assert not alive(pid)


async def test_a_worker_that_dies_is_started_again(
    daemon: Callable[..., Awaitable[Daemon]],
) -> None:
    grid = await daemon("up", "--runtime", "null")
    [first] = await until(lambda: worker_pids(grid))
    os.kill(first, signal.SIGKILL)
    [second] = await until(lambda: [pid for pid in worker_pids(grid) if pid != first])
    done = await gridd(grid, "run", "--image", "a")
    assert done.code == 0, (done, grid.said())
    assert alive(second)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_a_killed_up_leaves_no_worker(daemon: Callable[..., Awaitable[Daemon]]) -> None:
    grid = await daemon("up", "--runtime", "null")
    done = await gridd(grid, "run", "--image", "a")
    assert done.code == 0, (done, grid.said())
    [pid] = worker_pids(grid)
    grid.process.kill()
    await grid.process.wait()
    await until(lambda: not alive(pid))


async def test_up_refuses_a_page_from_elsewhere(
    daemon: Callable[..., Awaitable[Daemon]],
) -> None:
    grid = await daemon("up", "--runtime", "null")
    port = int(grid.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /q/local/j HTTP/1.0\r\nHost: evil.example\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.split()[1] == b"403"


async def test_a_real_program(daemon: Callable[..., Awaitable[Daemon]], tmp_path: Path) -> None:
    """The process runtime: output, files in and out, exit code, words as they were given."""
    grid = await daemon("up", "--runtime", "process")
    script = (
        'import os, sys, pathlib\nprint("out", sys.argv[1:])\nprint("err", file=sys.stderr)\n'
        'data = pathlib.Path(os.environ["JOB_INPUTS"], "in").read_bytes()\n'
        'pathlib.Path(os.environ["JOB_OUTPUTS"], "sub").mkdir()\n'
        'pathlib.Path(os.environ["JOB_OUTPUTS"], "sub/big").write_bytes(data * 2)\n'
        'pathlib.Path(os.environ["JOB_OUTPUTS"], "small").write_bytes(b"s")\n'
        "sys.exit(7)\n"
    )
    (tmp_path / "in").write_bytes(b"x" * 300_000)
    words = ["a b", "it's", "$HOME", "back\\slash", "tail\\", "", "*", "#", "é"]
    out = tmp_path / "out"
    done = await gridd(
        grid,
        *("run", "--input", f"in=@{tmp_path / 'in'}", "--output-dir", str(out)),
        *("--", "python3", "-c", script, *words),
    )
    assert done.code == 7, (done, grid.said())
    assert done.out == f"out {words!r}\n"
    assert "err\n" in done.err
    assert "exit code 7 after" in done.err
    assert (out / "sub" / "big").read_bytes() == b"x" * 600_000
    assert (out / "small").read_bytes() == b"s"
    job = done.err.split()[1]
    log = await gridd(grid, "logs", "-f", job)
    assert sorted(log.out.splitlines()) == ["err", done.out.strip()]  # all of it is data
    assert (await gridd(grid, "wait", "--quiet", job)).code == 7
