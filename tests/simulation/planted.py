"""Faults to switch on, one at a time: each is a mistake that somebody could make in earnest.

Those of the engine first, then those of the journal and of what stands between the two.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec
import pytest

import gridd.recovery
import gridd.segments
from gridd.clock import Clock
from gridd.committer import Committer
from gridd.core import effects as fx
from gridd.core import engine as engine_module
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.job import Job
from gridd.core.jobs import Jobs
from gridd.core.lines import Lines
from gridd.core.logs import LogBuffer
from gridd.core.sessions import Session
from gridd.core.walk import Walk
from gridd.journal import files as files_module
from gridd.journal import format as format_module
from gridd.journal import opening as opening_module
from gridd.journal import snapshots as snapshots_module
from gridd.journal.base import Position
from gridd.journal.files import FileJournal
from gridd.journal.fs import File
from gridd.segments import Needed, Segments

Plant = Callable[[pytest.MonkeyPatch], None]

# --- the engine -----------------------------------------------------------------------


def ignore_the_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "holds", lambda self, job, attempt: job in self.held)


def lose_a_requeue(patch: pytest.MonkeyPatch) -> None:
    """The job of a lost worker is freed and never stands in line again."""

    def requeue(self: Engine, job: Job, *, lost: bool) -> None:
        job.state, job.worker = "Finished", ""
        job.reason = "Cancelled"
        self.jobs.running -= 1
        self.jobs._end(job)
        self.logs.pop(job.id, None)
        self._watch_retention()

    patch.setattr(Engine, "_requeue", requeue)


def forget_first_in_first_out(patch: pytest.MonkeyPatch) -> None:
    def newest_first(self: Lines) -> Iterator[tuple[r.Needs, int, str]]:
        for needs, line in self._lines.items():
            sequence = max(line.jobs)
            yield needs, sequence, line.jobs[sequence]

    patch.setattr(Lines, "heads", newest_first)
    patch.setattr(Engine, "check", lambda self: None)  # found from outside as well


def requeue_at_the_end(patch: pytest.MonkeyPatch) -> None:
    original = Jobs._requeued

    def requeued(self: Jobs, record: r.Requeued) -> None:
        self._sequence += 1
        self.by_id[record.job].sequence = self._sequence
        original(self, record)

    patch.setattr(Jobs, "_requeued", requeued)


def lease_an_attempt_twice(patch: pytest.MonkeyPatch) -> None:
    original = Jobs._requeued

    def requeued(self: Jobs, record: r.Requeued) -> None:
        original(self, record)
        self.by_id[record.job].attempt -= 1
        self.by_id[record.job].losses = 0

    patch.setattr(Jobs, "_requeued", requeued)


def believe_any_worker(patch: pytest.MonkeyPatch) -> None:
    """Fencing by attempt alone, whoever says it."""
    original = Engine._on_finished

    def finished(self: Engine, session: Session, message: engine_module.m.Finished) -> None:
        job = self.jobs.by_id.get(message.job)
        if job is not None and job.state == "Running" and job.attempt == message.attempt:
            session = self.sessions.by_worker[job.worker]
        original(self, session, message)

    patch.setattr(Engine, "_on_finished", finished)


def run_an_answered_job_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Job, "answered", property(lambda self: False))


def keep_two_jobs_in_a_namespace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_supersede", lambda self, namespace, successor: None)
    patch.setattr(Engine, "check", lambda self: None)


def count_log_lines_anew_each_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogBuffer, "restart", LogBuffer.__init__)


def forget_to_match_after_a_result(patch: pytest.MonkeyPatch) -> None:
    original = Engine._on_finished

    def finished(self: Engine, session: Session, message: engine_module.m.Finished) -> None:
        match, self._match = self._match, lambda: None  # type: ignore[method-assign]
        original(self, session, message)
        self._match = match  # type: ignore[method-assign]

    patch.setattr(Engine, "_on_finished", finished)


def never_look_at_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_look_at_lease", lambda self, worker: None)
    patch.setattr(Engine, "check", lambda self: None)


# --- what stands between engine and journal -------------------------------------------


def answer_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    def take(self: Committer, queue: str, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if type(effect) is not fx.Append:
                self._carry_out(queue, effect)
        original(self, queue, [effect for effect in effects if type(effect) is fx.Append])

    original = Committer.take
    patch.setattr(Committer, "take", take)


def replay_in_the_wrong_order(patch: pytest.MonkeyPatch) -> None:
    original = FileJournal.replay

    def replay(self: FileJournal, *after: Position) -> Iterator[tuple[Position, bytes]]:
        found = list(original(self, *after))
        for low in range(0, len(found) - 1, 7):
            found[low], found[low + 1] = found[low + 1], found[low]
        return iter(found)

    patch.setattr(FileJournal, "replay", replay)


def forget_that_the_clock_was_set_back(patch: pytest.MonkeyPatch) -> None:
    original = Clock.__init__

    def init(self: Clock, not_before: int = 0, **sources: Callable[[], float]) -> None:
        original(self, 0, **sources)

    patch.setattr(Clock, "__init__", init)


def snapshot_at_a_later_place_than_its_state(patch: pytest.MonkeyPatch) -> None:
    """As if the walk's beginning and the position belonged to different moments."""

    async def at_boundary(self: Committer, look: Callable[[], object]) -> tuple[object, Position]:
        seen = look()
        await self.durable()
        await self.durable()
        return seen, self._journal.end

    patch.setattr(Committer, "at_boundary", at_boundary)


