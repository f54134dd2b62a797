"""What one container has written to the disk: its own layer, its outputs, its volumes, its queue's
cache, and files that it removed but holds open.

Where the worker is root on the engine's machine, all of that is counted in the file system. Else
the engine is asked for the layer (it goes by the sizes that files claim to have), and volumes,
cache and removed files are not seen.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiodocker import Docker, DockerError

from gridd_protocol.units import format_bytes
from gridd_worker.disk_use import Excess, Part, SharedFolder, device_of, occupied, unnamed
from gridd_worker.disk_watch import DiskWatch, rest_s
from gridd_worker.docker.logs import BROKEN
from gridd_worker.runtime import Finding
from gridd_worker.usage import processes_of

_log = logging.getLogger("gridd_worker")

_ASK_S: Final = 60.0  # the engine walks through the whole layer, and can't be told to stop
_FAILURES_MAX: Final = 3  # in a row; a tree can be made that the engine can't walk through
_CACHE: Final = "/job-cache"


class DockerDisk:
    """What containers write, held to the rules of ``watch``, and the caches of the queues, each
    held to the limit of one job."""

    def __init__(self, watch: DiskWatch) -> None:
        self._watch = watch
        self._caches: dict[str, SharedFolder] = {}  # by the name of their volume
        self._looking: set[asyncio.Task[None]] = set()

    async def look_after(self, docker: Docker, container: str, outputs: Path) -> str:
        """As ``DiskWatch.look_after``."""
        disk = _ContainerDisk(docker, container, outputs, self._watch.limit, self._caches)
        try:
            return await self._watch.look_after(disk.measure)
        finally:
            disk.leave()

    async def make_room(self, docker: Docker, config: Mapping[str, Any]) -> None:
        """Before a container is made of ``config``: a cache that has grown too large is removed,
        unless somebody uses it. Looks at it in the background, since many short jobs can fill it
        that are never looked at themselves."""
        mounts = config["HostConfig"]["Mounts"]
        volume = next((mount["Source"] for mount in mounts if mount["Target"] == _CACHE), None)
        limit = self._watch.limit
        cache = await self._known(docker, volume) if limit and volume else None
        if volume is None or cache is None or cache.in_use:
            return
        if (cache.bytes or 0) > limit:
            await _remove_cache(docker, volume, cache)
        elif time.monotonic() > cache.looked_s + rest_s(cache.took_s) and not self._looking:
            task = asyncio.create_task(_look(cache))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _known(self, docker: Docker, volume: str) -> SharedFolder | None:
        """None when there is none yet, or it can't be seen from here."""
        if volume not in self._caches:
            with suppress(*BROKEN):
                found = await docker._query_json(f"volumes/{volume}")
                if (folder := _visible(found.get("Mountpoint"))) is not None:
                    self._caches.setdefault(volume, SharedFolder(folder))
        return self._caches.get(volume)

    def finding(self, info: Mapping[str, Any]) -> Finding:
        """For ``doctor``, by ``GET /info``."""
        limit = self._watch.limit
        said = (
            f"each job may write {format_bytes(limit)}" if limit else "jobs may write all there is"
        )
        if _visible(info.get("DockerRootDir")) is not None:
            return Finding("job disk", "ok", said)
        said += "; what they write to caches and volumes is not seen from here"
        todo = "run the worker as root on the engine's machine, if strangers use these queues"
        return Finding("job disk", "warn", said, todo)

    async def close(self) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)


def may_size_layers(info: Mapping[str, Any]) -> bool:
    """By ``GET /info``: the engine's storage may be able to limit a container's layer. overlay2
    then still wants the mount option pquota, of which the engine says nothing."""
    driver = info.get("Driver")
    status = dict(info.get("DriverStatus") or ())
    return driver in ("btrfs", "zfs") or (
        driver == "overlay2" and status.get("Backing Filesystem") == "xfs"
    )


async def _look(cache: SharedFolder) -> None:
    with suppress(OSError, Excess):
        await cache.look()


