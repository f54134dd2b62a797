"""What a worker does, on its owner's terminal: the log as it goes, and below it a block that is
redrawn, with the jobs, what they have, what the machine does, and what each said last.

Plain ANSI, for one terminal. ``rows`` is pure; ``View`` draws at most a few times a second and only
when something has changed. Nothing that a job prints reaches the terminal but printable signs.
"""

import asyncio
import logging
import os
import shutil
import unicodedata
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from gridd_protocol.units import format_bytes
from gridd_worker.log import SHORT, plain

REDRAW_S: Final = 0.5
MEASURE_S: Final = 2.0  # between two looks at what the jobs use
LINES_MAX: Final = 1_000  # of the log, between two redraws; the rest is left out, and counted
ROWS_MAX: Final = 16
_MARKS_MAX: Final = 4  # accents on one sign; a tower of them reaches into other rows
_UP: Final = "\x1b[{}A"
_CLEAR: Final = "\x1b[J"
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class JobPicture:
    job: str
    queue: str
    phase: str
    seconds: int
    cpus: float
    memory: int  # bytes; 0: no limit
    gpus: tuple[str, ...]
    last: str
    busy_cpus: float | None = None  # None: not known
    used_memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """One moment of a worker. ``free_cpus`` of ``cpus`` are not given to a job."""

    worker: str
    queues: tuple[str, ...]
    connected: int  # queues
    cpus: float
    free_cpus: float
    holds: tuple[str, ...]
    jobs: tuple[JobPicture, ...]
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the whole machine. ``cpu`` from 0 to 1 of all its cpus; ``memory`` in bytes."""

    cpu: float = 0.0
    memory: int = 0
    memory_all: int = 0


class Meter:
    """The machine's usage since the last look, from /proc; zeros where there is none."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = (0, 0)

    def look(self) -> Usage:
        try:
            numbers = [int(n) for n in (self._proc / "stat").read_text().split("\n")[0].split()[1:]]
            lines = (self._proc / "meminfo").read_text().splitlines()
            memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
            idle, everything = numbers[3] + numbers[4], sum(numbers[:8])
        except (OSError, ValueError, IndexError):
            return Usage()
        was_idle, was_everything = self._before
        self._before = idle, everything
        passed = everything - was_everything
        cpu = 1 - (idle - was_idle) / passed if passed > 0 else 0.0
        total = memory.get("MemTotal", 0)
        return Usage(max(cpu, 0.0), total - memory.get("MemAvailable", 0), total)


def rows(picture: Picture, usage: Usage, width: int, height: int) -> list[str]:
    """The block, at most ``height`` rows of at most ``width`` columns."""
    head = f"─ {picture.worker}: {', '.join(picture.queues)}"
    if picture.connected < len(picture.queues):
        head += f" ({picture.connected} of {len(picture.queues)} connected)"
    if picture.draining:
        head += ", stopping"
    sums = f"─ {_sums(picture)} ─ machine {usage.cpu:.0%}, {format_bytes(usage.memory)}"
    sums += f"/{format_bytes(usage.memory_all)}"
    heads = [f"{head} {sums}"] if len(head) + 1 + len(sums) <= width else [head, sums]
    block = [_cut(row, width) for row in heads]
    block += [_cut(f"! {hold}", width) for hold in picture.holds]
    room = max(height - len(block), 1)
    shown = picture.jobs if len(picture.jobs) <= room else picture.jobs[: room - 1]
    several = len(picture.queues) > 1
    block += [_cut(_row(job, several=several), width) for job in shown]
    if len(shown) < len(picture.jobs):
        block.append(_cut(f"  and {len(picture.jobs) - len(shown)} more", width))
    return block[: max(height, 1)]


