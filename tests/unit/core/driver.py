"""An engine held by hand: short words for events, and what came of them."""

from __future__ import annotations

from typing import Any

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd_protocol import messages as m

RESULT = '{"StatusCode":0}'


class Driver:
    """Keeps time, draws refs and peers, remembers all records, checks after each step."""

    def __init__(self, **settings: int) -> None:
        self.engine = Engine("q", Settings(**settings))
        self.now = 1_000_000
        self.records: list[r.Record] = []
        self.effects: list[fx.Effect] = []
        self.peers: dict[str, int] = {}
        self._drawn = 0

    def step(self, event: ev.Event) -> list[fx.Effect]:
        self.effects = self.engine.step(event, self.now)
        self.records += [e.record for e in self.effects if type(e) is fx.Append]
        self.engine.check()
        return self.effects

    def draw(self) -> int:
        self._drawn += 1
        return self._drawn

    # clients

    def submit(self, job: str, namespace: str = "_", **needs: Any) -> fx.Outcome:
        definition = b'{"job":"%s"}' % job.encode()
        self.step(ev.Submit(self.draw(), job, definition, r.Needs(**needs), namespace))
        return self.outcome

    def cancel(self, job: str, namespace: str = "_") -> fx.Outcome:
        self.step(ev.Cancel(self.draw(), job, namespace))
        return self.outcome

    def delete(self, job: str, namespace: str = "_") -> fx.Outcome:
        self.step(ev.Delete(self.draw(), job, namespace))
        return self.outcome

    @property
    def outcome(self) -> fx.Outcome:
        (reply,) = [e for e in self.effects if type(e) is fx.Reply]
        return reply.outcome

    # workers

    def hello(
        self,
        worker: str,
        *,
        credit: int = 0,
        running: list[tuple[str, int]] | None = None,
        new: bool = True,
        **resources: Any,
    ) -> list[Any]:
        """Connect (or, without ``new``, say hello again); what the worker was told."""
        if new or worker not in self.peers:
            self.peers[worker] = self.draw()
        held = [m.Held(job, attempt) for job, attempt in running or []]
        message = m.Hello(worker, resources=m.Resources(**resources), credit=credit, running=held)
        return self.said(worker, message)

    def said(self, worker: str, message: m.FromWorker) -> list[Any]:
        self.step(ev.WorkerSaid(self.peers[worker], message))
        return self.told(worker)

    def told(self, worker: str) -> list[Any]:
        peer = self.peers[worker]
        return [e.message for e in self.effects if type(e) is fx.SendWorker and e.peer == peer]

    def finish(self, worker: str, job: str, attempt: int = 1) -> list[Any]:
        return self.said(worker, m.Finished(job, attempt, "Success", RESULT))

    def gone(self, worker: str) -> None:
        self.step(ev.WorkerGone(self.peers[worker]))

    # time

    def at(self, time: int) -> list[fx.Effect]:
        """Go to ``time`` after the beginning, ringing each alarm when it is due."""
        return self.wait(1_000_000 + time - self.now)

    def wait(self, time: int, *, beating: tuple[str, ...] = ()) -> list[fx.Effect]:
        """Let ``time`` pass; workers in ``beating`` say heartbeat meanwhile, every 5 s."""
        until, effects = self.now + time, []
        while self.now < until:
            nearest = min(until, self.now + 5_000) if beating else until
            while (due := self.engine.next_alarm()) is not None and due <= nearest:
                self.now = max(self.now, due)
                effects += self.step(ev.AlarmRang())
            self.now = nearest
            for worker in beating:
                self.said(worker, m.Heartbeat())
        self.effects = effects
        return effects

    # sight

    def job(self, job: str) -> Any:
        return self.engine.jobs.by_id[job]

    def shown(self, job: str) -> str:
        """``Running w1 #2`` and the like; ``unknown``."""
        if job not in self.engine.jobs.by_id:
            return "unknown"
        it = self.job(job)
        return " ".join(filter(None, (it.state, it.reason or it.worker, f"#{it.attempt}")))

    def pushed(self) -> list[tuple[str, str, int]]:
        """Leases among the last effects: ``(worker, job, attempt)``."""
        return [
            (e.record.worker, e.record.job, e.record.attempt)
            for e in self.effects
            if type(e) is fx.Append and type(e.record) is r.Leased
        ]

    def restart(self, *, snapshot_after: int | None = None) -> Engine:
        """What a server would know that replays all records, through a snapshot or not."""
        before, again = Engine("q", self.engine.settings), Engine("q", self.engine.settings)
        split = snapshot_after or 0
        for record in self.records[:split]:
            before.apply(record)
        for record in [*before.snapshot(), *self.records[split:]]:
            again.apply(record)
        return again

    def restarted(self) -> list[fx.Effect]:
        """The server crashes and starts again, now."""
        self.engine = self.restart()
        self.effects = self.engine.start(self.now)
        self.records += [e.record for e in self.effects if type(e) is fx.Append]
        self.engine.check()
        return self.effects
