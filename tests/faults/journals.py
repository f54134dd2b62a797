"""Journals as a server writes them, made by real engines from a seed, with what went into them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.documents import without_logs
from gridd.expired import ExpiredJobs
from gridd.journal.base import Position
from gridd.journal.files import FileJournal
from gridd.recovery import place_of, position_of, write_snapshot
from gridd_protocol import messages as m

QUEUES = ("public", "lab")
START_MS = 1_700_000_000_000


def job_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@dataclass
class Written:
    """``log`` is everything that was acknowledged, in order, and where it lies."""

    directory: Path
    log: list[tuple[Position, r.Record]] = field(default_factory=list)
    batch_of: dict[Position, int] = field(default_factory=dict)
    snapshots: list[Position] = field(default_factory=list)
    states: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)


class Scribe:
    """Engines and a journal in step: one batch for each event, as the committer does when idle."""

    def __init__(self, directory: Path, seed: int, segment_bytes: int = 4_000) -> None:
        self.random = random.Random(seed)
        self.now = START_MS
        self.written = Written(directory)
        self.journal = FileJournal(
            directory,
            segment_bytes=segment_bytes,
            random_bytes=self.random.randbytes,
            now_ms=lambda: self.now,
        )
        self.engines = {name: Engine(name, Settings(retention_ms=3_600_000)) for name in QUEUES}
        self.peers: dict[tuple[str, str], int] = {}
        self.known: dict[str, list[str]] = {name: [] for name in QUEUES}
        self.drawn = 0

    def draw(self) -> int:
        self.drawn += 1
        return self.drawn

    def step(self, queue: str, event: ev.Event) -> list[fx.Effect]:
        engine = self.engines[queue]
        effects = engine.step(event, self.now)
        records = [effect.record for effect in effects if type(effect) is fx.Append]
        payloads = [msgspec.msgpack.encode(record) for record in records]
        positions = self.journal.append(payloads, self.journal.end)
        for record, position in zip(records, positions, strict=True):
            engine.place(record, place_of(position))
            self.written.log.append((position, record))
            self.written.batch_of[position] = positions[0].segment << 40 | positions[0].offset
        return effects

    # --- what happens in a grid ---------------------------------------------------------

    def submit(self, queue: str, number: int, namespace: str = "_", size: int = 0) -> str:
        job = job_id(number)
        definition = b'{"image":"a","command":"%d%s"}' % (number, b" " * size)
        self.step(queue, ev.Submit(self.draw(), job, definition, r.Needs(), namespace))
        self.known[queue].append(job)
        return job

    def worker(self, queue: str, name: str, cpus: int = 3) -> None:
        self.peers[queue, name] = self.draw()
        resources, credit = m.Resources(cpus=cpus), 1_000
        self.say(queue, name, m.Hello(name, resources=resources, credit=credit, running=[]))

    def say(self, queue: str, name: str, message: m.FromWorker) -> None:
        self.step(queue, ev.WorkerSaid(self.peers[queue, name], message))

    def finish(self, queue: str, job: str, reason: str = "Success") -> None:
        known = self.engines[queue].jobs.by_id[job]
        lines = [m.LogLine(f"line of {job[:8]}\n", self.now)]
        self.say(queue, known.worker, m.Log(job, known.attempt, "Running", 0, lines))
        result = f'{{"StatusCode":0,"outputs":{{}},"of":"{job[:12]}"}}'
        self.say(queue, known.worker, m.Finished(job, known.attempt, reason, result))

    def cancel(self, queue: str, job: str, namespace: str = "*") -> None:
        self.step(queue, ev.Cancel(self.draw(), job, namespace))

    def delete(self, queue: str, job: str) -> None:
        self.step(queue, ev.Delete(self.draw(), job, "*"))

    def carry(self, queue: str, job: str) -> None:
        """As housekeeping does with what lies in an old segment."""
        known = self.engines[queue].jobs.look(job)
        if known is None:
            return
        submitted = self._read(known.definition_at)
        assert isinstance(submitted, r.Submitted | r.KeptJob)
        self.step(queue, ev.Carry(job, submitted.definition))
        if not known.live:
            answer = self._read(known.result_at)
            assert isinstance(answer, r.Finished)
            self.step(queue, ev.CarryAnswer(without_logs(answer)))

    def _read(self, place: int) -> r.Record:
        return msgspec.msgpack.decode(self.journal.read(position_of(place)), type=r.Record)

    def wait(self, ms: int) -> None:
        self.now += ms
        for name, engine in self.engines.items():
            due = engine.next_alarm()
            if due is not None and due <= self.now:
                self.step(name, ev.AlarmRang())

    def snapshot(self) -> None:
        write_snapshot(self.journal, self.engines.values(), ExpiredJobs())
        self.written.snapshots.append(self.journal.end)

    # --- at random ----------------------------------------------------------------------

    def live(self, steps: int, *, snapshot_every: int = 0) -> None:
        for name in QUEUES:
            self.worker(name, "w1")
            self.worker(name, "w2")
        for step in range(1, steps + 1):
            long = self.random.random() < 0.04  # leases end, answers expire
            self.wait(700_000 if long else self.random.randrange(1, 900))
            self._one(self.random.choice(QUEUES))
            if snapshot_every and step % snapshot_every == 0:
                self.snapshot()

    def _one(self, queue: str) -> None:
        draw, jobs = self.random, self.engines[queue].jobs
        running = [job.id for job in jobs.by_id.values() if job.state == "Running"]
        what = draw.random()
        if what < 0.45:
            space = draw.choice(["_", "_", "a", "b", "c"])
            self.submit(queue, draw.randrange(60), space, draw.choice([0, 10, 200, 900]))
        elif what < 0.75 and running:
            self.finish(queue, draw.choice(running), draw.choice(["Success", "Error"]))
        elif what < 0.82 and running:
            job = jobs.by_id[draw.choice(running)]
            self.say(queue, job.worker, m.Release(job.id, job.attempt))
        elif what < 0.87 and self.known[queue]:
            self.cancel(queue, draw.choice(self.known[queue]))
        elif what < 0.91 and self.known[queue]:
            self.delete(queue, draw.choice(self.known[queue]))
        elif what < 0.95 and self.known[queue]:
            self.carry(queue, draw.choice(self.known[queue]))
        else:
            name = draw.choice(["w1", "w2"])
            self.step(queue, ev.WorkerGone(self.peers[queue, name]))
            self.worker(queue, name)

    def end(self, *, clean: bool = True) -> Written:
        """Close; ``clean=False`` leaves the files as a crash would."""
        for name, engine in self.engines.items():
            engine.check()
            for kept in engine.snapshot():
                self.written.states[name, kept.job] = state_of(kept)
        before = self.journal.end
        self.journal.close()
        if not clean:
            last = self.written.directory / f"{before.segment:08d}.seg"
            with last.open("r+b") as file:
                file.truncate(before.offset)
        return self.written


def state_of(kept: r.KeptJob) -> tuple[object, ...]:
    """All that is known of a job but where its documents lie and its number in the line."""
    return (
        kept.state,
        kept.reason,
        kept.queued_time,
        kept.time,
        kept.worker,
        kept.attempt,
        kept.losses,
        kept.namespaces,
        kept.definition,
    )


def make(directory: Path, seed: int, steps: int = 150, **options: int) -> Written:
    scribe = Scribe(directory, seed)
    scribe.live(steps, **options)
    return scribe.end()
