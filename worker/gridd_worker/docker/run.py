"""One container, from ``start`` until it is removed: its exit, its log, its time limit.

The exit is awaited before the start, so that no exit is missed. When the engine goes away in
between, this waits for it a while, takes the run up again if it lives, and never hangs. An ended
container stays until ``discard``: if this process dies before the result is safe, the next one
reads log and exit code from it again.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.messages import LogLine
from gridd_worker.docker.disk import DockerDisk
from gridd_worker.docker.logs import BROKEN, follow, open_stream
from gridd_worker.docker.start import CODES, why_not_started
from gridd_worker.docker.times import age_s, duration_ms
from gridd_worker.remarks import ended, excessive, lost, not_run
from gridd_worker.runtime import LogSink, Outcome, Run, RuntimeUnavailable, Task
from gridd_worker.usage import Use, of_container, of_engine

_log = logging.getLogger("gridd_worker")

_CALL_S: Final = 60.0  # one short request to the engine
_ENGINE_GONE_S: Final = 30.0  # a restarted engine is back in 1 to 12 s
_STOP_S: Final = 1.5  # from the kill to its effects; then the container is removed by force
_LOG_AFTER_STOP_S: Final = 0.5
# An engine that goes down, or comes back, ends the containers it has with one of these.
_ENDED_BY_ENGINE: Final = (137, 143, 255)


class DockerRun(Run):
    """A container under way. Made by ``DockerRun.begin`` or ``DockerRun.adopt``."""

    def __init__(
        self,
        docker: Docker,
        container: str,
        task: Task,
        log: LogSink,
        disk: DockerDisk | None = None,
    ) -> None:
        self._docker = docker
        self._disk = disk
        self._outputs = task.outputs
        image = task.definition.image
        self._image = f"the image {image}" if image else "the image that was built"
        self._excess: str | None = None  # why it was ended
        self._printed = False
        self._only_line: LogLine | None = None  # of all that it printed
        self._container = container
        self._limit_s = task.allowance.run_ms_max / 1000
        self._log = log
        self._exited = asyncio.Event()
        self._stopping = False
        self._engine_lost = False
        self._started_at = 0.0
        self._running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervision: asyncio.Task[Outcome] | None = None

    @classmethod
    async def begin(
        cls,
        docker: Docker,
        container: str,
        task: Task,
        log: LogSink,
        started: Callable[[], None],
        disk: DockerDisk | None = None,
    ) -> "DockerRun":
        """Starts the created ``container``. Raises what the engine answered when it does not
        start; the caller removes it then."""
        run = cls(docker, container, task, log, disk)
        run._supervision = asyncio.create_task(run._supervise(started))
        try:
            await run._running
        except BaseException:
            run._supervision.cancel()
            await asyncio.gather(run._supervision, return_exceptions=True)
            raise
        return run

    @classmethod
    async def adopt(
        cls,
        docker: Docker,
        container: str,
        task: Task,
        log: LogSink,
        started: Callable[[], None],
        disk: DockerDisk | None = None,
    ) -> "DockerRun | None":
        """Takes up a container that an earlier process started: its log is read from the
        beginning, its time limit counts from its start. ``None`` when it never ran, is gone, or
        has ended as an engine that goes down ends its containers."""
        run = cls(docker, container, task, log, disk)
        state = await run._state()
        if state is None or state.get("Status") in ("created", "removing", "dead"):
            return None
        running = bool(state.get("Running"))
        by_engine = int(state.get("ExitCode", -1)) in _ENDED_BY_ENGINE
        if not running and by_engine and not state.get("OOMKilled"):
            return None
        run._started_at = time.monotonic() - age_s(container, state)
        started()
        run._supervision = asyncio.create_task(run._until_gone(None, ended=not running))
        return run

    async def wait(self) -> Outcome:
        assert self._supervision is not None
        try:
            return await asyncio.shield(self._supervision)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kills and removes the container. Twice is fine."""
        assert self._supervision is not None
        self._stopping = True
        if not self._supervision.done():
            await self._kill()
            await asyncio.wait([self._supervision], timeout=_STOP_S)
        if not self._supervision.done():
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
        await remove(self._docker, self._container)

    async def usage(self) -> Use | None:
        if (use := of_container(self._container)) is not None:
            return use
        path = f"containers/{self._container}/stats"
        try:
            params = {"stream": "false", "one-shot": "true"}
            return of_engine(await self._docker._query_json(path, params=params))
        except (*BROKEN, ValueError):
            return None

    async def discard(self) -> None:
        await remove(self._docker, self._container)

    # --- the life of the container --------------------------------------------------------

    async def _supervise(self, started: Callable[[], None]) -> Outcome:
        try:
            path = f"containers/{self._container}/wait"
            params = {"condition": "next-exit"}
            # The engine answers with headers as soon as it watches for the exit.
            async with open_stream(self._docker, path, "POST", params=params) as exit_stream:
                await self._start()
                self._started_at = time.monotonic()
                started()
                self._running.set_result(None)
                return await self._until_gone(exit_stream)
        except BaseException as error:
            if self._running.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                self._running.cancel()
                raise
            self._running.set_exception(error)
            return lost(str(error), 0)  # nobody reads it: ``begin`` has raised

    async def _start(self) -> None:
        async with asyncio.timeout(_CALL_S):
            await self._docker.containers.container(self._container).start()

    async def _until_gone(
        self, exit_stream: aiohttp.ClientResponse | None, *, ended: bool = False
    ) -> Outcome:
        follower = asyncio.create_task(
            follow(self._docker, self._container, self._tell, self._exited)
        )
        exiting = asyncio.create_task(self._exit(exit_stream))
        # Ends, with the reason, when the run has to.
        writing = asyncio.create_task(self._look_after_disk())
        try:
            left_s = max(0.0, self._started_at + self._limit_s - time.monotonic())
            # One that had ended before we came keeps its exit code, however long we were away.
            done, _ = await asyncio.wait(
                [exiting, writing],
                timeout=None if ended else left_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            timed_out = not done
            if exiting not in done:
                self._excess = writing.result() if writing in done else None
                await self._kill()
            await exiting
            self._exited.set()
            incomplete = await self._log_ended(follower)
            return await self._outcome(timed_out, incomplete)
        finally:
            for helper in (follower, exiting, writing):
                helper.cancel()
            await asyncio.gather(follower, exiting, writing, return_exceptions=True)

    async def _look_after_disk(self) -> str:
        if self._disk is None:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")
        return await self._disk.look_after(self._docker, self._container, self._outputs)

    def _tell(self, lines: list[LogLine]) -> None:
        self._only_line = lines[0] if len(lines) == 1 and not self._printed else None
        self._printed = self._printed or bool(lines)
        self._log("Running", lines)

    async def _exit(self, exit_stream: aiohttp.ClientResponse | None) -> None:
        """Returns when the container has ended. The exit code is read by ``_outcome``."""
        try:
            said = await exit_stream.read() if exit_stream is not None else b""
            if "StatusCode" in json.loads(said or b"{}"):
                return
        except (*BROKEN, ValueError) as error:
            _log.info("container %s: wait broke off: %r", self._container[:12], error)
        while await self._is_running():
            try:
                path = f"containers/{self._container}/wait"
                async with open_stream(self._docker, path, "POST") as response:
                    await response.read()
            except BROKEN as error:
                _log.info("container %s: wait broke off: %r", self._container[:12], error)
                await asyncio.sleep(0.1)

    async def _is_running(self) -> bool:
        """Asks the engine, and waits for it when it does not answer. Raises
        ``RuntimeUnavailable`` after ``_ENGINE_GONE_S``."""
        deadline = time.monotonic() + _ENGINE_GONE_S
        while True:
            try:
                state = await self._state()
                return bool(state is not None and state.get("Running"))
            except BROKEN as error:
                self._engine_lost = True
                if time.monotonic() > deadline:
                    raise RuntimeUnavailable(
                        f"the Docker engine went away while container {self._container[:12]} ran"
                        f" and did not come back within {_ENGINE_GONE_S:g} s: {error}"
                    ) from None
            await asyncio.sleep(0.2)

    async def _state(self) -> dict[str, Any] | None:
        """The container's ``State``; None when there is no such container any more."""
        try:
            async with asyncio.timeout(_CALL_S):
                shown = await self._docker.containers.container(self._container).show()
        except DockerError as error:
            if error.status == 404:
                return None
            raise
        state: dict[str, Any] = shown["State"]
        return state

    async def _log_ended(self, follower: asyncio.Task[None]) -> str | None:
        """Waits for the last line. What went wrong with the log, if anything."""
        if self._stopping:
            await asyncio.wait([follower], timeout=_LOG_AFTER_STOP_S)
            return None
        try:
            await follower
        except BROKEN as error:
            return f"the log of the container is incomplete: {error}"
        return None

    async def _outcome(self, timed_out: bool, incomplete: str | None) -> Outcome:
        if not await self._is_running():  # waits for an engine that is restarting
            state = await self._state()
        else:
            state = None
        run_ms = round((time.monotonic() - self._started_at) * 1000)
        if state is None:
            return lost(f"container {self._container[:12]} was removed from outside", run_ms)
        exit_code = int(state.get("ExitCode", -1))
        out_of_memory = bool(state.get("OOMKilled"))
        wanted = timed_out or self._stopping or out_of_memory or self._excess is not None
        by_engine = exit_code in _ENDED_BY_ENGINE and not wanted
        if by_engine and (self._engine_lost or not await self._engine_listens()):
            raise RuntimeUnavailable(
                f"the Docker engine was restarted and ended container {self._container[:12]}"
            )
        if self._excess is not None:
            return excessive(self._excess, exit_code, duration_ms(state, run_ms))
        if exit_code in CODES and not wanted:
            only, image = self._only_line, self._image
            why = await why_not_started(self._docker, self._container, only, image)
            if why is not None:
                return not_run(why)
        outcome = ended(
            exit_code,
            duration_ms(state, run_ms),
            name=self._container,
            timed_out=timed_out,
            out_of_memory=out_of_memory,
        )
        if incomplete:
            outcome.remarks.append(incomplete)
        return outcome

    async def _engine_listens(self) -> bool:
        """An engine that goes down stops listening, then ends its containers, and answers on the
        connections that it has until the end."""
        connector = self._docker.connector
        if not isinstance(connector, aiohttp.UnixConnector):
            return True
        try:
            async with asyncio.timeout(_CALL_S):
                _, writer = await asyncio.open_unix_connection(connector.path)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    async def _kill(self) -> None:
        try:
            async with asyncio.timeout(_CALL_S):
                await self._docker.containers.container(self._container).kill()
        except BROKEN as error:
            # 404 and 409: it is gone or not running, which is what was wanted
            if not (isinstance(error, DockerError) and error.status in (404, 409)):
                _log.warning("container %s can't be killed: %s", self._container[:12], error)


async def remove(docker: Docker, container: str) -> None:
    """Removes the container with its unnamed volumes, killing it if it runs. Never raises."""
    try:
        async with asyncio.timeout(_CALL_S):
            await docker.containers.container(container).delete(force=True, v=True)
    except BROKEN as error:
        # 404: removed already; 409: being removed
        if not (isinstance(error, DockerError) and error.status in (404, 409)):
            _log.warning("container %s can't be removed: %s", container[:12], error)
