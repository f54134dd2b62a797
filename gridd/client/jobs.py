"""The Python client for programs with an event loop; ``blocking`` is the same without one.

    async with AsyncQueue("http://127.0.0.1:8000", "local") as queue:
        job = await queue.submit(image="alpine:3.20", command=["echo", "hello"])
        async for line in job.logs():
            print(line.text, end="")
        result = await job.wait()

Calls raise ``GridError`` when the grid refuses or can't be reached, and ``UsageError`` for what
makes no sense before anything is sent. That a job failed is no error: its ``Result`` says so.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gridd.client.api import GridClient
from gridd.client.errors import GridError
from gridd.client.files import save_output
from gridd.client.follow import Final, Lines
from gridd.client.progress import Progress
from gridd.client.reporting import STORED, error_text, outputs_of, result_of
from gridd.client.target import resolve
from gridd.client.transport import BROKEN, unreachable
from gridd.client.values import plan_values
from gridd_protocol.messages import LogLine

READ_BYTES_MAX = 256 << 20
"""What ``read`` holds in memory unless told otherwise; ``save`` has no such bound."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended. ``reason`` as in WIRE 3.3: a program that ran to its end is ``Success``
    whatever its ``exit_code``; ``Error``, ``TimedOut``, ``Cancelled``, … say why it did not."""

    reason: str
    exit_code: int | None = None
    duration_s: float | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """The program ran to its end and said 0."""
        return self.reason == "Success" and not self.exit_code


class AsyncQueue:
    """One queue of one grid; opened and closed by ``async with``.

    ``url`` is the grid's (``…/q/NAME`` names the queue too); what is not given comes from the
    environment as on the command line: ``GRIDD_API``, ``GRIDD_QUEUE``."""

    def __init__(self, url: str | None = None, name: str | None = None) -> None:
        inside = re.fullmatch(r"(https?://.+?)/q/([^/?#]+)/?", url or "")
        if inside is not None and name is None:
            url, name = inside[1], unquote(inside[2])
        self._target = resolve(url, name, os.environ)
        self._grid = GridClient(self._target.api, self._target.queue)

    @property
    def url(self) -> str:
        return self._target.api

    @property
    def name(self) -> str:
        return self._target.queue

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.url}>"

    async def __aenter__(self) -> "AsyncQueue":
        await self._grid.__aenter__()
        return self

    async def __aexit__(self, *exit: object) -> None:
        await self._grid.__aexit__(*exit)

    async def submit(
        self,
        definition: Mapping[str, Any] | None = None,
        *,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        inputs: Mapping[str, Any] | None = None,
        config_files: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        build: Mapping[str, Any] | None = None,
        entrypoint: str | None = None,
        workdir: str | None = None,
        shm_size: str | None = None,
        cpus: float | None = None,
        gpus: int | None = None,
        memory: str | None = None,
        max_duration: str | None = None,
        tags: Sequence[str] | None = None,
        namespace: str | None = None,
    ) -> "AsyncJob":
        """Send a job; its files are uploaded first, but for those that the grid has.

        A ``command`` of several words is quoted as it must be. ``inputs`` and ``config_files``
        hold text, bytes, a ``Path`` to a file or folder, an output of another job, or JSON. An
        equal job has an equal id, and the answer that is known: nothing runs twice. What is
        given here goes over ``definition``.
        """
        limits = {"cpus": cpus, "gpus": gpus, "memory": memory, "maxDuration": max_duration}
        made = await asyncio.to_thread(
            plan_values,
            self._target.api,
            definition=definition,
            command=command,
            inputs=inputs,
            config_files=config_files,
            image=image,
            env=env,
            build=build,
            entrypoint=entrypoint,
            workdir=workdir,
            shmSize=shm_size,
            maxDuration=max_duration,
            tags=None if tags is None else list(tags),
            requirements={name: value for name, value in limits.items() if value is not None},
        )
        for upload in made.uploads:
            await self._grid.upload(upload, _silent(upload.name))
        job = await self._grid.submit(made.definition, namespace=namespace)
        return AsyncJob(self, job, namespace)

    def job(self, id: str) -> "AsyncJob":
        """A job that was submitted before; nobody is asked whether it is there."""
        return AsyncJob(self, id, None)

    async def status(self) -> dict[str, Any]:
        """Jobs and workers, as the grid says it (WIRE 8)."""
        return await self._grid.status()


class AsyncJob:
    """A job by its ``id``."""

    def __init__(self, queue: AsyncQueue, id: str, namespace: str | None) -> None:
        self.id = id
        self._queue = queue
        self._grid = queue._grid
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id[:12]} on {self._queue.name!r}>"

    @property
    def url(self) -> str:
        """The job's page."""
        return self._queue._target.page(self.id)

    async def logs(self, kind: str = "run") -> AsyncGenerator[LogLine, None]:
        """Its lines from the first one on, as they come, until the job has ended; ``kind`` is
        ``run``, ``build`` or ``both``. Close it (``contextlib.aclosing``) to stop earlier."""
        async with aclosing(self._grid.follow(self.id)) as events:
            async for event in events:
                if isinstance(event, Lines) and kind in (event.kind, "both"):
                    for line in event.lines:
                        yield line

    async def wait(self, timeout: float | None = None) -> Result:
        """Its end, whatever it is. Raises ``TimeoutError`` after ``timeout`` seconds; the job goes
        on."""
        await self._grid.definition(self.id)  # raises for a job that is not there
        async with asyncio.timeout(timeout), aclosing(self._grid.follow(self.id)) as events:
            async for event in events:
                if isinstance(event, Final):
                    return await self._result(event.reason)
        raise GridError(f"the grid did not say how job {self.id} ended", 200)

    async def _result(self, reason: str) -> Result:
        if reason not in STORED:
            return Result(reason)
        found = result_of(await self._grid.result(self.id))
        code, ms = found.get("StatusCode"), found.get("duration")
        return Result(
            reason,
            code if isinstance(code, int) else None,
            ms / 1000 if isinstance(ms, int | float) else None,
            error_text(found["error"]) if found.get("error") else None,
        )

    async def outputs(self) -> dict[str, "AsyncOutput"]:
        """Its output files by name. Raises ``GridError`` (status 409) while it has no result."""
        finished = await self._grid.result(self.id)
        if finished is None:
            raise GridError(f"job {self.id} has no result, or not yet; wait for it first", 409)
        found = outputs_of(result_of(finished))
        return {name: AsyncOutput(self, name, reference) for name, reference in found.items()}

    async def definition(self) -> dict[str, Any]:
        """As it was submitted."""
        return await self._grid.definition(self.id)

    async def cancel(self, message: str = "") -> str:
        """``cancelled``, or the grid's words when there was nothing to cancel."""
        return await self._grid.cancel(self.id, namespace=self._namespace, message=message)


