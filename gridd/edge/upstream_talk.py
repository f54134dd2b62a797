"""What upstream's worker and the engine say to each other over one connection, each in its words.

Owns what the worker has in hand, its slots and the credit that comes of them, and what it is shown
and when. Whether it may report on a job is the engine's to judge. Where upstream's messages carry
no attempt, the one that this connection was given is meant.

How a job is shown is decided in ``upstream_hand``, what a result becomes in ``upstream_results``.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, get_args

import msgspec

from gridd.edge import upstream_messages as um
from gridd.edge.client_frames import JsonFrames
from gridd.edge.upstream_hand import Assignment, Hand, message
from gridd.edge.upstream_pace import WorkerPace
from gridd.edge.upstream_results import native_result
from gridd.edge.upstream_slots import Slots
from gridd.rooms import Room
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import LOG_LINES_PER_MESSAGE_MAX
from gridd_protocol.names import check_job_id

log = logging.getLogger("gridd")

_REASONS = get_args(m.Reason)
_STEPS = get_args(m.Step)


class Outlet(Protocol):
    """The connection. What ``later`` is given runs soon, and not while effects go out; what the
    worker got wrong there is told to it."""

    def push(self, frame: bytes) -> None: ...

    def wake(self) -> None: ...

    def say(self, said: m.FromWorker) -> None: ...

    def later(self, act: Callable[..., None], *args: Any) -> None: ...

    def others_able(self, job: str) -> bool:
        """Whether a worker that is not upstream's has enough for ``job``."""
        ...


