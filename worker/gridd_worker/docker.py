"""Runs container jobs on a Docker engine over its socket.

Short calls go through aiodocker; logs, pulls, builds and waits are read by ourselves, because
only a closed response is a cancelled request. What a container may do stands in
``docker_config``; its life is ``docker_run``.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.messages import Kind
from gridd_worker.commandline import CommandError
from gridd_worker.docker_config import LABEL_WORKER, container_config
from gridd_worker.docker_images import ImageError, Images
from gridd_worker.docker_logs import BROKEN
from gridd_worker.docker_network import close_metadata, ensure_network
from gridd_worker.docker_run import DockerRun, remove
from gridd_worker.null import Ended
from gridd_worker.remarks import no_image, not_run
from gridd_worker.runtime import LogSink, RuntimeUnavailable, Task

_log = logging.getLogger("gridd_worker")

_SOCKET: Final = "unix:///var/run/docker.sock"
_CALL: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
# What the engine says when it, not the job, lacks something. Matched in lower case.
_MACHINE_FAULTS: Final = (
    "no space left on device",
    "could not select device driver",
    "cannot allocate memory",
    "too many open files",
)


class DockerRuntime:
    """``host`` as in DOCKER_HOST, ``unix://…`` only. ``worker`` is this worker's id: containers
    that an earlier process of it left behind are removed by ``open``."""

    kinds: tuple[Kind, ...] = ("container",)

    def __init__(self, host: str | None = None, *, worker: str | None = None) -> None:
        self._host = host or os.environ.get("DOCKER_HOST") or _SOCKET
        self._worker = worker
        self._connector: aiohttp.UnixConnector | None = None
        self._docker: Docker | None = None
        self._images: Images | None = None
        self._cpus = 1.0
        self._about = "docker: not open"

    def describe(self) -> str:
        """One line for the log: the engine, and what it can't enforce."""
        return self._about

    async def open(self) -> None:
        if not self._host.startswith("unix://"):
            raise RuntimeUnavailable(f"DOCKER_HOST is {self._host}: only unix:// is supported")
        # The usual limit of 100 connections would be used up by 50 containers.
        self._connector = aiohttp.UnixConnector(self._host.removeprefix("unix://"), limit=0)
        self._docker = Docker(url="unix://localhost", connector=self._connector, timeout=_CALL)
        self._images = Images(self._docker)
        try:
            info = await self._docker.system.info()
            await ensure_network(self._docker)
            await self._remove_orphans()
        except BROKEN as error:
            await self.close()
            raise RuntimeUnavailable(
                f"no Docker engine answers on {self._host} ({error}):"
                " start it, or choose another runtime"
            ) from None
        self._cpus = float(info.get("NCPU") or 1)
        open_metadata = await close_metadata()
        self._about = f"docker {info.get('ServerVersion')}: {self._cpus:g} cpus"
        if open_metadata:
            self._about += f"; jobs can reach link-local addresses: {open_metadata}"

    async def start(
        self, task: Task, log: LogSink, started: Callable[[], None]
    ) -> Ended | DockerRun:
        if self._docker is None or self._images is None:
            raise RuntimeUnavailable("the Docker runtime is not open")
        try:
            image = await self._images.ensure(task.definition, log)
            config = container_config(task, image, self._cpus)
            return await self._launch(self._docker, config, task, log, started)
        except ImageError as error:
            return Ended(no_image(str(error), building=error.building))
        except CommandError as error:
            return Ended(not_run(str(error)))
        except DockerError as error:
            if error.status == 900 or any(f in error.message.lower() for f in _MACHINE_FAULTS):
                raise RuntimeUnavailable(f"the Docker engine failed: {error.message}") from None
            return Ended(not_run(error.message))
        except BROKEN as error:
            raise RuntimeUnavailable(
                f"the Docker engine does not answer: {error or type(error).__name__}"
            ) from None

    async def close(self) -> None:
        if self._docker is not None:
            await self._docker.close()
        if self._connector is not None:
            await self._connector.close()
        self._docker = self._connector = self._images = None

    async def _launch(
        self,
        docker: Docker,
        config: dict[str, Any],
        task: Task,
        log: LogSink,
        started: Callable[[], None],
    ) -> DockerRun:
        await ensure_network(docker)
        container = await _created(docker, config)
        try:
            return await DockerRun.begin(docker, container, task, log, started)
        except BaseException:
            # Also on a cancel: nothing must be left behind that nobody knows of.
            await asyncio.shield(remove(docker, container))
            raise

    async def _remove_orphans(self) -> None:
        if self._worker is None or self._docker is None:
            return
        filters = {"label": [f"{LABEL_WORKER}={self._worker}"]}
        for container in await self._docker.containers.list(all=True, filters=filters):
            _log.warning("removing container %s of an earlier run", container.id[:12])
            await remove(self._docker, container.id)


async def _created(docker: Docker, config: dict[str, Any]) -> str:
    """The id of a new container. A cancel waits for the engine's answer and removes it again."""
    creating = asyncio.create_task(docker._query_json("containers/create", "POST", data=config))
    try:
        answer = await asyncio.shield(creating)
    except asyncio.CancelledError:
        if isinstance((await asyncio.gather(creating, return_exceptions=True))[0], dict):
            await remove(docker, creating.result()["Id"])
        raise
    for warning in answer.get("Warnings") or ():
        _log.info("engine's warning for a new container: %s", warning)
    return str(answer["Id"])
