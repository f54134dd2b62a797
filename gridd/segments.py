"""Segments that have had their time: what must outlive one is carried on, then it goes.

A segment is held for the logs' retention after it was sealed. By then every log in it has had its
time. What is kept longer (definitions of jobs that wait, run or are remembered, and outcomes
without their logs) is written down again at the journal's end, a bounded amount at once, and the
segment is dropped whole. Nothing here decides anything about jobs.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from gridd.committer import Committer
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.archive import id_of, places_of
from gridd.core.engine import Engine
from gridd.documents import without_logs
from gridd.journal.base import Journal, Position
from gridd.recovery import position_of

log = logging.getLogger("gridd")

SEGMENTS_PER_LOG_RETENTION = 7
"""A segment is sealed after this part of the logs' retention at the latest: so logs go that much
after their time at the latest."""

LOOKED_AT_ONCE = 2_000
"""Jobs looked at between two turns of the loop: a few milliseconds."""

FOUND_MAX = 50_000
"""Places remembered in one look, about 10 MB; what is beyond it is found by the next look."""

LOOKS_MAX = 100
"""Looks in one go. More (5 million places) are left for the next time."""

CARRIED_AT_ONCE = 200
CARRIED_BYTES = 16 << 20
"""Read, and written down again, before more is read. One record may go beyond the bytes."""

_read_record = msgspec.msgpack.Decoder(r.Record).decode


class Place(NamedTuple):
    """Where the journal keeps a job's definition, or its outcome."""

    place: int
    queue: str
    job: str
    is_answer: bool


@dataclass(slots=True)
class Needed:
    oldest: int = 0  # the oldest segment that some job needs; 0: none is needed
    old: list[Place] = field(default_factory=list)  # in segments whose time is over


class Segments:
    """``engines`` answers those of now; ``step`` hands an event to one of them."""

    def __init__(
        self,
        journal: Journal,
        committer: Committer,
        engines: Callable[[], dict[str, Engine]],
        step: Callable[[str, ev.Event], None],
        keep_ms: int,
    ) -> None:
        self._journal = journal
        self._committer = committer
        self._engines = engines
        self._step = step
        self._keep_ms = keep_ms

    @property
    def due(self) -> bool:
        """Some segment has had its time."""
        return any(age_ms >= self._keep_ms for _, age_ms in self._journal.sealed()[:1])

    def _first_kept(self) -> int:
        """The oldest segment whose time is not over; 0 when none is sealed."""
        number = 0
        for number, age_ms in self._journal.sealed():
            if age_ms < self._keep_ms:
                return number
        return number + 1 if number else 0

    async def drop(self) -> None:
        """Carry on what is needed of the old ones, and forget what nobody needs: as far as the
        snapshots reach (``Journal.forget``). Raises ``JournalError``."""
        # What is written down from now on is not carried on again, whatever the clocks say.
        first_kept = self._first_kept()
        needed = await self._look(first_kept)
        carried = looks = 0
        while needed.old and looks < LOOKS_MAX:
            moved = await self._carry(sorted(needed.old))
            needed = await self._look(first_kept)
            carried += moved
            looks = looks + 1 if moved else LOOKS_MAX
        if carried:
            log.info("carried on from old segments", extra={"records": carried})
        await self._committer.durable()  # what made a segment needless must not be lost after it
        oldest = Position(needed.oldest, 0) if needed.oldest else self._journal.end
        await self._committer.between_appends(lambda: self._journal.forget(oldest))

    async def _look(self, first_kept: int) -> Needed:
        """Places only ever move on, so a look in steps errs on the safe side."""
        needed = Needed()
        looked = 0
        for queue, engine in list(self._engines().items()):
            for job, definition_at, result_at in _places(engine):
                for place, is_answer in ((definition_at, False), (result_at, True)):
                    if not place:
                        continue
                    segment = position_of(place).segment
                    if segment < needed.oldest or not needed.oldest:
                        needed.oldest = segment
                    if segment < first_kept and len(needed.old) < FOUND_MAX:
                        needed.old.append(Place(place, queue, job, is_answer))
                looked += 1
                if looked % LOOKED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # not a wait: the loop's turn in between
        return needed

    async def _carry(self, places: list[Place]) -> int:
        """Each as far as it is still true. How many records that made."""
        before = self._committer.records
        while places:
            payloads = await asyncio.to_thread(self._read, places[:CARRIED_AT_ONCE])
            for place, record in zip(places, payloads, strict=False):
                self._carry_one(place, record)
            places = places[len(payloads) :]
            await self._committer.durable()
        return self._committer.records - before

    def _carry_one(self, place: Place, record: r.Record | None) -> None:
        engine = self._engines().get(place.queue)
        job = None if engine is None else engine.jobs.look(place.job)
        if job is None or record is None:
            return  # forgotten meanwhile
        if place.is_answer:
            if job.result_at == place.place and isinstance(record, r.Finished):
                self._step(place.queue, ev.CarryAnswer(record))
        elif job.definition_at == place.place and isinstance(record, r.Submitted | r.KeptJob):
            # What it was submitted with just now may not have its place yet.
            definition = job.definition or record.definition
            self._step(place.queue, ev.Carry(job.id, definition))

    def _read(self, places: list[Place]) -> list[r.Record | None]:
        """In a thread. The records of the first few of ``places``, without logs."""
        records: list[r.Record | None] = []
        size = 0
        for place in places:
            if size >= CARRIED_BYTES:
                break
            try:
                record = _read_record(self._journal.read(position_of(place.place)))
            except KeyError:
                records.append(None)
                continue
            if isinstance(record, r.Finished):
                record = without_logs(record)
                size += len(record.result)
            elif isinstance(record, r.Submitted | r.KeptJob):
                size += len(record.definition)
            records.append(record)
        return records


def _places(engine: Engine) -> Iterator[tuple[str, int, int]]:
    """``(job, definition_at, result_at)`` of every job. The engine may go on meanwhile."""
    for job in list(engine.jobs.by_id.values()):
        yield job.id, job.definition_at, job.result_at
    for shard in engine.jobs.archive.shards:
        for key, entry in list(shard.items()):
            yield id_of(key), *places_of(entry)
