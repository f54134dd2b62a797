"""The files of one attempt, from its inputs to its outputs: on disk, or none at all.

Joins the parts that do the work (``files``, ``inputs``, ``outputs``, ``cache``); decides nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from gridd_protocol.definitions import Definition
from gridd_protocol.units import format_bytes
from gridd_worker.cache import FileCache
from gridd_worker.files import (
    FileLimits,
    JobDirectories,
    job_directories,
    make_job_directories,
    remove_tree,
)
from gridd_worker.http_client import Http
from gridd_worker.inputs import InputError, materialise
from gridd_worker.outputs import Collected, OutputError, collect

__all__ = ["DiskWorkspaces", "InputError", "NoWorkspaces", "OutputError", "Place", "Workspaces"]

_REMAINS_AT_ONCE: Final = 8

_log = logging.getLogger("gridd_worker")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one attempt are. See ``runtime.Task``."""

    inputs: Path
    outputs: Path
    config_files: dict[str, Path]


Room = tuple[str, str, int]
"""Whose files: the queue's room, job, attempt."""


class Workspaces(Protocol):
    async def open(self, keep: Set[Room] = frozenset()) -> None:
        """Removes what earlier processes left, but for ``keep``. Raises ``OSError`` when the data
        directory can't be used."""
        ...

    def reopen(self, room: str, job: str, attempt: int) -> Place | None:
        """What ``prepare`` made for a run that goes on; ``None`` when it is not there."""
        ...

    async def prepare(self, room: str, job: str, attempt: int, definition: Definition) -> Place:
        """Fresh directories with all inputs. ``room`` keeps queues apart. Raises ``InputError``;
        ``remove`` is called in any case."""
        ...

    async def collect(self, place: Place) -> Collected:
        """Raises ``OutputError``."""
        ...

    async def remove(self, room: str, job: str, attempt: int) -> None:
        """Never raises; what can't be removed is logged."""
        ...

    def relieve(self) -> int:
        """Frees what is only kept for later; how many bytes."""
        ...

    async def close(self) -> None: ...


class DiskWorkspaces:
    """Below ``data``: ``work/<room>/jobs/<job>-<attempt>`` and ``cache``. ``private``: definitions
    may name private addresses. ``inputs_s_max``: a job's inputs must be here by then.
    ``erase`` removes what this process may not (``Runtime.erase``)."""

    def __init__(
        self,
        data: Path,
        api_address: str,
        *,
        private: bool = False,
        inputs_s_max: float = 3_600.0,
        erase: Callable[[Path], Awaitable[None]] | None = None,
    ) -> None:
        self._erase = erase
        self._remains: list[Path] = []
        self._private = private
        self._limits = FileLimits(inputs_s_max=inputs_s_max)
        self._work = data / "work"
        self._api = api_address
        self._cache = FileCache(data / "cache")
        self._directories: dict[tuple[str, str, int], JobDirectories] = {}
        self._http: Http | None = None

    async def open(self, keep: Set[Room] = frozenset()) -> None:
        await asyncio.to_thread(self._sweep, keep)
        await asyncio.to_thread(self._cache.open)
        self._http = Http(self._api, private=self._private)

    async def prepare(self, room: str, job: str, attempt: int, definition: Definition) -> Place:
        assert self._http is not None
        key = (room, job, attempt)
        try:
            return await self._filled(key, definition, self._cache)
        except InputError as error:
            # What is kept for later jobs must not be why this one can't run.
            if not error.no_room or not self.relieve():
                raise
        return await self._filled(key, definition, self._cache.passing())

    async def _filled(self, key: Room, definition: Definition, cache: FileCache) -> Place:
        assert self._http is not None
        room, job, attempt = key
        try:
            directories = await asyncio.to_thread(
                make_job_directories, self._work / room, job, attempt
            )
        except OSError as error:
            problem = f"the worker can't make the job's directories: {error}"
            raise InputError(problem, error) from None
        self._directories[key] = directories
        config_files = await materialise(
            definition, directories, self._api, self._http, cache, self._limits
        )
        return Place(directories.inputs, directories.outputs, config_files)

    def relieve(self) -> int:
        freed = self._cache.clear()
        if freed:
            _log.info("%s of kept inputs removed: the disk is short", format_bytes(freed))
        return freed

    async def collect(self, place: Place) -> Collected:
        assert self._http is not None
        return await collect(place.outputs, self._api, self._http.own)

    async def remove(self, room: str, job: str, attempt: int) -> None:
        directories = self._directories.pop((room, job, attempt), None)
        if directories is None:
            return
        # What could not be removed at the start goes now that the runtime works, a few each time.
        for tree in (directories.root, *self._remains[:_REMAINS_AT_ONCE]):
            try:
                await self._removed(tree)
            except OSError as error:
                _log.warning("files of job %s remain in %s: %s", tree.name[:8], tree, error)
        del self._remains[:_REMAINS_AT_ONCE]

    async def _removed(self, tree: Path) -> None:
        try:
            await asyncio.to_thread(remove_tree, tree)
        except PermissionError:
            if self._erase is None:
                raise
            await self._erase(tree)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    def reopen(self, room: str, job: str, attempt: int) -> Place | None:
        directories = job_directories(self._work / room, job, attempt)
        if not directories.outputs.is_dir():
            return None
        self._directories[room, job, attempt] = directories
        return Place(directories.inputs, directories.outputs, {})

    def _sweep(self, keep: Set[Room]) -> None:
        """What an earlier process left when it ended in the middle of a job."""
        self._work.mkdir(parents=True, exist_ok=True)
        kept = {job_directories(self._work / room, job, n).root for room, job, n in keep}
        for left in self._work.glob("*/jobs/*"):
            if left in kept:
                continue
            try:
                remove_tree(left)
            except OSError:
                self._remains.append(left)


class NoWorkspaces:
    """For the null runtime: nothing is fetched, nothing is collected, nothing touches the disk."""

    def __init__(self, data: Path) -> None:
        self._place = Place(data, data, {})

    async def open(self, keep: Set[Room] = frozenset()) -> None:
        pass

    def reopen(self, room: str, job: str, attempt: int) -> Place | None:
        return self._place

    async def prepare(self, room: str, job: str, attempt: int, definition: Definition) -> Place:
        return self._place

    async def collect(self, place: Place) -> Collected:
        return Collected({})

    async def remove(self, room: str, job: str, attempt: int) -> None:
        pass

    def relieve(self) -> int:
        return 0

    async def close(self) -> None:
        pass
