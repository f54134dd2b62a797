"""How a connection ended, and when the next one is tried. Pure but for chance, which comes in."""

import random
from collections.abc import Callable
from enum import Enum

from websockets.frames import Close

from gridd_protocol.limits import LEASE_MS

DELAY_FIRST_S = 0.5
DELAY_MAX_S = 10.0
DELAY_SLOW_S = 60.0  # when trying soon can't help: another worker has our id


class End(Enum):
    """How a connection ended; decides when the next one is tried."""

    FAILED = "failed"
    GOING_AWAY = "going away"  # the server said so: it will be back soon
    REPLACED = "replaced"


class Delays:
    """Seconds until the next try: 0, then 0.5 doubling to 10, each spread by up to a half so that
    the workers of a lost server do not come back as one. At most a third of the server's lease:
    a worker tries more than once in the time that a server gives it after a restart."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures = 0
        self._max_s = DELAY_MAX_S

    def welcomed(self, lease_ms: int = LEASE_MS) -> None:
        self._failures = 0
        self._max_s = max(min(DELAY_MAX_S, lease_ms / 3_000), DELAY_FIRST_S)

    def after(self, end: End) -> float:
        if end is End.REPLACED:
            return self._spread(DELAY_SLOW_S)
        self._failures += 1
        if self._failures == 1:
            return DELAY_FIRST_S * self._chance() if end is End.GOING_AWAY else 0.0
        doublings = min(self._failures - 2, 10)  # the power stays small
        return self._spread(min(DELAY_FIRST_S * 2**doublings, self._max_s, DELAY_MAX_S))

    def _spread(self, delay_s: float) -> float:
        return delay_s * (0.5 + 0.5 * self._chance())


def end_of(received: Close | None) -> tuple[End, str]:
    """With a sentence for the log. ``received``: the close frame that came, if one did."""
    if received is None:
        return End.FAILED, "the connection broke"
    why = f"the server closed the connection ({received.code} {received.reason})".replace(" )", ")")
    match received.code:
        case 4001:  # the server's "replaced": a newer connection uses our id
            return End.REPLACED, why
        case 1001 | 1012:  # going away, service restart
            return End.GOING_AWAY, why
        case _:
            return End.FAILED, why
