"""What running programs use of this machine, now: cpu time and memory, read where it is cheapest.

From the kernel's files: a container's control groups (a few small reads, so they may be made on the
event loop), or the processes of a run in /proc (there may be thousands, so they may not). Nothing
is raised for a program that has just ended. Who asks, how often, and for what is the view's.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LOOK_MAX_S: Final = 1.5  # an engine that takes longer to tell of one container is not waited for
_ROOT: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")
# What engines call a container's group, below the root, with their two group drivers.
_GROUPS: Final = (
    "docker/{}",
    "system.slice/docker-{}.scope",
    "libpod_parent/libpod-{}",
    "machine.slice/libpod-{}.scope",
)
_MISSING: Final = (OSError, ValueError, IndexError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Use:
    """``cpu_s`` since the program began, of all its processes; ``memory`` in bytes, now, without
    what the kernel would give back at once (cached files)."""

    cpu_s: float
    memory: int


class Gauge:
    """Two looks at one program make a rate. ``cpus`` is how many it kept busy between them."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._before: tuple[float, Use] | None = None
        self.cpus: float | None = None
        self.memory: int | None = None

    async def look(self, read: Callable[[], Awaitable[Use | None]]) -> None:
        """At most ``LOOK_MAX_S``. What can't be read is None until it can be again."""
        try:
            async with asyncio.timeout(LOOK_MAX_S):
                use = await read()
        except TimeoutError:
            use = None
        self.take(use)

    def take(self, use: Use | None) -> None:
        now_s = self._clock_s()
        before, self._before = self._before, (now_s, use) if use is not None else None
        self.memory = use.memory if use is not None else None
        self.cpus = None
        if use is not None and before is not None and now_s > before[0]:
            # Less than before: a process ended whose time nobody counted on.
            self.cpus = max(0.0, use.cpu_s - before[1].cpu_s) / (now_s - before[0])


def of_container(container: str, root: Path = _ROOT) -> Use | None:
    """By the control groups that the engine made for it, of version 1 or 2. None where they can't
    be seen: a worker in a container of its own, an engine in a virtual machine, another parent."""
    for group in _GROUPS:
        name = group.format(container)
        with suppress(*_MISSING):
            return _version_2(root / name)
        with suppress(*_MISSING):
            return _version_1(root, name)
    return None


def processes_of(container: str, root: Path = _ROOT) -> list[int]:
    """Those in it now; none where its groups can't be seen."""
    for group in _GROUPS:
        for folder in (root / group.format(container), root / "memory" / group.format(container)):
            with suppress(OSError, ValueError):
                return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    return []


def of_engine(stats: Mapping[str, Any]) -> Use | None:
    """By the answer of ``GET /containers/ID/stats``."""
    try:
        memory = stats["memory_stats"]
        kept = memory["stats"]
        cached = kept.get("total_inactive_file", kept.get("inactive_file", 0))
        cpu_ns = int(stats["cpu_stats"]["cpu_usage"]["total_usage"])
        return Use(cpu_ns / 1e9, max(0, int(memory["usage"]) - int(cached)))
    except _MISSING:
        return None


def of_processes(processes: Iterable[int], proc: Path = _PROC) -> Use | None:
    """Of these, with the children that they waited for. Memory that they share is counted for
    each. None when none of them is there."""
    ticks, pages, found = 0, 0, False
    for process in processes:
        with suppress(*_MISSING):
            fields = _fields(proc / str(process))
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of waited-for children
            pages += int(fields[21])
            found = True
    if not found:
        return None
    return Use(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def descendants(process: int, proc: Path = _PROC) -> list[int]:
    """``process`` and all below it. Looks at every process of the machine: a few milliseconds."""
    children: dict[int, list[int]] = {}
    for folder in proc.glob("[0-9]*"):
        with suppress(*_MISSING):
            children.setdefault(int(_fields(folder)[1]), []).append(int(folder.name))
    found = [process]
    for parent in found:  # it grows on the way
        found += children.get(parent, ())
    return found


def _fields(folder: Path) -> list[str]:
    """Of ``stat``, from the state on: the name before it may hold anything."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _version_1(root: Path, name: str) -> Use:
    used = int((root / "memory" / name / "memory.usage_in_bytes").read_text())
    cached = _member(root / "memory" / name / "memory.stat", "total_inactive_file")
    cpu_ns = int((root / "cpuacct" / name / "cpuacct.usage").read_text())
    return Use(cpu_ns / 1e9, max(0, used - cached))


def _version_2(folder: Path) -> Use:
    used = int((folder / "memory.current").read_text())
    cached = _member(folder / "memory.stat", "inactive_file")
    return Use(_member(folder / "cpu.stat", "usage_usec") / 1e6, max(0, used - cached))


def _member(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise KeyError(name)