def let_a_walk_see_later_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Walk, "_before_change", lambda self, job: None)


def forget_a_segment_too_many(patch: pytest.MonkeyPatch) -> None:
    original = FileJournal.forget

    def forget(self: FileJournal, before: Position) -> None:
        original(self, Position(before.segment + 1, before.offset))

    patch.setattr(FileJournal, "forget", forget)


# --- the journal ----------------------------------------------------------------------


class Unsynced:
    """A file whose syncs are promises."""

    def __init__(self, file: File) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def sync(self) -> None:
        pass


def skip_the_sync(patch: pytest.MonkeyPatch) -> None:
    def write(self: FileJournal, batch: Sequence[bytes]) -> list[Position]:
        file, self._file = self._file, Unsynced(self._file)  # type: ignore[assignment]
        try:
            return original(self, batch)
        finally:
            self._file = file

    original = FileJournal._write
    patch.setattr(FileJournal, "_write", write)


def skip_the_sync_of_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    original = snapshots_module._write
    patch.setattr(snapshots_module, "_write", lambda file, *rest: original(Unsynced(file), *rest))


def skip_the_sync_of_the_directory(patch: pytest.MonkeyPatch) -> None:
    """A new segment whose name is not durable when its first batch is acknowledged."""
    original = FileJournal._create_segment

    def create(self: FileJournal, number: int) -> None:
        files = self._fs
        self._fs = type("Hasty", (), {"__getattr__": lambda _, name: getattr(files, name)})()
        self._fs.sync_directory = lambda path: None  # type: ignore[method-assign]
        try:
            original(self, number)
        finally:
            self._fs = files

    patch.setattr(FileJournal, "_create_segment", create)


def cut_the_tail_when_it_is_damage(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(opening_module, "find_later_batch", lambda *where: None)


def keep_a_torn_tail(patch: pytest.MonkeyPatch) -> None:
    def keep(file: File, path: str, walk: object, broken: object, sealed: bool) -> None:
        walk.batch = file.size()  # type: ignore[attr-defined]

    patch.setattr(opening_module, "_cut_torn_tail", keep)


def go_on_after_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    """The kernel calls the pages clean, and the next sync a success."""

    def write(file: File, data: bytes, start: int) -> None:
        file.write(data)
        with suppress(OSError):
            file.sync()

    patch.setattr(files_module, "_write_or_take_back", write)


def leave_the_bytes_of_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    def write(file: File, data: bytes, start: int) -> None:
        file.write(data)
        file.sync()

    patch.setattr(files_module, "_write_or_take_back", write)


def believe_every_checksum(patch: pytest.MonkeyPatch) -> None:
    class Whatever(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    patch.setattr(format_module, "crc32", lambda data: Whatever(zlib.crc32(data)))


def take_no_lock(patch: pytest.MonkeyPatch) -> None:
    def lock(self: FileJournal) -> object:
        return type("NoLock", (), {"close": lambda self: None})()

    patch.setattr(FileJournal, "_take_lock", lock)


def rely_on_the_lock_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FileJournal, "_check_alone", lambda self: None)


def carry_nothing_on(patch: pytest.MonkeyPatch) -> None:
    """Segments go although they hold the only copy of a definition."""
    original = Segments._look

    async def look(self: Segments, first_kept: int) -> Needed:
        needed = await original(self, first_kept)
        return Needed(max(needed.oldest, first_kept))

    patch.setattr(Segments, "_look", look)


def carry_an_outcome_without_its_result(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        gridd.segments, "without_logs", lambda record: msgspec.structs.replace(record, result=b"")
    )


def apply_nothing_after_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    original = gridd.recovery._load_snapshot

    def load(journal: FileJournal, *rest: object) -> Position:
        at = original(journal, *rest)  # type: ignore[arg-type]
        return journal.end if at.segment else at

    patch.setattr(gridd.recovery, "_load_snapshot", load)
