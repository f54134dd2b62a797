"""Bounds what each run may write to this machine's disk, since most engines can't.

Looks from time to time at what every run has taken (``disk_use``) and says which must be stopped:
one that took more than its limit, and, while less is free than the owner wants kept, the one that
took the most. Stops nothing itself; how a run is measured is its runtime's to know.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gridd_protocol.units import format_bytes
from gridd_worker.disk_use import Excess, Part, device_of

LOOK_S: Final = 2.0  # between two looks at a run
LOOK_MAX_S: Final = 60.0
_LOOKING_SHARE: Final = 10  # a look that takes long is followed by so many times its length of rest
_CLEANING_S: Final = 10.0  # for what a stopped run took to be free again, before another is stopped

_log = logging.getLogger("gridd_worker")

Measure = Callable[[], Awaitable[list[Part]]]
"""Raises ``Excess``, or ``OSError`` when it could not be looked."""


class _Writer:
    def __init__(self) -> None:
        self.parts: list[Part] = []

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    def on(self, device: int | None) -> int:
        return sum(p.bytes for p in self.parts if device in (p.device, None) or p.device is None)


class DiskWatch:
    """``limit`` in bytes for each run, 0: none. ``floor``: bytes to be kept free in each of
    ``folders``, 0: not looked at."""

    def __init__(
        self,
        limit: int,
        floor: int = 0,
        folders: Sequence[Path] = (),
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._floor = floor
        self._folders = list(folders)
        self._clock_s = clock_s
        self._writers: list[_Writer] = []
        self._last_stop_s = float("-inf")

    @property
    def wanted(self) -> bool:
        return bool(self.limit or self._floor)

    def add_folder(self, folder: Path) -> None:
        """One more that is not to be filled, if it is on this machine."""
        devices = {device_of(one) for one in self._folders}
        if (device := device_of(folder)) is not None and device not in devices:
            self._folders.append(folder)

    async def look_after(self, measure: Measure) -> str:
        """Looks at one run until it has to be stopped; then says why. Until then, cancel it."""
        writer = _Writer()
        self._writers.append(writer)
        pause_s = LOOK_S
        try:
            while True:
                await asyncio.sleep(pause_s)
                began_s = self._clock_s()
                if (why := await self._look(writer, measure)) is not None:
                    return why
                pause_s = rest_s(self._clock_s() - began_s)
        finally:
            self._writers.remove(writer)

    async def _look(self, writer: _Writer, measure: Measure) -> str | None:
        try:
            writer.parts = await measure()
        except Excess as error:
            return str(error)
        except (OSError, TimeoutError) as error:
            _log.debug("what a job wrote can't be counted now: %s", error or type(error).__name__)
            return None
        except Exception:  # our own fault, and none of the job's
            _log.exception("a fault of the worker itself")
            return None
        if self.limit and writer.bytes > self.limit:
            return (
                f"the job wrote {format_bytes(writer.bytes)} to the worker's disk; "
                f"{format_bytes(self.limit)} are allowed (--job-disk): {_told(writer.parts)}"
            )
        return self._crowded(writer)

    def _crowded(self, writer: _Writer) -> str | None:
        """Only one that took much: for the little of the others the disk would not be free."""
        now_s = self._clock_s()
        if now_s < self._last_stop_s + _CLEANING_S:
            return None
        for device, free in self._lacking():
            taken = writer.on(device)
            least = max(self._floor - free, self._floor // 4)
            if taken >= least and taken == max(one.on(device) for one in self._writers):
                self._last_stop_s = now_s
                return (
                    f"the worker's disk is full ({format_bytes(free)} are free, "
                    f"{format_bytes(self._floor)} are kept: --min-free-disk), and of all its jobs "
                    f"this one has written the most: {_told(writer.parts)}"
                )
        return None

    def _lacking(self) -> list[tuple[int | None, int]]:
        """File systems with less free than is to be kept: device and bytes that are free."""
        found = []
        for folder in self._folders if self._floor else ():
            with suppress(OSError):
                state = os.statvfs(folder)
                if (free := state.f_bavail * state.f_frsize) < self._floor:
                    found.append((device_of(folder), free))
        return found


def rest_s(took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return min(max(LOOK_S, _LOOKING_SHARE * took_s), LOOK_MAX_S)


def _told(parts: list[Part]) -> str:
    return ", ".join(f"{format_bytes(part.bytes)} in {part.where}" for part in parts)