class AsyncOutput:
    """One output file; nothing of it is fetched before it is asked for."""

    def __init__(self, job: AsyncJob, name: str, reference: Mapping[str, Any]) -> None:
        self.name = name
        self.reference = reference
        """What stands for it in a definition: an output may be an input of another job."""
        self._job = job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self._job.id[:12]}>"

    async def read(self, bytes_max: int = READ_BYTES_MAX) -> bytes:
        """Its bytes, checked against their hash. Raises ``GridError`` for more than
        ``bytes_max``."""
        parts: list[bytes] = []
        size, grid = 0, self._job._grid
        pieces = grid.download(self._job.id, self.name, self.reference, _silent(self.name))
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    size += len(piece)
                    if size > bytes_max:
                        raise GridError(
                            f"output {self.name} has more than {bytes_max} bytes; save it", 413
                        )
                    parts.append(piece)
        except BROKEN as error:
            raise unreachable(self._job._queue.url, error) from error
        return b"".join(parts)

    async def save(self, folder: str | Path = ".") -> Path:
        """Save it under its name in ``folder``, sub-folders included; where it is now."""
        return await save_output(
            self._job._grid, self._job.id, self.name, self.reference, Path(folder), quiet=True
        )


def _silent(name: str) -> Progress:
    return Progress(name, None, enabled=False)
