"""Which of the waiting jobs of upstream's server are for this worker.

Owns the definitions that were asked for and came, and what was found not to fit. Decides nothing
about claims: it is asked for the next ones. Pure: no I/O, no clock.
"""

from collections import OrderedDict
from collections.abc import Container, Mapping

import msgspec

from gridd_protocol.definitions import Checked, checked
from gridd_protocol.errors import ProtocolError
from gridd_protocol.messages import Resources
from gridd_protocol.names import is_job_id
from gridd_worker.upstream.shapes import Seen

REQUEST_MS = 2_000  # a definition that did not come is asked for again
DEFINITIONS_KEPT = 200
UNFIT_KEPT = 10_000
UNFIT_MS = 3_600_000  # what did not fit is looked at again after so long: it costs a request
ASKED_AT_ONCE = 20


class Offers:
    """``resources`` are the worker's; set them before definitions come."""

    def __init__(self) -> None:
        self.resources = Resources()
        self._definitions: OrderedDict[str, str] = OrderedDict()
        self._asked: dict[str, int] = {}  # job -> when its definition was asked for
        self._unfit: OrderedDict[str, int] = OrderedDict()  # not for us until then, in ms

    def ask_again(self) -> None:
        """On a new connection: what was asked for on the former will not come."""
        self._asked.clear()

    def definition(self, job: str) -> str | None:
        """The text that came, of a job that is for us."""
        return self._definitions.get(job)

    def came(self, texts: Mapping[str, msgspec.Raw], now_ms: int) -> None:
        for job, raw in texts.items():
            self._asked.pop(job, None)
            try:
                found = checked(bytes(raw))
            except ProtocolError:
                self.leave_alone(job, now_ms + UNFIT_MS)
                continue
            # Upstream believes the id that a client names; whoever names one twice gets no run.
            if found.id != job or not self._fits(found):
                self.leave_alone(job, now_ms + UNFIT_MS)
                continue
            self._definitions[job] = bytes(raw).decode()
            while len(self._definitions) > DEFINITIONS_KEPT:
                self._definitions.popitem(last=False)

    def forget(self, job: str) -> None:
        self._definitions.pop(job, None)

    def leave_alone(self, job: str, until_ms: int) -> None:
        self._unfit[job] = until_ms
        while len(self._unfit) > UNFIT_KEPT:
            self._unfit.popitem(last=False)

    def next(
        self, seen: Mapping[str, Seen], in_hand: Container[str], free: int, now_ms: int
    ) -> tuple[list[str], list[str]]:
        """Up to ``free`` jobs to claim, oldest first (upstream's worker takes the newest, D36), and
        those whose definitions are to be asked for first."""
        waiting = sorted(
            (
                job
                for job, shown in seen.items()
                if shown.state == "Queued" and job not in in_hand and self._is_for_us(job, now_ms)
            ),
            key=lambda job: seen[job].queued_time,
        )
        claimed: list[str] = []
        wanted: list[str] = []
        for job in waiting:
            if len(claimed) >= free or len(wanted) >= ASKED_AT_ONCE:
                break
            if job in self._definitions:
                claimed.append(job)
            elif now_ms - self._asked.get(job, -REQUEST_MS) >= REQUEST_MS:
                self._asked[job] = now_ms
                wanted.append(job)
        return claimed, wanted

    def _is_for_us(self, job: str, now_ms: int) -> bool:
        return self._unfit.get(job, 0) <= now_ms and is_job_id(job)

    def _fits(self, found: Checked) -> bool:
        has = self.resources
        return (
            found.kind in has.runs
            and found.cpus <= has.cpus
            and found.gpus <= has.gpus
            and (not has.memory or found.memory <= has.memory)
            and found.required_duration <= has.max_duration
            and set(found.tags) <= set(has.tags)
        )
