"""What can be wrong with this machine while the worker runs, and how its owner hears of it.

A state that keeps the worker from taking jobs is a hold: it has a name, it is said once when it
begins and once when it ends, and running jobs go on under it.
"""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from gridd_protocol.units import format_bytes

_PROBE_BYTES = 4096
CLOCK_JUMP_S = 5.0  # less is what time services correct

_log = logging.getLogger("gridd_worker")


class Holds:
    """``on_change`` is called when the first hold begins and when the last one ends."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def has(self, name: str) -> bool:
        return name in self._reasons

    @property
    def reasons(self) -> list[str]:
        """A sentence for each, the oldest first."""
        return list(self._reasons.values())

    def begin(self, name: str, sentence: str) -> None:
        """Nothing is said when the hold is there already, whatever its words."""
        known = name in self._reasons
        self._reasons[name] = sentence
        if not known:
            _log.error("%s; no jobs are taken until this works again", sentence)
            self._on_change()

    def end(self, name: str, sentence: str) -> None:
        if self._reasons.pop(name, None) is not None:
            more = f"; still: {'; '.join(self.reasons)}" if self._reasons else "; taking jobs"
            _log.info("%s%s", sentence, more)
            self._on_change()


class Disk:
    """The file system of ``folder``. Below ``least_bytes`` free it counts as full, until a quarter
    more is free again. It must take a small file too, whatever its numbers say."""

    def __init__(self, folder: Path, least_bytes: int) -> None:
        self._folder = folder
        self._least_bytes = least_bytes
        self._full = False

    def trouble(self) -> str | None:
        """A sentence while nothing should be written there. Blocks."""
        probe = self._folder / "probe"
        try:
            free = shutil.disk_usage(self._folder).free
            probe.write_bytes(bytes(_PROBE_BYTES))
            probe.unlink()
        except OSError as error:
            return f"the data directory can't be written: {error}"
        self._full = free < self._least_bytes * (1.25 if self._full else 1)
        if not self._full:
            return None
        return (
            f"the disk is full: {format_bytes(free)} are free at {self._folder} and "
            f"{format_bytes(self._least_bytes)} are kept (--min-free-disk)"
        )


class Clock:
    """Notices when the wall clock was set, or stood still with the machine."""

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._ahead_s = wall_s() - steady_s()

    def jump(self) -> str | None:
        """A sentence when it jumped since the last call. No deadline of ours counts on it; times
        in logs do."""
        ahead_s = self._wall_s() - self._steady_s()
        jumped_s, before_s = ahead_s - self._ahead_s, self._ahead_s
        if abs(jumped_s) < CLOCK_JUMP_S:
            self._ahead_s = before_s + jumped_s  # follow a slow drift
            return None
        self._ahead_s = ahead_s
        way = "forward" if jumped_s > 0 else "back"
        return (
            f"the clock of this machine was set {way} by {abs(jumped_s):.0f} s (or the machine "
            "slept); time limits and leases do not count on it, times in logs jump with it"
        )
