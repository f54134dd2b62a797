"""When engines are woken, and whether this server itself was stopped meanwhile.

Owns the look at the clock. The alarm of a room is the room's; here it is set.
"""

import asyncio
import logging
from collections.abc import Callable

from gridd.clock import Clock
from gridd.rooms import Room

log = logging.getLogger("gridd")

LOOK_S = 1.0
"""How often the clock is looked at, to notice that the server was stopped itself."""
STOPPED_MS = 2_000
"""Between two looks: more than that means that we were stopped (a suspended machine, SIGSTOP), not
the peers. They could not be heard, so no lease may be taken back for it."""


class Waking:
    """``ring`` wakes an engine, ``renew`` gives all leases their full term from the time that it is
    told, ``looked`` is told the seconds between two looks. ``start`` it inside the loop, ``stop``
    it."""

    def __init__(
        self,
        clock: Clock,
        ring: Callable[[str, Room], None],
        renew: Callable[[int], None],
        looked: Callable[[float], None],
    ) -> None:
        self._clock = clock
        self._ring = ring
        self._renew = renew
        self._looked = looked
        self._looked_ms = 0
        self._next_look: asyncio.TimerHandle

    def start(self) -> None:
        self._looked_ms = self._clock.now_ms()
        self._look()

    def stop(self) -> None:
        self._next_look.cancel()

    def arm(self, queue: str, room: Room) -> None:
        """Have the engine woken when it asked to be."""
        due = room.engine.next_alarm()
        if due == room.alarm_at:
            return
        if room.alarm is not None:
            room.alarm.cancel()
            room.alarm = None
        room.alarm_at = due
        if due is not None:
            delay = max(due - self._clock.now_ms(), 0) / 1000
            room.alarm = asyncio.get_running_loop().call_later(delay, self._ring, queue, room)

    def _look(self) -> None:
        self.notice_stop()
        self._looked(LOOK_S)
        self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def notice_stop(self) -> None:
        """A server that was stopped gives each lease its full term again, as after a restart:
        workers that found it silent are on their way back to it."""
        now = self._clock.now_ms()
        away_ms, self._looked_ms = now - self._looked_ms, now
        if away_ms > STOPPED_MS:
            log.warning("this server was stopped for %d ms; leases begin anew", away_ms)
            self._renew(now)
