"""Stories of a queue as text: commands, and under ``----`` what the engine makes of each.

``GRIDD_REWRITE=1`` writes what comes out now into the files; the diff is then the review.

Commands: ``submit JOB [in NAMESPACE] [cpus=N] [tags=a,b]``, ``cancel JOB [in NAMESPACE]``,
``delete JOB [in NAMESPACE]``, ``hello WORKER credit=N [cpus=N] [holds=JOB/ATTEMPT,…]``,
``credit WORKER N``, ``started|finish|release WORKER JOB ATTEMPT``,
``log WORKER JOB ATTEMPT CURSOR TEXT…``, ``drain WORKER``, ``beat WORKER…``, ``gone WORKER``,
``wait SECONDS [beating=WORKER,…]``, ``restart``, ``jobs``.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd_protocol import messages as m
from tests.unit.core.driver import RESULT, Driver

FILES = sorted(Path(__file__).parent.glob("*.txt"))
RULE = "----"


class Story:
    def __init__(self) -> None:
        self.d = Driver()
        self.began = self.d.now

    def tell(self, command: str) -> list[str]:
        verb, *words = command.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        told: Iterator[str] | None = getattr(self, f"do_{verb}")(*plain, **options)
        return list(told) if told is not None else self.shown(self.d.effects)

    # --- commands ---------------------------------------------------------------------

    def do_submit(self, job: str, *where: str, cpus: str = "1", tags: str = "") -> None:
        needs: dict[str, Any] = {"cpus_milli": round(float(cpus) * 1_000)}
        if tags:
            needs["tags"] = tuple(sorted(tags.split(",")))
        self.d.submit(job, _namespace(where), **needs)

    def do_cancel(self, job: str, *where: str) -> None:
        self.d.cancel(job, _namespace(where))

    def do_delete(self, job: str, *where: str) -> None:
        self.d.delete(job, _namespace(where))

    def do_hello(self, worker: str, credit: str, cpus: str = "1", holds: str = "") -> None:
        pairs = [pair.split("/") for pair in holds.split(",") if pair]
        running = [(job, int(attempt)) for job, attempt in pairs]
        self.d.hello(worker, credit=int(credit), cpus=float(cpus), running=running)

    def do_credit(self, worker: str, jobs: str) -> None:
        self.d.said(worker, m.Credit(int(jobs)))

    def do_started(self, worker: str, job: str, attempt: str) -> None:
        self.d.said(worker, m.Started(job, int(attempt), self.d.now))

    def do_log(self, worker: str, job: str, attempt: str, cursor: str, *texts: str) -> None:
        lines = [m.LogLine(text, self.d.now) for text in texts]
        self.d.said(worker, m.Log(job, int(attempt), "Running", int(cursor), lines))

    def do_finish(self, worker: str, job: str, attempt: str) -> None:
        self.d.said(worker, m.Finished(job, int(attempt), "Success", RESULT))

    def do_release(self, worker: str, job: str, attempt: str) -> None:
        self.d.said(worker, m.Release(job, int(attempt)))

    def do_drain(self, worker: str) -> None:
        self.d.said(worker, m.Drain())

    def do_beat(self, *workers: str) -> None:
        for worker in workers:
            self.d.said(worker, m.Heartbeat())

    def do_gone(self, worker: str) -> None:
        self.d.step(ev.WorkerGone(self.d.peers[worker]))

    def do_wait(self, seconds: str, beating: str = "") -> None:
        workers = tuple(beating.split(",")) if beating else ()
        self.d.wait(round(float(seconds) * 1_000), beating=workers)

    def do_restart(self) -> None:
        self.d.restarted()

    def do_jobs(self) -> Iterator[str]:
        for job in self.d.engine.jobs.by_id:
            names = ", ".join(self.d.job(job).namespaces) or "nobody"
            yield f"{job}: {self.d.shown(job)}, for {names}"

    # --- what came of it --------------------------------------------------------------

    def shown(self, effects: list[fx.Effect]) -> list[str]:
        return [line for effect in effects if (line := self._line(effect))] or ["(nothing)"]

    def _line(self, effect: fx.Effect) -> str:
        match effect:
            case fx.Append(record=record):
                return f"record  {_record(record)}"
            case fx.Reply(outcome=fx.Accepted() as accepted):
                kind = "accepted" if accepted.new else "known already"
                return f"answer  {accepted.job} {kind}, {accepted.view.state}"
            case fx.Reply(outcome=fx.Cancelled() as outcome):
                return f"answer  was {outcome.was}, {'ended' if outcome.ended else 'not ended'}"
            case fx.Reply(outcome=fx.Refused() as refused):
                return f"answer  refused: {refused.message}"
            case fx.SendWorker(peer=peer, message=message):
                return f"to {self._worker(peer):<4} {_message(message)}"
            case fx.CloseWorker(peer=peer, code=code, reason=reason):
                return f"close   {self._worker(peer)} {code}: {reason}"
            case fx.JobChanged(job=job, view=view, cause=cause):
                state = " ".join(filter(None, (view.state, view.finished_reason or view.worker)))
                return f"seen    {job} {state} ({cause})"
            case fx.LogAdded(job=job, first=first, lines=lines):
                return f"log     {job} from {first}: {' '.join(line.text for line in lines)}"
        return ""  # the list of workers: it would drown the rest

    def _worker(self, peer: int) -> str:
        names = {number: name for name, number in self.d.peers.items()}
        return names.get(peer, "a former connection")


def _namespace(where: tuple[str, ...]) -> str:
    assert not where or (len(where) == 2 and where[0] == "in"), f"not understood: {where}"
    return where[1] if where else "_"


def _record(record: r.Record) -> str:
    members = [type(record).__name__, record.job]
    for name in ("namespace", "worker", "attempt", "reason", "message"):
        value = getattr(record, name, "")
        if value != "":
            members.append(f"{name}={value}")
    if getattr(record, "lost", False):
        members.append("lost")
    return " ".join(members)


def _message(message: m.ToWorker) -> str:
    if type(message) is m.Welcome:
        kept = ", ".join(f"{k.job}/{k.attempt} from line {k.cursor}" for k in message.kept)
        return f"welcome, keep {kept or 'nothing'}"
    if isinstance(message, m.Push | m.Acknowledged | m.Stale | m.Cancel):
        return f"{type(message).__name__.lower()} {message.job}/{message.attempt}"
    return type(message).__name__.lower()


# --- the files ------------------------------------------------------------------------


def played(text: str) -> str:
    """``text`` with what comes out now under each command; comments and blank lines stay."""
    story, out, skipping = Story(), [], False
    for line in text.splitlines():
        if line == RULE:
            skipping = True
        elif not line.strip():
            skipping = False
            out.append("")
        elif skipping:
            continue
        elif line.startswith("#"):
            out.append(line)
        else:
            out += [line, RULE, *story.tell(line)]
    return "\n".join(out).rstrip("\n") + "\n"


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 7


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    text = file.read_text("utf-8")
    now = played(text)
    if os.environ.get("GRIDD_REWRITE"):
        file.write_text(now, "utf-8")
    else:
        assert now == text, "review it, then GRIDD_REWRITE=1 writes what comes out now"


def test_a_wrong_expectation_is_noticed() -> None:
    text = "submit j\n----\nanswer  j known already, Queued\n"
    assert played(text) != text
    assert played(played(text)) == played(text)
