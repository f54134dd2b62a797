"""``gridd journal repair``: what is whole in a damaged journal, as a new one beside it.

The old directory is only read. The new one gets its name when it is complete and has been opened
and replayed: an interrupted repair leaves a ``.part`` directory and nothing that could be taken
for a journal.
"""

import os
from collections.abc import Callable

from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.expired import ExpiredJobs
from gridd.inspection.check import NotChecked, Report, looked_at, report
from gridd.inspection.restoration import Restoration
from gridd.journal.base import Position
from gridd.journal.files import FileJournal
from gridd.journal.fs import RealFiles
from gridd.recovery import recover, write_snapshot

_BATCH_RECORDS = 10_000
_BATCH_BYTES = 4 << 20  # written and synced together

PART = ".part"


def repair(directory: str, new_directory: str) -> Report:
    """The report is of the old directory: what it says of jobs is what the new one holds.

    Raises ``NotChecked`` when it can't begin, ``JournalError`` or ``OSError`` when a directory
    can't be read or written.
    """
    part = _prepare(directory, new_directory)
    with looked_at(directory) as survey:
        journal = FileJournal(part)
        try:
            restored = Restoration(survey, _NewJournal(journal)).run()
        finally:
            journal.close()
        told = report(survey, restored)
        del restored  # before the second state is made
        _prove(part)
    os.remove(os.path.join(part, "lock"))
    os.rename(part, new_directory)
    RealFiles().sync_directory(os.path.dirname(os.path.abspath(new_directory)))
    return told


def _prepare(directory: str, new_directory: str) -> str:
    """Where to write until all is there."""
    if os.path.lexists(new_directory) and (
        not os.path.isdir(new_directory) or os.listdir(new_directory)
    ):
        raise NotChecked(f"{new_directory}: is there already and is not an empty directory")
    old, new = os.path.realpath(directory), os.path.realpath(new_directory)
    if new == old or os.path.commonpath([old, new]) == old:
        raise NotChecked(f"{new_directory}: lies inside {directory}, which is not changed")
    part = new_directory.rstrip(os.sep) + PART
    if os.path.lexists(part):
        raise NotChecked(f"{part}: left by a repair that was interrupted; remove it first")
    return part


def _prove(part: str) -> None:
    """Open it as a server does. Raises ``JournalError``."""
    journal = FileJournal(part)
    try:
        recover(journal, Settings())
    finally:
        journal.close()


class _NewJournal:
    """``Sink``: gathers records and writes them a batch at a time."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal
        self._payloads: list[bytes] = []
        self._placed: list[Callable[[Position], None]] = []
        self._bytes = 0

    def append(self, payload: bytes, placed: Callable[[Position], None]) -> None:
        self._payloads.append(payload)
        self._placed.append(placed)
        self._bytes += len(payload)
        if self._bytes >= _BATCH_BYTES or len(self._payloads) >= _BATCH_RECORDS:
            self.flush()

    def flush(self) -> None:
        payloads, self._payloads = self._payloads, []
        callbacks, self._placed = self._placed, []
        self._bytes = 0
        positions = self._journal.append(payloads, self._journal.end)
        for placed, position in zip(callbacks, positions, strict=True):
            placed(position)

    def snapshot(self, engines: dict[str, Engine], expired: ExpiredJobs) -> None:
        write_snapshot(self._journal, engines.values(), expired)
