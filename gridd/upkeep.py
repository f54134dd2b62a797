"""Housekeeping beside the one loop: small forms, snapshots, and segments that nobody needs.

All of it in steps of a few milliseconds between which the server answers, and none of it decides
anything about jobs: what is due to be forgotten is the engine's to say (retention).

* Ended jobs are put into their small form a minute after they ended.
* A snapshot is written every ``SNAPSHOT_RECORDS`` records, so that a start replays no more.
* A segment goes when no known job has its definition or result there. One that is older than the
  retention may still hold definitions of jobs that wait, run or ended much later: those are
  written down again at the journal's end, and then it can go.
"""

import asyncio
import logging
import queue
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from gridd.committer import Committer
from gridd.core.archive import id_of, places_of
from gridd.core.engine import Engine
from gridd.core.events import Carry
from gridd.core.walk import Walk
from gridd.journal.base import Journal, JournalError, Position
from gridd.recovery import RECENT_MS, position_of
from gridd_protocol.errors import ProtocolError

log = logging.getLogger("gridd")

LOOK_S = 1.0
SNAPSHOT_RECORDS = 200_000
SLICE = 500
"""Jobs looked at or written between two turns of the loop: a few milliseconds."""

CARRIED_AT_ONCE = 200
"""Definitions read and written down again before the next are: at most 200 MiB in memory."""

_CHUNKS_WAITING = 8
"""Slices of a snapshot that wait for the disk; the walk waits beyond it."""


@dataclass
class References:
    """Who needs the oldest segment that is needed at all."""

    segment: int = 0  # 0: none is needed
    answers: int = 0  # results in it
    definitions: list[tuple[str, str, int]] = field(default_factory=list)  # queue, job, place
    newest_ms: int = 0  # when the last of those jobs was submitted


