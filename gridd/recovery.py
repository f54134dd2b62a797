"""From the journal to engines, and back: replay at the start, a snapshot at the end.

Replay hands every record to the same ``Engine.apply`` that ran when it was written. A snapshot is
nothing but records too (``KeptJob``), each with the places of what memory does not hold.
"""

import gc
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.index import Index
from gridd.journal.base import START, Damaged, Journal, Position

log = logging.getLogger("gridd")


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One job of a snapshot."""

    job: r.KeptJob
    definition_at: tuple[int, int]
    result_at: tuple[int, int] | None


@dataclass
class Recovered:
    engines: dict[str, Engine] = field(default_factory=dict)
    index: Index = field(default_factory=Index)
    newest_ms: int = 0  # the latest time in any record: the clock does not start before it
    records: int = 0  # replayed after the snapshot


_read_record = msgspec.msgpack.Decoder(r.Record).decode
_read_entry = msgspec.msgpack.Decoder(_Entry).decode


def recover(journal: Journal, settings: Settings) -> Recovered:
    """Every queue as it was when its last record became durable. Raises ``JournalError``."""
    found = Recovered()
    gc.freeze()  # nothing made here is garbage: a collector that looks costs two thirds (FACTS 10)
    gc.disable()
    try:
        after = _load_snapshot(journal, settings, found)
        for position, payload in journal.replay(after):
            record = _decode(payload, position)
            _engine(found, record.queue, settings).apply(record)
            found.index.located(record, position)
            found.newest_ms = max(found.newest_ms, record.time)
            found.records += 1
    finally:
        gc.enable()
        gc.freeze()
    for queue in [queue for queue, engine in found.engines.items() if engine.idle]:
        del found.engines[queue]
    return found


def write_snapshot(journal: Journal, engines: dict[str, Engine], index: Index) -> None:
    """Keep the state of all engines as of the journal's end. Nothing may be stepped meanwhile."""
    encode = msgspec.msgpack.Encoder().encode
    journal.write_snapshot(
        journal.end,
        (encode(entry) for engine in engines.values() for entry in _entries(engine, index)),
    )


def _entries(engine: Engine, index: Index) -> Iterator[_Entry]:
    for job in engine.snapshot():
        places = index.get(engine.queue, job.job)
        assert places is not None, f"{job.job} is known but lies nowhere"
        yield _Entry(job, places[0], places[1])


def _load_snapshot(journal: Journal, settings: Settings, found: Recovered) -> Position:
    snapshot = journal.read_snapshot()
    if snapshot is None:
        return START
    at, payloads = snapshot
    for payload in payloads:
        entry = _read_entry(payload)
        job = entry.job
        _engine(found, job.queue, settings).apply(job)
        result = None if entry.result_at is None else Position(*entry.result_at)
        found.index.put(job.queue, job.job, Position(*entry.definition_at), result)
        found.newest_ms = max(found.newest_ms, job.time)
    return at


def _engine(found: Recovered, queue: str, settings: Settings) -> Engine:
    engine = found.engines.get(queue)
    if engine is None:
        engine = found.engines[queue] = Engine(queue, settings)
    return engine


def _decode(payload: bytes, position: Position) -> r.Record:
    try:
        record: r.Record = _read_record(payload)
    except msgspec.MsgspecError as error:
        raise Damaged(
            f"the record at segment {position.segment}, offset {position.offset} is whole but not "
            f"one that this version knows ({error}); was it written by a newer gridd?"
        ) from None
    return record
