"""The Python client for scripts and notebooks: ``jobs`` behind calls that wait.

    queue = Queue("http://127.0.0.1:8000", "local")
    job = queue.submit(image="alpine:3.20", command=["echo", "hello"])
    for line in job.logs():
        print(line.text, end="")
    result = job.wait()

A queue has an event loop of its own in a thread of its own, so it does not matter whether the
caller runs one, as notebooks do. Ctrl-C ends the call that waits, not the job.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gridd.client.jobs import READ_BYTES_MAX, AsyncJob, AsyncOutput, AsyncQueue, Result
from gridd_protocol.messages import LogLine

_T = TypeVar("_T")
_CLOSE_SECONDS = 5.0
_CLOSED = "the queue is closed"


class _LoopThread:
    """An event loop that runs until ``stop``."""

    def __init__(self) -> None:
        self.walks: set[AsyncGenerator[Any, None]] = set()
        """Those that somebody is in the middle of."""
        self._stopping = False
        self._gate = threading.Lock()  # a call begins before the stop, which ends it, or is refused
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gridd client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._gate:
            if self._stopping:
                work.close()
                raise RuntimeError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self._stopping:
                raise RuntimeError(_CLOSED) from None
            raise
        except BaseException:
            future.cancel()  # Ctrl-C, or another exception from outside; else it is done already
            raise

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """End what runs, then ``last``, then the loop. From any thread, also at the interpreter's
        end."""
        with self._gate:
            self._stopping = True
        future = asyncio.run_coroutine_threadsafe(self._wind_up(last), self._loop)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        if threading.current_thread() is not self._thread:  # the collector may run in any
            with contextlib.suppress(concurrent.futures.TimeoutError):
                future.result(_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)

    async def _wind_up(self, last: Coroutine[Any, Any, None]) -> None:
        """Calls before walks, and walks from outside: each ends what it holds itself."""
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for walk in list(self.walks):
            await walk.aclose()
        await last


def _close(thread: _LoopThread, core: AsyncQueue) -> None:
    thread.stop(core.__aexit__(None, None, None))


class Queue:
    """One queue of one grid: see ``AsyncQueue`` for its arguments and those of ``submit``.

    Usable at once; closed by ``close``, by ``with``, or when nothing refers to it or its jobs."""

    def __init__(self, url: str | None = None, name: str | None = None) -> None:
        self._core = AsyncQueue(url, name)
        self._thread = _LoopThread()
        self._finalizer = weakref.finalize(self, _close, self._thread, self._core)
        self._thread.call(self._core.__aenter__())

    @property
    def url(self) -> str:
        return self._core.url

    @property
    def name(self) -> str:
        return self._core.name

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} at {self.url}>"

    def __enter__(self) -> "Queue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Twice is fine."""
        self._finalizer()

    def submit(self, definition: Mapping[str, Any] | None = None, **members: Any) -> "Job":
        """Send a job: ``AsyncQueue.submit`` says what ``members`` there are."""
        core = self._thread.call(self._core.submit(definition, **members))
        return Job(self, core)

    def job(self, id: str) -> "Job":
        """A job that was submitted before; nobody is asked whether it is there."""
        return Job(self, self._core.job(id))

    def status(self) -> dict[str, Any]:
        """Jobs and workers, as the grid says it (WIRE 8)."""
        return self._thread.call(self._core.status())


class Job:
    """A job by its ``id``."""

    def __init__(self, queue: Queue, core: AsyncJob) -> None:
        self.id = core.id
        self.url = core.url
        self._queue = queue  # stays open as long as one of its jobs is referred to
        self._core = core

    def __repr__(self) -> str:
        return f"<Job {self.id[:12]} on {self._queue.name!r}>"

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._queue._thread.call(work)

    def logs(self, kind: str = "run") -> Iterator[LogLine]:
        """Its lines from the first one on, as they come, until the job has ended; ``kind`` is
        ``run``, ``build`` or ``both``."""
        lines = self._core.logs(kind)
        walks = self._queue._thread.walks
        walks.add(lines)
        try:
            while (line := self._call(_next(lines))) is not None:
                yield line
        finally:
            walks.discard(lines)
            with contextlib.suppress(RuntimeError):  # the queue may be closed before
                self._call(lines.aclose())

    def wait(self, timeout: float | None = None) -> Result:
        """Its end, whatever it is. Raises ``TimeoutError`` after ``timeout`` seconds; the job goes
        on."""
        return self._call(self._core.wait(timeout))

    @property
    def outputs(self) -> dict[str, "Output"]:
        """Its output files by name. Raises ``GridError`` while it has no result."""
        found = self._call(self._core.outputs())
        return {name: Output(self, core) for name, core in found.items()}

    def definition(self) -> dict[str, Any]:
        """As it was submitted."""
        return self._call(self._core.definition())

    def cancel(self, message: str = "") -> str:
        """``cancelled``, or the grid's words when there was nothing to cancel."""
        return self._call(self._core.cancel(message))


class Output:
    """One output file; nothing of it is fetched before it is asked for."""

    def __init__(self, job: Job, core: AsyncOutput) -> None:
        self.name = core.name
        self.reference = core.reference
        self._job = job
        self._core = core

    def __repr__(self) -> str:
        return f"<Output {self.name!r} of {self._job.id[:12]}>"

    def read(self, bytes_max: int = READ_BYTES_MAX) -> bytes:
        """Its bytes, checked against their hash."""
        return self._job._call(self._core.read(bytes_max))

    def text(self) -> str:
        """Raises ``UnicodeDecodeError`` for what is not UTF-8."""
        return self.read().decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.read())

    def save(self, folder: str | Path = ".") -> Path:
        """Save it under its name in ``folder``, sub-folders included; where it is now."""
        return self._job._call(self._core.save(folder))


async def _next(lines: Any) -> LogLine | None:
    line: LogLine | None = await anext(lines, None)
    return line
