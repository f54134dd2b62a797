"""Calls that are held: which one is next, and which ones go when there are too many.

A plain data structure. Hosts take turns, so that a flood for one is not in the way of others;
each has a bound of tries at one time. What is over a bound is the oldest, of that queue or of all;
a call that is under way is never taken back.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gridd.webhooks.call import Call
from gridd_protocol import limits


@dataclass(frozen=True, slots=True)
class Bounds:
    """The protocol's limits; tests have smaller ones."""

    held: int = limits.WEBHOOKS_MAX
    held_per_queue: int = limits.WEBHOOKS_PER_QUEUE_MAX
    held_bytes: int = limits.WEBHOOKS_BYTES_MAX
    calls: int = limits.WEBHOOK_CALLS_MAX
    calls_per_host: int = limits.WEBHOOK_CALLS_PER_HOST_MAX
    tries: int = limits.WEBHOOK_TRIES_MAX
    call_s: float = limits.WEBHOOK_CALL_MS / 1000
    age_s: float = limits.WEBHOOK_AGE_MS_MAX / 1000
    stop_s: float = limits.WEBHOOKS_STOP_MS / 1000


class Line:
    """``dropped`` is called with each call that goes because of a bound."""

    def __init__(self, bounds: Bounds, dropped: Callable[[Call], None]) -> None:
        self._bounds = bounds
        self._dropped = dropped
        self._held: OrderedDict[int, Call] = OrderedDict()  # oldest first
        self._queues: dict[str, OrderedDict[int, Call]] = {}
        self._ready: dict[str, OrderedDict[int, Call]] = {}  # by host; never an empty one
        self._turns: OrderedDict[str, None] = OrderedDict()  # hosts that can be called now
        self._busy: dict[str, int] = {}  # tries under way, by host; never 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def calls(self) -> list[Call]:
        return list(self._held.values())

    @property
    def busy(self) -> int:
        """How many are under way."""
        return sum(self._busy.values())

    def add(self, call: Call) -> None:
        """Hold ``call``, ready to be tried; others, or itself, go if that is too much."""
        self._held[call.number] = call
        queue = self._queues.setdefault(call.queue, OrderedDict())
        queue[call.number] = call
        self._bytes += call.size
        self.make_ready(call)
        if len(queue) > self._bounds.held_per_queue:
            self._drop_oldest(queue)
        while len(self._held) > self._bounds.held or self._bytes > self._bounds.held_bytes:
            if not self._drop_oldest(self._held):
                break

    def make_ready(self, call: Call) -> None:
        """It may be tried (again) from now on."""
        self._ready.setdefault(call.host, OrderedDict())[call.number] = call
        self._give_turn(call.host)

    def take(self) -> Call | None:
        """The next call to be tried, which is under way from now on."""
        if not self._turns:
            return None
        host, _ = self._turns.popitem(last=False)
        ready = self._ready[host]
        _, call = ready.popitem(last=False)
        if not ready:
            del self._ready[host]
        self._busy[host] = self._busy.get(host, 0) + 1
        call.under_way = True
        self._give_turn(host)
        return call

    def tried(self, call: Call) -> None:
        """The try that ``take`` began is over. The call is still held."""
        call.under_way = False
        self._busy[call.host] -= 1
        if not self._busy[call.host]:
            del self._busy[call.host]
        self._give_turn(call.host)

    def remove(self, call: Call) -> None:
        """Let go of a call that is not under way."""
        del self._held[call.number]
        queue = self._queues[call.queue]
        del queue[call.number]
        if not queue:
            del self._queues[call.queue]
        self._bytes -= call.size
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        ready = self._ready.get(call.host)
        if ready is not None and ready.pop(call.number, None) is not None and not ready:
            del self._ready[call.host]
            self._turns.pop(call.host, None)

    def _drop_oldest(self, among: OrderedDict[int, Call]) -> bool:
        call = next((call for call in among.values() if not call.under_way), None)
        if call is None:
            return False
        self.remove(call)
        self._dropped(call)
        return True

    def _give_turn(self, host: str) -> None:
        if host in self._ready and self._busy.get(host, 0) < self._bounds.calls_per_host:
            self._turns.setdefault(host)