async def _remove_cache(docker: Docker, volume: str, cache: SharedFolder) -> None:
    size = format_bytes(cache.bytes or 0)
    try:
        await docker._query_json(f"volumes/{volume}", "DELETE")
    except BROKEN as error:  # 409: another worker's container uses it
        _log.debug("the job cache %s (%s) stays: %s", volume, size, error)
        return
    cache.bytes = None
    _log.warning("removed the job cache %s: it had grown to %s (--job-disk)", volume, size)


class _ContainerDisk:
    """Measures one container. ``leave`` when it is over."""

    def __init__(
        self,
        docker: Docker,
        container: str,
        outputs: Path,
        limit: int,
        caches: dict[str, SharedFolder],
    ) -> None:
        self._docker = docker
        self._container = container
        self._outputs = outputs
        self._limit = limit
        self._caches = caches
        self._cache: SharedFolder | None = None
        self._layer: Path | None = None
        self._volumes: list[Path] = []
        self._devices: set[int] = set()
        self._known = False
        self._failures = 0

    async def measure(self) -> list[Part]:
        """As ``disk_watch.Measure``."""
        if not self._known:
            self._learn(await self._show())
        layer = await occupied([self._layer]) if self._layer else await self._asked()
        parts = [
            Part("its own files", layer, device_of(self._layer) if self._layer else None),
            Part("/outputs", await occupied([self._outputs]), device_of(self._outputs)),
        ]
        if self._cache is not None:
            share = await self._cache.look(self._container)
            parts.append(Part(_CACHE, share, device_of(self._cache.folder)))
            if self._limit and self._cache.overfilled_by(self._container, self._limit):
                filled = format_bytes(self._cache.bytes or 0)
                raise Excess(
                    f"the job filled the {_CACHE} of its queue to {filled}; "
                    f"{format_bytes(self._limit)} are allowed (--job-disk)"
                )
        if self._volumes:
            size = await occupied(self._volumes)
            parts.append(Part("volumes of the image", size, device_of(self._volumes[0])))
        if held := await asyncio.to_thread(self._held):
            parts.append(Part("files that it removed and holds open", held))
        return parts

    def leave(self) -> None:
        if self._cache is not None:
            self._cache.leave(self._container)

    def _learn(self, shown: dict[str, Any]) -> None:
        """Where its files are, as far as they can be seen from here."""
        layer = ((shown.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
        self._layer = _visible(layer)
        for mount in shown.get("Mounts") or ():
            if mount.get("Type") != "volume" or (folder := _visible(mount.get("Source"))) is None:
                continue
            if mount.get("Destination") == _CACHE:
                name = str(mount.get("Name"))
                self._cache = self._caches.setdefault(name, SharedFolder(folder))
                self._cache.join(self._container, self._processes)
            else:
                self._volumes.append(folder)
        folders = [self._outputs, *self._volumes, *([self._cache.folder] if self._cache else ())]
        root = Path(f"/proc/{(shown.get('State') or {}).get('Pid')}/root/")
        self._devices = {d for d in map(device_of, [*folders, root]) if d is not None}
        self._known = True

    def _processes(self) -> list[int]:
        return processes_of(self._container)

    def _held(self) -> int:
        return unnamed(self._processes(), self._devices)

    async def _asked(self) -> int:
        size = int((await self._show(size="1")).get("SizeRw") or 0)
        if size >= 0:
            self._failures = 0
            return size
        self._failures += 1
        if self._failures >= _FAILURES_MAX:
            raise Excess(
                "the job made a tree of files that the engine can't count, so that its limit of "
                "disk space (--job-disk) can't be kept"
            )
        raise OSError("the engine can't count the container's files")

    async def _show(self, **params: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ASK_S):
                path = f"containers/{self._container}/json"
                answer: dict[str, Any] = await self._docker._query_json(path, params=params)
                return answer
        except BROKEN as error:
            gone = isinstance(error, DockerError) and error.status == 404
            raise OSError("the container is gone" if gone else str(error)) from None


def _visible(folder: str | None) -> Path | None:
    """None for one that is not on this machine, or not open to this user."""
    if folder and os.access(folder, os.R_OK | os.X_OK):
        return Path(folder)
    return None
