"""Housekeeping beside the one loop: small forms, snapshots, and segments that nobody needs.

All of it in steps of a few milliseconds between which the server answers, and none of it decides
anything about jobs: what is due to be forgotten is the engine's to say (retention).

* Ended jobs are put into their small form a minute after they ended.
* A snapshot is written every ``SNAPSHOT_RECORDS`` records, so that a start replays no more.
* Segments that no job needs go, and those that have had their time (``segments``), behind each
  snapshot; and every hour when one has had its time, so that a quiet grid forgets as well.
"""

import asyncio
import logging
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter

import msgspec

from gridd.committer import Committer
from gridd.core import events as ev
from gridd.core.engine import Engine
from gridd.core.records import Expired, KeptJob
from gridd.core.walk import Walk
from gridd.journal.base import Journal, JournalError
from gridd.metrics.histogram import Histogram
from gridd.recovery import RECENT_MS
from gridd.segments import SEGMENTS_PER_LOG_RETENTION, Segments
from gridd_protocol.errors import ProtocolError

log = logging.getLogger("gridd")

LOOK_S = 1.0
SNAPSHOT_RECORDS = 200_000
SLICE = 500
"""Jobs looked at or written between two turns of the loop: a few milliseconds."""

TIDY_S = 3_600.0
"""Between two looks for segments that have had their time; sooner when they live for hours only."""

_CHUNKS_WAITING = 8
"""Slices of a snapshot that wait for the disk; the walk waits beyond it."""


class Upkeep:
    """``engines`` answers those of now, ``step`` hands an event to one, ``expired`` says what is
    remembered of jobs that are gone; ``keep_ms``: how long a segment is kept after its sealing."""

    def __init__(
        self,
        journal: Journal,
        committer: Committer,
        engines: Callable[[], dict[str, Engine]],
        step: Callable[[str, ev.Event], None],
        expired: Callable[[], Iterable[Expired]],
        now_ms: Callable[[], int],
        keep_ms: int,
        records_before: int = 0,
        snapshot_seconds: Histogram | None = None,
    ) -> None:
        self._journal = journal
        self._committer = committer
        self._engines = engines
        self._expired = expired
        self.segments = Segments(journal, committer, engines, step, keep_ms)
        self._now_ms = now_ms
        self._tidy_s = min(TIDY_S, keep_ms / 1_000 / SEGMENTS_PER_LOG_RETENTION)
        self._tidy_at = asyncio.get_running_loop().time() + self._tidy_s
        self._snapshot_after = SNAPSHOT_RECORDS - records_before
        self.snapshots = 0
        self._snapshot_seconds = snapshot_seconds

    async def run(self) -> None:
        """Until cancelled, or until the journal fails (which the committer reports)."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.put_away()
                if self._committer.records >= self._snapshot_after or self._is_tidy_due():
                    await self.snapshot()
                    await self.segments.drop()
            except (JournalError, ProtocolError) as error:
                log.warning("housekeeping was put off: %s", error)
                self._snapshot_after = self._committer.records + SNAPSHOT_RECORDS // 4

    def _is_tidy_due(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._tidy_at:
            return False
        self._tidy_at = now + self._tidy_s
        return self.segments.due

    async def put_away(self) -> None:
        before_ms = self._now_ms() - RECENT_MS
        for engine in list(self._engines().values()):
            looked = SLICE
            while looked == SLICE:
                looked = engine.put_away(before_ms, SLICE)
                await asyncio.sleep(0)  # not a wait: the loop's turn in between

    async def snapshot(self) -> None:
        """Write the state of this moment while things go on. Raises ``JournalError``."""
        began = perf_counter()
        (walks, expired), at = await self._committer.at_boundary(
            lambda: ([engine.walk() for engine in self._engines().values()], self._expired())
        )
        chunks: queue.Queue[list[bytes] | None] = queue.Queue(_CHUNKS_WAITING)
        whole = False
        writing = asyncio.get_running_loop().run_in_executor(
            None, self._journal.write_snapshot, at, _payloads(chunks, lambda: whole)
        )
        try:
            await _feed(_sliced(expired), chunks, writing)
            for walk in walks:
                await _feed(_slices(walk), chunks, writing)
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
        if self._snapshot_seconds is not None:
            self._snapshot_seconds.observe(perf_counter() - began)
        self._snapshot_after = self._committer.records + SNAPSHOT_RECORDS
        log.info("snapshot written", extra={"segment": at.segment, "offset": at.offset})


async def _feed(
    slices: Iterable[Sequence[KeptJob | Expired]],
    chunks: "queue.Queue[list[bytes] | None]",
    writing: "asyncio.Future[None]",
) -> None:
    encode = msgspec.msgpack.Encoder().encode
    for records in slices:
        await _put(chunks, [encode(record) for record in records], writing)


def _slices(walk: Walk) -> Iterator[Sequence[KeptJob]]:
    while not walk.done:
        yield walk.take(SLICE)


def _sliced(records: Iterable[Expired]) -> Iterator[Sequence[Expired]]:
    rest = iter(records)
    while some := list(islice(rest, SLICE)):
        yield some


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
