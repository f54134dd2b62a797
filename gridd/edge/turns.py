"""One peer's turn in the loop, and when it is over.

A socket that always has a frame ready is never waited for: its reader would go on until nothing is
left, while nobody else is read from, answered or committed. So readers count what they handled, and
let everybody else go first when it was much.
"""

import asyncio
from typing import Final

TURN_COST: Final = 64_000
"""Bytes, or frames of ``FRAME_COST`` each: a millisecond or so (measured with log lines and with
submissions). Rarer, and the others feel it; more often, and passing on the turn costs more than it
gives."""
FRAME_COST: Final = 1_000  # of the smallest frame or message, in bytes of a large one


class Turn:
    """Of one connection."""

    def __init__(self) -> None:
        self._spent = 0

    async def spend(self, size: int) -> None:
        """``size`` bytes of a frame were handled; returns when it is this peer's turn again."""
        self._spent += size + FRAME_COST
        if self._spent >= TURN_COST:
            self._spent = 0
            await asyncio.sleep(0)
