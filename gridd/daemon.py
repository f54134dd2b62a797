"""The daemon: rooms around engines, one committer behind them, one face for the edges.

``Daemon`` is the ``Grid`` that HTTP and sockets talk to. It decides nothing about jobs (the
engines do) and makes nothing visible that is not durable (the committer does).
"""

import asyncio
import functools
import gc
import itertools
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from gridd import documents
from gridd.clock import Clock
from gridd.committer import Committer
from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core.engine import Engine
from gridd.core.explain import Explanation, explain
from gridd.core.jobs import Job
from gridd.core.logs import LogBuffer, StoredLogs
from gridd.core.records import Expired, Record
from gridd.core.settings import Settings
from gridd.grid import Change, Grid, LogPage
from gridd.journal.base import Journal, JournalError, Position, WriteFailed
from gridd.recovery import Recovered, place_of, position_of, recover, write_snapshot
from gridd.rooms import ClientFrames, ClientPeer, Room, Watcher, WorkerPeer
from gridd.submission import read_submission
from gridd.trouble import Trouble
from gridd.upkeep import Upkeep
from gridd_protocol.errors import ErrorCode, ProtocolError

log = logging.getLogger("gridd")

_LOOK_S = 1.0
"""How often the daemon looks at its clock, to notice that it was stopped itself."""
_STOPPED_MS = 2_000
"""Between two looks: more than that means that we were stopped (a suspended machine, SIGSTOP), not
the peers. They could not be heard, so no lease may be taken back for it."""
_STORED_LOGS_CACHED = 64
"""Logs of ended jobs kept decoded, as pages of them are asked for one after the other."""
_READABLE_S = 10.0
"""Readers wait so long while the journal is read again after a failed write."""
_TRY_AGAIN_LATER = 1013  # the close code of the WebSocket registry

P = ParamSpec("P")
T = TypeVar("T")


class _NeverDurable(ProtocolError):
    """A read saw state that will not become durable."""


