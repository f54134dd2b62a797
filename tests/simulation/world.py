"""A whole grid from one integer seed.

The daemon, its committer, its housekeeping, its engine and its journal are the real ones, on an
event loop (``loop``) and a disk (``disk``) that are not. The disk tears, loses, fills up, fails
and rots; connections delay, stall and break; workers die, freeze and lie; the server is killed,
loses power and comes back; wall clocks jump. Nothing here looks at a real clock or at any chance
but ``random.Random(seed)``: the same seed tells the same story, and ``digest`` proves it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import msgspec

from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from tests.simulation.clients import ASKED_MAX, Client
from tests.simulation.disk import Disk, Fall
from tests.simulation.history import History
from tests.simulation.loop import Errand
from tests.simulation.network import Way
from tests.simulation.server import QUEUE, Life, Server
from tests.simulation.small import Small, simulated
from tests.simulation.witness import Violation, Witness, require
from tests.simulation.workers import Liar, Worker

CALM_MS_MAX = 1_800_000
EVENTS_MAX = 60_000
BESIDE_MAX = 2 + 1 + 2 + 1  # snapshots, one too many, begun ones, proof of room
DAY_MS = 24 * 3_600_000

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class CataloguedJob:
    id: str
    submit: ev.Submit


class World:
    """``World(seed).run()`` answers the digest, or raises ``Violation``."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.seed = seed
        self.random = chance = random.Random(seed)
        self.ids = random.Random(seed)  # of files; another stream, so that no story hangs on it
        self.now = 1_000_000_000
        self.began = self.now
        self.wall_ahead_ms = 0
        self.verbose = verbose
        self.told_lines: list[str] = []
        self.hash = hashlib.sha256()
        self.steps = 0
        self.calm = False
        self.violation: BaseException | None = None
        self.errand: Errand | None = None  # whose thread is at work just now
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._can: dict[tuple[r.Needs, int], bool] = {}
        self._peers = 1 << 40
        self._refs = 0
        self.partitions: dict[str, set[Way]] = {}
        # Each world has its own weather: a fault that is everywhere hides the others.
        self.delay_ms = chance.choice((2, 20, 200))
        self.sync_ms = chance.choice((2, 20, 300))
        self.ask_ms = chance.choice((400, 1_500, 4_000))
        self.longest_run_ms = chance.choice((2_000, 15_000, 90_000))
        self.storm_ms = chance.choice((30_000, 60_000, 120_000))
        self.steadiness = chance.choice((0.6, 0.9, 1.0))  # of clients: how often they submit
        self.namespaces = chance.choice((("_",) * 4, ("_", "shared"), ("shared", "other")))
        self.fragility = chance.choice((0.0, 0.2, 0.5))  # how often a start does not survive
        self.rottenness = chance.choice((0.0, 0.2, 0.8))  # how often a bit flips at rest
        self.power = chance.choice((0.1, 0.5, 0.9))  # of falls: how many take the power along
        self.segment_bytes = chance.choice((600, 2_000, 8_000))
        self.small = Small(
            snapshot_records=chance.choice((10, 40, 200)),
            recent_ms=chance.choice((1_000, 10_000, 60_000)),
        )
        self.settings = _settings(chance)
        alike = chance.random() < 0.3  # then there is one line, and much to get wrong in it
        self.catalogue = [_job(chance, n, alike) for n in range(chance.choice((4, 12, 40)))]
        self.definitions = {job.id: job.submit.definition for job in self.catalogue}
        self.resources = {f"w{n}": _resources(chance, n) for n in range(chance.randrange(2, 7))}
        self.disk = Disk(random.Random(seed + 1), chance.choice((16, 64, 512)))
        if verbose:
            self.disk.watch = lambda text: self.told_lines.append(f"{'':>10} .. {text}")
        self.witness = Witness()
        self.history = History(QUEUE, self.settings)
        self.server = Server(self)
        self.clients = [Client(self, f"c{n}") for n in range(chance.randrange(1, 5))]
        self.workers = self._hire()

    def _hire(self) -> list[Worker]:
        chance, workers = self.random, []
        with_liar = chance.random() < 0.5
        for n, (name, resources) in enumerate(self.resources.items()):
            kind = Liar if with_liar and n == 1 else Worker
            workers.append(kind(self, name, resources, pace=chance.choice((1, 1, 3))))
        return workers

    # --- time and chance --------------------------------------------------------------

    def at(self, time: int, action: Callable[[], None]) -> None:
        self._planned += 1
        heappush(self._agenda, (time, self._planned, action))

    def later(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def wall_ms(self) -> int:
        return self.now + self.wall_ahead_ms

    def run_ms(self) -> int:
        longest = 1_000 if self.calm else self.longest_run_ms
        return self.random.randrange(50, longest)

    def fall(self) -> Fall:
        return "power" if self.random.random() < self.power else "kill"

    def new_peer(self) -> int:
        self._peers += 1
        return self._peers

    def new_ref(self) -> int:
        self._refs += 1
        return self._refs

    def any_attempt(self) -> tuple[str, int]:
        """Some job and an attempt near its own; for those who lie about it."""
        engine = self.server.engine
        jobs = [] if engine is None else list(engine.jobs.by_id.values())
        if not jobs:
            return "nothing", 1
        job = self.random.choice(jobs)
        return job.id, max(1, job.attempt + self.random.choice((-1, 0, 0, 1)))

    # --- the story --------------------------------------------------------------------

    def story(self, event: ev.Event) -> None:
        self.tell(_tell(event))

    def tell(self, text: str) -> None:
        line = f"{self.now - self.began:>8} {text}"
        self.hash.update(line.encode())
        if self.verbose:
            self.told_lines.append(line)

    def wrote(self, record: r.Record) -> None:
        self.hash.update(_encode(record))
        if self.verbose:
            self.told_lines.append(f"{'':>10} -> {_tell_record(record)}")

    def told(self, worker: str, run: Any, message: Any) -> None:
        """A worker was told the end of a run that it held."""
        self.tell(f"{worker} hears {type(message).__name__} of {run.job} {run.attempt}")
        if type(message) is m.Acknowledged and type(run.outcome) is m.Finished:
            require(
                (run.job, worker, run.attempt) in self.witness.taken,
                f"{worker} was told that its answer to {run.job} {run.attempt} was taken",
            )

    @property
    def digest(self) -> str:
        return self.hash.hexdigest()

    # --- judgement --------------------------------------------------------------------

    def note(self, error: BaseException | None) -> None:
        """What was seen where an exception would be swallowed on its way up; the first counts."""
        if self.violation is None and error is not None:
            self.violation = error

    def broken(self, sentence: str) -> None:
        raise Violation(sentence)

    def require(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.note(Violation(sentence))

    @property
    def disk_may_fail(self) -> bool:
        server = self.server
        return self.disk.failures > 0 or server.damage_reports > 0 or self.disk.rotten is not None

    def watch_for_idleness(self, engine: Engine) -> None:
        """Nobody who could take a waiting job is left without one, but for a reservation, and for
        what it has just given back."""
        for session in engine.sessions.ready.values():
            promised = engine.jobs.by_id.get(session.reserved_for or "")
            last = promised.sequence if promised and promised.state == "Queued" else None
            for needs, sequence, job in engine.jobs.lines.heads():
                require(
                    (last is not None and sequence > last)
                    or not session.could(needs)
                    or not session.fits(needs)
                    or session.spared(job, engine._now),
                    f"{session.worker} is ready and {job} waits",
                )

    def check_bounds(self, life: Life, engine: Engine) -> None:
        """Nothing grows but with what it is for."""
        live, workers = engine.jobs.live, len(self.resources)
        require(len(engine.logs) <= live, f"{len(engine.logs)} logs of {live} live jobs")
        spared = sum(kind == "returned" for _, kind, _ in engine.alarms._heap)
        # Of one job and worker: the pauses double, and each is remembered for as long again.
        require(spared <= 8 * workers * len(self.catalogue), f"{spared} pauses are remembered")
        alarms = len(engine.alarms._heap) - spared
        require(alarms <= workers + len(self.catalogue) + 1, f"{alarms} alarms are set")
        require(len(engine._evictions) <= live, f"{len(engine._evictions)} evictions")
        asked = ASKED_MAX * len(self.clients)
        require(len(life.daemon._replies) <= asked, f"{len(life.daemon._replies)} wait for replies")
        beside = self.disk.beside()
        require(len(beside) <= BESIDE_MAX, f"{len(beside)} files beside the segments: {beside}")

    # --- the course of things ---------------------------------------------------------

    def run(self) -> str:
        with simulated(self, self.small):
            try:
                self._run()
            finally:
                self.server.end()
        return self.digest

    def _run(self) -> None:
        self.server.start()
        self._plan_faults()
        storm_ends = self.now + self.storm_ms
        self.at(storm_ends, self._calm_down)
        while not self.calm or self._answerable():
            if self.now > storm_ends + CALM_MS_MAX:
                raise Violation(f"never answered: {self._answerable()}")
            if self.steps > EVENTS_MAX:
                raise Violation(f"no end after {EVENTS_MAX} events")
            time, _, action = heappop(self._agenda)
            if time > self.now:
                self.now = time
            action()
            if self.violation is not None:
                raise self.violation
        self.tell("the end")

    def _plan_faults(self) -> None:
        """Each kind of fault comes often, seldom or never; which, differs from world to world."""
        often, seldom = (None, 4_000, 15_000, 60_000), (None, None, 20_000, 60_000)
        for fault, means in (
            (self._crash_server, often),
            (self._crash_inside, often),
            (self._stop_server, seldom),
            (self._second_server, seldom),
            (self._sicken_disk, seldom),
            (self._part_network, seldom),
            (self._jump_clock, seldom),
            (self._kill_worker, often),
            (self._freeze_worker, often),
            (self._cut_link, often),
            (self._unsettle_worker, often),
        ):
            mean = self.random.choice(means)
            if mean is not None:
                self._again(fault, mean)

    def _again(self, fault: Callable[[], None], mean: int) -> None:
        def strike() -> None:
            if not self.calm:
                fault()
                self._again(fault, mean)

        self.later(int(self.random.expovariate(1 / mean)) + 1, strike)

    # --- faults -----------------------------------------------------------------------

    def _crash_server(self) -> None:
        if self.server.up and self.server.life is not None:
            self.tell("the server crashes")
            self.server.life.fell(self.fall())

    def _crash_inside(self) -> None:
        """In the middle of what it does to the disk next, or a little later."""
        if self.server.up and self.server.life is not None:
            self.server.life.files.light(self.random.choice((0, 1, 2, 5, 20)), self.fall())

    def _stop_server(self) -> None:
        if self.server.up and self.server.life is not None:
            self.server.life.stop()

    def _second_server(self) -> None:
        self.server.second(break_the_lock=self.random.random() < 0.5)

    def _sicken_disk(self) -> None:
        if self.disk.trouble is None:
            self.disk.trouble = self.random.choice(("full", "sick", "sick", "readonly"))
            self.tell(f"the disk is {self.disk.trouble}")
            self.later(self.random.choice((200, 3_000, 20_000)), self._heal_disk)

    def _heal_disk(self) -> None:
        if self.disk.trouble == "readonly":
            self.tell("the machine is started anew")
            self.server.reboot()
        if self.disk.trouble is not None:
            self.tell("the disk is well")
            self.disk.trouble = None

    def _part_network(self) -> None:
        everybody = [*self.workers, *self.clients]
        cut_off = self.random.sample(everybody, self.random.randrange(1, len(everybody) + 1))
        ways: tuple[Way, ...] = self.random.choice((("up",), ("down",), ("up", "down")))
        names = [one.name for one in cut_off]
        self.tell(f"{' '.join(names)} are cut off ({' and '.join(ways)})")
        for name in names:
            self.partitions[name] = set(ways)
        time = self.random.choice((500, self.settings.lease_ms, self.settings.lease_ms * 3))
        self.later(time, lambda: self._join_network(names))

    def _join_network(self, names: list[str]) -> None:
        self.tell(f"{' '.join(names)} are back on the network")
        for name in names:
            self.partitions.pop(name, None)
        for one in [*self.workers, *self.clients]:
            if one.name in names and one.link is not None:
                one.link.flows_again("up")
                one.link.flows_again("down")

    def _jump_clock(self) -> None:
        jump = self.random.choice((-DAY_MS, -60_000, -1_000, 1_000, 60_000, DAY_MS))
        self.tell(f"the wall clock jumps by {jump} ms")
        self.wall_ahead_ms = max(self.wall_ahead_ms + jump, -9 * DAY_MS)

    def _kill_worker(self) -> None:
        worker = self.random.choice(self.workers)
        worker.die(for_good=len(self.workers) > 1 and self.random.random() < 0.1)
        if worker.gone:
            self.workers.remove(worker)

    def _freeze_worker(self) -> None:
        time = self.random.choice((500, self.settings.lease_ms, self.settings.lease_ms * 3))
        self.random.choice(self.workers).freeze(time)

    def _cut_link(self) -> None:
        link = self.random.choice([*self.workers, *self.clients]).link
        if link is not None:
            link.cut()

    def _unsettle_worker(self) -> None:
        self.random.choice(self.workers).change_its_mind()

    def _calm_down(self) -> None:
        self.tell("the storm is over")
        self.calm = True
        self._heal_disk()
        self.disk.heal()
        self.server.end_zombies()
        self._join_network(list(self.partitions))
        if self.server.life is None:
            self.server.start()
        for worker in self.workers:
            worker.calm_down()

    def _answerable(self) -> list[str]:
        """Live jobs that some worker could run; jobs that nobody can run may wait."""
        engine = self.server.engine
        if engine is None:
            engine = self.history.engine
        if not engine.jobs.live:
            return []
        jobs = list(engine.jobs.by_id.values())
        return [job.id for job in jobs if job.live and self._runnable(job.needs)]

    def _runnable(self, needs: r.Needs) -> bool:
        key = (needs, len(self.workers))  # who has gone for good does not come back
        if key not in self._can:
            self._can[key] = self._fits_somebody(needs)
        return self._can[key]

    def _fits_somebody(self, needs: r.Needs) -> bool:
        return any(
            needs.kind in has.runs
            and needs.cpus_milli <= has.cpus * 1_000
            and needs.gpus <= has.gpus
            and (not has.memory or needs.memory <= has.memory)
            and needs.max_duration <= has.max_duration
            and set(needs.tags) <= set(has.tags)
            for has in (worker.resources for worker in self.workers)
        )


def _settings(chance: random.Random) -> Settings:
    lease = chance.choice((4_000, 10_000, 30_000))
    return Settings(
        lease_ms=lease,
        heartbeat_ms=lease // 5,
        attempts_max=chance.choice((1, 2, 5)),
        live_jobs_max=chance.choice((6, 1_000)),
        retention_ms=chance.choice((5_000, 30_000, 28 * DAY_MS)),
        expire_batch=chance.choice((1, 2, 1_000)),
        log_retention_ms=chance.choice((3_000, 15_000, 28 * DAY_MS)),
    )


def _resources(chance: random.Random, n: int) -> m.Resources:
    return m.Resources(
        cpus=chance.choice((1.0, 2.0, 2.5, 8.0)),
        gpus=chance.choice((0, 0, 2)),
        memory=chance.choice((0, 4 << 30)),
        max_duration=chance.choice((300_000, 3_600_000)),
        tags=chance.choice(((), ("eu",), ("eu", "fast"))),
        runs=("container",) if n else ("container", "process"),
    )


def _job(chance: random.Random, n: int, alike: bool) -> CataloguedJob:
    needs = r.Needs() if alike else _needs(chance)
    submit = ev.Submit(0, f"j{n}", b'{"n":%d}' % n, needs, debug=chance.random() < 0.1)
    return CataloguedJob(submit.job, submit)


def _needs(chance: random.Random) -> r.Needs:
    return r.Needs(
        kind=chance.choice(("container",) * 5 + ("process",)),
        cpus_milli=chance.choice((500, 1_000, 1_000, 2_000, 8_000)),
        gpus=chance.choice((0, 0, 0, 1)),
        memory=chance.choice((0, 0, 3 << 30)),
        max_duration=chance.choice((0, 0, 600_000)),
        tags=chance.choice(((), (), ("eu",))),
    )


def _tell(event: ev.Event) -> str:
    name = type(event).__name__
    if isinstance(event, ev.Submit | ev.Cancel | ev.Delete):
        return f"{name} {event.job} in {event.namespace} (ask {event.ref})"
    if type(event) is ev.Carry:
        return f"Carry {event.job}"
    if type(event) is ev.CarryAnswer:
        return f"CarryAnswer {event.answer.job}"
    if type(event) is ev.WorkerSaid:
        message = event.message
        about = f"{getattr(message, 'job', '')} {getattr(message, 'attempt', '')}".strip()
        if type(message) is m.Hello:
            held = " ".join(f"{held.job}/{held.attempt}" for held in message.running)
            about = f"{message.worker} credit {message.credit} holds [{held}]"
        if type(message) is m.Credit:
            about = str(message.jobs)
        return f"peer {event.peer}: {type(message).__name__} {about}".rstrip()
    return f"{name} {getattr(event, 'peer', '')}".rstrip()


def _tell_record(record: r.Record) -> str:
    parts = [type(record).__name__, record.job]
    for member in ("worker", "attempt", "namespace", "reason", "lost", "message"):
        value = getattr(record, member, None)
        if value not in (None, ""):
            parts.append(f"{member}={value}")
    return " ".join(parts)
