"""Runs container jobs on a Docker engine over its socket.

Short calls go through aiodocker; logs, pulls, builds and waits are read by ourselves, because
only a closed response is a cancelled request. What a container may do stands in
``config``; its life is ``run``.
"""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.definitions import Definition
from gridd_protocol.messages import Kind
from gridd_protocol.names import NO_NETWORK_TAG
from gridd_worker.commandline import CommandError
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.docker.config import (
    LABEL_ATTEMPT,
    LABEL_GRID,
    LABEL_JOB,
    LABEL_QUEUE,
    LABEL_WORKER,
    NETWORKS,
    ContainerOptions,
    container_config,
)
from gridd_worker.docker.disk import DockerDisk, may_size_layers
from gridd_worker.docker.erase import erase
from gridd_worker.docker.logs import BROKEN
from gridd_worker.docker.network import JobBridge
from gridd_worker.docker.run import DockerRun, remove
from gridd_worker.images.build import BuildRoom
from gridd_worker.images.images import ImageError, ImageOptions, Images
from gridd_worker.null import Ended
from gridd_worker.remarks import no_image, not_run
from gridd_worker.runtime import Finding, Key, LogSink, Runtime, RuntimeUnavailable, Task

_log = logging.getLogger("gridd_worker")

_SOCKET: Final = "unix:///var/run/docker.sock"
_PING_S: Final = 10.0  # an engine that takes longer to list one container is as good as gone
_CALL: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
# Tried with Podman 4.3 as root; the whole list is in docs/operating.md.
_PODMAN: Final = "; jobs can reach one another, and a last line without its newline is lost"
# What the engine says when it, not the job, lacks something: the system's own words, at the end of
# its message. Elsewhere in it, words may be a job's: the name of a program or of a folder.
_MACHINE_FAULT: Final = re.compile(
    r"^could not select device driver"
    r"|: (?:no space left on device|cannot allocate memory|too many open files"
    r"|too many open files in system)(?:: unknown)?$",
    re.IGNORECASE,
)


