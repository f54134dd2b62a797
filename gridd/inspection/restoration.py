"""The state that a journal's whole records still give, and what of it is lost.

``check`` runs it to know, ``repair`` to write: both see the same. The newest whole snapshot comes
first, as at a start, then every record behind it that can be applied (``continuity``). Each
record that stays is handed to a ``Sink``.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import UnionType
from typing import Protocol

import msgspec

from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.expired import ExpiredJobs
from gridd.inspection.continuity import step_to
from gridd.journal.base import START, Position
from gridd.journal.survey import Damage, Snapshot, Survey
from gridd.recovery import RECENT_MS, place_of, position_of

JOBS_LISTED_MAX = 10_000
"""Jobs told by name in a report; further ones are counted."""

_PUT_AWAY_EVERY = 10_000  # records: bounds memory

_decode = msgspec.msgpack.Decoder(r.Record).decode
_encode = msgspec.msgpack.Encoder().encode

NO_DEFINITION = "its definition can't be read back"
NO_OUTCOME = "its outcome can't be read back"


class Sink(Protocol):
    """Where records go that are kept."""

    def append(self, payload: bytes, placed: Callable[[Position], None]) -> None:
        """``placed`` is called, in order, when it is known where the record lies."""
        ...

    def flush(self) -> None:
        """All that was appended is placed when this returns."""
        ...

    def snapshot(self, engines: dict[str, Engine], expired: ExpiredJobs) -> None:
        """The state of ``engines`` is that of all that was appended."""
        ...


class Nowhere:
    """Keeps nothing: for a check."""

    def append(self, payload: bytes, placed: Callable[[Position], None]) -> None:
        placed(Position(1, 64))

    def flush(self) -> None:
        pass

    def snapshot(self, engines: dict[str, Engine], expired: ExpiredJobs) -> None:
        pass


@dataclass
class JobList:
    """Jobs and what is the matter with each. ``more``: how often it was one too many to list."""

    why: dict[tuple[str, str], str] = field(default_factory=dict)
    more: int = 0

    def add(self, queue: str, job: str, why: str) -> None:
        if len(self.why) < JOBS_LISTED_MAX or (queue, job) in self.why:
            self.why.setdefault((queue, job), why)
        else:
            self.more += 1

    def clear(self, queue: str, job: str) -> None:
        self.why.pop((queue, job), None)

    def __bool__(self) -> bool:
        return bool(self.why or self.more)


@dataclass
class Restored:
    """``found`` counts whole records by kind, ``skipped`` those that could not be applied,
    ``added`` those that were made up for lost ones."""

    engines: dict[str, Engine] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    found: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    lost: JobList = field(default_factory=JobList)
    doubtful: JobList = field(default_factory=JobList)
    undecodable: list[Damage] = field(default_factory=list)
    undecodable_count: int = 0


class Restoration:
    """Runs once. Memory: what a server would hold, and what the sink holds back."""

    def __init__(self, survey: Survey, sink: Sink) -> None:
        self._survey = survey
        self._sink = sink
        self._settings = Settings()
        self._newest_ms = 0
        self._expired = ExpiredJobs()
        self.result = Restored()

    def run(self) -> Restored:
        """Raises ``JournalError`` when the directory can't be read, or the sink not written."""
        after = self._load_snapshot()
        for position, payload in self._survey.records():
            record = self._read(position, payload)
            if record is not None and position >= after:
                self._take(record, payload)
        self._sink.flush()
        self._give_up_without_outcome()
        engines = self.result.engines
        for queue in [queue for queue, engine in engines.items() if engine.idle]:
            del engines[queue]
        self._sink.snapshot(engines, self._expired)
        return self.result

    def _give_up_without_outcome(self) -> None:
        """Jobs that are known to have ended, and no more of it. They may be submitted again."""
        for engine in self.result.engines.values():
            for kept in list(engine.snapshot()):
                if kept.state not in ("Queued", "Running") and not kept.result_at:
                    self.result.lost.add(kept.queue, kept.job, NO_OUTCOME)
                    gone = r.Expired(kept.queue, kept.job, self._newest_ms)
                    self.result.added[kind_of(gone)] += 1
                    self._apply(engine, gone, _encode(gone))
        self._sink.flush()

    def _read(self, position: Position, payload: bytes) -> r.Record | None:
        try:
            record: r.Record = _decode(payload)
        except msgspec.MsgspecError as error:
            self.result.undecodable_count += 1
            if self.result.undecodable_count <= len(self._survey.damages) + 1_000:
                path = self._survey.segments[position.segment].path
                what = f"a whole record that this version does not know ({error})"
                damage = Damage(path, position.offset, len(payload), 1, what)
                self.result.undecodable.append(damage)
            return None
        self.result.found[kind_of(record)] += 1
        return record

    # --- the records of the log ---------------------------------------------------------

    def _take(self, record: r.Record, payload: bytes) -> None:
        engine = self._engine(record.queue)
        step = step_to(engine.jobs, record)
        if step.skipped is not None:
            self._skip(record, step.skipped)
            return
        for added in step.added:
            self.result.added[kind_of(added)] += 1
            why = f"something before the {kind_of(record)} of {record.time} is lost"
            self.result.doubtful.add(added.queue, added.job, why)
            self._apply(engine, added, _encode(added))
        if isinstance(record, r.KeptJob) and engine.jobs.look(record.job) is None:
            self._take_carried(engine, record)
            return
        if isinstance(record, r.Submitted):
            self.result.lost.clear(record.queue, record.job)
        self._apply(engine, record, payload)

    def _skip(self, record: r.Record, why: str) -> None:
        self.result.skipped[kind_of(record)] += 1
        over = isinstance(record, r.Finished) and record.reason == "Deleted"
        if over or isinstance(record, r.Expired):  # nothing is lost of what was given up
            self.result.lost.clear(record.queue, record.job)
        else:
            self.result.lost.add(record.queue, record.job, why)

    def _take_carried(self, engine: Engine, kept: r.KeptJob) -> None:
        """A job carried on in the log, and all that stood before it is lost."""
        if not kept.definition:
            self._skip(kept, NO_DEFINITION)
            return
        outcome = self._document(kept, kept.result_at, r.Finished)
        kept = msgspec.structs.replace(kept, definition_at=0, result_at=0)
        self._apply(engine, kept, _encode(kept))
        if outcome is not None and kept.state not in ("Queued", "Running"):
            self._apply(engine, _decode(outcome), outcome)

    def _apply(self, engine: Engine, record: r.Record, payload: bytes) -> None:
        engine.apply(record)
        if isinstance(record, r.Expired):
            self._expired.add(record.queue, record.job, record.time)
        self.result.kept[kind_of(record)] += 1
        self._newest_ms = max(self._newest_ms, record.time)
        self._sink.append(payload, partial(_place, engine, record))
        if self.result.kept.total() % _PUT_AWAY_EVERY == 0:
            self._sink.flush()
            for each in self.result.engines.values():
                each.put_away(self._newest_ms - RECENT_MS, _PUT_AWAY_EVERY)

    # --- the snapshot -------------------------------------------------------------------

    def _load_snapshot(self) -> Position:
        """The newest one that is whole, as a start would take. Where it reaches to."""
        for snapshot in self._survey.snapshots:
            if snapshot.whole:
                break
        else:
            return START
        self.result.snapshot = snapshot
        for payload in self._survey.payloads(snapshot):
            try:
                kept = _decode(payload)
            except msgspec.MsgspecError:
                kept = None
            if isinstance(kept, r.Expired):
                self._expired.add(kept.queue, kept.job, kept.time)
                continue
            if not isinstance(kept, r.KeptJob):
                self.result.undecodable_count += 1
                what = "an entry of the snapshot that this version does not know"
                self.result.undecodable.append(Damage(snapshot.path, 0, len(payload), 1, what))
                continue
            self._newest_ms = max(self._newest_ms, kept.time)
            self._keep(kept)
        self._sink.flush()
        for engine in self.result.engines.values():
            engine.jobs.loaded(self._newest_ms - RECENT_MS)
        self._sink.snapshot(self.result.engines, self._expired)
        return snapshot.at

    def _keep(self, kept: r.KeptJob) -> None:
        """Load a job whose documents lie elsewhere in the log, when they can be read. The sink
        gets them first, and the job then says where they lie there."""
        live = kept.state in ("Queued", "Running")
        if live:  # its definition stands in the entry itself
            definition: bytes | None = _encode(
                msgspec.structs.replace(kept, definition_at=0, result_at=0)
            )
        else:
            definition = self._document(kept, kept.definition_at, r.Submitted | r.KeptJob)
        outcome = None if live else self._document(kept, kept.result_at, r.Finished)
        if definition is None and kept.definition_at:
            self.result.lost.add(kept.queue, kept.job, NO_DEFINITION)
        elif outcome is None and kept.result_at and not live:
            self.result.lost.add(kept.queue, kept.job, NO_OUTCOME)
        else:
            self._load(kept, definition, outcome)

    def _load(self, kept: r.KeptJob, definition: bytes | None, outcome: bytes | None) -> None:
        places = {"definition_at": 0, "result_at": 0}
        documents = {"definition_at": definition, "result_at": outcome}
        waiting = [name for name in documents if documents[name] is not None]
        jobs = self._engine(kept.queue).jobs

        def placed(name: str, position: Position) -> None:
            places[name] = place_of(position)
            waiting.remove(name)
            if not waiting:
                jobs.load(msgspec.structs.replace(kept, **places))

        if not waiting:
            jobs.load(msgspec.structs.replace(kept, **places))
        for name, document in documents.items():
            if document is not None:
                self._sink.append(document, partial(placed, name))

    def _document(self, kept: r.KeptJob, place: int, kind: type | UnionType) -> bytes | None:
        """The record of this job at ``place``, if there is a whole one."""
        payload = self._survey.read(position_of(place)) if place else None
        if payload is None:
            return None
        try:
            record: r.Record = _decode(payload)
        except msgspec.MsgspecError:
            return None
        same = isinstance(record, kind) and (record.queue, record.job) == (kept.queue, kept.job)
        return payload if same else None

    def _engine(self, queue: str) -> Engine:
        engine = self.result.engines.get(queue)
        if engine is None:
            engine = self.result.engines[queue] = Engine(queue, self._settings)
        return engine


def kind_of(record: r.Record) -> str:
    return type(record).__name__


def _place(engine: Engine, record: r.Record, position: Position) -> None:
    engine.place(record, place_of(position))
