"""From the journal to engines: the newest snapshot, then every record behind it.

Replay hands each record to the same ``Engine.apply`` that ran when it was written. A snapshot is
nothing but records too: an ``Expired`` for each job of which no more is known, then one
``KeptJob`` for each job.
"""

import gc
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.expired import ExpiredJobs
from gridd.journal.base import START, Damaged, Journal, Position

log = logging.getLogger("gridd")

RECENT_MS = 60_000
"""What ended no longer ago is held whole, as lists show it (``rooms.LISTED_MS``)."""

_OFFSET_BITS = 40
"""A place, as engines keep it, is a segment and an offset in one number; a segment has at most
1 TiB (and in practice 64 MiB)."""


def place_of(position: Position) -> int:
    return position.segment << _OFFSET_BITS | position.offset


def position_of(place: int) -> Position:
    return Position(place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1))


@dataclass
class Recovered:
    engines: dict[str, Engine] = field(default_factory=dict)
    newest_ms: int = 0  # the latest time in any record: the clock does not start before it
    records: int = 0  # replayed after the snapshot
    expired: ExpiredJobs = field(default_factory=ExpiredJobs)  # as far as was replayed


_read_record = msgspec.msgpack.Decoder(r.Record).decode
_read_kept = msgspec.msgpack.Decoder(r.KeptJob | r.Expired).decode


def recover(journal: Journal, settings: Settings) -> Recovered:
    """Every queue as it was when its last record became durable. Raises ``JournalError``."""
    found = Recovered()
    gc.freeze()  # nothing made here is garbage: a collector that looks costs two thirds (FACTS 10)
    gc.disable()
    try:
        after = _load_snapshot(journal, settings, found)
        _replay(journal.replay(after), settings, found)
    finally:
        gc.enable()
        gc.freeze()
    for queue in [queue for queue, engine in found.engines.items() if engine.idle]:
        del found.engines[queue]
    return found


def write_snapshot(journal: Journal, engines: Iterable[Engine], expired: ExpiredJobs) -> None:
    """Keep the state of all engines as of the journal's end. Nothing may be stepped meanwhile."""
    encode = msgspec.msgpack.Encoder().encode
    kept = (job for engine in engines for job in engine.snapshot())
    journal.write_snapshot(journal.end, map(encode, chain(expired.records(), kept)))


def _replay(
    records: Iterator[tuple[Position, bytes]], settings: Settings, found: Recovered
) -> None:
    """One plain loop: a start is as long as this is slow."""
    jobs_of = {queue: engine.jobs for queue, engine in found.engines.items()}
    for jobs in jobs_of.values():
        jobs.begin_replay()
    newest_ms, count, position = found.newest_ms, 0, START
    read = _read_record
    try:
        for position, payload in records:
            record: r.Record = read(payload)
            known = jobs_of.get(record.queue)
            if known is None:
                engine = found.engines[record.queue] = Engine(record.queue, settings)
                known = jobs_of[record.queue] = engine.jobs
                known.begin_replay()
            segment, offset = position
            known.replay(record, segment << _OFFSET_BITS | offset)
            if type(record) is r.Expired:
                found.expired.add(record.queue, record.job, record.time)
            if record.time > newest_ms:
                newest_ms = record.time
            count += 1
    except msgspec.MsgspecError as error:
        raise Damaged(
            f"{_where(position)} is whole but not one that this version knows ({error}); "
            "was it written by a newer gridd?"
        ) from None
    except KeyError as error:
        raise Damaged(
            f"{_where(position)} speaks of a job that the journal does not know "
            f"({error.args[0]}); `gridd journal check` says more"
        ) from None
    for jobs in jobs_of.values():
        jobs.end_replay(newest_ms - RECENT_MS)
    found.newest_ms, found.records = newest_ms, found.records + count


def _load_snapshot(journal: Journal, settings: Settings, found: Recovered) -> Position:
    snapshot = journal.read_snapshot()
    if snapshot is None:
        return START
    at, payloads = snapshot
    engines = found.engines
    for payload in payloads:
        kept = _read_kept(payload)
        if type(kept) is r.Expired:
            found.expired.add(kept.queue, kept.job, kept.time)
            found.newest_ms = max(found.newest_ms, kept.time)
            continue
        engine = engines.get(kept.queue)
        if engine is None:
            engine = engines[kept.queue] = Engine(kept.queue, settings)
        engine.jobs.load(kept)
        if kept.time > found.newest_ms:
            found.newest_ms = kept.time
    for engine in engines.values():
        engine.jobs.loaded(found.newest_ms - RECENT_MS)
    return at


def _where(position: Position) -> str:
    return f"the record at segment {position.segment}, offset {position.offset}"
