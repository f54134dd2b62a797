"""Who is connected to a queue: the engine in the middle, workers and watchers around it.

A room turns the engine's effects into calls on its members. It is made when a queue is first
submitted to or connected to, and forgotten when nothing is left in it.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import msgspec

from gridd.core import effects as fx
from gridd.core.engine import Engine
from gridd.core.job import Job
from gridd.metrics.tally import Tally
from gridd_protocol.messages import LogLine
from gridd_protocol.messages import ToWorker as WorkerMessage

LISTED_MS = 60_000
"""An answer stays in lists and full states this long (WIRE 1.4); it is stored far longer."""

LISTED_MAX = 10_000
"""Jobs in one list or full state; beyond it the running and the oldest waiting ones."""

LISTED_BYTES_MAX = 3 << 20
"""Of their views, about. A full state must pass through a client's outbox, or nobody could join a
queue in which somebody's jobs have long tags. Jobs that do not fit are left out."""

VIEWS_WAITING_MAX = 16
"""States that wait for one slow watcher; beyond it only the latest is kept."""


START_TOLD_S = 0.1
"""After a program began, clients learn when; its state they know by then."""


class WorkerPeer(Protocol):
    def send(self, message: WorkerMessage) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class ClientPeer(Protocol):
    """A client socket. Frames are made once for all clients of a room (``ClientFrames``)."""

    def send(self, frame: bytes, key: str | None = None) -> None: ...

    def send_log(self, frame: bytes, job: str, step: str) -> None:
        """Lines of a log. A client that has too many to read may be told instead that it misses
        some; it is not let go for them."""

    def close(self, code: int, reason: str) -> None: ...


class ClientFrames(Protocol):
    """Makes the frames that clients are sent; the edge knows their shape."""

    def job_changed(self, job: str, view: fx.JobView) -> bytes: ...

    def log_added(self, job: str, step: str, lines: list[LogLine]) -> bytes: ...

    def workers(self, workers: Iterable[fx.WorkerView]) -> bytes: ...

    def full_state(self, jobs: dict[str, fx.JobView]) -> bytes: ...


class Watcher:
    """One reader of one job (an event stream). Woken on change; reads logs by its own cursors.
    ``over``: the room was closed, nothing comes any more."""

    def __init__(self) -> None:
        self.over = False
        self.views: list[fx.JobView] = []
        self.changed = asyncio.Event()

    def saw(self, view: fx.JobView | None) -> None:
        if view is not None:
            if len(self.views) >= VIEWS_WAITING_MAX:
                self.views.clear()
            self.views.append(view)
        self.changed.set()

    def close(self) -> None:
        self.over = True
        self.changed.set()


class Lease(msgspec.Struct, frozen=True):
    """A running job, for the edge that speaks for its worker."""

    attempt: int
    view: fx.JobView
    definition: bytes
    run_ms_max: int  # the submitter's own bound; 0: none


def _that_fit(jobs: list[Job]) -> list[Job]:
    """Those whose views fit into a list together; a large one does not keep out those behind it."""
    room = LISTED_BYTES_MAX
    fitting = []
    for job in jobs:
        size = 250 + len(job.tags) + len(job.requirements) + 4 * len("".join(job.namespaces))
        if size <= room:
            room -= size
            fitting.append(job)
    return fitting


