"""The daemon's one clock: ms since the epoch that never run backwards.

Taken from the wall once, then carried on by the monotonic clock, so that setting the machine's
time neither expires leases nor reorders records. ``not_before`` is the newest time in the journal:
a machine whose wall clock was set back between two runs starts from there.
"""

import time
from collections.abc import Callable


class Clock:
    def __init__(
        self,
        not_before: int = 0,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._anchor = max(int(wall() * 1000), not_before) - int(monotonic() * 1000)

    def now_ms(self) -> int:
        return self._anchor + int(self._monotonic() * 1000)
