"""What must hold of a whole grid, judged from outside the engine.

``Ledger`` reads the records as they are written, with its own small idea of what a queue is; it
shares no code with ``gridd.core.jobs``. ``Witness`` sees only what leaves the server, after the
sync, and remembers what was promised. Both raise ``Violation`` with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from gridd.core import effects as fx
from gridd.core import records as r
from gridd.core.job import Job
from gridd.core.sessions import RETURN_PAUSE_MS_MAX
from gridd_protocol import messages as m

ANSWERS = ("Success", "Error", "TimedOut")


Look = Callable[[str], Job | None]


class Violation(AssertionError):
    """A promise of the grid was broken."""


def require(holds: bool, sentence: str) -> None:
    if not holds:
        raise Violation(sentence)


@dataclass(slots=True)
class Entry:
    """One job as the ledger knows it."""

    needs: r.Needs
    place: int = 0
    state: str = "Queued"
    worker: str = ""
    attempt: int = 0
    losses: int = 0
    namespaces: set[str] = field(default_factory=set)
    outcome: r.Finished | None = None
    returned: dict[str, int] = field(default_factory=dict)  # by whom, and when last

    def spared(self, worker: str, now: int) -> bool:
        """Whether it may be that ``worker`` is not offered it."""
        return now - self.returned.get(worker, -RETURN_PAUSE_MS_MAX) < RETURN_PAUSE_MS_MAX


class Ledger:
    """Legal order of records: one lease at a time, rising attempts, first in first out, one live
    job in a namespace, answers only from the holder of the lease."""

    def __init__(self, attempts_max: int, resources: Mapping[str, m.Resources]) -> None:
        self.attempts_max = attempts_max
        self.resources = resources
        self.jobs: dict[str, Entry] = {}
        self.waiting: dict[r.Needs, dict[str, int]] = {}
        self._places = 0
        self._writers: dict[type, Callable[[Any], None]] = {
            r.Submitted: self._submitted,
            r.NamespaceAdded: self._added,
            r.NamespaceDropped: self._dropped,
            r.Leased: self._leased,
            r.Requeued: self._requeued,
            r.Finished: self._finished,
            r.Expired: self._expired,
            r.KeptJob: self._carried,
        }

    def write(self, record: r.Record) -> None:
        self._writers[type(record)](record)

    def holds(self, worker: str, job: str, attempt: int) -> bool:
        entry = self.jobs.get(job)
        return (
            entry is not None
            and entry.state == "Running"
            and (entry.worker, entry.attempt) == (worker, attempt)
        )

    def _line(self, entry: Entry) -> dict[str, int]:
        return self.waiting.setdefault(entry.needs, {})

    def _submitted(self, record: r.Submitted) -> None:
        entry = self.jobs.get(record.job)
        if entry is None:
            entry = self.jobs[record.job] = Entry(record.needs)
        else:
            require(
                entry.state in ("Ended", "Removed"),
                f"{record.job} was submitted anew while it is {entry.state}",
            )
        self._places += 1
        entry.place, entry.state, entry.losses = self._places, "Queued", 0
        entry.namespaces = set()
        self._line(entry)[record.job] = entry.place
        self._hold(record.job, entry, record.namespace)

    def _hold(self, job: str, entry: Entry, namespace: str) -> None:
        entry.namespaces.add(namespace)
        if namespace == "_" or entry.state not in ("Queued", "Running"):
            return
        for other, its in self.jobs.items():
            if other != job and its.state in ("Queued", "Running") and namespace in its.namespaces:
                raise Violation(f"namespace {namespace} holds two live jobs: {job}, {other}")

    def _added(self, record: r.NamespaceAdded) -> None:
        self._hold(record.job, self.jobs[record.job], record.namespace)

    def _dropped(self, record: r.NamespaceDropped) -> None:
        entry = self.jobs[record.job]
        require(
            record.namespace in entry.namespaces,
            f"{record.job} lost the namespace {record.namespace}, which did not hold it",
        )
        entry.namespaces.remove(record.namespace)

    def _leased(self, record: r.Leased) -> None:
        job, entry = record.job, self.jobs[record.job]
        require(entry.state == "Queued", f"{job} was leased while it is {entry.state}")
        require(
            record.attempt > entry.attempt,
            f"attempt {record.attempt} of {job} was leased twice",
        )
        line = self._line(entry)
        wanted = [name for name in line if not self.jobs[name].spared(record.worker, record.time)]
        oldest = min(wanted, key=line.__getitem__, default=job)
        require(
            line[oldest] >= line[job], f"{job} was leased before {oldest}, which is older and equal"
        )
        del line[job]
        entry.state, entry.worker, entry.attempt = "Running", record.worker, record.attempt
        self._check_room(record.worker, entry.needs)

    def _check_room(self, worker: str, needs: r.Needs) -> None:
        has = self.resources[worker]
        its = [e.needs for e in self.jobs.values() if e.state == "Running" and e.worker == worker]
        require(
            needs.kind in has.runs
            and set(needs.tags) <= set(has.tags)
            and needs.max_duration <= has.max_duration
            and sum(n.cpus_milli for n in its) <= round(has.cpus * 1_000)
            and sum(n.gpus for n in its) <= has.gpus
            and (not has.memory or sum(n.memory for n in its) <= has.memory),
            f"{worker} was given more than it can take",
        )

    def _requeued(self, record: r.Requeued) -> None:
        entry = self.jobs[record.job]
        require(
            entry.state == "Running" and entry.attempt == record.attempt,
            f"{record.job} was requeued from attempt {record.attempt}, it is {entry}",
        )
        if not record.lost:
            entry.returned[entry.worker] = record.time
        entry.state, entry.worker = "Queued", ""
        entry.losses += record.lost
        require(entry.losses < self.attempts_max, f"{record.job} was not given up in time")
        self._line(entry)[record.job] = entry.place

    def _finished(self, record: r.Finished) -> None:
        job, entry = record.job, self.jobs[record.job]
        if record.carried:
            require(
                entry.outcome is not None
                and record == structs.replace(entry.outcome, logs=b"", carried=True),
                f"{job} was carried on as {record}, it ended as {entry.outcome}",
            )
            return
        entry.outcome = record
        if record.reason in ANSWERS:
            self._check_answer(record, entry)
        else:
            require(
                record.reason == "Deleted" or entry.state in ("Queued", "Running"),
                f"{job} ended as {record.reason} while it is {entry.state}",
            )
        self._line(entry).pop(job, None)
        entry.state = "Removed" if record.reason == "Deleted" else "Ended"
        if record.reason in ANSWERS:
            entry.state = "Answered"

    def _check_answer(self, record: r.Finished, entry: Entry) -> None:
        job = record.job
        require(entry.state == "Running", f"{job} was answered while it is {entry.state}")
        result = msgspec.json.decode(record.result)
        if "by" not in result:  # the server's own: given up
            require(
                entry.losses + 1 >= self.attempts_max and record.reason == "Error",
                f"{job} was given up after {entry.losses} losses",
            )
            return
        source = (result["by"], result["attempt"])
        require(
            source == (entry.worker, entry.attempt),
            f"{job}: the answer of {source} was taken, the lease is {entry.worker} {entry.attempt}",
        )
        if record.logs:
            stored = msgspec.json.decode(record.logs)
            for line in [*stored.get("build", []), *stored.get("run", [])]:
                require(
                    line[0].startswith(f"{entry.worker}#{entry.attempt}:"),
                    f"{job} keeps a line of somebody else's log: {line[0]!r}",
                )

    def _carried(self, record: r.KeptJob) -> None:
        entry = self.jobs.get(record.job)
        require(
            entry is not None and entry.attempt == record.attempt,
            f"{record.job} was carried on as {record}, it is {entry}",
        )

    def _expired(self, record: r.Expired) -> None:
        entry = self.jobs.pop(record.job)
        require(
            entry.state not in ("Queued", "Running"), f"{record.job} expired while {entry.state}"
        )


class Witness:
    """What was visible stays true: across crashes too."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str | None, int, str, int]] = {}
        self.promised: set[str] = set()  # submissions that were acknowledged and have not ended
        self.known: set[str] = set()  # jobs that somebody was told of and that have not expired
        self.attempts: dict[str, int] = {}  # the highest that was pushed
        self.lines: dict[tuple[str, str], dict[int, str]] = {}
        self.taken: set[tuple[str, str, int]] = set()  # job, worker, attempt of each answer
        self._read = 0  # of the history

    def read(self, records: Sequence[r.Record], count: int | None = None) -> None:
        """Take note of what was acknowledged, up to the ``count``-th record, before what was
        decided after it leaves."""
        if count is None:
            count = len(records)
        require(count <= len(records), "something left before what it rests on was durable")
        while self._read < count:
            self._durable(records[self._read])
            self._read += 1

    def _durable(self, record: r.Record) -> None:
        if type(record) is r.Finished and not record.carried:
            self.promised.discard(record.job)
            self.lines.pop((record.job, "build"), None)
            self.lines.pop((record.job, "run"), None)
            if record.reason == "Deleted":
                self.answers.pop(record.job, None)
            if record.reason in ANSWERS and b'"by"' in record.result:
                self.taken.add((record.job, record.worker, record.attempt))
        elif type(record) is r.Expired:
            for memory in (self.promised, self.known):
                memory.discard(record.job)
            self.answers.pop(record.job, None)
            self.attempts.pop(record.job, None)

    def left(self, effect: fx.Effect) -> None:
        """The effect became visible."""
        if type(effect) is fx.JobChanged:
            if effect.cause != "expire":
                self._saw(effect.job, effect.view)
        elif type(effect) is fx.Reply and type(effect.outcome) is fx.Accepted:
            outcome = effect.outcome
            self.known.add(outcome.job)
            if outcome.view.state in ("Queued", "Running"):
                self.promised.add(outcome.job)
            self._saw(outcome.job, outcome.view)
        elif type(effect) is fx.SendWorker and type(effect.message) is m.Push:
            push = effect.message
            require(
                push.attempt > self.attempts.get(push.job, 0),
                f"attempt {push.attempt} of {push.job} was pushed twice",
            )
            self.attempts[push.job] = push.attempt
        elif type(effect) is fx.LogAdded:
            self._log(effect)

    def _saw(self, job: str, view: fx.JobView) -> None:
        seen = self.answers.get(job)
        now = (view.finished_reason, view.attempt, view.worker, view.time)
        if seen is not None:
            require(seen == now, f"{job} was answered {seen} and is now seen as {now}")
        elif view.state == "Finished" and view.visible:
            self.answers[job] = now

    def _log(self, effect: fx.LogAdded) -> None:
        kind = "run" if effect.step == "Running" else "build"
        lines = self.lines.setdefault((effect.job, kind), {})
        for index, line in enumerate(effect.lines, effect.first):
            require(
                index not in lines,
                f"line {index} of {effect.job} was {lines.get(index)!r}, is {line.text!r}",
            )
            lines[index] = line.text

    def _forget_live_lines(self, look: Look) -> None:
        """The running attempt's lines are not durable and are sent again; the numbers of those
        of earlier attempts are, and stay taken."""
        for (name, kind), lines in self.lines.items():
            job = look(name)
            first = 0 if job is None else job.run_lines if kind == "run" else job.build_lines
            self.lines[name, kind] = {n: text for n, text in lines.items() if n < first}

    def restarted(self, look: Look) -> None:
        """The server is back with the jobs that ``look`` shows: is all that was seen still so?"""
        self._forget_live_lines(look)
        for name in sorted(self.known):
            require(look(name) is not None, f"{name} was acknowledged and is not known any more")
        for name in sorted(self.promised):
            job = look(name)
            require(job is not None and job.live, f"{name} was acknowledged and is gone")
        for name, seen in self.answers.items():
            job = look(name)
            require(job is not None, f"{name} was answered {seen} and is not known any more")
            if job is not None:
                self._saw(name, job.view())
        for name, attempt in self.attempts.items():
            job = look(name)
            known = 0 if job is None else job.attempt
            require(known >= attempt, f"attempt {attempt} of {name} was pushed, {known} is known")