class DockerRuntime(Runtime):
    """``host`` as in DOCKER_HOST, ``unix://…`` only. ``worker`` is this worker's id and ``grid``
    tells grids apart: together they mark the containers that are this worker's to take up and to
    remove, and no others are touched."""

    kinds: tuple[Kind, ...] = ("container",)
    offers = (NO_NETWORK_TAG,)
    lasting = True

    def __init__(
        self,
        host: str | None = None,
        *,
        worker: str | None = None,
        grid: str = "",
        images: ImageOptions | None = None,
        containers: ContainerOptions | None = None,
        disk: DiskWatch | None = None,
    ) -> None:
        self._host = host or os.environ.get("DOCKER_HOST") or _SOCKET
        self._worker = worker
        self._grid = grid
        self._connector: aiohttp.UnixConnector | None = None
        self._docker: Docker | None = None
        self._images: Images | None = None
        self._image_options = images
        self._options = containers or ContainerOptions()
        self._watch = disk
        self._disk = DockerDisk(disk) if disk is not None and disk.wanted else None
        self._sizes_layers = False
        self._cpus = 1.0
        self._bridge = JobBridge(self._options.network)
        self._about = "docker: not open"

    def describe(self) -> str:
        """One line for the log: the engine, and what it can't enforce."""
        return self._about

    async def open(self) -> None:
        if not self._host.startswith("unix://"):
            raise RuntimeUnavailable(
                f"DOCKER_HOST is {self._host}: only unix:// is supported", final=True
            )
        # The usual limit of 100 connections would be used up by 50 containers.
        self._connector = aiohttp.UnixConnector(self._host.removeprefix("unix://"), limit=0)
        self._docker = Docker(url="unix://localhost", connector=self._connector, timeout=_CALL)
        self._images = Images(self._docker, self._image_options, worker=self._worker or "")
        try:
            info = await self._docker.system.info()
            self._check_runtime(info.get("Runtimes") or {})
            await self._bridge.open(self._docker)
            await self._images.open()
        except RuntimeUnavailable:
            await self.close()
            raise
        except BROKEN as error:
            await self.close()
            raise RuntimeUnavailable(
                f"no Docker engine answers on {self._host} ({error}):"
                " start it, or choose another runtime"
            ) from None
        self._cpus = float(info.get("NCPU") or 1)
        drivers = (info.get("Plugins") or {}).get("Log") or ("local",)
        self._options = replace(self._options, log_drivers=tuple(drivers))
        self._about = f"docker {info.get('ServerVersion')}: {self._cpus:g} cpus"
        if "BuildahVersion" in info:  # only Podman's answer has it
            self._about = f"podman {info.get('ServerVersion')}: {self._cpus:g} cpus{_PODMAN}"
        if self._options.runtime is not None:
            self._about += f", runtime {self._options.runtime}"
        if self._bridge.problem is not None:
            self._about += f"; {self._bridge.problem}"
        self._sizes_layers = may_size_layers(info)
        if self._watch is not None and (root := info.get("DockerRootDir")):
            self._watch.add_folder(Path(root))

    def _check_runtime(self, known: dict[str, Any]) -> None:
        wanted = self._options.runtime
        if wanted is not None and wanted not in known:
            raise RuntimeUnavailable(
                f"--docker-runtime {wanted}: the engine knows {', '.join(sorted(known))} only",
                final=True,
            )

    async def start(
        self, task: Task, log: LogSink, started: Callable[[], None]
    ) -> Ended | DockerRun:
        if self._docker is None or self._images is None:
            raise RuntimeUnavailable("the Docker runtime is not open")
        try:
            try:
                return await self._from_image(self._docker, self._images, task, log, started)
            except DockerError as error:
                # Another worker of this engine may have pruned the image just then.
                if error.status != 404 or "no such image" not in error.message.lower():
                    raise
                return await self._from_image(self._docker, self._images, task, log, started)
        except ImageError as error:
            return Ended(no_image(str(error), building=error.building))
        except CommandError as error:
            return Ended(not_run(str(error)))
        except DockerError as error:
            if error.status == 900 or _is_of_machine(error.message, task):
                raise RuntimeUnavailable(f"the Docker engine failed: {error.message}") from None
            return Ended(not_run(_without_paths(error.message, task)))
        except BROKEN as error:
            raise RuntimeUnavailable(
                f"the Docker engine does not answer: {error or type(error).__name__}"
            ) from None

    async def check(self) -> None:
        if self._docker is None:
            raise RuntimeUnavailable("the Docker runtime is not open")
        try:
            async with asyncio.timeout(_PING_S):
                await self._docker._query_json("containers/json", params={"limit": "1"})
        except BROKEN as error:
            raise RuntimeUnavailable(
                f"the Docker engine does not answer: {error or type(error).__name__}"
            ) from None

    async def adopt(
        self, task: Task, log: LogSink, started: Callable[[], None]
    ) -> DockerRun | None:
        if self._docker is None:
            raise RuntimeUnavailable("the Docker runtime is not open")
        try:
            for container, key in await self._ours(self._docker):
                if key == (task.queue, task.job, task.attempt):
                    return await DockerRun.adopt(
                        self._docker, container, task, log, started, self._disk
                    )
        except BROKEN as error:
            raise RuntimeUnavailable(
                f"the Docker engine does not answer: {error or type(error).__name__}"
            ) from None
        return None

    async def erase(self, tree: Path) -> None:
        if self._docker is None:
            raise OSError("the Docker runtime is not open")
        labels = {LABEL_WORKER: self._worker or "", LABEL_GRID: self._grid}
        await erase(self._docker, tree, labels)

    async def examine(self) -> list[Finding]:
        if self._docker is None:
            return []
        info = await self._docker.system.info()
        wanted = {"MemoryLimit": "memory", "CpuCfsQuota": "cpu", "PidsLimit": "processes"}
        missing = [what for name, what in wanted.items() if not info.get(name)]
        limits = Finding("limits", "ok", "memory, cpu and processes of each job are limited")
        if missing:
            found = f"the engine can't limit {', '.join(missing)}: a job may take all there is"
            todo = "switch on these control groups in the kernel"
            limits = Finding("limits", "warn", found, todo)
        disk = [self._disk.finding(info)] if self._disk is not None else []
        return [limits, *disk, *self._about_builds()]

    def _about_builds(self) -> list[Finding]:
        options = self._image_options or ImageOptions()
        if not options.builds or options.builder == "classic" or not options.shared:
            return []
        reach = "" if self._options.network == "none" else " and reach this machine's own services"
        found = (
            f"--builder {options.builder}: BuildKit's steps have no limit of memory and cpus{reach}"
        )
        return [Finding("builds", "warn", found, "use --builder classic where strangers submit")]

    async def fetch_image(self, image: str) -> str | None:
        if self._images is None:
            raise RuntimeUnavailable("the Docker runtime is not open")
        try:
            await self._images.ensure(Definition(image=image), lambda _, lines: None)
        except ImageError as error:
            return str(error)
        except BROKEN as error:
            return f"the Docker engine does not answer: {error or type(error).__name__}"
        return None

    async def sweep(self, keep: Set[Key]) -> None:
        if self._docker is None or self._worker is None:
            return
        with contextlib.suppress(*BROKEN):  # an engine that went away is found out by ``check``
            for container, key in await self._ours(self._docker):
                if key not in keep:
                    _log.warning("removing container %s of an earlier run", container[:12])
                    await remove(self._docker, container)

    async def close(self) -> None:
        if self._disk is not None:
            await self._disk.close()
        if self._images is not None:
            await self._images.close()
        if self._docker is not None:
            await self._docker.close()
        if self._connector is not None:
            await self._connector.close()
        self._docker = self._connector = self._images = None

    async def _from_image(
        self,
        docker: Docker,
        images: Images,
        task: Task,
        log: LogSink,
        started: Callable[[], None],
    ) -> DockerRun:
        if task.definition.build is not None:
            await self._bridge.ready(docker)  # its steps run there
        image = await images.ensure(task.definition, log, self._build_room(task))
        return await self._launch(
            docker,
            container_config(task, image, self._cpus, self._options, grid=self._grid),
            task,
            log,
            started,
        )

    def _build_room(self, task: Task) -> BuildRoom:
        """Building for a job may use what the job may. Its network is the owner's choice alone:
        what is built is kept for other jobs, and must not depend on who was first."""
        host = container_config(task, "", self._cpus, self._options)["HostConfig"]
        return BuildRoom(
            cpus=host["NanoCpus"] / 1e9,
            memory_bytes=host.get("Memory", 0),
            network=NETWORKS[self._options.network],
        )

    async def _launch(
        self,
        docker: Docker,
        config: dict[str, Any],
        task: Task,
        log: LogSink,
        started: Callable[[], None],
    ) -> DockerRun:
        await self._bridge.ready(docker)
        if self._disk is not None:
            await self._disk.make_room(docker, config)
        container = await self._created_in_bounds(docker, config)
        try:
            return await DockerRun.begin(docker, container, task, log, started, self._disk)
        except BaseException:
            # Also on a cancel: nothing must be left behind that nobody knows of.
            await asyncio.shield(remove(docker, container))
            raise

    async def _created_in_bounds(self, docker: Docker, config: dict[str, Any]) -> str:
        """With the engine's own limit on the container's layer, where it has one. It says so only
        when it is asked for one."""
        if self._sizes_layers and self._watch is not None and self._watch.limit:
            sized = {**config["HostConfig"], "StorageOpt": {"size": str(self._watch.limit)}}
            try:
                return await _created(docker, {**config, "HostConfig": sized})
            except DockerError as error:
                if not any(word in error.message.lower() for word in ("storage", "quota")):
                    raise
                self._sizes_layers = False
                _log.info("the engine can't limit what containers write: %s", error.message)
        return await _created(docker, config)

    async def _ours(self, docker: Docker) -> list[tuple[str, Key | None]]:
        """This worker's containers, with what they run."""
        labels = [f"{LABEL_WORKER}={self._worker}", f"{LABEL_GRID}={self._grid}"]
        async with asyncio.timeout(_CALL.total):
            found = await docker.containers.list(all=True, filters={"label": labels})
        return [(container.id, _key_of(container["Labels"])) for container in found]


def _is_of_machine(message: str, task: Task) -> bool:
    """Only the end counts, and a folder's name may stand there: that the job chose it is known."""
    found = _MACHINE_FAULT.search(message.strip())
    workdir = task.definition.workdir or ""
    return found is not None and found[0].removesuffix(": unknown").lower() not in workdir.lower()


def _without_paths(message: str, task: Task) -> str:
    """A result is public: where this worker has its files is not."""
    return message.replace(str(task.inputs.parent), "")


def _key_of(labels: dict[str, str]) -> Key | None:
    try:
        return labels[LABEL_QUEUE], labels[LABEL_JOB], int(labels[LABEL_ATTEMPT])
    except (KeyError, ValueError):
        return None


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
