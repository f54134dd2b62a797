"""What a worker says to the server of one queue, and what it does on what the server says.

Pure: no I/O, no clock (``now_ms`` comes in, monotonic), no asyncio. It owns the attempts in hand,
from the push until the server has acknowledged the end, and mirrors the server's leases: only
what the server keeps goes on. Nothing is queued to be sent: what is owed to the server is
derived from state, so a reconnect only resets what counts as sent.

              push              started            (program gone)        finished
    (nothing) ────▶ PREPARING ────▶ RUNNING ────▶ UPLOADING ────▶ FINISHED ─┐ acknowledged
                        │              │              │                     ├────▶ (nothing)
                        └──────────────┴── release ───┴───────▶ RELEASED ───┘
    cancel, stale, or not kept by a welcome: in every phase to (nothing), and the run is stopped.
"""

from enum import Enum

from gridd_protocol.limits import CREDIT_MAX
from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Credit,
    Drain,
    Error,
    Finished,
    FromWorker,
    Heartbeat,
    Held,
    Hello,
    LogLine,
    Push,
    Release,
    Resources,
    Stale,
    Started,
    Step,
    ToWorker,
    Welcome,
)
from gridd_worker.actions import Action, Complaint, Forget, Leave, Start, Stop, Welcomed
from gridd_worker.in_hand import OVER, Attempt, Phase
from gridd_worker.logs import LogBuffer
from gridd_worker.owed import Owed
from gridd_worker.pulse import Pulse

IN_HAND_MAX = CREDIT_MAX  # attempts: a hello can name no more; a push beyond it is ignored


class _Link(Enum):
    OFFLINE = 0
    GREETING = 1  # hello is to be sent, or sent
    OPEN = 2


