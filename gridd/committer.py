"""The one loop: gather what the engines decided, make it durable, then let it out.

``take`` is called as events are stepped. Records wait here for the next append; effects wait
behind the records that came before them. One append is under way at a time, in a thread; what
arrives meanwhile is the next batch (group commit), so one sync serves all who wait.

This is the only place that lets effects out, and it does so in the order in which they were
taken: durable before visible (DESIGN 5.2).
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Protocol, TypeVar

import msgspec

from gridd.core.effects import Append, Effect
from gridd.core.records import Record
from gridd.journal.base import Journal, JournalError, Position

log = logging.getLogger("gridd")

T = TypeVar("T")


class CarryOut(Protocol):
    def __call__(self, queue: str, effect: Effect) -> None: ...


class Committer:
    """``carry_out`` gets each effect once it may leave, ``located`` each record's position once
    it is durable, ``failed`` the error that ended it all (once); ``appended``, for
    each batch, its records, its bytes in the journal, and the seconds until it was durable."""

    def __init__(
        self,
        journal: Journal,
        carry_out: CarryOut,
        located: Callable[[Record, Position], None],
        failed: Callable[[BaseException], None],
        appended: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self._journal = journal
        self._carry_out = carry_out
        self._located = located
        self._failed = failed
        self._appended = appended
        self._encode = msgspec.msgpack.Encoder().encode
        # The next batch: its records, and all that leaves once they are durable, in order.
        self._records: list[Record] = []
        self._behind: list[tuple[str, Effect] | Callable[[], None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._boundaries: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._committing = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._error: BaseException | None = None
        self.appends = 0
        self.records = 0

    def take(self, queue: str, effects: list[Effect]) -> None:
        """Let ``effects`` out in order, each as soon as all records before it are durable."""
        if self._error is not None:
            return  # nothing leaves any more; callers were told by ``failed``
        records, behind = self._records, self._behind
        for effect in effects:
            if type(effect) is Append:
                records.append(effect.record)
            elif records or self._committing:
                behind.append((queue, effect))
            else:
                self._carry_out(queue, effect)
        if self._records and not self._committing:
            self._committing = True
            self._task = asyncio.get_running_loop().create_task(self._commit_all())

    def defer(self, act: Callable[[], None]) -> None:
        """Call ``act`` once all that was taken so far is durable and out (never, if it fails)."""
        if self._error is not None:
            return
        if self._records or self._committing:
            self._behind.append(act)
        else:
            act()

    async def durable(self) -> None:
        """Return once all that was taken so far is durable. Raises ``JournalError`` when it
        never will be."""
        if self._error is not None:
            raise JournalError("the journal can't be written any more") from self._error
        if not self._committing:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def at_boundary(self, look: Callable[[], T]) -> tuple[T, Position]:
        """Call ``look`` at a moment when the journal will hold, up to the position that is
        answered, exactly what the engines have decided by then. Raises as ``durable``."""
        if self._error is not None:
            raise JournalError("the journal can't be written any more") from self._error
        if not self._committing:
            return look(), self._journal.end
        answer: asyncio.Future[tuple[T, Position]] = asyncio.get_running_loop().create_future()
        self._boundaries.append((look, answer))
        return await answer

    async def between_appends(self, act: Callable[[], T]) -> T:
        """Run ``act`` in the journal's thread, while nothing is appended."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    async def close(self) -> None:
        """Finish what was taken, then stop. Nothing may be taken meanwhile."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        self._thread.shutdown()

    async def _commit_all(self) -> None:
        """Runs while there is anything to commit; ends by itself when all is out."""
        under_way: list[asyncio.Future[Any]] = []
        try:
            await asyncio.sleep(0)  # let the rest of this turn's events join the first batch
            while self._records or self._behind or self._waiters or self._boundaries:
                records, self._records = self._records, []
                behind, self._behind = self._behind, []
                waiters, self._waiters = self._waiters, []
                boundaries, self._boundaries = self._boundaries, []
                under_way = [*waiters, *(answer for _, answer in boundaries)]
                seen = [look() for look, _ in boundaries]
                await self._append(records)
                for one in behind:
                    if isinstance(one, tuple):
                        self._carry_out(*one)
                    else:
                        one()
                for waiter in waiters:
                    _resolve(waiter, None)
                for (_, answer), value in zip(boundaries, seen, strict=True):
                    _resolve(answer, (value, self._journal.end))
        except BaseException as error:
            self._fail(error, under_way)
        finally:
            self._committing = False

    async def _append(self, records: list[Record]) -> None:
        if not records:
            return
        payloads = [self._encode(record) for record in records]
        before, began = self._journal.end, perf_counter()
        positions = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._journal.append, payloads, self._journal.end
        )
        self.appends += 1
        self.records += len(records)
        if self._appended is not None:
            size = _bytes_between(before, self._journal.end)
            self._appended(len(records), size, perf_counter() - began)
        for record, position in zip(records, positions, strict=True):
            self._located(record, position)

    def _fail(self, error: BaseException, under_way: list[asyncio.Future[Any]]) -> None:
        """Nothing of what waits here is known to be durable: none of it leaves."""
        self._error = error
        answers = (answer for _, answer in self._boundaries)
        for waiting in [*under_way, *self._waiters, *answers]:
            if not waiting.done():
                waiting.set_exception(JournalError("the journal can't be written any more"))
        self._waiters.clear()
        self._boundaries.clear()
        self._behind.clear()
        self._records.clear()
        self._failed(error)


def _bytes_between(before: Position, after: Position) -> int:
    """Of one append, which begins a new segment at most."""
    return after.offset - (before.offset if after.segment == before.segment else 0)


def _resolve(waiting: asyncio.Future[Any], value: Any) -> None:
    if not waiting.done():
        waiting.set_result(value)
