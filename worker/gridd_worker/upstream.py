"""Upstream's worker protocol, spoken by our conversation: a dialect between the two.

Upstream's server has no leases: it shows every worker all jobs (WIRE 2.6), and a worker claims one
by saying ``Running``; of several claimants the server keeps the one whose id sorts first (3.6), and
a job is cancelled by being absent from the next full state (3.4). This module turns that into what
``conversation`` knows (welcome, push, acknowledged, cancel) and back, so that nothing else of the
worker needs to know which server it serves.

A claim may still be overtaken by a worker whose id sorts before ours, so a worker that others sort
before waits a moment (``SETTLE_MS``) after it was named before it runs anything.

What an earlier process of this worker ran is claimed again, and goes on where it is ours. Lines are
told only while the server names us, for it drops others; and all of them once more when it has
queued the job again, for it then drops what it had (D28).

Pure: no I/O, no clock. Better than upstream's own worker where its server allows it: the oldest
job is claimed first, a job runs only after the server has named us as its runner, what does not
fit is not claimed, and a result is sent until a state shows that it has arrived.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from gridd_protocol.codec import Decoded
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import HEARTBEAT_MS, LEASE_MS
from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Credit,
    Drain,
    Finished,
    FromWorker,
    Heartbeat,
    Hello,
    Kept,
    Log,
    LogLine,
    Push,
    Release,
    ToWorker,
    Welcome,
)
from gridd_protocol.units import format_duration
from gridd_worker.preference import preferred
from gridd_worker.upstream_log import JobLog
from gridd_worker.upstream_offers import Offers
from gridd_worker.upstream_shapes import Definitions, OneJob, Seen, Workers, jobs_of, read_frame

SETTLE_MS = 500  # for another's claim, made at the same time as ours, to reach the server
GONE_GRACE_MS = 6_000  # a job that the server no longer wants is looked at again after so long
CONFIRM_MS = 10_000  # a claim that no state has confirmed by then is given up
STRAY_MS = 6_000  # a job that is shown as ours, and that we do not have, is given up after so long
RESEND_MS = 5_000  # a result, or a claim, that no state shows is sent again
REGISTER_MS = 10_000  # as often as upstream's worker registers
PONG_MS = 10_000  # without one for so long, the connection is given up (WIRE 2.8)
STATES_MS = 20_000  # likewise without a state: on some connections that server shows none (D18)
RELEASED_MS = 30_000  # what we gave back: another worker's turn first


@dataclass(slots=True)
class _Job:
    """One that we have claimed."""

    attempt: int
    claimed_ms: int
    claimed_wall_ms: int
    log: JobLog
    named_ms: int | None = None  # since when the server names us on this connection
    pushed: bool = False  # the server named us, and the conversation has it
    said_ms: int = 0  # when Running or Finished was last sent
    gone_ms: int | None = None  # since when the server seems not to want it from us
    ending: dict[str, Any] | None = None  # the Finished state change, until a state shows it
    ending_said: bool = False  # on this connection


class UpstreamDialect:
    """One queue's. It lives as long as the worker; ``opened`` begins a connection.

    ``on_told`` hears how many lines of an attempt's log that server was told, for ``take_up`` in
    the next process, and ``None`` when nobody needs it any more."""

    def __init__(self, on_told: Callable[[str, int, int | None], None] | None = None) -> None:
        self._on_told = on_told or (lambda job, attempt, lines: None)
        self._told_before: dict[tuple[str, int], int] = {}  # by an earlier process
        self._strays: dict[str, int] = {}  # job -> since when it is shown as ours
        self._worker = ""
        self._registration: dict[str, Any] = {}
        self._credit = 0
        self._jobs: dict[str, _Job] = {}
        self._seen: dict[str, Seen] = {}
        self._rivals: set[str] = set()  # other workers of the queue
        self._complete = False  # a full state has come on this connection
        self._offers = Offers()
        self._attempts = 0
        self._registered_ms = 0
        self._pong_ms = self._states_ms = 0  # when the last one came
        self._greeted = False  # hello was said on this connection
        self._greeting = False  # hello was said, and no welcome has answered it
        self._owed: list[str] = []  # frames to be sent
        self._heard: list[ToWorker] = []  # messages to be handed on with the next frame

    def opened(self, now_ms: int) -> None:
        self._pong_ms = self._states_ms = now_ms
        self._seen.clear()
        self._rivals.clear()
        self._offers.ask_again()
        self._owed.clear()
        self._heard.clear()
        self._strays.clear()
        self._complete = self._greeted = self._greeting = False
        for known in self._jobs.values():
            known.named_ms = None
            known.ending_said = False

    def take_up(self, job: str, attempt: int, told: int) -> None:
        """An earlier process told ``told`` lines of this attempt; call before the first hello."""
        self._told_before[job, attempt] = told

    # --- out ----------------------------------------------------------------------------

    def encode(self, messages: Iterable[FromWorker], now_ms: int, wall_ms: int) -> list[str]:
        """The frames that say ``messages``; those that the dialect owes come with them."""
        for message in messages:
            self._say(message, now_ms, wall_ms)
        return self.take()

    def take(self) -> list[str]:
        """Frames that are owed now."""
        owed, self._owed = self._owed, []
        return owed

    def _say(self, message: FromWorker, now_ms: int, wall_ms: int) -> None:
        match message:
            case Hello():
                self._on_hello(message, now_ms, wall_ms)
            case Credit(jobs):
                self._credit = jobs
            case Log():
                self._on_log(message)
            case Finished():
                self._on_finished(message, now_ms, wall_ms)
            case Release(job, attempt):
                self._on_release(job, attempt, now_ms, wall_ms)
            case Drain():
                self._credit = 0
            case Heartbeat():
                self._owed.append("PING")
                # Sooner rather than a whole heartbeat later.
                if now_ms - self._registered_ms > REGISTER_MS - HEARTBEAT_MS:
                    self._register(now_ms)

    def _on_hello(self, hello: Hello, now_ms: int, wall_ms: int) -> None:
        self._worker, self._credit = hello.worker, hello.credit
        self._offers.resources = hello.resources
        self._registration = {
            "time": wall_ms,
            "version": hello.version,
            "id": hello.worker,
            "cpus": max(int(hello.resources.cpus), 1),
            "gpus": hello.resources.gpus,
            "maxJobDuration": format_duration(hello.resources.max_duration),
        }
        self._register(now_ms)
        running = {held.job: held.attempt for held in hello.running}
        for job in [job for job in self._jobs if job not in running]:
            self._forget(job)  # it never came to run, or was settled
        for job, attempt in running.items():
            known = self._jobs.get(job)
            if known is None or known.attempt != attempt:  # left by an earlier process
                self._attempts = max(self._attempts, attempt)
                log = JobLog(self._told_before.pop((job, attempt), 0), wall_ms)
                self._jobs[job] = known = _Job(attempt, now_ms, wall_ms, log, pushed=True)
            self._claim(job, known, now_ms)
        self._greeted = self._greeting = True

    def _register(self, now_ms: int) -> None:
        self._registered_ms = now_ms
        self._owe("WorkerRegistration", self._registration)

    def _claim(self, job: str, known: _Job, now_ms: int) -> None:
        known.said_ms = now_ms
        value = {"type": "Running", "worker": self._worker, "time": known.claimed_wall_ms}
        self._change(job, "Running", value)

    def _on_log(self, log: Log) -> None:
        known = self._jobs.get(log.job)
        if known is None or known.attempt != log.attempt:
            return
        known.log.append(log)
        if known.named_ms is not None:
            self._tell(known)

    def _tell(self, known: _Job) -> None:
        """Only while the server names us: it drops what anybody else says."""
        untold = known.log.untold()
        for log in untold:
            lines = [_wire(line) for line in log.lines]
            self._owe("JobStatusLogs", {"jobId": log.job, "step": log.step, "logs": lines})
        if untold:
            self._on_told(untold[0].job, known.attempt, known.log.told)

    def _on_finished(self, message: Finished, now_ms: int, wall_ms: int) -> None:
        known = self._jobs.get(message.job)
        if known is None or known.attempt != message.attempt:
            return
        if known.ending is None:
            result = json.loads(message.result)
            printed = known.log.printed()
            if not printed and message.reason == "Error":
                printed = known.log.built()
            result["logs"] = [*(_wire(line) for line in printed), *result.get("logs", [])]
            result.setdefault("isTimedOut", False)
            result.setdefault("outputs", {})
            known.ending = {
                "type": "Finished",
                "reason": message.reason,
                "worker": self._worker,
                "time": wall_ms,
                "result": result,
            }
        if known.named_ms is not None and not known.ending_said:
            self._finish(message.job, known, now_ms)

    def _finish(self, job: str, known: _Job, now_ms: int) -> None:
        assert known.ending is not None
        known.said_ms = now_ms
        known.gone_ms = None
        known.ending_said = True
        self._change(job, "Finished", known.ending)

    def _on_release(self, job: str, attempt: int, now_ms: int, wall_ms: int) -> None:
        """Upstream has no giving back; saying that we lost it queues it again."""
        known = self._jobs.get(job)
        if known is not None and known.attempt == attempt:
            self._say_lost(job, wall_ms)
            self._offers.leave_alone(job, now_ms + RELEASED_MS)
            self._forget(job)
        self._heard.append(Acknowledged(job, attempt))

    def _say_lost(self, job: str, wall_ms: int) -> None:
        value = {"type": "Finished", "reason": "WorkerLost", "worker": self._worker}
        self._change(job, "Finished", {**value, "time": wall_ms})

    def _forget(self, job: str) -> None:
        self._on_told(job, self._jobs.pop(job).attempt, None)

    def _change(self, job: str, state: str, value: dict[str, Any]) -> None:
        change = {"tag": self._worker, "state": state, "job": job, "value": value}
        self._owe("StateChange", change)

    def _owe(self, kind: str, payload: dict[str, Any]) -> None:
        self._owed.append(msgspec.json.encode({"type": kind, "payload": payload}).decode())

    # --- in -----------------------------------------------------------------------------

    def decode(self, data: str | bytes, now_ms: int, wall_ms: int) -> Decoded[ToWorker]:
        """What the frame, and the time that has passed, mean to the conversation."""
        errors: list[ProtocolError] = []
        messages: list[ToWorker] = []
        try:
            self._read(data, now_ms)
        except (msgspec.MsgspecError, RecursionError) as error:
            errors.append(
                ProtocolError(ErrorCode.BAD_FRAME, f"not a message of upstream's: {error}")
            )
        if self._greeting:
            self._greeting = False
            messages.append(self._welcome(wall_ms))
        return Decoded(messages + self.tick(now_ms, wall_ms), errors)

    def lost(self, now_ms: int) -> str | None:
        """Why the connection must be given up, although something may still come over it."""
        if now_ms - self._pong_ms >= PONG_MS:
            return "the server answered no PING for too long"
        if now_ms - self._states_ms >= STATES_MS:
            return "the server showed no jobs for too long"
        return None

    def due(self) -> int:
        """When ``tick`` and ``lost`` are to be asked again, in ms, if no frame comes before."""
        dues = [
            known.named_ms + SETTLE_MS
            for known in self._jobs.values()
            if known.named_ms and not known.pushed
        ]
        dues += [since_ms + STRAY_MS for since_ms in self._strays.values()]
        return min(self._pong_ms + PONG_MS, self._states_ms + STATES_MS, *dues)

    def tick(self, now_ms: int, wall_ms: int) -> list[ToWorker]:
        """What the state, as known, means to the conversation by now."""
        if self._complete and self._greeted:
            self._look_at_ours(now_ms)
            self._give_up_strays(now_ms, wall_ms)
            self._claim_more(now_ms, wall_ms)
        heard, self._heard = self._heard, []
        return heard

    def _welcome(self, wall_ms: int) -> Welcome:
        kept = [Kept(job, known.attempt, known.log.cursor) for job, known in self._jobs.items()]
        return Welcome(
            queue="", time=wall_ms, lease_ms=LEASE_MS, heartbeat_ms=HEARTBEAT_MS, kept=kept
        )

    def _read(self, data: str | bytes, now_ms: int) -> None:
        if isinstance(data, str) and data.startswith("PONG"):
            self._pong_ms = now_ms
            self._heard.append(Heartbeat())
            if data.removeprefix("PONG").strip() not in ("", self._worker) and self._registration:
                self._register(now_ms)
            return
        if not data or data[:1] not in ("{", b"{"):
            return  # upstream's peers ignore such, and so do we
        frame = read_frame(data)
        match frame.type:
            case "JobStates":
                self._seen = jobs_of(frame.payload)
                self._complete = True
                self._states_ms = now_ms
            case "JobStateUpdates":
                self._seen.update(jobs_of(frame.payload))
                self._states_ms = now_ms
            case "Workers":
                listed = msgspec.json.decode(frame.payload, type=Workers).workers
                self._rivals = {worker.id for worker in listed} - {self._worker}
            case "BroadcastJobDefinitions":
                texts = msgspec.json.decode(frame.payload, type=Definitions).definitions
                self._offers.came(texts, now_ms)
            case "ClearJobCache":
                job = msgspec.json.decode(frame.payload, type=OneJob).job
                self._seen.pop(job, None)
                self._offers.forget(job)
            case "StatusRequest":
                queue = {
                    job: {"jobId": job, "definition": {}, "finished": known.pushed}
                    for job, known in self._jobs.items()
                }
                self._owe("WorkerStatusResponse", {**self._registration, "queue": queue})

    # --- what a state means for ours --------------------------------------------------------

    def _look_at_ours(self, now_ms: int) -> None:
        for job, known in list(self._jobs.items()):
            seen = self._seen.get(job)
            if seen is None or seen.state == "Finished":
                self._on_unwanted(job, known, now_ms)
            elif seen.state == "Running" and seen.worker == self._worker:
                self._on_ours(job, known, now_ms)
            elif seen.state == "Running" and not preferred(self._worker, seen.worker):
                self._on_unwanted(job, known, now_ms)
            else:  # it waits there, or another claims it that must give way to us
                self._say_again(job, known, now_ms)

    def _on_ours(self, job: str, known: _Job, now_ms: int) -> None:
        known.gone_ms = None
        if known.named_ms is None:
            known.named_ms = now_ms
        if known.pushed:
            self._tell(known)
            if known.ending is not None and not known.ending_said:
                self._finish(job, known, now_ms)
            elif known.ending is not None:
                self._repeat(job, known, now_ms)
            return
        overtakers = any(preferred(rival, self._worker) for rival in self._rivals)
        if overtakers and now_ms - known.named_ms < SETTLE_MS:
            return
        definition = self._offers.definition(job)
        if definition is None:
            self._forget(job)
            return
        known.pushed = True
        queued = int(self._seen[job].queued_time)
        self._heard.append(Push(job, known.attempt, definition, queued))

    def _on_unwanted(self, job: str, known: _Job, now_ms: int) -> None:
        """Gone from the server's view, ended there, or another's."""
        known.named_ms = None
        if known.ending is not None:
            self._forget(job)
            self._heard.append(Acknowledged(job, known.attempt))
        elif not known.pushed:
            self._forget(job)  # the claim was lost
        elif known.gone_ms is None:
            known.gone_ms = now_ms
        elif now_ms - known.gone_ms >= GONE_GRACE_MS:
            self._forget(job)
            self._heard.append(Cancel(job, known.attempt))

    def _say_again(self, job: str, known: _Job, now_ms: int) -> None:
        known.gone_ms = None
        known.named_ms = None
        if known.log.again():
            self._on_told(job, known.attempt, 0)
        if not known.pushed and now_ms - known.claimed_ms >= CONFIRM_MS:
            self._forget(job)
        else:
            self._repeat(job, known, now_ms)

    def _repeat(self, job: str, known: _Job, now_ms: int) -> None:
        if now_ms - known.said_ms >= RESEND_MS:
            if known.ending is not None:
                self._finish(job, known, now_ms)
            else:
                self._claim(job, known, now_ms)

    def _give_up_strays(self, now_ms: int, wall_ms: int) -> None:
        """Jobs that are shown as ours and that nobody here runs: a process that was killed before
        the program ran had them, or a claim was given up and then confirmed. They would be ours
        for ever, because we are here."""
        shown = [
            job
            for job, seen in self._seen.items()
            if seen.state == "Running" and seen.worker == self._worker and job not in self._jobs
        ]
        self._strays = {job: self._strays.get(job, now_ms) for job in shown}
        for job, since_ms in self._strays.items():
            if now_ms - since_ms >= STRAY_MS:
                self._strays[job] = now_ms  # it is said again if this does not arrive
                self._say_lost(job, wall_ms)

    # --- claiming ---------------------------------------------------------------------------

    def _claim_more(self, now_ms: int, wall_ms: int) -> None:
        active = sum(1 for known in self._jobs.values() if known.ending is None)
        free = self._credit - active
        if free <= 0:
            return
        claimed, wanted = self._offers.next(self._seen, self._jobs, free, now_ms)
        for job in claimed:
            self._attempts += 1
            known = self._jobs[job] = _Job(self._attempts, now_ms, wall_ms, JobLog())
            self._claim(job, known, now_ms)
        if wanted:
            self._owe("RequestJobDefinitions", {"jobIds": wanted})


def _wire(line: LogLine) -> list[str | int | bool]:
    return [line.text, line.time, True] if line.stderr else [line.text, line.time]