class Conversation:
    """``worker`` is our id. ``credit`` is how many jobs we are willing to hold at once.
    ``sharing``: there are other queues, so what a run leaves free is not this queue's again until
    ``set_credit`` says so; the server hears that before it hears of the end."""

    def __init__(
        self,
        worker: str,
        version: str,
        resources: Resources,
        credit: int,
        *,
        sharing: bool = False,
    ) -> None:
        self._sharing = sharing
        self._worker = worker
        self._version = version
        self._resources = resources
        self._credit = credit
        self._attempts: dict[str, Attempt] = {}  # by job: a newer attempt ends an older one
        self._active = 0  # those of them that have not ended
        self._owed = Owed()
        self._pulse = Pulse()
        self._link = _Link.OFFLINE
        self._hello_sent = False
        self._credit_sent = 0
        self._draining = False
        self._drain_sent = False

    # --- state to look at -------------------------------------------------------------

    @property
    def in_hand(self) -> int:
        """Attempts that the server has not settled yet, ended ones included."""
        return len(self._attempts)

    @property
    def active(self) -> int:
        """Attempts in hand that have not ended."""
        return self._active

    @property
    def open(self) -> bool:
        """True between welcome and the end of the connection."""
        return self._link is _Link.OPEN

    @property
    def lease_ms(self) -> int:
        """Of the server, as its last welcome said."""
        return self._pulse.lease_ms

    @property
    def draining(self) -> bool:
        return self._draining

    def phase(self, job: str, attempt: int) -> Phase | None:
        found = self._find(job, attempt)
        return None if found is None else found.phase

    def log(self, job: str, attempt: int) -> LogBuffer | None:
        """The log of an attempt in hand; append by ``say`` only."""
        found = self._find(job, attempt)
        return None if found is None else found.log

    # --- the connection ---------------------------------------------------------------

    def opened(self, now_ms: int) -> None:
        self._link = _Link.GREETING
        self._hello_sent = False
        self._drain_sent = False
        self._pulse.begin(now_ms)
        self._owed.clear()

    def closed(self) -> None:
        self._link = _Link.OFFLINE

    def lost(self, now_ms: int) -> bool:
        """True when the server was silent for so long that the connection must be given up."""
        return self._link is not _Link.OFFLINE and now_ms >= self._pulse.silence_end_ms

    def due(self, now_ms: int) -> int | None:
        """When ``take`` is to be called next, ``now_ms`` or later; ``None`` while offline."""
        if self._link is _Link.OFFLINE:
            return None
        if self._link is _Link.GREETING:
            return now_ms if not self._hello_sent else self._pulse.silence_end_ms
        if self._owed.urgent or self._credit_unsaid() or self._drain_unsaid():
            return now_ms
        due = min(self._pulse.beat_due_ms, self._pulse.silence_end_ms)
        if (lines_due := self._owed.lines_due_ms) is not None:
            due = min(due, lines_due)
        return max(due, now_ms)

    def take(self, now_ms: int, wall_ms: int = 0) -> list[FromWorker]:
        """The next frame: everything that is owed now, within the bounds of a frame. Empty when
        nothing is. What was taken counts as sent; ``wall_ms`` stands in heartbeats."""
        frame: list[FromWorker] = []
        if self._link is _Link.GREETING and not self._hello_sent:
            frame.append(self._hello())
        elif self._link is _Link.OPEN:
            if self._drain_unsaid():
                self._drain_sent = True
                frame.append(Drain())
            if self._credit_unsaid():
                self._credit_sent = self._offered()
                frame.append(Credit(self._credit_sent))
            self._owed.take(frame, now_ms)
            if now_ms >= self._pulse.beat_due_ms:
                self._pulse.beat(now_ms)
                frame.append(Heartbeat(wall_ms))
        if frame:
            self._pulse.spoke(now_ms)
        return frame

    # --- what our side decides ----------------------------------------------------------

    def restore(self, finished: Finished, log: LogBuffer) -> bool:
        """A result that an earlier process left unacknowledged; call before the first hello.
        False when there are too many: it has to wait for a later start."""
        if len(self._attempts) >= IN_HAND_MAX:
            return False
        self._attempts[finished.job] = Attempt(
            finished.job, finished.attempt, Phase.FINISHED, log, ending=finished
        )
        return True

    def take_up(self, started: Started, log: LogBuffer, wall_ms: int) -> bool:
        """A run that an earlier process began and that goes on; call before the first hello. Its
        lines up to ``wall_ms`` come again. False when there are too many."""
        if len(self._attempts) >= IN_HAND_MAX or started.job in self._attempts:
            return False
        self._attempts[started.job] = Attempt(
            *(started.job, started.attempt, Phase.RUNNING, log),
            started=started,
            replaying_until_ms=wall_ms,
        )
        self._active += 1
        return True

    def set_credit(self, jobs: int) -> None:
        self._credit = min(max(jobs, 0), CREDIT_MAX)

    def drain(self) -> None:
        """Take nothing more. There is no way back."""
        self._draining = True

    def started(self, job: str, attempt: int, wall_ms: int) -> None:
        found = self._find(job, attempt)
        if found is None or found.phase is not Phase.PREPARING:
            return
        found.phase = Phase.RUNNING
        found.started = Started(job, attempt, wall_ms)
        self._owe(found, urgent=True)

    def say(self, job: str, attempt: int, step: Step, lines: list[LogLine]) -> None:
        """Log lines; dropped when the attempt is not in hand any more or has ended."""
        found = self._find(job, attempt)
        if found is None or found.phase in OVER:
            return
        found.say(step, lines)
        self._owe(found, urgent=False)

    def uploading(self, job: str, attempt: int) -> None:
        found = self._find(job, attempt)
        if found is not None and found.phase not in OVER:
            found.phase = Phase.UPLOADING

    def finished(self, ending: Finished) -> None:
        """The result to be sent until it is acknowledged; ignored when the lease is over."""
        self._end(ending, Phase.FINISHED)

    def release(self, job: str, attempt: int, message: str) -> None:
        self._end(Release(job, attempt, message), Phase.RELEASED)

    # --- what the server says -----------------------------------------------------------

    def receive(self, message: ToWorker, now_ms: int) -> list[Action]:
        """Never raises for what a server did."""
        self._pulse.heard(now_ms)
        match message:
            case Push():
                return self._on_push(message)
            case Acknowledged(job, attempt):
                return self._drop(job, attempt, "acknowledged")
            case Stale(job, attempt):
                return self._drop(job, attempt, "stale")
            case Cancel(job, attempt, reason):
                return self._drop(job, attempt, reason)
            case Welcome():
                return self._on_welcome(message)
            case Drain():
                self._draining = True
                return [Leave()]
            case Error(code, text):
                return [Complaint(f"the server says: {text} ({code})")]
            case Heartbeat():
                return []  # ours was answered; answering back would never end

    def _on_welcome(self, welcome: Welcome) -> list[Action]:
        if self._link is not _Link.GREETING or not self._hello_sent:
            return [Complaint("the server sent a welcome without a hello; ignored")]
        self._link = _Link.OPEN
        self._pulse.agree(welcome.heartbeat_ms, welcome.lease_ms)
        kept = {(kept.job, kept.attempt): kept for kept in welcome.kept}
        actions: list[Action] = [Welcomed(len(kept))]
        for attempt in list(self._attempts.values()):
            confirmed = kept.pop((attempt.job, attempt.attempt), None)
            if confirmed is not None:
                self._resume(attempt, confirmed.cursor)
            elif attempt.announced:  # a stale follows for each; there is no need to wait for it
                actions += self._drop(attempt.job, attempt.attempt, "settled while away")
        for job, number in kept:
            actions += self._refuse(job, number, "this worker does not hold the job")
        return actions

    def _on_push(self, push: Push) -> list[Action]:
        actions: list[Action] = []
        held = self._attempts.get(push.job)
        if held is not None:
            if push.attempt <= held.attempt:
                return []
            # the older attempt's lease ended, else this one would not exist
            actions += self._drop(held.job, held.attempt, "stale")
        if self._draining:
            return actions + self._refuse(push.job, push.attempt, "this worker is draining")
        if self._active >= max(self._credit, self._credit_sent):
            why = f"this worker gave credit for {self._credit} jobs"
            return actions + self._refuse(push.job, push.attempt, why)
        self._attempts[push.job] = Attempt(push.job, push.attempt, Phase.PREPARING, LogBuffer())
        self._active += 1
        actions.append(Start(push))
        return actions

    # --- the inside ---------------------------------------------------------------------

    def _hello(self) -> Hello:
        self._hello_sent = True
        self._credit_sent = self._offered()
        for attempt in self._attempts.values():
            attempt.announce()
        return Hello(
            worker=self._worker,
            version=self._version,
            resources=self._resources,
            credit=self._credit_sent,
            running=[Held(held.job, held.attempt) for held in self._attempts.values()],
        )

    def _find(self, job: str, attempt: int) -> Attempt | None:
        found = self._attempts.get(job)
        return found if found is not None and found.attempt == attempt else None

    def _resume(self, attempt: Attempt, cursor: int) -> None:
        attempt.resume(cursor)
        if attempt.started is not None or attempt.ending is not None:
            self._owe(attempt, urgent=True)
        if attempt.log.backlog:
            self._owe(attempt, urgent=False)

    def _refuse(self, job: str, number: int, message: str) -> list[Action]:
        """Give back what never started. Kept until acknowledged, as every ending."""
        if job in self._attempts:
            return [Complaint(f"the server gave attempt {number} of {job} beside a newer one")]
        if len(self._attempts) >= IN_HAND_MAX:
            return [Complaint(f"the server gave more than {IN_HAND_MAX} jobs; ignored {job}")]
        ending = Release(job, number, message)
        attempt = Attempt(job, number, Phase.RELEASED, LogBuffer(), ending=ending)
        self._attempts[job] = attempt
        self._owe(attempt, urgent=True)
        return []

    def _end(self, ending: Finished | Release, phase: Phase) -> None:
        found = self._find(ending.job, ending.attempt)
        if found is None or found.phase in OVER:
            return
        found.phase = phase
        found.ending = ending
        self._one_less()
        self._owe(found, urgent=True)

    def _drop(self, job: str, number: int, why: str) -> list[Action]:
        found = self._find(job, number)
        if found is None:
            return []
        del self._attempts[job]
        self._owed.drop(job)
        if found.phase in OVER:
            return [Forget(job, number, why)]
        self._one_less()
        return [Stop(job, number, why)]

    def _one_less(self) -> None:
        self._active -= 1
        if self._sharing:
            self._credit = max(self._credit - 1, 0)

    def _owe(self, attempt: Attempt, *, urgent: bool) -> None:
        if self._link is _Link.OPEN:  # else the welcome will look at every attempt
            self._owed.add(attempt, urgent=urgent)

    def _offered(self) -> int:
        return 0 if self._draining else self._credit

    def _credit_unsaid(self) -> bool:
        return self._offered() != self._credit_sent

    def _drain_unsaid(self) -> bool:
        return self._draining and not self._drain_sent