class UpstreamTalk:
    """``heard`` raises ``ProtocolError`` for what the worker got wrong. While ``welcomed`` is not
    set, what the worker says next is to wait."""

    def __init__(
        self,
        room: Room,
        frames: JsonFrames,
        outlet: Outlet,
        now_ms: Callable[[], int],
        pace: WorkerPace,
    ) -> None:
        self._room = room
        self._frames = frames
        self._outlet = outlet
        self._now_ms = now_ms
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._registered: tuple[str, str, m.Resources, int] | None = None
        self._hand = self._new_hand("", 0, 0)
        self._slots = Slots(pace.stop, pace.rest)
        self._credit = 0  # as the engine knows it
        self.welcomed = asyncio.Event()
        self.welcomed.set()  # cleared while the answer to a hello is awaited
        self._full_at: float | None = None  # when the last full state left
        self._full_due = False
        self._handlers: dict[str, Callable[[msgspec.Raw], None]] = {
            "WorkerRegistration": self._on_registration,
            "StateChange": self._on_state_change,
            "JobStatusLogs": self._on_logs,
            "RequestJobDefinitions": self._on_definitions,
            "WorkerStatusResponse": lambda _: None,
        }

    @property
    def name(self) -> str | None:
        """As the worker registered itself; ``None`` before that."""
        return self._registered[0] if self._registered else None

    def knows(self, kind: str) -> bool:
        return kind in self._handlers

    # --- what the engine says -------------------------------------------------------------

    def told(self, said: m.ToWorker) -> None:
        if isinstance(said, m.Push):
            self._on_push(said)
        elif isinstance(said, m.Welcome):
            self._on_welcome(said)
        elif isinstance(said, m.Acknowledged):
            self._outlet.wake()  # its end is shown with whatever it is offered next
        elif isinstance(said, m.Cancel | m.Stale):
            self._on_over(said.job, said.attempt)
        elif isinstance(said, m.Error):
            log.warning("refused for upstream's worker %s: %s", self._hand.worker, said.message)

    def _on_welcome(self, welcome: m.Welcome) -> None:
        """``kept`` is all that it holds, since the hello named all that the engine leased to it.
        Whether the worker still has it is for the worker to announce."""
        known = self._hand.jobs
        assert self._registered is not None, "welcomed before it registered"
        name, _, has, slots = self._registered
        hand = self._new_hand(name, has.gpus, slots)
        due = self._loop.time() + self._pace.announce
        for kept in welcome.kept:
            former = known.get(kept.job)
            lease = self._room.lease(name, kept.job)
            if former is not None and former.attempt == kept.attempt:
                hand.put(former)
            elif lease is not None:
                assignment = Assignment(
                    job=kept.job,
                    attempt=kept.attempt,
                    definition=um.limited(lease.definition.decode(), lease.run_ms_max),
                    base=lease.view,
                    phase="expected",
                    due=due,
                    cursor=kept.cursor,
                )
                hand.put(assignment)
        for one in known.values():
            if one.phase == "ended" and one.job not in hand.jobs:
                hand.put(one)
        self._hand = hand
        self.welcomed.set()
        self._outlet.push(self._frames.workers(self._room.engine.sessions.views()))
        self._show_all()

    def _new_hand(self, worker: str, gpus: int, slots: int) -> Hand:
        return Hand(worker, gpus=gpus, slots=slots, silence=self._pace.silence)

    def _on_push(self, push: m.Push) -> None:
        lease = self._room.lease(self._hand.worker, push.job)
        if lease is None or lease.attempt != push.attempt:
            return  # taken back meanwhile; that is on its way to us
        assignment = Assignment(
            job=push.job,
            attempt=push.attempt,
            definition=um.limited(push.definition, push.max_duration),
            base=lease.view,
            phase="offered",
            due=self._loop.time() + self._pace.offer,
        )
        self._hand.put(assignment)
        unfit = um.why_unfit(push.definition)
        if unfit is not None:
            self._outlet.later(self._refuse, assignment, unfit)
            return
        if self._slots.clearing(push.job):  # the killed run's end would answer for this one
            why = "a former run of it is still being cleared away"
            self._outlet.later(self._give_back, assignment, why)
            return
        self._slots.taken_up(push.job)
        # So that it need not ask, which would hold up its claims for a second (WIRE 6.4).
        definition = self._hand.definitions_frame([push.job])
        assert definition is not None, push.job
        self._outlet.push(definition)

    def _on_over(self, job: str, attempt: int) -> None:
        """The lease is over, and what runs is to be stopped. The absence from a full state says
        so, and now: the next one in turn would come up to 9 s later (D21)."""
        one = self._hand.jobs.get(job)
        if one is None or one.attempt != attempt:
            return
        self._hand.drop(job)
        if one.phase in ("running", "expected"):
            self._slots.stops(job, self._loop.time())
            self._outlet.later(self._say_credit)
        self._show_all()

    def deleted(self, job: str) -> None:
        """Files that it keeps of the job would be collected as results of the next run."""
        one = self._hand.jobs.get(job)
        if one is not None and one.phase == "ended":
            self._hand.drop(job)
        elif one is not None and one.phase != "offered":
            self._slots.clears(job, self._loop.time())
        self._outlet.push(message("ClearJobCache", {"jobId": job, "namespace": "_"}))

    # --- what the worker says -----------------------------------------------------------

    def heard(self, kind: str, payload: msgspec.Raw) -> None:
        """``kind`` is one that it ``knows``."""
        self._handlers[kind](payload)

    def _on_registration(self, payload: msgspec.Raw) -> None:
        told = um.read_as(payload, um.Registration, "payload")
        has, slots = um.resources_of(told)
        registered = (told.id, told.version, has, slots)
        if registered == self._registered:
            self._show_all()
            return
        another = self._registered is None or self._registered[0] != told.id
        if another:
            self._hand = self._new_hand(told.id, has.gpus, slots)
        self._registered = registered
        self._slots.register(slots, anew=another)
        self._credit = self._credit_now()
        running = [m.Held(job, attempt) for job, attempt in self._room.held(told.id).items()]
        self.welcomed.clear()
        self._outlet.say(
            m.Hello(
                worker=told.id,
                version=told.version,
                resources=has,
                credit=self._credit,
                running=running,
            )
        )

    def _on_state_change(self, payload: msgspec.Raw) -> None:
        change = um.read_as(payload, um.StateChange, "payload")
        one = self._hand.jobs.get(change.job)
        if one is None or one.phase == "ended":
            self._on_unwanted(change, one)
        elif change.state == "Running":
            value = um.read_as(change.value, um.RunningValue, "payload.value")
            self._on_running(one, um.wire_time(value.time))
        elif change.state == "Finished":
            self._on_finished(one, um.read_as(change.value, um.FinishedValue, "payload.value"))
        else:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f"payload.state is {shown(change.state)}; a worker says Running or Finished",
                field="payload.state",
            )

    def _on_unwanted(self, change: um.StateChange, ended: Assignment | None) -> None:
        """It speaks of a job that it does not hold: seeing how things are makes it stop."""
        check_job_id(change.job, "payload.job")
        if change.state != "Running":
            self._slots.over(change.job)
        elif self._slots.stops(change.job, self._loop.time()):
            self._say_credit()
        if ended is not None:
            self._hand.changed.add(ended.job)
        self._show_all()

    def _on_running(self, one: Assignment, time: int) -> None:
        """A claim, or a job announced again: after a reconnect, or because it was shown Queued."""
        one.asked = None
        if one.phase == "running":
            return
        was, one.phase, one.started = one.phase, "running", time
        self._slots.woke()
        self._hand.changed.add(one.job)  # to be guarded in the next frame, whatever that is about
        if was == "offered":
            self._outlet.say(m.Started(one.job, one.attempt, time))
        self._say_credit()

    def _on_finished(self, one: Assignment, value: um.FinishedValue) -> None:
        if value.reason == "WorkerLost":
            self._give_back(one, "the worker gave it up")
            return
        if value.reason not in _REASONS:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f"payload.value.reason is {shown(value.reason)}; a worker says "
                + ", ".join(_REASONS),
                field="payload.value.reason",
            )
        told: m.Reason = value.reason  # type: ignore[assignment]
        streamed = self._room.engine.logs.get(one.job)
        now = self._now_ms()
        reason, result = native_result(told, bytes(value.result), streamed, now)
        self._hand.end(one, reason, self._loop.time() + self._pace.ended)
        self._outlet.say(m.Finished(one.job, one.attempt, reason, result))

    def _on_logs(self, payload: msgspec.Raw) -> None:
        told = um.read_as(payload, um.JobLogs, "payload")
        one = self._hand.jobs.get(told.job)
        if one is None or one.phase not in ("running", "expected") or told.step not in _STEPS:
            return  # as upstream's server does (WIRE 2.5)
        step: m.Step = told.step  # type: ignore[assignment]
        lines = um.split_lines(told.logs)
        for at in range(0, len(lines), LOG_LINES_PER_MESSAGE_MAX):
            part = lines[at : at + LOG_LINES_PER_MESSAGE_MAX]
            self._outlet.say(m.Log(one.job, one.attempt, step, one.cursor, part))
            one.cursor += len(part)

    def _on_definitions(self, payload: msgspec.Raw) -> None:
        asked = um.read_as(payload, um.DefinitionsRequest, "payload").jobs
        frame = self._hand.definitions_frame(asked)
        if frame is not None:
            self._outlet.push(frame)

    # --- to the engine --------------------------------------------------------------------

    def _credit_now(self) -> int:
        return self._slots.credit(self._loop.time(), self._hand.busy)

    def _say_credit(self) -> None:
        credit = self._credit_now()
        if credit != self._credit and self._registered is not None:
            self._credit = credit
            self._outlet.say(m.Credit(credit))

    def _give_back(self, one: Assignment, why: str) -> None:
        self._hand.drop(one.job)
        self._show_all()
        self._outlet.say(m.Release(one.job, one.attempt, why))

    def _refuse(self, one: Assignment, unfit: str) -> None:
        """A job that would end this worker's process is for others, or for nobody."""
        if self._hand.jobs.get(one.job) is not one:
            return
        others = self._outlet.others_able(one.job)
        self._hand.drop(one.job)
        if others:
            said: m.FromWorker = m.Release(one.job, one.attempt, unfit)
        else:
            result: dict[str, Any] = {"error": unfit, "isTimedOut": False, "outputs": {}}
            text = msgspec.json.encode(result).decode()
            said = m.Finished(one.job, one.attempt, "Error", text)
        self._outlet.say(said)

    # --- time -----------------------------------------------------------------------------

    def show_in_time(self, now: float) -> None:
        """A full state is due now and then, whatever happens."""
        last = self._full_at
        if last is None or now - last >= self._pace.full - self._pace.tick / 2:
            self._show_all()

    def look(self, now: float) -> None:
        """From time to time, ``now`` by the loop's clock: what was not done in its time."""
        if self._registered is None:
            return
        over = [one for one in self._hand.jobs.values() if one.due <= now]
        if any(one.phase == "offered" for one in over):
            self._slots.rest_from(now)
            self._say_credit()
        for one in over:
            if one.phase == "offered":
                self._give_back(one, "the worker did not claim it")
            elif one.phase == "expected":
                self._give_back(one, "the worker came back without it")
            elif one.phase == "ended":
                self._hand.drop(one.job)
        self._look_at_replaced(now)
        if self._slots.freed(now):
            self._show_all()  # it looks for work only when it is shown something
        self._say_credit()

    def _look_at_replaced(self, now: float) -> None:
        news = False
        for one in self._hand.jobs.values():
            lease = self._room.lease(self._hand.worker, one.job) if one.phase == "running" else None
            if lease is None or lease.attempt != one.attempt:
                continue
            if lease.view.namespaces:
                news |= self._hand.spare(one.job)
            else:
                news |= self._hand.doom(one.job, now, self._pace.doom)
        if news:
            self._outlet.wake()

    # --- to the worker ----------------------------------------------------------------------

    def _show_all(self) -> None:
        self._full_due = True
        self._outlet.wake()

    def push_states(self) -> None:
        """At most one frame of states for all that changed in this turn."""
        if not self.welcomed.is_set():
            return  # what it holds is not known yet
        if self._full_due:
            self._full_due = False
            self._full_at = self._loop.time()
            self._outlet.push(self._hand.full_frame(self._full_at))
        elif self._hand.changed:
            self._outlet.push(self._hand.update_frame(self._loop.time()))
