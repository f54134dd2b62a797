"""The server in the world: the real daemon over the real journal, process after process.

``Life`` is one process. ``Server`` starts them, lets them fall (killed, or with the power) and
judges what comes up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gridd.clock import Clock
from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core.engine import Engine
from gridd.daemon import Daemon
from gridd.journal.base import Damaged, Fenced, JournalError, Position
from gridd.journal.files import FileJournal
from gridd.journal.names import list_segments, list_snapshots, segment_path
from gridd.recovery import Recovered
from gridd.rooms import Room
from gridd_protocol.errors import ProtocolError
from tests.simulation.disk import Died, Fall, SimFiles
from tests.simulation.loop import Errand, SimLoop
from tests.simulation.witness import Ledger, require

if TYPE_CHECKING:
    from tests.simulation.network import Link
    from tests.simulation.world import World

QUEUE = "sim"
DIRECTORY = "/journal"

_encode = msgspec.msgpack.Encoder().encode


class WatchedJournal(FileJournal):
    """The real one; each append is on record before it begins and when it is acknowledged."""

    life: Life

    def append(self, batch: Sequence[bytes], after: Position) -> list[Position]:
        history, server = self.life.world.history, self.life.world.server
        if server.writer is self.life:  # else: another took over, and nothing may come of this
            history.trying(list(batch))
        positions = super().append(batch, after)
        require(server.writer is self.life, "two servers write to one journal")
        history.acknowledged(positions, list(batch))
        return positions

    def reopen(self) -> None:
        super().reopen()
        self.life.world.tell("the journal takes writes again")
        self.life.world.history.trying([])  # cut off for good


class SimFrames:
    """Frames for watching clients; what is in them is the edge's, only their size matters here."""

    def job_changed(self, job: str, view: fx.JobView) -> bytes:
        return b"job"

    def log_added(self, job: str, step: str, lines: list[Any]) -> bytes:
        return b"log" * len(lines)

    def workers(self, workers: Iterable[fx.WorkerView]) -> bytes:
        return b"workers"

    def full_state(self, jobs: dict[str, fx.JobView]) -> bytes:
        return b"state" * len(jobs)


class WatchedDaemon(Daemon):
    """The real one; the world sees each step and each effect that leaves."""

    def __init__(self, life: Life, journal: FileJournal) -> None:
        self.life = life
        world = life.world
        super().__init__(
            journal,
            SimFrames(),
            world.settings,
            partial(Clock, wall=lambda: world.wall_ms() / 1000, monotonic=lambda: world.now / 1000),
        )

    def _new_room(self, engine: Engine) -> Room:
        life, step, start = self.life, engine.step, engine.start

        def watched_step(event: ev.Event, now_ms: int) -> list[fx.Effect]:
            effects = step(event, now_ms)
            life.stepped(engine, event, effects)
            return effects

        def watched_start(now_ms: int) -> list[fx.Effect]:
            effects = start(now_ms)
            life.decided(engine, effects)
            return effects

        engine.step = watched_step  # type: ignore[method-assign]
        engine.start = watched_start  # type: ignore[method-assign]
        return super()._new_room(engine)

    def _show(self, found: Recovered) -> None:
        self.life.shown(found.engines.get(QUEUE))
        super()._show(found)

    def _carry_out(self, queue: str, effect: fx.Effect) -> None:
        if self.life.dead:
            return
        try:
            self.life.leaves(effect)
        except AssertionError as broken:
            self.life.world.note(broken)
        super()._carry_out(queue, effect)