class Room:
    """``resync`` is called (later, once for many changes) when clients need a full state.
    ``total`` counts what becomes of jobs in all rooms."""

    def __init__(
        self,
        engine: Engine,
        frames: ClientFrames,
        resync: Callable[["Room"], None],
        total: Tally | None = None,
    ) -> None:
        self.engine = engine
        self.frames = frames
        self.workers: dict[int, WorkerPeer] = {}
        self.clients: dict[int, ClientPeer] = {}
        self.arriving: dict[int, ClientPeer] = {}  # until what they are shown first is durable
        self.told_apart: set[int] = set()  # clients that read which job is gone from its update
        self.watchers: dict[str, list[Watcher]] = {}
        # Called with the id of each job that is deleted, by the peer that asked for it.
        self.keepers: dict[int, Callable[[str], None]] = {}
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_at: int | None = None
        self.tally = Tally()
        self.tallies = (self.tally, total or Tally())
        self._resync = resync
        self._resync_timer: asyncio.TimerHandle | None = None
        self._starts: dict[str, fx.JobView] = {}  # of running jobs, not told to clients yet
        self._starts_timer: asyncio.TimerHandle | None = None

    @property
    def empty(self) -> bool:
        return not (self.workers or self.clients or self.watchers) and self.engine.idle

    def listed(self, now_ms: int) -> dict[str, fx.JobView]:
        """Jobs that lists and full states show, oldest first: the live ones, and answers of the
        last minute. At most ``LISTED_MAX``, and about ``LISTED_BYTES_MAX`` of them."""
        jobs = self.engine.jobs
        recent: list[Job] = []
        for time, job_id in reversed(jobs.ended):
            if time < now_ms - LISTED_MS or len(recent) >= LISTED_MAX // 2:
                break
            job = jobs.by_id.get(job_id)
            if job is not None and job.answered and job.time == time:
                recent.append(job)
        running = [
            jobs.by_id[job] for s in self.engine.sessions.by_worker.values() for job in s.held
        ]
        room = max(LISTED_MAX - len(recent) - len(running), 0)
        waiting = [jobs.by_id[job] for _, _, job in islice(jobs.lines, room)]
        chosen = _that_fit([*running, *recent, *waiting])
        chosen.sort(key=lambda job: job.sequence)
        return {job.id: job.view() for job in chosen}

    def held(self, worker: str) -> dict[str, int]:
        """Jobs that are leased to ``worker`` as of now, and the attempt of each."""
        session = self.engine.sessions.by_worker.get(worker)
        return {} if session is None else {job: at for job, (at, _) in session.held.items()}

    def lease(self, worker: str, job: str) -> Lease | None:
        """As ``held``, of one job."""
        session = self.engine.sessions.by_worker.get(worker)
        if session is None or job not in session.held:
            return None
        known = self.engine.jobs.by_id[job]
        return Lease(known.attempt, known.view(), known.definition, known.run_ms_max)

    def able(self, job: str) -> list[WorkerPeer]:
        """Workers here that have enough for the live ``job``, be they free or not."""
        needs = self.engine.jobs.by_id[job].needs
        sessions = self.engine.sessions.by_peer
        return [
            worker
            for peer, worker in self.workers.items()
            if peer in sessions and sessions[peer].could(needs)
        ]

    def carry_out(self, effect: fx.Effect) -> None:
        """One effect that may leave now."""
        if type(effect) is fx.SendWorker:
            worker = self.workers.get(effect.peer)
            if worker is not None:
                worker.send(effect.message)
        elif type(effect) is fx.JobChanged:
            self._job_changed(effect)
        elif type(effect) is fx.LogAdded:
            self._log_added(effect)
        elif type(effect) is fx.WorkersChanged:
            if self.clients:
                self.to_clients(self.frames.workers(effect.workers))
        elif type(effect) is fx.CloseWorker:
            worker = self.workers.pop(effect.peer, None)
            if worker is not None:
                worker.close(effect.code, effect.reason)

    def close(self, code: int, reason: str) -> None:
        """Let everybody go."""
        for handle in (self.alarm, self._resync_timer, self._starts_timer):
            if handle is not None:
                handle.cancel()
        for worker in list(self.workers.values()):
            worker.close(code, reason)
        for client in [*self.clients.values(), *self.arriving.values()]:
            client.close(code, reason)
        for watchers in self.watchers.values():
            for watcher in watchers:
                watcher.close()

    def _job_changed(self, effect: fx.JobChanged) -> None:
        if effect.view.finished_reason == "Deleted" and effect.cause != "expire":
            for clear in self.keepers.values():
                clear(effect.job)
        if effect.cause != "start":  # no change of state: an event stream tells of those alone
            for watcher in self.watchers.get(effect.job, ()):
                watcher.saw(effect.view)
        if not self.clients or effect.cause == "expire":
            return
        if effect.cause == "start":
            self._started(effect)
            return
        if self._starts:  # whatever is told now tells it too
            self._starts.pop(effect.job, None)
        self.to_clients(self.frames.job_changed(effect.job, effect.view), effect.job)
        if not effect.view.visible and len(self.told_apart) < len(self.clients):
            self._resync_soon()

    def _started(self, effect: fx.JobChanged) -> None:
        """Most programs of a busy queue end before anybody could look at their clock: a start is
        told a moment later, unless something else was told of the job by then."""
        self._starts[effect.job] = effect.view
        if self._starts_timer is None:
            loop = asyncio.get_running_loop()
            self._starts_timer = loop.call_later(START_TOLD_S, self._tell_starts)

    def _tell_starts(self) -> None:
        self._starts_timer = None
        starts, self._starts = self._starts, {}
        for job, view in starts.items():
            self.to_clients(self.frames.job_changed(job, view), job)

    def _log_added(self, effect: fx.LogAdded) -> None:
        for watcher in self.watchers.get(effect.job, ()):
            watcher.saw(None)
        if self.clients:
            frame = self.frames.log_added(effect.job, effect.step, effect.lines)
            for client in self.clients.values():
                client.send_log(frame, effect.job, effect.step)

    def to_clients(self, frame: bytes, key: str | None = None) -> None:
        for client in self.clients.values():
            client.send(frame, key)

    def resync_clients(self, frame: bytes) -> None:
        """A full state, for those who need it to learn what is gone."""
        for peer, client in self.clients.items():
            if peer not in self.told_apart:
                client.send(frame)

    def _resync_soon(self) -> None:
        """Upstream's clients learn that a job is gone only from its absence in a full state
        (WIRE 3.4). One such state serves all that ended meanwhile."""
        if self._resync_timer is None:
            delay = 0.1 if self.engine.jobs.live < 1_000 else 2.0
            self._resync_timer = asyncio.get_running_loop().call_later(delay, self._call_resync)

    def _call_resync(self) -> None:
        self._resync_timer = None
        self._resync(self)
