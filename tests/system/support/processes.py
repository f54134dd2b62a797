"""Real servers and workers as processes that a test may kill, freeze and start again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

READY_S = 30.0
PATIENCE_S = 20.0


async def until(
    condition: Callable[[], Any], seen: Callable[[], Any], timeout_s: float = PATIENCE_S
) -> Any:
    """The first true value of ``condition`` (plain or awaited). On time-out, fails with what was
    last seen."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {seen()!r}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    """A port that was free a moment ago: a server that comes back needs its old address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """One process after the other with the same command line. Its stderr is kept in a file."""

    def __init__(
        self, name: str, arguments: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None

    async def launch(self) -> None:
        """Start it, and do not wait for it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=os.environ | self._environment,
            )

    async def start(self) -> str:
        """Returns the line that says that it is ready."""
        await self.launch()
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), READY_S)
        except TimeoutError:
            raise AssertionError(f"{self.name} is not ready after {READY_S} s: {self}") from None
        assert line, f"{self.name} ended before it was ready: {self}"
        return line.decode()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        """SIGKILL: no goodbye, nothing flushed."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and what it ended with."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), PATIENCE_S)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def said(self) -> str:
        """Everything on its stderr, of all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __str__(self) -> str:
        return f"{self.name}, last words: {self.said()[-2_000:]}"


class Server(Program):
    """``gridd serve`` over ``folder``, at one address for all its lives."""

    def __init__(self, folder: Path, *options: str, lease_s: float = 30) -> None:
        self.data = folder / "server"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = ["-m", "gridd", "serve", "--port", str(self.port)]
        arguments += ["--data-dir", str(self.data), "--lease", f"{int(lease_s * 1_000)}ms"]
        arguments += ["--log-level", "warning", *options]
        super().__init__("gridd serve", arguments, folder / "server.log")


class Worker(Program):
    """``gridd-worker run QUEUE``. ``data`` is its directory (with spool and id)."""

    def __init__(
        self,
        folder: Path,
        url: str,
        name: str = "w",
        *,
        queue: str = "q",
        runtime: str = "process",
        cpus: int = 4,
        data: Path | None = None,
        options: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.id = name
        self.data = data or folder / f"worker-{name}"
        arguments = ["-m", "gridd_worker.cli", "run", queue, "--runtime", runtime]
        arguments += ["--api-address", url, "--data-directory", str(self.data)]
        arguments += ["--id", name, "--cpus", str(cpus), *options]
        log = folder / f"{self.data.name}.log"
        super().__init__(f"gridd-worker {name}", arguments, log, environment)


@contextlib.asynccontextmanager
async def killed_at_end(*programs: Program) -> AsyncIterator[None]:
    """Kills what is left of ``programs`` at the end."""
    try:
        yield
    finally:
        for program in programs:
            await program.kill()


def processes_with(word: str) -> list[str]:
    """Command lines of living processes (zombies have none) that hold ``word``: a job's
    processes can be told by what its command says."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if word in line:
                found.append(line)
    return found


class Api:
    """What a test asks of the server over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def submit(self, definition: dict[str, Any], queue: str = "q") -> str:
        body = {"definition": definition}
        async with self.session.post(f"{self.url}/q/{queue}", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return str(said["jobId"])

    async def jobs(self, queue: str = "q") -> dict[str, Any]:
        async with self.session.get(f"{self.url}/q/{queue}/j") as answer:
            return dict((await answer.json())["data"])

    async def job(self, job: str, queue: str = "q") -> dict[str, Any] | None:
        return (await self.jobs(queue)).get(job)

    async def finished(self, job: str, queue: str = "q") -> dict[str, Any] | None:
        async with self.session.get(f"{self.url}/q/{queue}/j/{job}/result.json") as answer:
            said: dict[str, Any] | None = (await answer.json())["data"]
            return said

    async def lines(self, job: str, queue: str = "q") -> list[str]:
        path = f"{self.url}/q/{queue}/j/{job}/run-logs.json?since=0"
        async with self.session.get(path) as answer:
            return [line[0] for line in (await answer.json())["data"]]


@contextlib.asynccontextmanager
async def api(url: str) -> AsyncIterator[Api]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Api(url, session)
