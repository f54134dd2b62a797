"""The jobs that we have claimed on upstream's server, and what its states mean for them.

Owns each claim, from the first ``Running`` that we say until a state shows that the server has done
with it (WIRE 3.4 to 3.6, 6.5, 6.11). Of several claimants it keeps the one whose id sorts first,
and what is cancelled is absent from the next full state.

A claim may still be overtaken by a worker whose id sorts before ours, so a worker that others sort
before waits a moment (``SETTLE_MS``) after it was named before it runs anything.

What an earlier process of this worker ran is claimed again, and goes on where it is ours. Lines are
told only while the server names us, for it drops others; and all of them once more when it has
queued the job again, for it then drops what it had (D28). Pure: no I/O, no clock.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Finished,
    Held,
    Kept,
    Log,
    Push,
    ToWorker,
)
from gridd_worker.preference import preferred
from gridd_worker.upstream.log import JobLog
from gridd_worker.upstream.offers import Offers
from gridd_worker.upstream.shapes import Seen
from gridd_worker.upstream.words import Words

SETTLE_MS = 500  # for another's claim, made at the same time as ours, to reach the server
GONE_GRACE_MS = 6_000  # a job that the server no longer wants is looked at again after so long
CONFIRM_MS = 10_000  # a claim that no state has confirmed by then is given up
STRAY_MS = 6_000  # a job that is shown as ours, and that we do not have, is given up after so long
RESEND_MS = 5_000  # a result, or a claim, that no state shows is sent again
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


class Claims:
    """``words`` are said, ``offers`` tell what to claim.

    ``on_told`` hears how many lines of an attempt's log that server was told, for ``take_up`` in
    the next process, and ``None`` when nobody needs it any more."""

    def __init__(
        self, words: Words, offers: Offers, on_told: Callable[[str, int, int | None], None]
    ) -> None:
        self._words = words
        self._offers = offers
        self._on_told = on_told
        self._told_before: dict[tuple[str, int], int] = {}  # by an earlier process
        self._strays: dict[str, int] = {}  # job -> since when it is shown as ours
        self._jobs: dict[str, _Job] = {}
        self._attempts = 0
        self._heard: list[ToWorker] = []  # messages to be handed on

    def opened(self) -> None:
        """A new connection: nothing was shown or said on it."""
        self._heard.clear()
        self._strays.clear()
        for known in self._jobs.values():
            known.named_ms = None
            known.ending_said = False

    def take_up(self, job: str, attempt: int, told: int) -> None:
        """An earlier process told ``told`` lines of this attempt; call before ``announce``."""
        self._told_before[job, attempt] = told

    # --- state to look at -------------------------------------------------------------------

    def kept(self) -> list[Kept]:
        """What a welcome keeps of what was announced."""
        return [Kept(job, known.attempt, known.log.cursor) for job, known in self._jobs.items()]

    def begun(self) -> dict[str, bool]:
        """The jobs in hand, and whether the conversation has them."""
        return {job: known.pushed for job, known in self._jobs.items()}

    def dues(self) -> list[int]:
        """When time alone changes something."""
        dues = [
            known.named_ms + SETTLE_MS
            for known in self._jobs.values()
            if known.named_ms and not known.pushed
        ]
        return dues + [since_ms + STRAY_MS for since_ms in self._strays.values()]

    # --- what our side says -----------------------------------------------------------------

    def announce(self, running: list[Held], now_ms: int, wall_ms: int) -> None:
        """Claim all that the conversation has in hand, and nothing else."""
        in_hand = {held.job: held.attempt for held in running}
        for job in [job for job in self._jobs if job not in in_hand]:
            self._forget(job)  # it never came to run, or was settled
        for job, attempt in in_hand.items():
            known = self._jobs.get(job)
            if known is None or known.attempt != attempt:  # left by an earlier process
                self._attempts = max(self._attempts, attempt)
                log = JobLog(self._told_before.pop((job, attempt), 0), wall_ms)
                self._jobs[job] = known = _Job(attempt, now_ms, wall_ms, log, pushed=True)
            self._claim(job, known, now_ms)

    def log(self, log: Log) -> None:
        known = self._jobs.get(log.job)
        if known is None or known.attempt != log.attempt:
            return
        known.log.append(log)
        if known.named_ms is not None:
            self._tell(known)

    def finished(self, message: Finished, now_ms: int, wall_ms: int) -> None:
        known = self._jobs.get(message.job)
        if known is None or known.attempt != message.attempt:
            return
        if known.ending is None:
            known.ending = self._words.ending(message, known.log, wall_ms)
        if known.named_ms is not None and not known.ending_said:
            self._finish(message.job, known, now_ms)

    def release(self, job: str, attempt: int, now_ms: int, wall_ms: int) -> None:
        """Upstream has no giving back; saying that we lost it queues it again, whoever runs it. So
        that is said only where we are named; elsewhere ``_give_up_strays`` sees to it."""
        known = self._jobs.get(job)
        if known is not None and known.attempt == attempt:
            if known.named_ms is not None:
                self._words.lost(job, wall_ms)
            self._offers.leave_alone(job, now_ms + RELEASED_MS)
            self._forget(job)
        self._heard.append(Acknowledged(job, attempt))

    # --- what a state means for ours --------------------------------------------------------

    def look(
        self,
        state: Mapping[str, Seen],
        rivals: Set[str],
        credit: int,
        now_ms: int,
        wall_ms: int,
    ) -> None:
        """``state`` is all that is shown, ``rivals`` are the other workers."""
        self._look_at_ours(state, rivals, now_ms)
        self._give_up_strays(state, now_ms, wall_ms)
        self._claim_more(state, credit, now_ms, wall_ms)

    def heard(self) -> list[ToWorker]:
        """What the conversation is to hear now."""
        heard, self._heard = self._heard, []
        return heard

    def _look_at_ours(self, state: Mapping[str, Seen], rivals: Set[str], now_ms: int) -> None:
        for job, known in list(self._jobs.items()):
            seen = state.get(job)
            if seen is None or seen.state == "Finished":
                self._on_unwanted(job, known, now_ms)
            elif seen.state == "Running" and seen.worker == self._words.worker:
                self._on_ours(job, known, seen, rivals, now_ms)
            elif seen.state == "Running" and not preferred(self._words.worker, seen.worker):
                self._on_unwanted(job, known, now_ms)
            else:  # it waits there, or another claims it that must give way to us
                self._say_again(job, known, now_ms)

    def _on_ours(self, job: str, known: _Job, seen: Seen, rivals: Set[str], now_ms: int) -> None:
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
        overtakers = any(preferred(rival, self._words.worker) for rival in rivals)
        if overtakers and now_ms - known.named_ms < SETTLE_MS:
            return
        definition = self._offers.definition(job)
        if definition is None:
            self._forget(job)
            return
        known.pushed = True
        self._heard.append(Push(job, known.attempt, definition, int(seen.queued_time)))

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

    def _give_up_strays(self, state: Mapping[str, Seen], now_ms: int, wall_ms: int) -> None:
        """Jobs that are shown as ours and that nobody here runs: a process that was killed before
        the program ran had them, or a claim was given up and then confirmed. They would be ours
        for ever, because we are here."""
        shown = [
            job
            for job, seen in state.items()
            if seen.state == "Running"
            and seen.worker == self._words.worker
            and job not in self._jobs
        ]
        self._strays = {job: self._strays.get(job, now_ms) for job in shown}
        for job, since_ms in self._strays.items():
            if now_ms - since_ms >= STRAY_MS:
                self._strays[job] = now_ms  # it is said again if this does not arrive
                self._words.lost(job, wall_ms)

    # --- claiming ---------------------------------------------------------------------------

    def _claim_more(
        self, state: Mapping[str, Seen], credit: int, now_ms: int, wall_ms: int
    ) -> None:
        active = sum(1 for known in self._jobs.values() if known.ending is None)
        free = credit - active
        if free <= 0:
            return
        claimed, wanted = self._offers.next(state, self._jobs, free, now_ms)
        for job in claimed:
            self._attempts += 1
            known = self._jobs[job] = _Job(self._attempts, now_ms, wall_ms, JobLog())
            self._claim(job, known, now_ms)
        if wanted:
            self._words.request(wanted)

    def _claim(self, job: str, known: _Job, now_ms: int) -> None:
        known.said_ms = now_ms
        self._words.running(job, known.claimed_wall_ms)

    def _repeat(self, job: str, known: _Job, now_ms: int) -> None:
        if now_ms - known.said_ms >= RESEND_MS:
            if known.ending is not None:
                self._finish(job, known, now_ms)
            else:
                self._claim(job, known, now_ms)

    def _finish(self, job: str, known: _Job, now_ms: int) -> None:
        assert known.ending is not None
        known.said_ms = now_ms
        known.gone_ms = None
        known.ending_said = True
        self._words.finished(job, known.ending)

    def _tell(self, known: _Job) -> None:
        """Only while the server names us: it drops what anybody else says."""
        untold = known.log.untold()
        for log in untold:
            self._words.lines(log)
        if untold:
            self._on_told(untold[0].job, known.attempt, known.log.told)

    def _forget(self, job: str) -> None:
        self._on_told(job, self._jobs.pop(job).attempt, None)
