"""A whole grid in one thread, from one integer seed.

The engine is real. The journal forgets on a crash what was not synced, connections delay and
break, workers die, freeze and lie, the server crashes and comes back, and the clock is a number.
Nothing here looks at a wall clock or at any chance but ``random.Random(seed)``: the same seed
tells the same story, and ``digest`` proves it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from tests.simulation.clients import Client
from tests.simulation.network import Link
from tests.simulation.state import durable_state
from tests.simulation.witness import Ledger, Violation, Witness, require
from tests.simulation.workers import Liar, Worker

QUEUE = "sim"
CALM_MS_MAX = 1_800_000
EVENTS_MAX = 60_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(r.Record).decode


class Journal:
    """In memory. ``lines`` survive a crash; what is not synced yet may, from its start on."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []  # a snapshot first, once there was one
        self.history: list[bytes] = []  # everything that was ever durable
        self.seen = 0  # how much of the history the witness has read

    def sync(self, batch: list[bytes]) -> None:
        self.lines.extend(batch)
        self.history.extend(batch)


class Server:
    """The daemon's loop in small: step, append, sync, and only then let effects out."""

    waits_for_sync = True  # a test turns it off, to see that it is missed

    def __init__(self, world: World) -> None:
        self.world = world
        self.journal = Journal()
        self.epoch = 0
        self.up = False
        self.engine = Engine(QUEUE, world.settings)
        self.batch: list[fx.Effect] = []
        self.syncing: list[fx.Effect] | None = None
        self.woken_at: int | None = None
        self.ledger = Ledger(world.settings.attempts_max, world.resources)

    # --- one step ---------------------------------------------------------------------

    def receive(self, event: ev.Event) -> None:
        world = self.world
        world.steps += 1
        world.story(_tell, event)
        self.take(self.engine.step(event, world.now))
        if type(event) is not ev.AlarmRang:
            self._watch_for_idleness()

    def take(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if type(effect) is fx.Append:
                self.world.wrote(effect.record)
                self.ledger.write(effect.record)
            elif type(effect) is fx.LogAdded:
                self._check_author(effect)
        self.engine.check()
        self.batch.extend(effects)
        if not self.waits_for_sync:
            for effect in effects:
                self._let_out(effect)
        self._sync()
        self._set_alarm()

    def _check_author(self, effect: fx.LogAdded) -> None:
        for line in effect.lines:
            name, _, rest = line.text.partition("#")
            attempt = int(rest.partition(":")[0])
            require(
                self.ledger.holds(name, effect.job, attempt),
                f"{effect.job} took a log line of {name} {attempt}",
            )

    def _watch_for_idleness(self) -> None:
        """Nobody who could take a waiting job is left without one, but for a reservation."""
        engine = self.engine
        for session in engine.sessions.ready.values():
            promised = engine.jobs.by_id.get(session.reserved_for or "")
            last = promised.sequence if promised and promised.state == "Queued" else None
            for needs, sequence, job in engine.jobs.lines.heads():
                require(
                    (last is not None and sequence > last)
                    or not session.could(needs)
                    or not session.fits(needs),
                    f"{session.worker} is ready and {job} waits",
                )

    def _set_alarm(self) -> None:
        at = self.engine.next_alarm()
        if at is None or at == self.woken_at:
            return
        self.woken_at = at
        epoch = self.epoch
        late = self.world.random.randrange(0, 30)
        self.world.at(max(at, self.world.now) + late, lambda: self._wake(at, epoch))

    def _wake(self, at: int, epoch: int) -> None:
        if not self.up or epoch != self.epoch:
            return
        if self.woken_at == at:
            self.woken_at = None
        due = self.engine.next_alarm()
        if due is not None and due <= self.world.now:
            self.receive(ev.AlarmRang())
        else:
            self._set_alarm()

    # --- the sync and what leaves after it --------------------------------------------

    def _sync(self) -> None:
        """Group commit: one sync under way, the next batch gathers meanwhile."""
        if self.syncing is not None or not self.batch:
            return
        self.syncing, self.batch = self.batch, []
        epoch = self.epoch
        delay = self.world.random.randrange(1, self.world.sync_ms)
        self.world.later(delay, lambda: self._synced(epoch))

    def _synced(self, epoch: int) -> None:
        if not self.up or epoch != self.epoch or self.syncing is None:
            return
        done, self.syncing = self.syncing, None
        self.journal.sync([_encode(e.record) for e in done if type(e) is fx.Append])
        for effect in done:
            if type(effect) is fx.Append:
                self.world.witness.durable(effect.record)
                self.journal.seen += 1
            elif self.waits_for_sync:
                self._let_out(effect)
        self._sync()

    def _let_out(self, effect: fx.Effect) -> None:
        if type(effect) is fx.Append:
            return
        world = self.world
        world.witness.left(effect)
        if type(effect) is fx.SendWorker:
            world.links[effect.peer].down(effect.message)
        elif type(effect) is fx.CloseWorker:
            world.links[effect.peer].close_after_what_was_said()
        elif type(effect) is fx.Reply:
            client = world.refs[effect.ref]
            if client.link is not None:
                client.link.down(effect)

    # --- crash and restart ------------------------------------------------------------

    def crash(self) -> None:
        """Power is cut. Of what was being synced a beginning may have reached the disk."""
        world = self.world
        world.tell("the server crashes")
        self.up = False
        under_way = [_encode(e.record) for e in self.syncing or [] if type(e) is fx.Append]
        written = world.random.randrange(0, len(under_way) + 1)
        if world.random.random() < 0.5:
            self.journal.sync(under_way[:written])
        self.batch, self.syncing = [], None
        for link in list(world.links.values()):
            link.cut()
        down = world.random.choice((50, 1_000, 5_000, world.settings.lease_ms * 2))
        world.later(down, self.start)

    def start(self) -> None:
        if self.up:
            return
        world = self.world
        self.epoch += 1
        self.up = True
        self.woken_at = None
        self.engine = self._replayed(self.journal.lines)
        self._read_again()
        world.tell(f"the server starts, {len(self.engine.jobs.by_id)} jobs")
        if world.random.random() < 0.4:
            self.journal.lines = [_encode(kept) for kept in self.engine.snapshot()]
            again = self._replayed(self.journal.lines)
            require(
                durable_state(again) == durable_state(self.engine),
                "a snapshot does not come back as it was",
            )
            self.engine = again
            world.tell("a snapshot replaces the journal so far")
        world.witness.restarted(self.engine.jobs.by_id)
        self.take(self.engine.start(world.now))

    def _replayed(self, lines: list[bytes]) -> Engine:
        engine = Engine(QUEUE, self.world.settings)
        for line in lines:
            engine.apply(_decode(line))
        return engine

    def _read_again(self) -> None:
        """The ledger forgets what was lost; the witness reads what was kept unseen."""
        self.ledger = Ledger(self.world.settings.attempts_max, self.world.resources)
        for index, line in enumerate(self.journal.history):
            record = _decode(line)
            self.ledger.write(record)
            if index >= self.journal.seen:
                self.world.witness.durable(record)
        self.journal.seen = len(self.journal.history)


@dataclass(frozen=True, slots=True)
class CataloguedJob:
    id: str
    submit: ev.Submit


class World:
    """``World(seed).run()`` answers the digest, or raises ``Violation``."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.seed = seed
        self.random = chance = random.Random(seed)
        self.now = 1_000_000_000
        self.began = self.now
        self.verbose = verbose
        self.told_lines: list[str] = []
        self.hash = hashlib.sha256()
        self.steps = 0
        self.calm = False
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._peers = 0
        self._refs = 0
        self.links: dict[int, Link] = {}
        self.refs: dict[int, Client] = {}
        # Each world has its own weather: a fault that is everywhere hides the others.
        self.delay_ms = chance.choice((2, 20, 200))
        self.sync_ms = chance.choice((2, 20, 300))
        self.ask_ms = chance.choice((400, 1_500, 4_000))
        self.longest_run_ms = chance.choice((2_000, 15_000, 90_000))
        self.storm_ms = chance.choice((30_000, 90_000, 180_000))
        self.steadiness = chance.choice((0.6, 0.9, 1.0))  # of clients: how often they submit
        self.namespaces = chance.choice((("_",) * 4, ("_", "shared"), ("shared", "other")))
        self.settings = _settings(chance)
        alike = chance.random() < 0.3  # then there is one line, and much to get wrong in it
        self.catalogue = [_job(chance, n, alike) for n in range(chance.choice((4, 12, 40)))]
        self.resources = {f"w{n}": _resources(chance, n) for n in range(chance.randrange(2, 7))}
        self.witness = Witness()
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

    def run_ms(self) -> int:
        longest = 1_000 if self.calm else self.longest_run_ms
        return self.random.randrange(50, longest)

    def new_peer(self, link: Link) -> int:
        self._peers += 1
        self.links[self._peers] = link
        return self._peers

    def new_ref(self, client: Client) -> int:
        self._refs += 1
        self.refs[self._refs] = client
        return self._refs

    def any_attempt(self) -> tuple[str, int]:
        """Some job and an attempt near its own; for those who lie about it."""
        jobs = list(self.server.engine.jobs.by_id.values())
        if not jobs:
            return "nothing", 1
        job = self.random.choice(jobs)
        return job.id, max(1, job.attempt + self.random.choice((-1, 0, 0, 1)))

    # --- the story --------------------------------------------------------------------

    def story(self, teller: Callable[[Any], str], what: Any) -> None:
        self.tell(teller(what))

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

    def broken(self, sentence: str) -> None:
        raise Violation(sentence)

    @property
    def digest(self) -> str:
        return self.hash.hexdigest()

    # --- the course of things ---------------------------------------------------------

    def run(self) -> str:
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
            self.now = max(self.now, time)
            action()
        self.tell("the end")
        return self.digest

    def _plan_faults(self) -> None:
        """Each kind of fault comes often, seldom or never; which, differs from world to world."""
        for fault in (
            self._crash_server,
            self._kill_worker,
            self._freeze_worker,
            self._cut_link,
            self._unsettle_worker,
        ):
            mean = self.random.choice((None, 4_000, 15_000, 60_000))
            if mean is not None:
                self._again(fault, mean)

    def _again(self, fault: Callable[[], None], mean: int) -> None:
        def strike() -> None:
            if not self.calm:
                fault()
                self._again(fault, mean)

        self.later(int(self.random.expovariate(1 / mean)) + 1, strike)

    def _crash_server(self) -> None:
        if self.server.up:
            self.server.crash()

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
        self.server.start()
        for worker in self.workers:
            worker.calm_down()

    def _answerable(self) -> list[str]:
        """Live jobs that some worker could run; jobs that nobody can run may wait."""
        jobs = self.server.engine.jobs.by_id.values()
        return [job.id for job in jobs if job.live and self._runnable(job.needs)]

    def _runnable(self, needs: r.Needs) -> bool:
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
        retention_ms=chance.choice((30_000, 28 * 24 * 3_600_000)),
        expire_batch=chance.choice((1, 2, 1_000)),
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