def _sums(picture: Picture) -> str:
    """What the jobs were given together and what they use, those of which it is known."""
    given = picture.cpus - picture.free_cpus
    said = f"{len(picture.jobs)} jobs, {given:g} of {picture.cpus:g} cpus"
    cpus = [job.busy_cpus for job in picture.jobs if job.busy_cpus is not None]
    memory = [job.used_memory for job in picture.jobs if job.used_memory is not None]
    if cpus or memory:
        said += f", using {sum(cpus):.1f} and {format_bytes(sum(memory))}"
    return said


def _row(job: JobPicture, *, several: bool) -> str:
    """``73% of 2 cpu`` is of the two that it may use; a dash stands for what is not known.
    ``several``: there are other queues than this job's."""
    share = "–" if job.busy_cpus is None or not job.cpus else f"{job.busy_cpus / job.cpus:.0%}"
    share += f" of {job.cpus:g} cpu"
    memory = "–" if job.used_memory is None else format_bytes(job.used_memory)
    memory += f"/{format_bytes(job.memory)}" if job.memory else ""
    gpus = f" gpu {','.join(job.gpus)}" if job.gpus else ""
    minutes, seconds = divmod(job.seconds, 60)
    return (
        f"  {job.job[:SHORT]}{f' {job.queue[:16]:<8}' if several else ''} {job.phase:<9} "
        f"{minutes:>3}:{seconds:02} {share:>13}  {memory:<13}{gpus}  {job.last}"
    )


def _cut(text: str, width: int) -> str:
    """What of ``text`` fits into ``width`` columns, on one row."""
    kept, columns, marks = "", 0, 0
    for sign in plain(text.replace("\t", " ").replace("\n", " ")):
        if not sign.isprintable():
            sign = "�"
        combines = unicodedata.combining(sign) != 0
        marks = marks + 1 if combines else 0
        if marks > _MARKS_MAX:
            continue
        columns += 0 if combines else 1
        columns += unicodedata.east_asian_width(sign) in "WF"
        if columns > width:
            return kept
        kept += sign
    return kept


class View(logging.Handler):
    """The log's handler and the drawer of the block. ``show`` runs as long as the worker does."""

    def __init__(self, stream: TextIO, usage: Callable[[], Usage] | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._usage = usage or Meter().look
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._left_out = 0
        self._drawn: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """From any thread; written with the next drawing."""
        self._left_out += len(self._lines) == LINES_MAX
        self._lines.append(self.format(record))

    async def show(
        self, picture: Callable[[], Picture], measure: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Until cancelled; then the block is gone and the log's last lines are written.
        ``measure`` is called every ``MEASURE_S``, for the next ``picture``; drawing does not wait
        for it."""
        measuring = asyncio.create_task(_again(measure)) if measure is not None else None
        try:
            while True:
                size = shutil.get_terminal_size()
                height = min(ROWS_MAX, size.lines // 2)
                self.draw(rows(picture(), self._usage(), size.columns - 1, height))
                await asyncio.sleep(REDRAW_S)
        finally:
            if measuring is not None:
                measuring.cancel()
                await asyncio.gather(measuring, return_exceptions=True)
            self.draw([])

    def draw(self, block: list[str]) -> None:
        """Replace the block, with what was logged meanwhile above it."""
        lines, left_out = [*self._lines], self._left_out
        self._lines.clear()
        self._left_out = 0
        if not lines and block == self._drawn:
            return
        text = f"{_UP.format(len(self._drawn))}\r{_CLEAR}" if self._drawn else ""
        if left_out:
            text += f"… {left_out} lines of the log left out\n"
        text += "".join(f"{line}\n" for line in lines)
        for row in block:
            style = _BOLD if row.startswith("!") else _DIM if row.startswith("─") else ""
            text += f"{style}{row}{_PLAIN if style else ''}\n"
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the worker is not
            return
        self._drawn = block


async def _again(measure: Callable[[], Awaitable[None]]) -> None:
    while True:
        await measure()
        await asyncio.sleep(MEASURE_S)


def wanted(stream: TextIO, *, plain_lines: bool, json_lines: bool) -> bool:
    """Only a terminal that can move its cursor gets the view."""
    if plain_lines or json_lines or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:
        return False
