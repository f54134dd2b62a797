"""When the journal can't be written: what peers are told, and how writing begins again.

A failed write or sync is the disk's trouble, not the end: what is on the disk is read again and
shown, and from time to time the disk is asked whether it takes writes (``Journal.reopen``). What
can't pass (another writer, damage, a fault of ours) ends the daemon.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from gridd.errors import disk_words
from gridd.journal.base import Damaged, Fenced, Journal, JournalError, WriteFailed

log = logging.getLogger("gridd")

PAUSE_MIN_S = 1.0
PAUSE_MAX_S = 30.0
STEADY_S = 60.0
"""Writing that lasted so long counts as mended. Trouble that is back sooner goes on with the
pauses where they were, so that a disk on the brink does not have us read the journal all day."""


def passes(error: BaseException) -> bool:
    """Whether the disk may get over it."""
    return isinstance(error, JournalError) and not isinstance(error, Fenced | Damaged)


def sentence(error: BaseException) -> str:
    """For peers: no path, no trace."""
    return f"the journal can't be written now: {disk_words(error)}; nothing new is accepted"


class Trouble:
    """Nothing, until ``begin``; then one task until writing goes on.

    ``read_again`` makes readers see what is durable, ``go_on`` is called when the journal takes
    writes again, ``give_up`` with what can't pass. ``why`` is for peers while it lasts.
    """

    def __init__(
        self,
        journal: Journal,
        read_again: Callable[[], Awaitable[None]],
        go_on: Callable[[], None],
        give_up: Callable[[BaseException], None],
    ) -> None:
        self.why: str | None = None
        self._journal = journal
        self._read_again = read_again
        self._go_on = go_on
        self._give_up = give_up
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._mended_at = float("-inf")

    def begin(self, error: WriteFailed) -> None:
        """Raised by an append. Returns at once."""
        self.why = sentence(error)
        log.error("%s. Reads go on", error)
        if monotonic() - self._mended_at > STEADY_S:
            self._pause_s = 0.0
        self._task = asyncio.get_running_loop().create_task(self._mend())

    async def stop(self) -> None:
        """End the attempts; what a thread does to the disk is waited for. Twice is fine."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _mend(self) -> None:
        began = monotonic()
        try:
            while not await self._works(self._read_again):
                if await self._stopped():
                    return
            while True:
                if await self._stopped():
                    return
                if await self._works(self._reopen):
                    break
            self.why = None
            self._mended_at = monotonic()
            log.warning("the journal is written again after %.0f s", self._mended_at - began)
            self._go_on()
        except Exception as error:
            self._give_up(error)

    async def _works(self, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except JournalError as error:
            if not passes(error):
                raise
            why = sentence(error)
            if why != self.why:  # one line for each change, not for each attempt
                log.error("%s", error)
                self.why = why
            return False
        return True

    async def _reopen(self) -> None:
        await asyncio.to_thread(self._journal.reopen)

    async def _stopped(self) -> bool:
        """Waits for the next attempt; true when there shall be none."""
        try:
            async with asyncio.timeout(self._next_pause_s()):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _next_pause_s(self) -> float:
        self._pause_s = min(max(self._pause_s * 2, PAUSE_MIN_S), PAUSE_MAX_S)
        return self._pause_s
