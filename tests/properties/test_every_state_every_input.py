"""Every state of a job against everything that can happen to it.

``every_state_every_input.txt`` holds the table: a block for each state, a row for each input:
what the job is afterwards, what was said to whom, which records were written. Written by
``GRIDD_REWRITE=1``, reviewed as a diff.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from tests.simulation.state import durable_state

FILE = Path(__file__).with_name("every_state_every_input.txt")
LEASE, RETENTION = 30_000, 25_000
HOLDER, OTHER = 1, 2  # peers of the workers w1, which ran or runs the job, and w2


class Scene:
    """An engine with the two workers, neither of which wants more jobs."""

    def __init__(self) -> None:
        self.engine = Engine("q", Settings(lease_ms=LEASE, retention_ms=RETENTION))
        self.now = 1_000_000
        self.records: list[r.Record] = []
        self.says(HOLDER, m.Hello("w1"))
        self.says(OTHER, m.Hello("w2"))

    def step(self, event: ev.Event) -> list[fx.Effect]:
        effects = self.engine.step(event, self.now)
        self.records += [e.record for e in effects if type(e) is fx.Append]
        self.engine.check()
        return effects

    def says(self, peer: int, message: m.FromWorker) -> list[fx.Effect]:
        return self.step(ev.WorkerSaid(peer, message))

    def submit(self, job: str = "J", namespace: str = "a") -> list[fx.Effect]:
        return self.step(ev.Submit(7, job, b"{}", r.Needs(), namespace))

    def lease(self) -> None:
        self.says(HOLDER, m.Credit(1))
        self.says(HOLDER, m.Credit(0))

    def outcome(self, earlier: int = 0) -> r.Finished:
        """The newest of J, if it has one; or one that ended ``earlier``."""
        found = [e for e in self.records if type(e) is r.Finished and e.job == "J"]
        made_up = r.Finished("q", "J", self.now, "Success", 1, "w1", "", b"{}", b"")
        newest = found[-1] if found else made_up
        return msgspec.structs.replace(newest, time=newest.time - earlier)

    def after(self, time: int) -> list[fx.Effect]:
        self.now += time
        return self.step(ev.AlarmRang())


# --- states ---------------------------------------------------------------------------


def unknown(s: Scene) -> None:
    pass


def queued(s: Scene) -> None:
    s.submit()


def requeued(s: Scene) -> None:
    s.submit()
    s.lease()
    s.says(HOLDER, m.Log("J", 1, "Running", 0, _lines(0, 5)))
    s.says(HOLDER, m.Release("J", 1))


def running(s: Scene) -> None:
    """Attempt 2, so that there is an older one; five log lines are in."""
    requeued(s)
    s.lease()
    s.says(HOLDER, m.Log("J", 2, "Running", 0, _lines(0, 5)))


def orphaned(s: Scene) -> None:
    """Replaced by K after 30 s; it may run for another 4 s."""
    running(s)
    for _ in range(2):
        s.now += 15_000
        s.says(HOLDER, m.Heartbeat())
        s.says(OTHER, m.Heartbeat())
    s.submit("K")


def success(s: Scene) -> None:
    running(s)
    s.says(HOLDER, m.Finished("J", 2, "Success", "{}"))


def error(s: Scene) -> None:
    running(s)
    s.says(HOLDER, m.Finished("J", 2, "Error", "{}"))


def timed_out(s: Scene) -> None:
    running(s)
    s.says(HOLDER, m.Finished("J", 2, "TimedOut", "{}"))


def cancelled(s: Scene) -> None:
    running(s)
    s.step(ev.Cancel(7, "J", "a"))


def replaced(s: Scene) -> None:
    running(s)
    s.submit("K")


def deleted(s: Scene) -> None:
    success(s)
    s.step(ev.Delete(7, "J", "a"))


def expired(s: Scene) -> None:
    success(s)
    for _ in range(2):
        s.now += RETENTION // 2
        s.says(HOLDER, m.Heartbeat())
        s.says(OTHER, m.Heartbeat())
    s.after(0)


STATES: dict[str, Callable[[Scene], None]] = {
    state.__name__: state
    for state in (
        unknown,
        queued,
        requeued,
        running,
        orphaned,
        success,
        error,
        timed_out,
        cancelled,
        replaced,
        deleted,
        expired,
    )
}


# --- inputs ---------------------------------------------------------------------------


def _lines(first: int, count: int) -> list[m.LogLine]:
    return [m.LogLine(f"line {first + n}\n", 5) for n in range(count)]


def _log(attempt: int, cursor: int) -> m.Log:
    return m.Log("J", attempt, "Running", cursor, _lines(cursor, 4))


def _hello(worker: str, *attempts: int) -> m.Hello:
    return m.Hello(worker, running=[m.Held("J", attempt) for attempt in attempts])


def _finished(attempt: int) -> m.Finished:
    return m.Finished("J", attempt, "Success", "{}")


def _finished_twice(s: Scene) -> list[fx.Effect]:
    return [*s.says(HOLDER, _finished(2)), *s.says(HOLDER, _finished(2))]


INPUTS: dict[str, Callable[[Scene], list[fx.Effect]]] = {
    "submit, its namespace": lambda s: s.submit(),
    "submit, another namespace": lambda s: s.submit(namespace="b"),
    "submit, no namespace": lambda s: s.submit(namespace="_"),
    "submit another job there": lambda s: s.submit("L"),
    "cancel, its namespace": lambda s: s.step(ev.Cancel(7, "J", "a", "enough")),
    "cancel, a wrong namespace": lambda s: s.step(ev.Cancel(7, "J", "z")),
    "cancel, every namespace": lambda s: s.step(ev.Cancel(7, "J", "*")),
    "delete, its namespace": lambda s: s.step(ev.Delete(7, "J", "a")),
    "delete, a wrong namespace": lambda s: s.step(ev.Delete(7, "J", "z")),
    "delete, every namespace": lambda s: s.step(ev.Delete(7, "J", "*")),
    "hello with the job": lambda s: s.says(HOLDER, _hello("w1", 2)),
    "hello with an old attempt": lambda s: s.says(HOLDER, _hello("w1", 1)),
    "hello without the job": lambda s: s.says(HOLDER, _hello("w1")),
    "hello on a new connection": lambda s: s.says(9, _hello("w1", 2)),
    "hello with it, other worker": lambda s: s.says(OTHER, _hello("w2", 2)),
    "credit": lambda s: s.says(OTHER, m.Credit(1)),
    "started": lambda s: s.says(HOLDER, m.Started("J", 2, 5)),
    "started, old attempt": lambda s: s.says(HOLDER, m.Started("J", 1, 5)),
    "started, other worker": lambda s: s.says(OTHER, m.Started("J", 2, 5)),
    "log": lambda s: s.says(HOLDER, _log(2, 5)),
    "log, old attempt": lambda s: s.says(HOLDER, _log(1, 5)),
    "log, other worker": lambda s: s.says(OTHER, _log(2, 5)),
    "log, half known": lambda s: s.says(HOLDER, _log(2, 3)),
    "log, all known": lambda s: s.says(HOLDER, _log(2, 1)),
    "log, with a gap": lambda s: s.says(HOLDER, _log(2, 50)),
    "finished": lambda s: s.says(HOLDER, _finished(2)),
    "finished, old attempt": lambda s: s.says(HOLDER, _finished(1)),
    "finished, later attempt": lambda s: s.says(HOLDER, _finished(3)),
    "finished, other worker": lambda s: s.says(OTHER, _finished(2)),
    "finished twice": _finished_twice,
    "finished before hello": lambda s: s.says(9, _finished(2)),
    "release": lambda s: s.says(HOLDER, m.Release("J", 2)),
    "release, old attempt": lambda s: s.says(HOLDER, m.Release("J", 1)),
    "release, other worker": lambda s: s.says(OTHER, m.Release("J", 2)),
    "drain": lambda s: s.says(HOLDER, m.Drain()),
    "heartbeat": lambda s: s.says(HOLDER, m.Heartbeat()),
    "carry": lambda s: s.step(ev.Carry("J", b"{}")),
    "carry the answer": lambda s: s.step(ev.CarryAnswer(s.outcome())),
    "carry an older answer": lambda s: s.step(ev.CarryAnswer(s.outcome(earlier=1))),
    "worker gone": lambda s: s.step(ev.WorkerGone(HOLDER)),
    "other worker gone": lambda s: s.step(ev.WorkerGone(OTHER)),
    "alarm too early": lambda s: s.after(2_000),
    "alarm after the grace": lambda s: s.after(8_000),
    "alarm after retention": lambda s: s.after(RETENTION),
    "alarm at the lease's end": lambda s: s.after(LEASE),
}


# --- how a cell is written ------------------------------------------------------------


def cell(state: str, what: str) -> str:
    scene = Scene()
    STATES[state](scene)
    effects = INPUTS[what](scene)
    _check_replay(scene)
    written = " ".join(
        f"{e.record.__struct_config__.tag}:{e.record.job}" for e in effects if type(e) is fx.Append
    )
    said = "; ".join(filter(None, map(_shown, effects)))
    return f"{_state_of(scene.engine):<22} | {said or '-'} | {written or '-'}"


def _check_replay(scene: Scene) -> None:
    again = Engine("q", scene.engine.settings)
    for record in scene.records:
        again.apply(record)
    assert durable_state(again) == durable_state(scene.engine)


def _state_of(engine: Engine) -> str:
    job = engine.jobs.by_id.get("J")
    if job is None:
        return "unknown"
    text = job.state + (f"/{job.reason}" if job.reason else "")
    if job.state == "Running":
        text += f" {job.worker}"
    return f"{text} #{job.attempt} {','.join(job.namespaces) or '-'}"


def _shown(effect: fx.Effect) -> str:
    match effect:
        case fx.Reply(outcome=fx.Accepted() as accepted):
            return f"accepted {'new' if accepted.new else 'known'} {accepted.job}"
        case fx.Reply(outcome=fx.Cancelled() as outcome):
            return f"{'ended' if outcome.ended else 'not ended'}, was {outcome.was}"
        case fx.Reply(outcome=fx.Refused() as refused):
            return f"refused {refused.code.value}"
        case fx.SendWorker(peer=peer, message=m.Welcome() as welcome):
            kept = " ".join(f"{k.job}/{k.attempt} from {k.cursor}" for k in welcome.kept)
            return f"to {peer}: welcome [{kept}]"
        case fx.SendWorker(peer=peer, message=message):
            about = f"{getattr(message, 'job', '')} {getattr(message, 'attempt', '')}".rstrip()
            if type(message) is m.Error:
                about = message.code
            return f"to {peer}: {type(message).__name__.lower()} {about}".rstrip()
        case fx.CloseWorker():
            return f"close {effect.peer} {effect.code}"
        case fx.LogAdded():
            return f"log {effect.first}..{effect.first + len(effect.lines) - 1}"
    return ""


# --- the table ------------------------------------------------------------------------


def read_table() -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    state = ""
    for line in FILE.read_text("utf-8").splitlines():
        if found := re.fullmatch(r"\[(.+)\]", line):
            state = found[1]
        elif line.startswith("  "):
            what, _, rest = line.strip().partition(":")
            assert (state, what) not in table, f"two rows for {state}, {what}"
            table[state, what] = rest.strip()
    return table


def write_table() -> None:
    lines = ["What becomes of job J | what is said (1 is its worker, 2 another) | records", ""]
    for state in STATES:
        lines.append(f"[{state}]")
        lines += [f"  {what + ':':<30} {cell(state, what)}" for what in INPUTS]
        lines.append("")
    FILE.write_text("\n".join(lines), "utf-8")


if os.environ.get("GRIDD_REWRITE"):
    write_table()
TABLE = read_table()


def test_the_table_is_complete() -> None:
    assert set(TABLE) == {(state, what) for state in STATES for what in INPUTS}


def test_the_table_knows_every_event_and_every_message() -> None:
    """Whoever adds one must say here what it does in every state."""
    seen: set[type] = set()
    scene = Scene()
    original = scene.engine.step

    def step(event: ev.Event, now_ms: int) -> list[fx.Effect]:
        seen.add(type(event))
        if type(event) is ev.WorkerSaid:
            seen.add(type(event.message))
        return original(event, now_ms)

    scene.engine.step = step  # type: ignore[method-assign]
    for happen in INPUTS.values():
        happen(scene)
    assert seen == set(ev.Event.__args__) | set(m.FromWorker.__args__)


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_cell(state: str, what: str) -> None:
    assert cell(state, what).split() == TABLE[state, what].split()
