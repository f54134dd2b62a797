"""The daemon: rooms around engines, one committer behind them, one face for the edges.

``Daemon`` is the ``Grid`` that HTTP and sockets talk to. It decides nothing about jobs (the
engines do) and makes nothing visible that is not durable (the committer does).
"""

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from gridd import documents
from gridd.clock import Clock
from gridd.committer import Committer
from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core.engine import Engine
from gridd.core.logs import LogBuffer, StoredLogs
from gridd.core.settings import Settings
from gridd.grid import Change, Grid, LogPage
from gridd.index import Index
from gridd.journal.base import Journal, JournalError
from gridd.recovery import recover, write_snapshot
from gridd.rooms import ClientFrames, ClientPeer, Room, Watcher, WorkerPeer
from gridd.submission import read_submission
from gridd_protocol.errors import ErrorCode, ProtocolError

log = logging.getLogger("gridd")

_LATE_MS = 2_000
"""An alarm this late means that we were stopped, not the peers: what they sent meanwhile is
read first (``_SECOND_LOOK_S``), so that a suspended laptop does not lose its own worker."""
_SECOND_LOOK_S = 1.0
_STORED_LOGS_CACHED = 64
"""Logs of ended jobs kept decoded, as pages of them are asked for one after the other."""


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
        self.replayed = found.records
        self._index: Index = found.index
        self._recovered: dict[str, Engine] = found.engines
        self.clock = clock(found.newest_ms)
        self._rooms: dict[str, Room] = {}
        self._replies: dict[int, Callable[[fx.Outcome | ProtocolError], None]] = {}
        self._refs = itertools.count(1)
        self._stored_logs: OrderedDict[tuple[str, str, int], StoredLogs] = OrderedDict()
        self.failed: asyncio.Future[None]
        self._committer: Committer

    def start(self) -> None:
        """Bring the recovered queues to life. ``failed`` gets the error that ends the daemon."""
        self.failed = asyncio.get_running_loop().create_future()
        self._committer = Committer(self._journal, self._carry_out, self._index.located, self._fail)
        now = self.clock.now_ms()
        for queue, engine in self._recovered.items():
            room = self._rooms[queue] = self._new_room(engine)
            self._committer.take(queue, engine.start(now))
            self._arm(queue, room)
        self._recovered = {}

    @property
    def healthy(self) -> bool:
        return self._committer.healthy

    async def let_go(self) -> None:
        """Close all sockets (1001): their peers come back to whoever serves next."""
        for room in list(self._rooms.values()):
            room.close(1001, "the server is going away")

    async def close(self) -> None:
        """Make durable what was taken, keep a snapshot. Peers are gone by now, and the journal
        stays open for its owner to close."""
        await self._committer.close()
        if self._committer.healthy:
            engines = {queue: room.engine for queue, room in self._rooms.items()}
            await asyncio.to_thread(write_snapshot, self._journal, engines, self._index)

    # --- events in, effects out -------------------------------------------------------

    def step(self, queue: str, event: ev.Event) -> None:
        """Hand ``event`` to the queue's engine. Raises ``ProtocolError`` (unavailable) when
        nothing can be made durable any more."""
        self._refuse_if_failed()
        room = self.room(queue)
        try:
            effects = room.engine.step(event, self.clock.now_ms())
        except Exception as error:  # a bug of ours: stop, and recover from the journal
            log.critical("the engine failed on %s", type(event).__name__, exc_info=True)
            self._fail(error)
            self._refuse_if_failed()
            raise
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
            if self.healthy:
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
            room.alarm = asyncio.get_running_loop().call_later(delay, self._ring, queue, room, due)

    def _ring(self, queue: str, room: Room, due: int, second_look: bool = False) -> None:
        now = self.clock.now_ms()
        room.alarm = None
        if self._rooms.get(queue) is not room or not self.healthy:
            return
        if now - due > _LATE_MS and not second_look:
            log.warning("stopped for %d ms; listening before any lease is taken back", now - due)
            room.alarm = asyncio.get_running_loop().call_later(
                _SECOND_LOOK_S, self._ring, queue, room, due, True
            )
            return
        room.alarm_at = None
        self.step(queue, ev.AlarmRang())
        self._forget_if_empty(queue)

    def _fail(self, error: BaseException) -> None:
        replies, self._replies = self._replies, {}
        for reply in replies.values():
            reply(_unavailable())
        if not self.failed.done():
            self.failed.set_exception(error)

    def _refuse_if_failed(self) -> None:
        if self.failed.done():
            raise _unavailable()

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

    async def jobs(self, queue: str) -> dict[str, fx.JobView]:
        room = self._rooms.get(queue)
        jobs = {} if room is None else room.listed(self.clock.now_ms())
        await self._durable()
        return jobs

    async def job(self, queue: str | None, job: str) -> fx.JobView | None:
        found = self._find(queue, job)
        await self._durable()
        return None if found is None else found[1]

    async def definition(self, queue: str | None, job: str) -> bytes | None:
        found = self._find(queue, job)
        if found is None:
            return None
        held = self._rooms[found[0]].engine.jobs.by_id[job].definition
        await self._durable()
        if held:
            return held
        places = self._index.get(found[0], job)
        if places is None:
            return None
        return documents.definition_of(await self._read(places[0]))

    async def finished(self, queue: str | None, job: str) -> bytes | None:
        found = self._find(queue, job)
        await self._durable()
        if found is None or found[1].state != "Finished" or not found[1].visible:
            return None
        places = self._index.get(found[0], job)
        if places is None or places[1] is None:
            return None
        return documents.finished_of(await self._read(places[1]), found[1])

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

    async def workers(self, queue: str) -> tuple[fx.WorkerView, ...]:
        room = self._rooms.get(queue)
        views = () if room is None else room.engine.sessions.views()
        await self._durable()
        return views

    async def counts(self, queue: str) -> dict[str, int]:
        room = self._rooms.get(queue)
        if room is None:
            return dict.fromkeys(("Queued", "Running", "Finished", "clients", "workers"), 0)
        jobs = room.engine.jobs
        counts = {
            "Queued": jobs.lines.waiting,
            "Running": jobs.running,
            "Finished": len(jobs.by_id) - jobs.live,
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
            room = self._rooms.get(name)
            held = None if room is None else room.engine.jobs.by_id.get(job)
            if held is None or held.state == "Removed":
                continue
            if found is None or held.time > found[1].time:
                found = (name, held.view())
        return found

    async def _stored(self, queue: str, job: str, time: int) -> StoredLogs:
        key = (queue, job, time)
        stored = self._stored_logs.get(key)
        if stored is None:
            places = self._index.get(queue, job)
            if places is None or places[1] is None:
                return StoredLogs()
            stored = documents.logs_of(await self._read(places[1]))
            self._stored_logs[key] = stored
            while len(self._stored_logs) > _STORED_LOGS_CACHED:
                self._stored_logs.popitem(last=False)
        return stored

    async def _read(self, position: object) -> bytes:
        try:
            return await asyncio.to_thread(self._journal.read, position)  # type: ignore[arg-type]
        except KeyError:
            raise ProtocolError(ErrorCode.GONE, "the record was forgotten meanwhile") from None

    async def _durable(self) -> None:
        try:
            await self._committer.durable()
        except JournalError:
            raise _unavailable() from None


def refusal(refused: fx.Refused) -> ProtocolError:
    return ProtocolError(refused.code, refused.message, field="queue", limit=refused.limit)


def _unavailable() -> ProtocolError:
    return ProtocolError(
        ErrorCode.UNAVAILABLE, "the journal can't be written; nothing new is accepted now"
    )
