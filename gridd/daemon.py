"""The daemon: rooms around engines, one committer behind them, one face for the edges.

``Daemon`` is the ``Grid`` that HTTP and sockets talk to. It decides nothing about jobs (the
engines do) and makes nothing visible that is not durable (the committer does).
"""

import asyncio
import gc
import itertools
import logging
from collections.abc import Callable

from gridd.clock import Clock
from gridd.committer import Committer
from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core.engine import Engine
from gridd.core.records import Expired, Leased, Record
from gridd.core.settings import Settings
from gridd.journal.base import Journal, JournalError, Position, WriteFailed
from gridd.metrics.meters import Meters
from gridd.metrics.tally import count
from gridd.reading import Reading
from gridd.recovery import Recovered, place_of, recover, write_snapshot
from gridd.rooms import ClientFrames, ClientPeer, Room, WorkerPeer
from gridd.submission import read_submission
from gridd.trouble import Trouble
from gridd.upkeep import Upkeep
from gridd.waking import Waking
from gridd.webhooks.webhooks import Webhooks
from gridd_protocol.errors import ErrorCode, ProtocolError

log = logging.getLogger("gridd")

_TRY_AGAIN_LATER = 1013  # the close code of the WebSocket registry


class Daemon(Reading):
    """Reads the journal when made: raises ``JournalError``. Call ``start`` inside the loop."""

    def __init__(
        self,
        journal: Journal,
        frames: ClientFrames,
        settings: Settings | None = None,
        clock: Callable[[int], Clock] = Clock,
        webhooks: Webhooks | None = None,
        meters: Meters | None = None,
    ) -> None:
        self.webhooks = webhooks  # None: nobody is called, as in tests
        self.settings = settings or Settings()
        self._frames = frames
        found = recover(journal, self.settings)
        self._recovered: Recovered | None = found
        self.replayed = found.records
        super().__init__(journal, clock(found.newest_ms), found.expired, meters or Meters())
        self._replies: dict[int, Callable[[fx.Outcome | ProtocolError], None]] = {}
        self._refs = itertools.count(1)
        self.failed: asyncio.Future[None]
        self._trouble = Trouble(journal, self._read_again, self._begin, self._fail)
        self._waking = Waking(self.clock, self._ring, self._renew, self.meters.looked)
        self._upkeep: asyncio.Task[None]

    def start(self) -> None:
        """Bring the recovered queues to life. ``failed`` gets the error that ends the daemon."""
        self.failed = asyncio.get_running_loop().create_future()
        assert self._recovered is not None, "started twice"
        self._show(self._recovered)
        self._recovered = None
        self._begin()
        self._waking.start()

    def _show(self, found: Recovered) -> None:
        """Let readers see what was found on the disk."""
        for room in self._rooms.values():
            room.close(_TRY_AGAIN_LATER, "the journal was read again")
        self._committer = Committer(
            self._journal,
            self._carry_out,
            self._located,
            self._append_failed,
            self.meters.appended,
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
            self._waking.arm(queue, room)
        self._upkeep = asyncio.get_running_loop().create_task(self._housekeeping().run())

    def _housekeeping(self) -> Upkeep:
        return Upkeep(
            journal=self._journal,
            committer=self._committer,
            engines=lambda: {queue: room.engine for queue, room in self._rooms.items()},
            step=self.step,
            expired=self._expired.records,
            now_ms=self.clock.now_ms,
            keep_ms=min(self.settings.log_retention_ms, self.settings.retention_ms),
            records_before=self.replayed,
            snapshot_seconds=self.meters.snapshot_seconds,
        )

    @property
    def trouble(self) -> str | None:
        return "see the server's log" if self.failed.done() else self._trouble.why

    def check_writable(self) -> None:
        """Raises ``ProtocolError`` (unavailable) when nothing new is accepted."""
        if self.trouble is not None:
            raise self._unavailable()

    async def let_go(self) -> None:
        """Close all sockets (1001): their peers come back to whoever serves next."""
        for room in list(self._rooms.values()):
            room.close(1001, "the server is going away")

    async def close(self) -> None:
        """Make durable what was taken, keep a snapshot. Peers are gone by now, and the journal
        stays open for its owner to close."""
        self._waking.stop()
        await self._trouble.stop()
        self._upkeep.cancel()
        await asyncio.wait({self._upkeep})
        await self._committer.close()
        if self.trouble is None:
            engines = [room.engine for room in self._rooms.values()]
            try:
                await asyncio.to_thread(write_snapshot, self._journal, engines, self._expired)
            except JournalError as error:  # the journal is enough; the next start takes longer
                log.warning("%s", error)

    # --- events in, effects out -------------------------------------------------------

    def step(self, queue: str, event: ev.Event) -> None:
        """Hand ``event`` to the queue's engine. Raises ``ProtocolError`` (unavailable) when
        nothing can be made durable any more."""
        if self._trouble.why is not None or self.failed.done():  # ``check_writable``, for speed
            raise self._unavailable()
        room = self.room(queue)
        try:
            effects = room.engine.step(event, self.clock.now_ms())
        except Exception as error:  # a bug of ours: stop, and recover from the journal
            log.critical("the engine failed on %s", type(event).__name__, exc_info=True)
            self._fail(error)
            raise self._unavailable() from None
        self._committer.take(queue, effects)
        self._waking.arm(queue, room)

    def room(self, queue: str) -> Room:
        """The room of ``queue``, made when it is not there. Raises as ``check_room``."""
        room = self._rooms.get(queue)
        if room is None:
            self.check_room(queue)
            room = self._rooms[queue] = self._new_room(Engine(queue, self.settings))
        return room

    def check_room(self, queue: str) -> None:
        """Raises ``ProtocolError`` (too many) when there would be one queue too many."""
        if queue not in self._rooms and len(self._rooms) >= self.settings.queues_max:
            raise ProtocolError(
                ErrorCode.TOO_MANY,
                f"this grid has {self.settings.queues_max} queues, its limit; "
                "use one that is there already",
                field="queue",
                limit=self.settings.queues_max,
            )

    def join_worker(self, queue: str, peer: int, worker: WorkerPeer) -> None:
        self.room(queue).workers[peer] = worker

    def leave_worker(self, queue: str, peer: int) -> None:
        room = self._rooms.get(queue)
        if room is not None:
            room.workers.pop(peer, None)
            if self.trouble is None:
                self.step(queue, ev.WorkerGone(peer))
            self._forget_if_empty(queue)

    def join_client(
        self, queue: str, peer: int, client: ClientPeer, *, reads_gone: bool = False
    ) -> None:
        """Show ``client`` the whole queue, then each change. ``reads_gone``: it learns from an
        update that a job is gone, and needs no full state for it."""
        room = self.room(queue)
        workers = self._frames.workers(room.engine.sessions.views())
        jobs = self._frames.full_state(room.listed(self.clock.now_ms()))

        def welcome() -> None:
            client.send(workers)
            client.send(jobs)
            room.clients[peer] = client
            if reads_gone:
                room.told_apart.add(peer)
            del room.arriving[peer]

        room.arriving[peer] = client
        self._committer.defer(welcome)

    def leave_client(self, queue: str, peer: int) -> None:
        room = self._rooms.get(queue)
        if room is not None:

            def forget() -> None:  # behind a welcome that may still wait
                room.clients.pop(peer, None)
                room.told_apart.discard(peer)
                self._forget_if_empty(queue)

            self._committer.defer(forget)

    def new_ref(self) -> int:
        """A number that no other event or peer of this process has."""
        return next(self._refs)

    def _new_room(self, engine: Engine) -> Room:
        return Room(engine, self._frames, self._resync, self._tally)

    def _resync(self, room: Room) -> None:
        frame = self._frames.full_state(room.listed(self.clock.now_ms()))
        self._committer.defer(lambda: room.resync_clients(frame))

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
        if type(effect) is fx.Callback:
            if self.webhooks is not None:
                self.webhooks.offer(queue, effect)
            return
        room = self._rooms.get(queue)
        if room is not None:
            room.carry_out(effect)

    def _ring(self, queue: str, room: Room) -> None:
        room.alarm = None
        if self._rooms.get(queue) is not room or self.trouble is not None:
            return
        self._waking.notice_stop()
        room.alarm_at = None
        self.step(queue, ev.AlarmRang())
        self._forget_if_empty(queue)

    def _renew(self, now: int) -> None:
        for room in self._rooms.values():
            room.engine.renew(now)

    def _located(self, record: Record, position: Position) -> None:
        if type(record) is Expired:
            self._expired.add(record.queue, record.job, record.time)
        room = self._rooms.get(record.queue)
        if room is None:
            return
        count(record, room.engine.jobs, room.tallies)
        if type(record) is not Leased:  # nothing of that is ever read back
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
        self.meters.troubles += 1
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
        become so. Raises ``ProtocolError`` when nothing is taken any more, or when a submission
        asks for a webhook that this grid does not call."""
        if type(event) is ev.Submit and event.control and self.webhooks is not None:
            self.webhooks.check(event.control)
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


def refusal(refused: fx.Refused) -> ProtocolError:
    return ProtocolError(refused.code, refused.message, field="queue", limit=refused.limit)


def _recover_anew(journal: Journal, settings: Settings) -> Recovered:
    """In a thread. The engines of before are garbage now, with cycles, and ``recover`` had told
    the collector not to look at them any more."""
    gc.unfreeze()
    gc.collect()
    return recover(journal, settings)