class Upkeep:
    """``engines`` answers those of now; ``step`` hands an event to one; ``read_definition``
    fetches one from the journal by its place."""

    def __init__(
        self,
        journal: Journal,
        committer: Committer,
        engines: Callable[[], dict[str, Engine]],
        step: Callable[[str, Carry], None],
        read_definition: Callable[[int], Awaitable[bytes | None]],
        now_ms: Callable[[], int],
        retention_ms: int,
        records_before: int = 0,
    ) -> None:
        self._journal = journal
        self._committer = committer
        self._engines = engines
        self._step = step
        self._read_definition = read_definition
        self._now_ms = now_ms
        self._retention_ms = retention_ms
        self._snapshot_after = SNAPSHOT_RECORDS - records_before
        self.snapshots = 0

    async def run(self) -> None:
        """Until cancelled, or until the journal fails (which the committer reports)."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.put_away()
                if self._committer.records >= self._snapshot_after:
                    await self.snapshot()
                    await self.drop_segments()
            except (JournalError, ProtocolError) as error:
                log.warning("housekeeping was put off: %s", error)
                self._snapshot_after = self._committer.records + SNAPSHOT_RECORDS // 4

    async def put_away(self) -> None:
        before_ms = self._now_ms() - RECENT_MS
        for engine in list(self._engines().values()):
            looked = SLICE
            while looked == SLICE:
                looked = engine.put_away(before_ms, SLICE)
                await asyncio.sleep(0)  # not a wait: the loop's turn in between

    async def snapshot(self) -> None:
        """Write the state of this moment while things go on. Raises ``JournalError``."""
        walks, at = await self._committer.at_boundary(
            lambda: [engine.walk() for engine in self._engines().values()]
        )
        chunks: queue.Queue[list[bytes] | None] = queue.Queue(_CHUNKS_WAITING)
        whole = False
        writing = asyncio.get_running_loop().run_in_executor(
            None, self._journal.write_snapshot, at, _payloads(chunks, lambda: whole)
        )
        try:
            for walk in walks:
                await _feed(walk, chunks, writing)
            whole = True
        finally:
            for walk in walks:
                walk.stop()
            await _put(chunks, None, writing)
            if not whole:
                # Why not is on its way up already (we are asked to end, say): the writing thread's
                # own complaint of it must not take its place.
                await asyncio.wait({writing})
                writing.exception()
        await writing
        self.snapshots += 1
        self._snapshot_after = self._committer.records + SNAPSHOT_RECORDS
        log.info("snapshot written", extra={"segment": at.segment, "offset": at.offset})

    async def drop_segments(self) -> None:
        """Forget segments that no job needs; make the oldest needed one needless if it holds
        nothing but definitions. Raises ``JournalError``."""
        found = await self._references()
        if self._is_worth_carrying(found):
            await self._carry(found.definitions)
            found = await self._references()
        await self._committer.durable()  # what made a segment needless must not be lost after it
        oldest = Position(found.segment, 0) if found.segment else self._journal.end
        await self._committer.between_appends(lambda: self._journal.forget(oldest))

    def _is_worth_carrying(self, found: References) -> bool:
        """Sooner, most of what it holds would go by itself when it expires."""
        return (
            0 < found.segment < self._journal.end.segment
            and not found.answers
            and found.newest_ms + self._retention_ms < self._now_ms()
        )

    async def _carry(self, definitions: list[tuple[str, str, int]]) -> None:
        jobs = iter(definitions)
        while some := list(islice(jobs, CARRIED_AT_ONCE)):
            for name, job, place in some:
                engine = self._engines().get(name)
                known = None if engine is None else engine.jobs.look(job)
                if known is None or known.definition_at != place:
                    continue  # forgotten meanwhile, or submitted anew
                definition = known.definition or await self._read_definition(place)
                if definition:
                    self._step(name, Carry(job, definition))
            await self._committer.durable()
        if definitions:
            log.info("definitions carried on", extra={"jobs": len(definitions)})

    async def _references(self) -> References:
        """Places only ever move on, so a look in steps errs on the safe side."""
        found = References()
        for name, engine in list(self._engines().items()):
            for looked, (job, *places) in enumerate(_places(engine)):
                _count(found, name, job, *places)
                if looked % (4 * SLICE) == 0:
                    await asyncio.sleep(0)
        return found


def _places(engine: Engine) -> Iterator[tuple[str, int, int, int]]:
    """``(job, queued_time, definition_at, result_at)`` of every job. The engine may go on
    meanwhile."""
    for job in list(engine.jobs.by_id.values()):
        yield job.id, job.queued_time, job.definition_at, job.result_at
    for shard in engine.jobs.archive.shards:
        for key, entry in list(shard.items()):
            yield id_of(key), *places_of(entry)


def _count(
    found: References, name: str, job: str, queued_time: int, definition_at: int, result_at: int
) -> None:
    for place, is_answer in ((definition_at, False), (result_at, True)):
        if not place:
            continue
        segment = position_of(place).segment
        if not found.segment or segment < found.segment:
            found.segment, found.answers, found.newest_ms = segment, 0, 0
            found.definitions.clear()
        if segment != found.segment:
            continue
        if is_answer:
            found.answers += 1
        else:
            found.definitions.append((name, job, place))
            found.newest_ms = max(found.newest_ms, queued_time)


async def _feed(
    walk: Walk, chunks: "queue.Queue[list[bytes] | None]", writing: "asyncio.Future[None]"
) -> None:
    encode = msgspec.msgpack.Encoder().encode
    while not walk.done:
        chunk = [encode(job) for job in walk.take(SLICE)]
        await _put(chunks, chunk, writing)


async def _put(
    chunks: "queue.Queue[list[bytes] | None]",
    chunk: list[bytes] | None,
    writing: "asyncio.Future[None]",
) -> None:
    """Hand ``chunk`` to the writing thread, waiting for it as long as it writes."""
    while not writing.done():
        try:
            chunks.put_nowait(chunk)
            break
        except queue.Full:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0)


def _payloads(
    chunks: "queue.Queue[list[bytes] | None]", is_whole: Callable[[], bool]
) -> Iterator[bytes]:
    """Runs in the writing thread. A walk that broke off must not become a snapshot."""
    while (chunk := chunks.get()) is not None:
        yield from chunk
    if not is_whole():
        raise JournalError("the snapshot was broken off")