class Life:
    """One process of the server."""

    journal: WatchedJournal
    daemon: WatchedDaemon

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.errands: list[Errand] = []
        self.files = SimFiles(world.disk, self._pause)
        self.loop = SimLoop(self)
        self.links: dict[int, Link] = {}
        self.ledger = Ledger(world.settings.attempts_max, world.resources)
        self.stopping = False
        # How many records of the history are behind each effect that has not left yet.
        self._behind: dict[int, tuple[fx.Effect, int]] = {}
        self._records = 0

    def _pause(self) -> None:
        errand = self.world.errand
        if errand is not None and not self.dead and not self.files.dead:
            errand.pause()

    # --- start ------------------------------------------------------------------------

    def open(self) -> None:
        """Raises ``JournalError``, or ``Died`` on the way."""
        world = self.world
        self.journal = WatchedJournal(
            DIRECTORY,
            fs=self.files,
            segment_bytes=world.segment_bytes,
            segment_ms=max(world.settings.log_retention_ms // 3, 4_000),
            room_bytes=100,
            random_bytes=world.ids.randbytes,
            now_ms=world.wall_ms,
        )
        self.journal.life = self

    def serve(self) -> None:
        self.daemon = WatchedDaemon(self, self.journal)
        self._judge()
        self.files.serving = True
        self.loop.enter(self._start)

    def _judge(self) -> None:
        """Is what came up what was acknowledged?"""
        world = self.world
        again = world.disk.lift_rot()
        files = SimFiles(world.disk, lambda: None)
        trouble, world.disk.trouble = world.disk.trouble, None
        watched, self.journal._fs = self.journal._fs, files
        try:
            world.history.reopened(self.journal, list_segments(files, DIRECTORY)[0])
        finally:
            self.journal._fs = watched
            world.disk.trouble = trouble
            again()

    def _start(self) -> None:
        self.world.tell(f"the server starts, {self.daemon.replayed} records")
        self.daemon.start()
        self.daemon.failed.add_done_callback(self._failed)

    def shown(self, engine: Engine | None) -> None:
        """Readers see ``engine`` from now on: after a start, or after a failed write."""
        world = self.world
        world.tell(f"{0 if engine is None else engine.jobs.known} jobs are read from the journal")
        if self in world.server.zombies and world.history.goes_on_behind(self.journal.end):
            # Its lock was broken, and somebody else has written since. It reads as far as it wrote
            # itself, and is fenced when it tries to write on.
            self._behind.clear()
            return
        world.history.compare(engine, min(self.journal._held.headers))
        self.ledger = Ledger(world.settings.attempts_max, world.resources)
        for record in world.history.records:
            self.ledger.write(record)
        self._behind.clear()
        self._records = len(world.history.records)
        world.witness.read(world.history.records)
        world.witness.restarted((engine or world.history.engine).jobs.look)

    def _failed(self, failed: Any) -> None:
        """As ``gridd serve``: the process ends, and whoever watches it starts another."""
        if failed.cancelled() or self.dead:
            return
        error = failed.exception()
        if isinstance(error, AssertionError) or not isinstance(error, JournalError):
            self.world.note(error)
        self.world.tell(f"the server gives up: {type(error).__name__}")
        self.world.server.gave_up = True
        self.world.later(1, self._exit)

    def _exit(self) -> None:
        if self.dead:
            return
        if self.errands:  # threads are waited for
            self.world.later(10, self._exit)
            return
        try:
            self.journal.close()
        except Died as died:
            self.fell(died.fall)
            return
        self.fell("kill")

    def stop(self) -> None:
        """A clean stop, as by SIGTERM."""
        if self.stopping or self.dead:
            return
        self.stopping = True
        self.world.tell("the server is asked to stop")
        self.loop.enter(lambda: self.loop.create_task(self._stop()))

    async def _stop(self) -> None:
        await self.daemon.let_go()
        try:
            await self.daemon.close()
        except JournalError as error:
            self.world.tell(f"no last snapshot: {type(error).__name__}")
        self.world.later(1, self._stopped)

    def _stopped(self) -> None:
        if self.dead:
            return
        if self.errands:
            self.world.later(10, self._stopped)
            return
        journal = self.journal
        whole, end = journal._refusal is None, journal._held.end
        marked = end == journal._marked_end
        try:
            journal.close()
        except Died as died:
            self.fell(died.fall)
            return
        self.world.tell("the server has stopped")
        # Without a last mark it is as after a crash: the last batch may pass for a torn tail.
        self.fell("kill", clean=whole and (marked or journal._held.end > end))

    # --- while it lives ---------------------------------------------------------------

    @property
    def serving(self) -> bool:
        return not self.dead and not self.stopping and self.files.serving

    def stepped(self, engine: Engine, event: ev.Event, effects: list[fx.Effect]) -> None:
        world = self.world
        world.steps += 1
        world.story(event)
        self.decided(engine, effects)
        if type(event) is not ev.AlarmRang:
            world.watch_for_idleness(engine)
        world.check_bounds(self, engine)

    def decided(self, engine: Engine, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if type(effect) is fx.Append:
                self.world.wrote(effect.record)
                self.ledger.write(effect.record)
                self._records += 1
                continue
            self._behind[id(effect)] = (effect, self._records)
            if type(effect) is fx.LogAdded:
                self._check_author(effect)
        engine.check()

    def leaves(self, effect: fx.Effect) -> None:
        _, records = self._behind.pop(id(effect))
        world = self.world
        # One that lost its lock goes on telling what needs no record, until it writes or ends.
        if world.server.writer is self:
            world.witness.read(world.history.records, records)
            world.witness.left(effect)
        else:
            world.witness.read(world.history.records, min(records, len(world.history.records)))

    def _check_author(self, effect: fx.LogAdded) -> None:
        for line in effect.lines:
            name, _, rest = line.text.partition("#")
            attempt = int(rest.partition(":")[0])
            require(
                self.ledger.holds(name, effect.job, attempt),
                f"{effect.job} took a log line of {name} {attempt}",
            )

    # --- its peers --------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        self.links[link.peer] = link
        if link.is_worker:
            self.loop.enter(lambda: self.daemon.join_worker(QUEUE, link.peer, link))
        elif link.watches:
            self.loop.enter(lambda: self.daemon.join_client(QUEUE, link.peer, link))

    def lost(self, link: Link) -> None:
        if self.dead or self.links.pop(link.peer, None) is None:
            return
        leave = self.daemon.leave_worker if link.is_worker else self.daemon.leave_client
        if link.is_worker or link.watches:
            self.loop.enter(lambda: self._try(lambda: leave(QUEUE, link.peer)))

    def hear(self, link: Link, event: Any) -> None:
        if not self.serving or link.peer not in self.links:
            return
        if type(event) is ev.WorkerSaid:
            self.loop.enter(lambda: self._said(link, event))
        else:
            self.loop.enter(lambda: self._post(link, event))

    def _post(self, link: Link, event: ev.Submit | ev.Cancel | ev.Delete) -> None:
        asked = event.ref
        event = msgspec.structs.replace(event)

        def answer(outcome: fx.Outcome | ProtocolError) -> None:
            if not self.dead:
                link.send((asked, outcome))

        try:
            self.daemon.post(QUEUE, event, answer)
        except ProtocolError as refused:
            answer(refused)

    def _said(self, link: Link, event: ev.WorkerSaid) -> None:
        try:
            self.daemon.step(QUEUE, event)
        except ProtocolError:
            link.close(1013, "the journal can't be written")

    def _try(self, act: Callable[[], None]) -> None:
        with suppress(ProtocolError):  # the server can't write just now, and has said so
            act()

    # --- the end ----------------------------------------------------------------------

    def fell(self, fall: Fall, *, clean: bool = False) -> None:
        """The process is gone; with the power, what was not synced is too."""
        if self.dead:
            return
        self.dead = True
        self.files.let_go()
        self.world.tell(f"the server is down ({fall})")
        for errand in list(self.errands):
            errand.step()
        self.loop.end()
        for link in list(self.links.values()):
            link.cut()
        self.world.server.down(self, fall, clean)


class Server:
    def __init__(self, world: World) -> None:
        self.world = world
        self.life: Life | None = None
        self.zombies: list[Life] = []  # they do not know yet that another took over
        self.writer: Life | None = None  # who opened the journal last
        self.rot_may_not_matter = False  # it is in one snapshot of two
        self.gave_up = False  # at least once, and said so
        self.damage_reports = 0
        self.was_clean = False
        self._starting = False

    @property
    def up(self) -> bool:
        return self.life is not None and self.life.serving

    @property
    def engine(self) -> Engine | None:
        """Of the process that serves now."""
        if not self.up:
            return None
        assert self.life is not None
        room = self.life.daemon._rooms.get(QUEUE)
        return None if room is None else room.engine

    def start_later(self) -> None:
        if self._starting:
            return
        self._starting = True
        world = self.world
        lease = world.settings.lease_ms
        world.later(world.random.choice((50, 50, 1_000, 5_000, lease * 2)), self._start)

    def start(self) -> None:
        self._starting = True
        self._start()

    def _start(self) -> None:
        self._starting = False
        if self.life is not None:
            return
        world, chance = self.world, self.world.random
        life = self.life = Life(world)
        if not world.calm and chance.random() < world.fragility:
            life.files.light(chance.randrange(1, 25), world.fall())
        try:
            life.open()
            self.writer = life
            self.was_clean = False
            life.serve()
        except Died as died:
            world.tell("…while it starts")
            life.fell(died.fall)
        except Damaged as error:
            self._damaged(error)
        except Fenced as error:
            require(bool(self.zombies), f"the lock of a dead process is held: {error}")
            self.fail_to_start(error)
        except JournalError as error:
            require(
                world.disk.failures > 0 or world.disk.rotten is not None,
                f"can't start, on a healthy disk: {error}",
            )
            self.fail_to_start(error)

    def fail_to_start(self, error: Exception) -> None:
        self.world.tell(f"the server can't start: {type(error).__name__}")
        if self.world.disk.trouble is None and self.world.disk.rotten is not None:
            self._damaged(error)
            return
        assert self.life is not None
        self.life.fell("power" if self.world.disk.trouble == "readonly" else "kill")

    def _damaged(self, error: Exception) -> None:
        world = self.world
        require(world.disk.rotten is not None, f"damage on a healthy disk: {error}")
        require(not self.rot_may_not_matter, f"one of two snapshots rots, and: {error}")
        self.damage_reports += 1
        world.tell("the server refuses: damaged; the bytes are put back")
        world.disk.heal()
        assert self.life is not None
        self.life.fell("kill")

    def down(self, life: Life, fall: Fall, clean: bool) -> None:
        world = self.world
        if fall == "power":
            for other in [*self.zombies, self.life]:
                if other is not None and not other.dead:
                    other.fell("kill")
            world.disk.power_cut()
        if life in self.zombies:
            self.zombies.remove(life)
        if self.life is life:
            self.life = None
            self.was_clean = clean
            if not world.calm and world.random.random() < world.rottenness:
                self.rot()
            self.start_later()

    def reboot(self) -> None:
        if self.life is not None:
            self.life.fell("power")
        else:
            self.world.disk.power_cut()

    def end_zombies(self) -> None:
        """Who never writes never learns that the journal is another's."""
        for life in list(self.zombies):
            life.fell("kill")

    def end(self) -> None:
        """The world ends: nothing of it may linger in a thread or a task."""
        for life in [*self.zombies, self.life]:
            if life is not None:
                life.fell("kill")

    # --- what an operator does --------------------------------------------------------

    def second(self, *, break_the_lock: bool) -> None:
        """Somebody starts another server on the same directory."""
        world, first = self.world, self.life
        if first is None or not first.serving:
            return
        if break_the_lock:
            world.tell("the lock is removed, and a second server started")
            world.disk.locks.clear()
            self.zombies.append(first)
            self.life = None
            self.start()
            return
        world.tell("a second server is started")
        second = Life(world)
        try:
            second.open()
        except Fenced:
            second.dead = True
            return
        except JournalError:
            pass
        require(False, "a second server came up beside the first")

    def rot(self) -> None:
        """A bit flips at rest. Where docs/journal.md promises that it is noticed: not in the last
        segment after a crash, whose last batch may be cut as a torn tail."""
        world = self.world
        if self.life is not None:
            return
        files = SimFiles(world.disk, lambda: None)
        segments = [segment_path(DIRECTORY, n) for n in list_segments(files, DIRECTORY)]
        paths = segments if self.was_clean else segments[:-1]
        snapshots = len(list_snapshots(files, DIRECTORY))
        paths += [p for p in world.disk.names if p.endswith(".snap")] if snapshots else []
        if paths:
            path = world.random.choice(paths)
            self.rot_may_not_matter = snapshots > 1 and path.endswith(".snap")
            world.tell(f"a bit of {path} rots")
            world.disk.rot(path)
