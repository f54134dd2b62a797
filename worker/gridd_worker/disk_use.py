"""How much of this machine's disk a run has taken: counted by ``du``, which survives any tree that
a stranger can make, and, for files without a name, by the open files of its processes.

Counts blocks, so a file with holes is as large as what is in it. Decides nothing: ``disk_watch``
does. Nothing is followed and nothing is opened.
"""

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gridd_worker.programs import ask

COUNT_MAX_S: Final = 30.0  # some ten million files; then the tree counts as beyond any limit
_PROC: Final = Path("/proc")
_NOTABLE: Final = 20  # the part of a limit below which a run is not the one that broke it
_BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system


@dataclass(frozen=True, slots=True)
class Part:
    """``bytes`` in ``where`` (words for people). ``device``: of its file system; None: unknown,
    which counts for each."""

    where: str
    bytes: int
    device: int | None = None


class Excess(Exception):
    """A run has to be stopped, whatever its limit is. A sentence."""


async def occupied(folders: Sequence[Path]) -> int:
    """Bytes in ``folders`` together; what is not there, or may not be looked into, counts nothing.
    Raises ``Excess`` for more than can be counted, and ``OSError`` when there is no ``du``."""
    try:
        _, said = await ask("du", "-s", "-k", "-x", "--", *map(str, folders), limit_s=COUNT_MAX_S)
    except TimeoutError:
        raise Excess(
            f"the job made more files than can be counted in {COUNT_MAX_S:.0f} s, so that its "
            "limit of disk space (--job-disk) can't be kept"
        ) from None
    sizes = (line.split(b"\t")[0] for line in said.splitlines())
    return sum(int(size) for size in sizes if size.isdigit()) * 1024


def unnamed(processes: Iterable[int], devices: set[int], proc: Path = _PROC) -> int:
    """Bytes of files that were removed and that ``processes`` still hold open, on ``devices``
    (files in memory are on others). Needs root; what can't be seen counts nothing."""
    found: dict[tuple[int, int], int] = {}
    for process in processes:
        with suppress(OSError), os.scandir(proc / str(process) / "fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    file = entry.stat()
                    if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                        found[file.st_dev, file.st_ino] = file.st_blocks * _BLOCK_BYTES
    return sum(size for (device, _), size in found.items() if device in devices)


def written(processes: Iterable[int], proc: Path = _PROC) -> int:
    """Bytes that ``processes`` and the children that they waited for ever gave to the disk,
    written over or not. Needs root; 0 where it can't be seen."""
    total = 0
    for process in processes:
        with suppress(OSError, ValueError):
            for line in (proc / str(process) / "io").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "write_bytes":
                    total += int(value)
    return total


def device_of(path: Path) -> int | None:
    """None when it can't be seen."""
    try:
        return path.stat().st_dev
    except OSError:
        return None


@dataclass(slots=True)
class _Sharer:
    processes: Callable[[], list[int]]
    written: int = 0
    share: float = 0.0
    lately: float = 0.0  # its share since a run was last found to be the one


class SharedFolder:
    """A folder that several runs write to. What it grows is charged to them by how much each gave
    to the disk meanwhile, and never more than that: the files themselves don't say whose they are,
    and a run that has ended may have been at it too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._looking = asyncio.Lock()
        self._sharers: dict[str, _Sharer] = {}
        self.bytes: int | None = None  # when last looked at
        self.looked_s = float("-inf")  # when that look ended, by the monotonic clock
        self.took_s = 0.0

    def join(self, run: str, processes: Callable[[], list[int]]) -> None:
        """``processes`` tells those of ``run`` now."""
        self._sharers.setdefault(run, _Sharer(processes))

    def leave(self, run: str) -> None:
        self._sharers.pop(run, None)

    def overfilled_by(self, run: str, limit: int) -> bool:
        """The folder holds more than ``limit``, and of all runs this one made it grow the most.
        Says so once: the others then begin anew."""
        sharer = self._sharers.get(run)
        if sharer is None or (self.bytes or 0) <= limit or sharer.lately < limit / _NOTABLE:
            return False
        if sharer.lately < max(one.lately for one in self._sharers.values()):
            return False
        for one in self._sharers.values():
            one.lately = 0.0
        return True

    @property
    def in_use(self) -> bool:
        return bool(self._sharers)

    async def look(self, run: str | None = None) -> int:
        """What ``run`` is charged with until now. Raises as ``occupied``."""
        async with self._looking:
            began_s = time.monotonic()
            size = await occupied([self.folder])
            sharers = dict(self._sharers)
            self._charge(size, await asyncio.to_thread(_written_by, sharers))
            self.looked_s = time.monotonic()
            self.took_s = self.looked_s - began_s
        sharer = self._sharers.get(run or "")
        return int(sharer.share) if sharer is not None else 0

    def _charge(self, size: int, written_now: Mapping[str, int]) -> None:
        grown = size - self.bytes if self.bytes is not None else 0
        self.bytes = size
        gave: list[tuple[_Sharer, int]] = []
        for run, now in written_now.items():
            if (sharer := self._sharers.get(run)) is not None:
                gave.append((sharer, max(0, now - sharer.written)))
                sharer.written = now
        total = sum(one for _, one in gave)
        if grown > 0 and total > 0:
            for sharer, one in gave:
                own = min(grown * one / total, one)
                sharer.share += own
                sharer.lately += own


def _written_by(sharers: Mapping[str, _Sharer]) -> dict[str, int]:
    """Blocks: there may be thousands of processes."""
    return {run: written(sharer.processes()) for run, sharer in sharers.items()}
