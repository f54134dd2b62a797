"""Simulated workers. They speak the native conversation as SPEC 5 to 9 tells it: hello names all
they hold, results are kept until acknowledged, logs go on from the kept cursor. Some are slow,
some die with their jobs, some freeze past their lease and come back, and one kind lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gridd.core import events as ev
from gridd_protocol import messages as m
from tests.simulation.network import Link

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Run:
    """One attempt that the worker holds. ``lines`` are all, ``first`` is the oldest still kept."""

    job: str
    attempt: int
    lines: list[tuple[m.Step, m.LogLine]] = field(default_factory=list)
    first: int = 0
    started: int = 0
    outcome: m.Finished | m.Release | None = None

    def log_from(self, cursor: int) -> list[m.Log]:
        """The log from ``cursor`` on, one message for each stretch of one step."""
        messages: list[m.Log] = []
        for index in range(max(cursor, self.first), len(self.lines)):
            step, line = self.lines[index]
            if messages and messages[-1].step == step:
                messages[-1].lines.append(line)
            else:
                messages.append(m.Log(self.job, self.attempt, step, index, [line]))
        return messages


class Worker:
    """An honest one. ``pace`` multiplies how long its runs take."""

    def __init__(self, world: World, name: str, resources: m.Resources, pace: int = 1) -> None:
        self.world = world
        self.name = name
        self.resources = resources
        self.pace = pace
        self.credit = world.random.randrange(1, 5)
        self.runs: dict[tuple[str, int], Run] = {}
        self.link: Link | None = None
        self.welcomed = False
        self.draining = False
        self.frozen = False
        self.gone = False
        self.backlog: list[Callable[[], None]] = []
        self.life = 0  # counts its processes: what a dead one had planned does not happen
        self.heard_at = 0
        self.later(world.random.randrange(1, 3_000), self.connect)
        self.later(1_000, self.tick)

    # --- its own clock ----------------------------------------------------------------

    def later(self, delay: int, action: Callable[[], None]) -> None:
        life = self.life
        self.world.later(delay, lambda: self.do(action) if life == self.life else None)

    def do(self, action: Callable[[], None]) -> None:
        """A frozen process does nothing; it does it all when it thaws."""
        if self.frozen:
            self.backlog.append(action)
        else:
            action()

    def freeze(self, time: int) -> None:
        if self.frozen:
            return
        self.world.tell(f"{self.name} freezes for {time} ms")
        self.frozen = True
        self.world.later(time, self.thaw)

    def thaw(self) -> None:
        if not self.frozen:
            return
        self.world.tell(f"{self.name} thaws")
        self.frozen = False
        backlog, self.backlog = self.backlog, []
        for action in backlog:
            action()

    def die(self, *, for_good: bool = False) -> None:
        """The process is gone with all it held; mostly another starts under the same id."""
        ending = " and never comes back" if for_good else ""
        self.world.tell(f"{self.name} dies holding {len(self.runs)}{ending}")
        self.gone = for_good
        self.life += 1
        self.runs.clear()
        self.backlog.clear()
        self.frozen = False
        self.draining = False
        if self.link is not None:
            self.link.cut()
            self.link = None
        if for_good:
            return
        self.later(self.world.random.randrange(500, 15_000), self.connect)
        self.later(1_000, self.tick)

    def tick(self) -> None:
        """Heartbeat, and the watch over a silent connection."""
        settings = self.world.settings
        if self.link is not None:
            if self.world.now - self.heard_at > settings.lease_ms:
                self.link.cut()
            else:
                self.say(m.Heartbeat(self.world.now))
        self.later(settings.heartbeat_ms, self.tick)

    # --- connection -------------------------------------------------------------------

    def connect(self) -> None:
        if self.link is not None:
            return
        if not self.world.server.up:
            self.later(self.world.random.randrange(500, 3_000), self.connect)
            return
        self.link = Link(self.world, self, is_worker=True, watches=False)
        self.welcomed = self.draining = False
        self.heard_at = self.world.now
        self.greet()

    def greet(self) -> None:
        self.say(
            m.Hello(
                worker=self.name,
                resources=self.resources,
                credit=self.credit,
                running=[m.Held(run.job, run.attempt) for run in self.runs.values()],
            )
        )

    def lost(self, link: Link) -> None:
        def notice() -> None:
            if self.link is link:
                self.link = None
                for run in self.runs.values():
                    if run.lines and self.world.random.random() < 0.1:
                        run.first = len(run.lines) // 2  # its buffer was full meanwhile
                self.later(self.world.random.randrange(500, 3_000), self.connect)

        self.do(notice)

    def say(self, message: m.FromWorker) -> None:
        if self.link is not None:
            self.link.up(ev.WorkerSaid(self.link.peer, message))

    def hear(self, link: Link, message: Any) -> None:
        def listen() -> None:
            if self.link is link:
                self.heard_at = self.world.now
                self.on_message(message)

        self.do(listen)

    def on_message(self, message: m.ToWorker) -> None:
        if type(message) is m.Welcome:
            self.on_welcome(message)
        elif type(message) is m.Push:
            self.on_push(message)
        elif isinstance(message, m.Acknowledged | m.Stale | m.Cancel):
            run = self.runs.pop((message.job, message.attempt), None)
            if run is not None and not isinstance(self, Liar):
                self.world.told(self.name, run, message)
        elif type(message) is m.Error:
            self.on_error(message)

    def on_error(self, error: m.Error) -> None:
        self.world.broken(f"the server complains to {self.name}: {error.code}")

    def on_welcome(self, welcome: m.Welcome) -> None:
        self.welcomed = True
        for kept in welcome.kept:
            run = self.runs.get((kept.job, kept.attempt))
            if run is None:
                continue
            for log in run.log_from(kept.cursor):
                self.say(log)
            if run.outcome is not None:
                self.say(run.outcome)

    # --- runs -------------------------------------------------------------------------

    def on_push(self, push: m.Push) -> None:
        key = (push.job, push.attempt)
        if key in self.runs:
            return
        run = self.runs[key] = Run(*key)
        chance = self.world.random
        time = self.world.run_ms() * self.pace
        if chance.random() < 0.05 and not self.world.calm:
            self.later(chance.randrange(1, 500), lambda: self.release(run))
            return
        steps = chance.randrange(0, 4)
        for step in range(steps):
            kind: m.Step = "docker build" if step == 0 and steps > 2 else "Running"
            count = chance.randrange(1, 4)
            self.later(
                time * (step + 1) // (steps + 2), lambda k=kind, n=count: self.print(run, k, n)
            )
        self.later(time // 4, lambda: self.start(run))
        self.later(time, lambda: self.finish(run))

    def held(self, run: Run) -> bool:
        return self.runs.get((run.job, run.attempt)) is run

    def report(self, message: m.FromWorker) -> None:
        """Between hello and welcome nothing is reported: welcome says from where to go on."""
        if self.welcomed:
            self.say(message)

    def start(self, run: Run) -> None:
        if self.held(run):
            self.report(m.Started(run.job, run.attempt, self.world.now))

    def print(self, run: Run, step: m.Step, count: int) -> None:
        if not self.held(run) or run.outcome is not None:
            return
        cursor = len(run.lines)
        lines = [
            m.LogLine(f"{self.name}#{run.attempt}:{cursor + i}\n", self.world.now)
            for i in range(count)
        ]
        run.lines.extend((step, line) for line in lines)
        self.report(m.Log(run.job, run.attempt, step, cursor, lines))

    def release(self, run: Run) -> None:
        if self.held(run) and run.outcome is None:
            run.outcome = m.Release(run.job, run.attempt, "the worker would rather not")
            self.report(run.outcome)

    def finish(self, run: Run) -> None:
        if not self.held(run) or run.outcome is not None:
            return
        reason = self.world.random.choice(("Success",) * 8 + ("Error", "TimedOut"))
        run.outcome = self.result(run.job, run.attempt, reason)
        self.report(run.outcome)

    def result(self, job: str, attempt: int, reason: Any) -> m.Finished:
        """Says who made it, so that the ledger can tell whose answer was taken."""
        text = msgspec.json.encode({"by": self.name, "attempt": attempt}).decode()
        return m.Finished(job, attempt, reason, text)

    def change_its_mind(self) -> None:
        """Drain, or another credit."""
        if self.world.random.random() < 0.3:
            self.draining = True
            self.say(m.Drain())
            self.later(self.world.random.randrange(1_000, 20_000), self.leave)
        else:
            self.credit = self.world.random.randrange(0, 5)
            self.say(m.Credit(self.credit))

    def leave(self) -> None:
        if self.link is not None and self.draining:
            self.link.cut()

    def calm_down(self) -> None:
        """The storm is over: awake, connected, willing."""
        self.thaw()
        self.credit = max(self.credit, 1)
        if self.draining:
            self.leave()
        self.say(m.Credit(self.credit))


class Liar(Worker):
    """Does its runs, and between them says what it likes about anybody's."""

    def __init__(self, world: World, name: str, resources: m.Resources, pace: int = 1) -> None:
        super().__init__(world, name, resources, pace)
        self.later(1_000, self.lie)

    def on_error(self, error: m.Error) -> None:
        """It spoke before its hello, on purpose."""

    def die(self, *, for_good: bool = False) -> None:
        super().die(for_good=for_good)
        if not for_good:
            self.later(1_000, self.lie)

    def lie(self) -> None:
        if self.world.calm:
            return
        chance = self.world.random
        self.later(chance.randrange(200, 3_000), self.lie)
        if self.link is None:
            return
        job, attempt = self.world.any_attempt()
        if self.runs and chance.random() < 0.3:
            run = chance.choice(list(self.runs.values()))
            job, attempt = run.job, run.attempt + chance.choice((-1, 0, 1))
        line = m.LogLine(f"{self.name}#{attempt}:lie\n", self.world.now)
        lie: m.FromWorker = chance.choice(
            (
                self.result(job, attempt, "Success"),
                self.result(job, attempt, "Error"),
                m.Log(job, attempt, "Running", chance.randrange(0, 20), [line, line]),
                m.Started(job, attempt, 1),
                m.Release(job, attempt),
                m.Credit(chance.choice((0, 3, 1 << 40))),
                m.Hello(
                    worker=self.name,
                    resources=self.resources,
                    credit=3,
                    running=[m.Held(job, attempt), m.Held(job, attempt + 1)],
                ),
            )
        )
        self.say(lie)