def _reading(
    read: Callable[Concatenate["Daemon", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Daemon", P], Coroutine[Any, Any, T]]:
    """A read that was overtaken by a failed write is done again, once, on what is durable."""

    @functools.wraps(read)
    async def read_durable(daemon: "Daemon", /, *args: P.args, **kwargs: P.kwargs) -> T:
        await daemon.readable()
        try:
            return await read(daemon, *args, **kwargs)
        except _NeverDurable:
            await daemon.readable()
            return await read(daemon, *args, **kwargs)

    return read_durable


class Daemon(Grid):
    """Reads the journal when made: raises ``JournalError``. Call ``start`` inside the loop."""

    def __init__(
        self,
        journal: Journal,
        frames: ClientFrames,
        settings: Settings | None = None,
        clock: Callable[[int], Clock] = Clock,
    ) -> None:
        self.settings = settings or Settings()
        self._journal = journal
        self._frames = frames
        found = recover(journal, self.settings)
        self._recovered: Recovered | None = found
        self.replayed = found.records
        self._expired = found.expired
        self.clock = clock(found.newest_ms)
        self._rooms: dict[str, Room] = {}
        self._replies: dict[int, Callable[[fx.Outcome | ProtocolError], None]] = {}
        self._refs = itertools.count(1)
        self._stored_logs: OrderedDict[tuple[str, str, int], StoredLogs] = OrderedDict()
        self.failed: asyncio.Future[None]
        self._trouble = Trouble(journal, self._read_again, self._begin, self._fail)
        self._readable = asyncio.Event()
        self._committer: Committer
        self._looked_ms = 0
        self._next_look: asyncio.TimerHandle
        self._upkeep: asyncio.Task[None]

    def start(self) -> None:
        """Bring the recovered queues to life. ``failed`` gets the error that ends the daemon."""
        self.failed = asyncio.get_running_loop().create_future()
        assert self._recovered is not None, "started twice"
        self._show(self._recovered)
        self._recovered = None
        self._begin()
        self._looked_ms = self.clock.now_ms()
        self._look()

    def _show(self, found: Recovered) -> None:
        """Let readers see what was found on the disk."""
        for room in self._rooms.values():
            room.close(_TRY_AGAIN_LATER, "the journal was read again")
        self._committer = Committer(
            self._journal, self._carry_out, self._located, self._append_failed
        )
        self._rooms = {queue: self._new_room(engine) for queue, engine in found.engines.items()}
        for engine in found.engines.values():
            engine.expect_workers(self.clock.now_ms())
        self._expired = found.expired
        self.replayed = found.records
        self._readable.set()

    def _begin(self) -> None:
        """Let the engines decide from now on."""
        now = self.clock.now_ms()
        for queue, room in self._rooms.items():
            self._committer.take(queue, room.engine.start(now))
            self._arm(queue, room)
        upkeep = Upkeep(
            journal=self._journal,
            committer=self._committer,
            engines=lambda: {queue: room.engine for queue, room in self._rooms.items()},
            step=self.step,
            read_definition=self._definition_at,
            now_ms=self.clock.now_ms,
            retention_ms=self.settings.retention_ms,
            records_before=self.replayed,
        )
        self._upkeep = asyncio.get_running_loop().create_task(upkeep.run())

    @property
    def trouble(self) -> str | None:
        return "see the server's log" if self.failed.done() else self._trouble.why

    def check_writable(self) -> None:
        """Raises ``ProtocolError`` (unavailable) when nothing new is accepted."""
        if self.trouble is not None:
            raise self._unavailable()

    async def readable(self) -> None:
        """Return when there is durable state to be seen. Raises ``ProtocolError`` (unavailable)
        when the journal can't be read again in time."""
        if not self._readable.is_set():
            try:
                async with asyncio.timeout(_READABLE_S):
                    await self._readable.wait()
            except TimeoutError:
                raise self._unavailable() from None

    async def let_go(self) -> None:
        """Close all sockets (1001): their peers come back to whoever serves next."""
        for room in list(self._rooms.values()):
            room.close(1001, "the server is going away")

    async def close(self) -> None:
        """Make durable what was taken, keep a snapshot. Peers are gone by now, and the journal
        stays open for its owner to close."""
        self._next_look.cancel()
        await self._trouble.stop()
        self._upkeep.cancel()
        await asyncio.wait({self._upkeep})
        await self._committer.close()
        if self.trouble is None:
            engines = [room.engine for room in self._rooms.values()]
            try:
                await asyncio.to_thread(write_snapshot, self._journal, engines)
            except JournalError as error:  # the journal is enough; the next start takes longer
                log.warning("%s", error)

    # --- events in, effects out -------------------------------------------------------

    def step(self, queue: str, event: ev.Event) -> None:
        """Hand ``event`` to the queue's engine. Raises ``ProtocolError`` (unavailable) when
        nothing can be made durable any more."""
        self.check_writable()
        room = self.room(queue)
        try:
            effects = room.engine.step(event, self.clock.now_ms())
        except Exception as error:  # a bug of ours: stop, and recover from the journal
            log.critical("the engine failed on %s", type(event).__name__, exc_info=True)
            self._fail(error)
            raise self._unavailable() from None
        self._committer.take(queue, effects)
        self._arm(queue, room)

    def room(self, queue: str) -> Room:
        """The room of ``queue``, made when it is not there."""
        room = self._rooms.get(queue)
        if room is None:
            room = self._rooms[queue] = self._new_room(Engine(queue, self.settings))
        return room

    def join_worker(self, queue: str, peer: int, worker: WorkerPeer) -> None:
        self.room(queue).workers[peer] = worker

    def leave_worker(self, queue: str, peer: int) -> None:
        room = self._rooms.get(queue)
        if room is not None:
            room.workers.pop(peer, None)
            if self.trouble is None:
                self.step(queue, ev.WorkerGone(peer))
            self._forget_if_empty(queue)

    def join_client(self, queue: str, peer: int, client: ClientPeer) -> None:
        """Show ``client`` the whole queue, then each change."""
        room = self.room(queue)
        workers = self._frames.workers(room.engine.sessions.views())
        jobs = self._frames.full_state(room.listed(self.clock.now_ms()))

        def welcome() -> None:
            client.send(workers)
            client.send(jobs)
            room.clients[peer] = client
            del room.arriving[peer]

        room.arriving[peer] = client
        self._committer.defer(welcome)

    def leave_client(self, queue: str, peer: int) -> None:
        room = self._rooms.get(queue)
        if room is not None:

            def forget() -> None:  # behind a welcome that may still wait
                room.clients.pop(peer, None)
                self._forget_if_empty(queue)

            self._committer.defer(forget)

    def new_ref(self) -> int:
        """A number that no other event or peer of this process has."""
        return next(self._refs)

    def _new_room(self, engine: Engine) -> Room:
        return Room(engine, self._frames, self._resync)

    def _resync(self, room: Room) -> None:
        frame = self._frames.full_state(room.listed(self.clock.now_ms()))
        self._committer.defer(lambda: room.to_clients(frame))

    def _forget_if_empty(self, queue: str) -> None:
        room = self._rooms.get(queue)
        if room is not None and room.empty:
            room.close(1001, "")
            del self._rooms[queue]

    def _carry_out(self, queue: str, effect: fx.Effect) -> None:
        if type(effect) is fx.Reply:
            reply = self._replies.pop(effect.ref, None)
            if reply is not None:
                reply(effect.outcome)
            return
        room = self._rooms.get(queue)
        if room is not None:
            room.carry_out(effect)

    def _arm(self, queue: str, room: Room) -> None:
        """Have the engine woken when it asked to be."""
        due = room.engine.next_alarm()
        if due == room.alarm_at:
            return
        if room.alarm is not None:
            room.alarm.cancel()
            room.alarm = None
        room.alarm_at = due
        if due is not None:
            delay = max(due - self.clock.now_ms(), 0) / 1000
            room.alarm = asyncio.get_running_loop().call_later(delay, self._ring, queue, room)

    def _ring(self, queue: str, room: Room) -> None:
        room.alarm = None
        if self._rooms.get(queue) is not room or self.trouble is not None:
            return
        self._notice_stop()
        room.alarm_at = None
        self.step(queue, ev.AlarmRang())
        self._forget_if_empty(queue)

    def _look(self) -> None:
        self._notice_stop()
        self._next_look = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _notice_stop(self) -> None:
        """A server that was stopped gives each lease its full term again, as after a restart:
        workers that found it silent are on their way back to it."""
        now = self.clock.now_ms()
        away_ms, self._looked_ms = now - self._looked_ms, now
        if away_ms > _STOPPED_MS:
            log.warning("this server was stopped for %d ms; leases begin anew", away_ms)
            for room in self._rooms.values():
                room.engine.renew(now)

    def _located(self, record: Record, position: Position) -> None:
        if type(record) is Expired:
            self._expired.add(record.queue, record.job, record.time)
        room = self._rooms.get(record.queue)
        if room is not None:
            room.engine.place(record, place_of(position))

    # --- when it can't be made durable ------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        """It can't go on."""
        if not self.failed.done():
            self.failed.set_exception(error)
        self._refuse_pending()

    def _append_failed(self, error: BaseException) -> None:
        """Nothing leaves of what waited for it. The engines are ahead of the disk: they and all
        who look at them are let go."""
        if not isinstance(error, WriteFailed):
            self._fail(error)
            return
        self._readable.clear()
        self._trouble.begin(error)
        self._refuse_pending()
        rooms, self._rooms = self._rooms, {}
        for room in rooms.values():
            room.close(_TRY_AGAIN_LATER, self.trouble or "")

    def _refuse_pending(self) -> None:
        replies, self._replies = self._replies, {}
        for reply in replies.values():
            reply(self._unavailable())

    async def _read_again(self) -> None:
        """Raises ``JournalError``."""
        self._upkeep.cancel()
        await asyncio.wait({self._upkeep})
        await self._committer.close()
        self._stored_logs.clear()
        found = await asyncio.to_thread(_recover_anew, self._journal, self.settings)
        self._show(found)

    def _unavailable(self) -> ProtocolError:
        return ProtocolError(ErrorCode.UNAVAILABLE, self.trouble or "nothing new is accepted")

    # --- the Grid face: changes -------------------------------------------------------

    async def submit(self, queue: str, body: bytes) -> fx.Accepted:
        _, event = read_submission(body)
        outcome = await self._ask(queue, event)
        if isinstance(outcome, fx.Refused):
            raise refusal(outcome)
        assert isinstance(outcome, fx.Accepted)
        return outcome

    async def cancel(self, queue: str, job: str, namespace: str, message: str) -> fx.Cancelled:
        return await self._let_go(queue, ev.Cancel(0, job, namespace, message))

    async def delete(self, queue: str, job: str, namespace: str) -> fx.Cancelled:
        return await self._let_go(queue, ev.Delete(0, job, namespace))

    async def _let_go(self, queue: str, event: ev.Cancel | ev.Delete) -> fx.Cancelled:
        self.check_writable()
        if queue not in self._rooms:
            return fx.Cancelled(None, False)
        outcome = await self._ask(queue, event)
        assert isinstance(outcome, fx.Cancelled)
        return outcome

    def post(
        self,
        queue: str,
        event: ev.Submit | ev.Cancel | ev.Delete,
        answer: Callable[[fx.Outcome | ProtocolError], None],
    ) -> None:
        """Hand ``event`` over; ``answer`` is called once, when its outcome is durable or can't
        become so. Raises ``ProtocolError`` when nothing is taken any more."""
        event.ref = self.new_ref()
        self._replies[event.ref] = answer
        try:
            self.step(queue, event)
        except ProtocolError:
            self._replies.pop(event.ref, None)
            raise

    async def _ask(self, queue: str, event: ev.Submit | ev.Cancel | ev.Delete) -> fx.Outcome:
        reply: asyncio.Future[fx.Outcome] = asyncio.get_running_loop().create_future()

        def answer(outcome: fx.Outcome | ProtocolError) -> None:
            if reply.done():  # whoever asked has left; the outcome stands all the same
                return
            if isinstance(outcome, ProtocolError):
                reply.set_exception(outcome)
            else:
                reply.set_result(outcome)

        self.post(queue, event, answer)
        return await reply

    # --- the Grid face: reading -------------------------------------------------------

    @_reading
    async def jobs(self, queue: str) -> dict[str, fx.JobView]:
        room = self._rooms.get(queue)
        jobs = {} if room is None else room.listed(self.clock.now_ms())
        await self._durable()
        return jobs

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
            first, lines = buffer.since(since)
            page = LogPage(lines, first, buffer.next, False)
            await self._durable()
            return page
        await self._durable()
        if found[1].state in ("Queued", "Running"):
            return LogPage([], since, 0, False)
        stored = await self._stored(found[0], job, found[1].time)
        lines = stored.build if kind == "build" else stored.run
        first = stored.build_first if kind == "build" else stored.run_first
        skip = max(since - first, 0)
        return LogPage(lines[skip:], max(since, first), first + len(lines), True)

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
                page = await self.logs(queue, job, kind, cursors[kind])
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

    async def _stored(self, queue: str, job: str, time: int) -> StoredLogs:
        key = (queue, job, time)
        stored = self._stored_logs.get(key)
        if stored is None:
            known = self._known(queue, job)
            if known is None or not known.result_at:
                return StoredLogs()
            stored = documents.logs_of(await self._read(known.result_at))
            self._stored_logs[key] = stored
            while len(self._stored_logs) > _STORED_LOGS_CACHED:
                self._stored_logs.popitem(last=False)
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
            raise ProtocolError(ErrorCode.GONE, "the record was forgotten meanwhile") from None

    async def _durable(self) -> None:
        try:
            await self._committer.durable()
        except JournalError:
            raise _NeverDurable(ErrorCode.UNAVAILABLE, self._unavailable().message) from None


def refusal(refused: fx.Refused) -> ProtocolError:
    return ProtocolError(refused.code, refused.message, field="queue", limit=refused.limit)


def _recover_anew(journal: Journal, settings: Settings) -> Recovered:
    """In a thread. The engines of before are garbage now, with cycles, and ``recover`` had told
    the collector not to look at them any more."""
    gc.unfreeze()
    gc.collect()
    return recover(journal, settings)
