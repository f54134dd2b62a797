"""``gridd up``: the daemon on loopback, and one worker beside it as its own process.

Owns the worker's process: chooses its runtime, starts it when the daemon is ready, starts it again
when it dies, and ends it with the daemon. The worker is only ever a command here; its code is not
imported.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gridd.config import Config
from gridd.errors import BlobError, ConfigError
from gridd.journal.base import JournalError
from gridd.server import running
from gridd_protocol.errors import shown

log = logging.getLogger("gridd.local")

QUEUE = "local"
PING_SECONDS = 2.0
DRAIN = "1s"  # who stops a local grid does not wait for its jobs; they are given back
STOP_SECONDS = 5.0  # from SIGTERM to SIGKILL: well inside the 10 s that `gridd up` promises
RESTART_SECONDS_MIN = 1.0
RESTART_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0  # a worker that lived so long is started again at once
_DEFAULT_SOCKET = "/var/run/docker.sock"
_EXIT_USAGE = 2
_RUNTIMES = ("docker", "process", "null")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What is the worker's among the options of ``gridd up``; ``None``: the worker's default."""

    runtime: str | None = None
    cpus: str | None = None

    @classmethod
    def load(
        cls, runtime: str | None, cpus: str | None, environ: Mapping[str, str]
    ) -> "LocalOptions":
        """Raises ``ConfigError`` with every complaint."""
        runtime = runtime or environ.get("GRIDD_RUNTIME") or None
        cpus = cpus or environ.get("GRIDD_CPUS") or None
        complaints = []
        if runtime is not None and runtime not in _RUNTIMES:
            complaints.append(f"--runtime: {shown(runtime)} is not one of {', '.join(_RUNTIMES)}")
        if cpus is not None and not _is_cpus(cpus):
            complaints.append(f"--cpus: {shown(cpus)} is not a number of cpus of at least 1")
        if complaints:
            raise ConfigError(complaints)
        return cls(runtime, cpus)


def _is_cpus(text: str) -> bool:
    try:
        return 1 <= float(text) < 1e6
    except ValueError:
        return False


async def up(config: Config, options: LocalOptions, *, ready: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; the answer is the exit code. The worker goes first, so that
    what it gives back still reaches the daemon, and is gone when this returns."""
    try:
        async with running(config) as (url, failed):
            worker = LocalWorker(config, options, _worker_address(config, url))
            try:
                return await _until_stopped(url, failed, ready)
            finally:
                await worker.stop()
    except (JournalError, BlobError, OSError) as error:
        log.critical("%s", error)
        return 1


async def _until_stopped(
    url: str, failed: asyncio.Future[None], ready: Callable[[str], None]
) -> int:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ready(url)
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((stop, failed), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if failed.done() and (error := failed.exception()) is not None:
        log.critical("stopping: %s", error)
        return 1
    return 0


def _worker_address(config: Config, url: str) -> str:
    """``url`` may be the public one, which need not lead back here."""
    if config.public_url is None or not config.port:
        return url
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


class LocalWorker:
    """One worker process at a time, from construction to ``stop``."""

    def __init__(self, config: Config, options: LocalOptions, url: str) -> None:
        self._config = config
        self._options = options
        self._url = url
        self._process: asyncio.subprocess.Process | None = None
        self._watch = asyncio.create_task(self._keep_running(), name="local worker")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for it and all it started. Twice is fine."""
        self._watch.cancel()
        await asyncio.wait({self._watch})
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("the local worker did not stop in %d s; killing it", STOP_SECONDS)
            _kill_group(process.pid)
            await process.wait()

    async def _keep_running(self) -> None:
        runtime = self._options.runtime or await _choose_runtime()
        pause = RESTART_SECONDS_MIN
        while True:
            started = time.monotonic()
            code = await self._run_once(runtime)
            if code == _EXIT_USAGE:
                log.error("the local worker refuses its settings; no jobs will run here")
                return
            if time.monotonic() - started > STEADY_SECONDS:
                pause = RESTART_SECONDS_MIN
            log.warning("the local worker ended with %d; again in %.0f s", code, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_SECONDS_MAX)

    async def _run_once(self, runtime: str) -> int:
        # Its own session: Ctrl-C is for us to pass on, and its jobs can be ended with it.
        self._process = await asyncio.create_subprocess_exec(
            *worker_command(self._config, self._options, runtime, self._url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,
            preexec_fn=_end_with_parent if _LIBC is not None else None,
        )
        log.info("local worker started", extra={"pid": self._process.pid, "runtime": runtime})
        return await self._process.wait()


def worker_command(
    config: Config, options: LocalOptions, runtime: str, url: str
) -> tuple[str, ...]:
    """What starts the worker: the same Python, and only options of its command line."""
    return (
        *(sys.executable, "-m", "gridd_worker.cli", "run", "--mode", "local"),
        *("--api-address", url),
        *("--data-directory", str(config.data_dir.absolute() / "worker")),
        *("--runtime", runtime),
        *("--drain", DRAIN),
        *("--log-format", config.log_format),
        *(("--cpus", options.cpus) if options.cpus else ()),
        "--plain",  # the terminal is the daemon's, whose lines a view would write over
        QUEUE,
    )


async def _choose_runtime() -> str:
    """Containers where an engine answers, else processes; says which and why."""
    address = os.environ.get("DOCKER_HOST") or f"unix://{_DEFAULT_SOCKET}"
    if not address.startswith("unix://"):
        log.info("jobs run in containers of the engine at %s (DOCKER_HOST)", address)
        return "docker"
    path = address.removeprefix("unix://")
    if await _answers(path):
        log.info("jobs run in containers: the engine at %s answers", path)
        return "docker"
    log.info("no container engine answers at %s: jobs without an image run as processes", path)
    return "process"


async def _answers(path: str) -> bool:
    """True when an engine says hello on the socket within ``PING_SECONDS``."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return status.split()[1:2] == [b"200"]


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Between fork and exec: ask for SIGTERM when we die without a word (kill -9), or the next
    ``gridd up`` would meet a second worker on the same data directory."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
