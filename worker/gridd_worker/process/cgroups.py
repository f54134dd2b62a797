"""Memory, cpu and process limits for one run, by control groups of version 1.

Needs root and a writable hierarchy; without them there are only rlimits, and the process runtime
says so. Version 2 is not used: nobody has tried it here yet.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gridd_worker.runtime import Allowance

_log = logging.getLogger("gridd_worker")

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = ("memory", "pids", "cpu")
_PERIOD_US: Final = 100_000
_OVERHEAD_PIDS: Final = 3  # the sandbox's own processes
_REMOVE_TRIES: Final = 100  # every 10 ms: the kernel takes a moment after the last process


def usable() -> bool:
    """Root, version 1, and all three hierarchies can be written."""
    return os.geteuid() == 0 and all(
        (_ROOT / name / "cgroup.procs").exists() and os.access(_ROOT / name, os.W_OK)
        for name in _CONTROLLERS
    )


@dataclass(frozen=True, slots=True)
class Group:
    """The groups of one run. A process joins by writing its id to each of ``joins``."""

    folders: tuple[Path, ...]

    @property
    def joins(self) -> tuple[Path, ...]:
        return tuple(folder / "cgroup.procs" for folder in self.folders)

    def out_of_memory(self) -> bool:
        """The kernel has killed a process of this run for want of memory."""
        with suppress(OSError, ValueError):
            for line in (self.folders[0] / "memory.oom_control").read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value) > 0
        return False

    def processes(self) -> list[int]:
        """Those in it now."""
        with suppress(OSError, ValueError):
            return [int(line) for line in self.joins[0].read_text().split()]
        return []

    async def remove(self) -> None:
        """Once every process is gone. What can't be removed is logged and left."""
        for folder in self.folders:
            for _ in range(_REMOVE_TRIES):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    problem = error
                    await asyncio.sleep(0.01)
            else:
                _log.warning("control group %s can't be removed: %s", folder, problem)


def lives(worker: str) -> bool:
    """Whether the process that gave its id to a group or a stage is still there."""
    return not worker.isdigit() or Path("/proc", worker).exists()


async def sweep() -> None:
    """Remove the groups of workers that are no more, with what is still in them.

    A worker that is killed removes nothing. What it ran goes with it, but for a sandbox that was
    just being set up: bwrap (0.8) then waits for ever, and only its group tells whose it was.
    """
    for controller in _CONTROLLERS:
        for folder in (_ROOT / controller / "gridd").glob("*-*-*"):
            if lives(folder.name.partition("-")[0]):
                continue
            with suppress(OSError):
                for process in map(int, (folder / "cgroup.procs").read_text().split()):
                    if process > 1:  # 0 is one of another process namespace
                        os.kill(process, signal.SIGKILL)
            await Group((folder,)).remove()


def make_group(name: str, allowance: Allowance) -> Group:
    """Raises ``OSError``; nothing is left behind then."""
    group = Group(tuple(_ROOT / controller / "gridd" / name for controller in _CONTROLLERS))
    memory, pids, cpu = group.folders
    try:
        for folder in group.folders:
            folder.mkdir(parents=True)
        if allowance.memory_bytes:
            (memory / "memory.limit_in_bytes").write_text(str(allowance.memory_bytes))
            with suppress(OSError):  # only where the kernel counts swap
                limit = memory / "memory.memsw.limit_in_bytes"
                limit.write_text(str(allowance.memory_bytes))
        (pids / "pids.max").write_text(str(allowance.pids_max + _OVERHEAD_PIDS))
        (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        quota = max(1_000, int(allowance.cpus * _PERIOD_US))  # the kernel takes no less than 1 ms
        (cpu / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError:
        for folder in group.folders:
            with suppress(OSError):
                folder.rmdir()
        raise
    return group
