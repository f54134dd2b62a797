"""``gridd journal check``: everything in a journal's directory is read, and nothing changed.

Three questions: which bytes are whole (``journal.survey``), what state they still give
(``restoration``), and what a start would do: that one is answered by a start, over files whose
changes stay in memory (``journal.unchanged``).
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from gridd.core.settings import Settings
from gridd.inspection.restoration import JobList, Nowhere, Restoration, Restored
from gridd.journal.base import JournalError
from gridd.journal.files import FileJournal
from gridd.journal.names import LOCK_NAME
from gridd.journal.survey import DAMAGES_MAX, Damage, Survey
from gridd.journal.unchanged import UnchangedFiles
from gridd.recovery import recover


class NotChecked(Exception):
    """There is nothing to check, or not now. The sentence says what to do."""


class AffectedJob(msgspec.Struct, frozen=True):
    queue: str
    job: str
    why: str


class SnapshotSeen(msgspec.Struct, frozen=True):
    """``used``: a start would begin with it."""

    file: str
    records: int
    whole: bool
    used: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints. Sizes in bytes; members are only ever added.

    ``jobs`` by state, as they can be had from what is whole. ``lost`` jobs can't; ``doubtful`` ones
    are there, though something of them is lost. ``starts`` is what a server would do, and ``start``
    why not; ``repair`` does not ask (``None``).
    """

    directory: str
    sound: bool
    segments: int
    bytes: int
    batches: int
    records: dict[str, int]
    queues: int
    jobs: dict[str, int]
    snapshots: list[SnapshotSeen]
    damage: list[Damage]
    damage_count: int
    torn_bytes: int
    unused_file: str
    starts: bool | None
    start: str
    lost: list[AffectedJob]
    lost_more: int
    doubtful: list[AffectedJob]
    doubtful_more: int
    skipped: dict[str, int]


def check(directory: str) -> Report:
    """Raises ``NotChecked``, or ``JournalError`` when a file can't be read or is of another
    format version. Memory: what a server would hold of it."""
    with looked_at(directory) as survey:
        restored = Restoration(survey, Nowhere()).run()
        counted = report(survey, restored)
        del restored  # before the second state is made
        refusal = refusal_of_start(directory)
        if refusal is None:
            return msgspec.structs.replace(counted, starts=True)
        return msgspec.structs.replace(counted, sound=False, starts=False, start=refusal)


@contextmanager
def looked_at(directory: str) -> Iterator[Survey]:
    """A survey of a journal that nobody writes, neither before nor after it."""
    if not os.path.isdir(directory):
        raise NotChecked(f"{directory}: there is no such directory")
    _refuse_when_in_use(directory)
    survey = Survey(directory)
    try:
        if not survey.is_journal:
            inner = os.path.join(directory, "journal")
            hint = f"; try {inner}" if os.path.isdir(inner) else ""
            raise NotChecked(f"{directory}: there is no segment and no snapshot{hint}")
        yield survey
        _refuse_when_in_use(directory)
    finally:
        survey.close()


def _refuse_when_in_use(directory: str) -> None:
    """A server's files change while they are read. The lock is only tried: held on to, it would
    keep a server from starting."""
    try:
        descriptor = os.open(os.path.join(directory, LOCK_NAME), os.O_RDONLY)
    except OSError:
        return  # a copy has none
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode("utf-8", "replace")
        raise NotChecked(
            f"{directory}: in use by a server ({holder or 'unknown'}). Stop it first, or look at "
            "a snapshot of the file system."
        ) from None
    finally:
        os.close(descriptor)


def refusal_of_start(directory: str) -> str | None:
    """``None`` when a server would start; otherwise why it would not."""
    fs = UnchangedFiles()
    try:
        with _silenced("gridd.journal"):
            journal = FileJournal(directory, fs=fs)
            try:
                recover(journal, Settings())
            finally:
                journal.close()
    except JournalError as error:
        return str(error)
    except Exception as error:  # what a start can't take, though each record is whole
        return f"replay stops at an impossible record: {type(error).__name__}: {error}"
    finally:
        fs.close()
    return None


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """It would warn of what it mends, and nothing is mended here."""
    logger = logging.getLogger(name)
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def report(survey: Survey, restored: Restored) -> Report:
    damage = [*survey.damages, *restored.undecodable][:DAMAGES_MAX]
    count = survey.damage_count + restored.undecodable_count
    inconsistent = restored.skipped or restored.lost or restored.doubtful
    return Report(
        directory=survey.directory,
        sound=not (count or inconsistent),
        segments=len(survey.segments),
        bytes=survey.bytes,
        batches=survey.batches,
        records=dict(restored.found),
        queues=len(restored.engines),
        jobs=job_states(restored),
        snapshots=[
            SnapshotSeen(seen.path, seen.records, seen.whole, seen is restored.snapshot)
            for seen in survey.snapshots
        ],
        damage=damage,
        damage_count=count,
        torn_bytes=survey.torn_bytes,
        unused_file=survey.unused_path,
        starts=None,
        start="",
        lost=affected(restored.lost),
        lost_more=restored.lost.more,
        doubtful=affected(restored.doubtful),
        doubtful_more=restored.doubtful.more,
        skipped=dict(restored.skipped),
    )


def affected(jobs: JobList) -> list[AffectedJob]:
    return [AffectedJob(queue, job, why) for (queue, job), why in jobs.why.items()]


def job_states(restored: Restored) -> dict[str, int]:
    states: dict[str, Any] = {"Queued": 0, "Running": 0, "Finished": 0, "Removed": 0}
    for engine in restored.engines.values():
        for kept in engine.snapshot():
            states[kept.state] += 1
    return states
