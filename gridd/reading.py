"""What is read of a grid: lists, documents, logs, stories. Everything shown is durable.

A read looks at the engines, waits until all that it saw is on disk, and fetches what memory does
not hold from the journal. One that was overtaken by a failed write is done again.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from gridd import documents
from gridd.clock import Clock
from gridd.committer import Committer
from gridd.core import effects as fx
from gridd.core.explain import Explanation, explain
from gridd.core.job import Job
from gridd.core.logs import LogBuffer, Slice, StoredLogs
from gridd.expired import ExpiredJobs
from gridd.grid import ENDED_MAX, Change, Grid, LogPage
from gridd.history import History, of_ended, of_live
from gridd.journal.base import Journal, JournalError
from gridd.metrics.meters import Meters
from gridd.metrics.pages import GridFigures, busiest
from gridd.metrics.queue_figures import QueueFigures, add, figures_of
from gridd.metrics.tally import Tally
from gridd.recovery import position_of
from gridd.rooms import Room, Watcher
from gridd.stored_logs import StoredLogsCache
from gridd.webhooks.webhooks import Webhooks
from gridd_protocol.errors import ErrorCode, ProtocolError

_READABLE_S = 10.0
"""Readers wait so long while the journal is read again after a failed write."""

P = ParamSpec("P")
T = TypeVar("T")


class _NeverDurable(ProtocolError):
    """A read saw state that will not become durable."""


class _Moved(ProtocolError):
    """A record was written down elsewhere, or forgotten, between a look at its place and its
    reading."""


def _reading(
    read: Callable[Concatenate["Reading", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Reading", P], Coroutine[Any, Any, T]]:
    """A read that was overtaken, by a failed write or by housekeeping, is done again, once."""

    @functools.wraps(read)
    async def read_durable(grid: "Reading", /, *args: P.args, **kwargs: P.kwargs) -> T:
        await grid.readable()
        try:
            return await read(grid, *args, **kwargs)
        except (_NeverDurable, _Moved):
            await grid.readable()
            return await read(grid, *args, **kwargs)

    return read_durable


class Reading(Grid):
    """The reading half of ``daemon.Daemon``, which owns the rooms and replaces the committer."""

    webhooks: Webhooks | None

    def __init__(
        self, journal: Journal, clock: Clock, expired: ExpiredJobs, meters: Meters
    ) -> None:
        self.clock = clock
        self.meters = meters
        self._tally = Tally()  # of what becomes of jobs, in all queues
        self._journal = journal
        self._expired = expired
        self._rooms: dict[str, Room] = {}
        self._stored_logs = StoredLogsCache()
        self._readable = asyncio.Event()
        self._committer: Committer

    @property
    def trouble(self) -> str | None:
        """A sentence while the journal can't be written."""
        raise NotImplementedError

    def room(self, queue: str) -> Room:
        raise NotImplementedError

    def _forget_if_empty(self, queue: str) -> None:
        raise NotImplementedError

    async def readable(self) -> None:
        """Return when there is durable state to be seen. Raises ``ProtocolError`` (unavailable)
        when the journal can't be read again in time."""
        if not self._readable.is_set():
            try:
                async with asyncio.timeout(_READABLE_S):
                    await self._readable.wait()
            except TimeoutError:
                raise self._unavailable() from None

    def _unavailable(self) -> ProtocolError:
        return ProtocolError(ErrorCode.UNAVAILABLE, self.trouble or "nothing new is accepted")

    # --- the Grid face: reading -------------------------------------------------------

    @_reading
    async def jobs(self, queue: str) -> dict[str, fx.JobView]:
        room = self._rooms.get(queue)
        jobs = {} if room is None else room.listed(self.clock.now_ms())
        await self._durable()
        return jobs

    @_reading
    async def ended(self, queue: str) -> dict[str, fx.JobView]:
        room = self._rooms.get(queue)
        jobs = [] if room is None else room.engine.jobs.last_ended(ENDED_MAX)
        views = {job.id: job.view() for job in jobs}
        await self._durable()
        return views

    @_reading
    async def job(self, queue: str | None, job: str) -> fx.JobView | None:
        found = self._find(queue, job)
        await self._durable()
        return None if found is None else found[1]

    @_reading
    async def definition(self, queue: str | None, job: str) -> bytes | None:
        found = self._find(queue, job)
        if found is None:
            return None
        await self._durable()
        known = self._known(found[0], job)
        if known is None:
            return None
        return known.definition or await self._definition_at(known.definition_at)

    @_reading
    async def finished(self, queue: str | None, job: str) -> bytes | None:
        found = self._find(queue, job)
        await self._durable()
        if found is None or found[1].state != "Finished" or not found[1].visible:
            return None
        known = self._known(found[0], job)
        if known is None or not known.result_at:
            return None
        definition = await self._definition_at(known.definition_at)
        result = await self._read(known.result_at)
        return documents.finished_of(result, found[1], definition)

    @_reading
    async def expired(self, queue: str | None, job: str) -> int | None:
        return self._expired.when(queue, job)

    @_reading
    async def logs(self, queue: str | None, job: str, kind: str, since: int) -> LogPage:
        found = self._find(queue, job)
        if found is None:
            return LogPage([], since, 0, False)
        live = self._rooms[found[0]].engine.logs.get(job)
        if live is not None:
            buffer: LogBuffer = live.build if kind == "build" else live.run
            steps = live.build_steps if kind == "build" else []
            page = _page(buffer.since(since), steps, is_final=False)
            await self._durable()
            return page
        await self._durable()
        if found[1].state in ("Queued", "Running"):
            return LogPage([], since, 0, False)
        stored = await self._stored(found[0], job)
        steps = stored.build_steps if kind == "build" else []
        return _page(stored.since(kind, since), steps, is_final=True, expired=stored.expired)

    async def watch(self, queue: str, job: str) -> AsyncIterator[Change]:
        await self.readable()
        watcher = Watcher()
        room = self.room(queue)
        room.watchers.setdefault(job, []).append(watcher)
        try:
            first = await self.job(queue, job)
            if first is not None and not watcher.views:  # else it saw this state or a later one
                watcher.saw(first)
            async for change in self._story(queue, job, watcher):
                yield change
        finally:
            others = room.watchers[job]
            others.remove(watcher)
            if not others:
                del room.watchers[job]
            self._forget_if_empty(queue)

    async def _story(self, queue: str, job: str, watcher: Watcher) -> AsyncIterator[Change]:
        cursors = {"build": 0, "run": 0}
        shown: fx.JobView | None = None
        while True:
            await watcher.changed.wait()
            watcher.changed.clear()
            if watcher.over:
                return
            views, watcher.views = watcher.views, []
            ended = bool(views) and views[-1].state not in ("Queued", "Running")
            for view in views[:-1] if ended else views:
                if view != shown:
                    shown = view
                    yield Change(view=view)
            for kind in cursors:
                more = True
                while more:
                    page = await self.logs(queue, job, kind, cursors[kind])
                    more = page.more
                    if page.data:
                        cursors[kind] = page.next_cursor
                        yield Change(log=(kind, page.slice_start, page.data))
            if ended:
                yield Change(view=views[-1])
                return

    @_reading
    async def explain(self, queue: str, job: str) -> Explanation | None:
        room = self._rooms.get(queue)
        found = None if room is None else explain(room.engine, job)
        await self._durable()
        return found

    @_reading
    async def history(self, queue: str, job: str) -> History | None:
        known = self._known(queue, job)
        so_far = of_live(known, self.clock.now_ms()) if known and known.live else None
        await self._durable()
        if so_far is not None or known is None:
            return so_far
        known = self._known(queue, job)
        if known is None or known.live:
            raise _Moved(ErrorCode.UNAVAILABLE, "the job is changing; ask again")
        payload = await self._read(known.result_at) if known.result_at else None
        return of_ended(known, payload)

    @_reading
    async def workers(self, queue: str) -> tuple[fx.WorkerView, ...]:
        room = self._rooms.get(queue)
        views = () if room is None else room.engine.sessions.views()
        await self._durable()
        return views

    @_reading
    async def counts(self, queue: str) -> dict[str, int]:
        room = self._rooms.get(queue)
        if room is None:
            return dict.fromkeys(("Queued", "Running", "Finished", "clients", "workers"), 0)
        jobs = room.engine.jobs
        counts = {
            "Queued": jobs.lines.waiting,
            "Running": jobs.running,
            "Finished": jobs.known - jobs.live,
            "clients": len(room.clients),
            "workers": len(room.engine.sessions.views()),
        }
        await self._durable()
        return counts

    @_reading
    async def queue_figures(self, queue: str) -> QueueFigures:
        room = self._rooms.get(queue)
        figures = QueueFigures() if room is None else self._figures(room)
        await self._durable()
        return figures

    def figures(self, *, named: bool) -> GridFigures:
        total = QueueFigures(tally=self._tally)
        queues = [(name, self._figures(room)) for name, room in self._rooms.items()]
        for _, figures in queues:
            add(total, figures)
        shown = busiest(queues) if named else []
        calls = {} if self.webhooks is None else self.webhooks.counts()
        return GridFigures(total, len(queues), self.trouble is not None, self.meters, shown, calls)

    def _figures(self, room: Room) -> QueueFigures:
        return figures_of(room.engine, room.tally, len(room.clients), self.clock.now_ms())

    def _find(self, queue: str | None, job: str) -> tuple[str, fx.JobView] | None:
        """The queue and view of ``job`` as of now (not yet known to be durable)."""
        queues = [queue] if queue is not None else list(self._rooms)
        found: tuple[str, fx.JobView] | None = None
        for name in queues:
            held = self._known(name, job)
            if held is None or held.state == "Removed":
                continue
            if found is None or held.time > found[1].time:
                found = (name, held.view())
        return found

    async def _stored(self, queue: str, job: str) -> StoredLogs:
        known = self._known(queue, job)
        if known is None or not known.result_at:
            return StoredLogs()
        stored = self._stored_logs.get(known.result_at)
        if stored is None:
            place = known.result_at
            payload = await self._read(place)
            stored = documents.logs_of(payload)
            self._stored_logs.keep(place, stored, len(payload))
        return stored

    def _known(self, queue: str, job: str) -> Job | None:
        room = self._rooms.get(queue)
        return None if room is None else room.engine.jobs.look(job)

    async def _definition_at(self, place: int) -> bytes | None:
        return documents.definition_of(await self._read(place)) if place else None

    async def _read(self, place: int) -> bytes:
        try:
            return await asyncio.to_thread(self._journal.read, position_of(place))
        except KeyError:
            raise _Moved(ErrorCode.GONE, "the record was forgotten meanwhile") from None

    async def _durable(self) -> None:
        try:
            await self._committer.durable()
        except JournalError:
            raise _NeverDurable(ErrorCode.UNAVAILABLE, self._unavailable().message) from None


def _page(
    found: Slice, steps: list[tuple[int, str]], *, is_final: bool, expired: bool = False
) -> LogPage:
    """Only the page that ends with the newest line can be the last."""
    is_last = is_final and not found.more
    return LogPage(found.lines, found.first, found.next, is_last, expired, found.more, steps)
