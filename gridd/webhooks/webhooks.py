"""The webhooks of a daemon: taken when a record is durable, called in the background.

``offer`` never waits and never raises, so neither the engine nor a submitter notices. What is
held lives in memory: a call that waits when the server ends is lost (docs/guarantees.md says what
is promised). Everything that does not arrive is counted, and told in the log.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from typing import Protocol

from gridd.core.effects import Callback
from gridd.webhooks.asked import Kind, read_asked
from gridd.webhooks.call import Call, make_call
from gridd.webhooks.delivery import Outcome, Verdict, attempt, pause_s
from gridd.webhooks.line import Bounds, Line
from gridd.webhooks.policy import Policy, why_not
from gridd.webhooks.transport import HttpTransport, Transport
from gridd_protocol.errors import ErrorCode, ProtocolError, shown

log = logging.getLogger("gridd.webhooks")

_QUIET_S = 60.0
"""Strangers choose the addresses, and could fill the log: of each kind of ending one is told in
that time, and the others counted."""


class Timer(Protocol):
    """The loop's clock; tests have their own."""

    def time(self) -> float: ...

    def call_later(self, delay: float, act: Callable[..., None], *args: object) -> object: ...


class Webhooks:
    """``draw`` answers a number from 0 to 1. Nothing is opened before the first call."""

    def __init__(
        self,
        policy: Policy,
        transport: Transport | None = None,
        *,
        timer: Timer | None = None,
        draw: Callable[[], float] = random.random,
        bounds: Bounds | None = None,
    ) -> None:
        self.policy: Policy = policy
        self._transport = transport or HttpTransport(policy)
        self._timer = timer
        self._draw = draw
        self._bounds = bounds or Bounds()
        self._line = Line(self._bounds, self._drop)
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = self._stopped = False
        self._delivered = self._retried = 0
        self._ended = {"failed": 0, "refused": 0, "dropped": 0}
        self._told: dict[str, tuple[float, int]] = {}  # when, and how many were counted then

    def counts(self) -> dict[str, int]:
        """``waiting`` (for a turn or the next try) and ``calling`` are of now. The others count
        since the start: ``delivered`` (2xx), ``failed`` (given up), ``refused`` (by the policy),
        ``dropped`` (over a bound, or at a stop), ``retries`` (tries after the first)."""
        calling = self._line.busy
        return {
            "waiting": len(self._line) - calling,
            "calling": calling,
            "delivered": self._delivered,
            "retries": self._retried,
            **self._ended,
        }

    def check(self, control: bytes) -> None:
        """Raises ``ProtocolError`` (bad-request) when a submission asks for a call that this grid
        will not make. What a name resolves to is only seen when it is called."""
        for kind in ("queued", "finished"):
            asked = read_asked(control, kind)
            why = asked and why_not(self.policy, asked.url.host or "")
            if asked and why:
                field = f"control.callbacks.{kind}.url"
                raise ProtocolError(
                    ErrorCode.BAD_REQUEST,
                    f"{field} is {shown(str(asked.url))}: {why}",
                    field=field,
                )

    def offer(self, queue: str, event: Callback) -> None:
        """What ``event`` tells of is durable: call whom it asks to be called."""
        kind: Kind = event.kind
        try:
            asked = read_asked(event.control, kind)
        except ProtocolError as error:  # written by an older release, which did not look
            self._end("refused", queue, event.job, kind, "", error.message)
            return
        if asked is None:
            return
        host = asked.url.host or ""
        why = why_not(self.policy, host)
        if why:  # the operator changed the policy since
            self._end("refused", queue, event.job, kind, host, why)
            return
        call = make_call(next(self._numbers), queue, event, asked, self._now())
        if self._closing:
            self._drop(call)
            return
        self._line.add(call)
        self._go_on()

    async def close(self) -> None:
        """Give what can be called now ``WEBHOOKS_STOP_MS``, then let go of everything."""
        self._closing = True
        for call in self._line.calls:
            if call.timer is not None:  # its next try would come too late
                self._line.remove(call)
                self._drop(call)
        try:
            async with asyncio.timeout(self._bounds.stop_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            pass  # what is left is cut off and counted below
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for call in self._line.calls:
            self._line.remove(call)
            self._drop(call)
        await self._transport.close()

    # --- tries ------------------------------------------------------------------------

    def _go_on(self) -> None:
        while not self._stopped and len(self._tasks) < self._bounds.calls:
            call = self._line.take()
            if call is None:
                break
            task = asyncio.get_running_loop().create_task(self._try(call))
            self._tasks.add(task)
            task.add_done_callback(self._tried)

    def _tried(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._go_on()

    async def _try(self, call: Call) -> None:
        outcome = Outcome(Verdict.FAILED, "it waited for too long")
        try:
            if self._now() - call.born <= self._bounds.age_s:
                call.tries += 1
                self._retried += call.tries > 1
                limit_s = self._bounds.call_s
                outcome = await attempt(
                    self._transport, self.policy, call.url, call.body, call.key, limit_s
                )
        except Exception:  # a bug of ours: it must not cost the place of others
            log.critical("a webhook failed", exc_info=True)
            outcome = Outcome(Verdict.FAILED, "our own fault")
        finally:
            self._line.tried(call)
        self._settle(call, outcome)

    def _settle(self, call: Call, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.AGAIN:
            pause = pause_s(call.tries, outcome.after_s, self._draw())
            late = self._now() + pause - call.born > self._bounds.age_s
            if call.tries < self._bounds.tries and not late and not self._closing:
                call.timer = self._clock().call_later(pause, self._ripe, call)
                return
        self._line.remove(call)
        if outcome.verdict is Verdict.DELIVERED:
            self._delivered += 1
            log.debug("webhook delivered", extra=_fields(call))
        elif outcome.verdict is Verdict.AGAIN and self._closing:
            self._drop(call)
        else:
            what = "refused" if outcome.verdict is Verdict.REFUSED else "failed"
            self._end(what, call.queue, call.job, call.kind, call.host, outcome.why, call.tries)

    def _ripe(self, call: Call) -> None:
        call.timer = None
        self._line.make_ready(call)
        self._go_on()

    # --- what did not arrive ----------------------------------------------------------

    def _drop(self, call: Call) -> None:
        why = "the server stops" if self._closing else "too many wait; the oldest goes"
        self._end("dropped", call.queue, call.job, call.kind, call.host, why, call.tries)

    def _end(
        self, what: str, queue: str, job: str, kind: str, host: str, why: str, tries: int = 0
    ) -> None:
        self._ended[what] += 1
        count, now = self._ended[what], self._now()
        told_at, told_count = self._told.get(what, (-_QUIET_S, 0))
        if now - told_at < _QUIET_S:
            return
        self._told[what] = (now, count)
        others = count - told_count - 1
        more = f"; and {others} more since such a line" if others else ""
        fields = {"queue": queue, "job": job, "kind": kind, "host": host, "tries": tries}
        verb = "has" if what == "failed" else "was"
        log.warning("a webhook %s %s: %s%s", verb, what, why, more, extra=fields)

    def _now(self) -> float:
        return self._clock().time()

    def _clock(self) -> Timer:
        return self._timer or asyncio.get_running_loop()


def _fields(call: Call) -> dict[str, object]:
    return {"queue": call.queue, "job": call.job, "kind": call.kind, "host": call.host}
