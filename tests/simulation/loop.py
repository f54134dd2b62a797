"""An event loop and its threads, without time and without chance: both are the world's.

The daemon and the committer run on it as they are. What they hand to a thread runs in a real
thread, but only ever one at a time: it stops before each operation on the disk and goes on when
the world says so. So a crash, or anything else, may come between any two of them.
"""

from __future__ import annotations

import _thread
import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.disk import Died

if TYPE_CHECKING:
    from tests.simulation.server import Life


class Errand:
    """One call in a thread of its own, which moves only when ``step`` is called."""

    def __init__(self, life: Life, call: Callable[[], Any], done: asyncio.Future[Any]) -> None:
        self.life = life
        self.call = call
        self.future = done
        self.ended = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._go = _thread.allocate_lock()
        self._back = _thread.allocate_lock()
        self._go.acquire()
        self._back.acquire()
        self._begun = False

    def step(self) -> None:
        """On to the next operation on the disk, or to the end."""
        if self.ended:
            return
        life = self.life
        if not self._begun:
            if life.dead:
                self.ended = True
                return
            self._begun = True
            _thread.start_new_thread(self._run, ())
        life.world.errand = self
        self._go.release()
        self._back.acquire()
        life.world.errand = None
        if not self.ended:
            if not life.dead:
                life.world.later(life.world.random.randrange(1, life.world.sync_ms), self.step)
            return
        life.errands.remove(self)
        if isinstance(self._error, Died):
            if not life.dead:
                life.fell(self._error.fall)
        elif not life.dead:
            life.loop.call_soon(self._tell)

    def pause(self) -> None:
        """Called in the thread."""
        self._back.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._result = self.call()
        except BaseException as error:
            self._error = error
        self.ended = True
        self._back.release()

    def _tell(self) -> None:
        if self.future.done():
            return
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)


class SimLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as the daemon uses."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.world = life.world
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def enter(self, action: Callable[[], Any]) -> None:
        """Run ``action`` as if the loop had called it."""
        if self.life.dead:
            return
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            action()
        finally:
            asyncio._set_running_loop(before)

    def time(self) -> float:
        return self.world.now / 1000

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.life.dead

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._plan(0, handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._plan(math.ceil(delay * 1000), handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _plan(self, delay: int, handle: asyncio.Handle) -> None:
        if not self.life.dead:
            self.world.later(max(delay, 0), partial(self._run, handle))

    def _run(self, handle: asyncio.Handle) -> None:
        if not handle._cancelled:  # type: ignore[attr-defined]
            self.enter(handle._run)  # type: ignore[attr-defined]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self.life.dead:
            self.world.note(error or AssertionError(context["message"]))

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        world = self.world
        if getattr(func, "__name__", "") == "append":
            delay = world.random.randrange(1, world.sync_ms)
            world.later(delay, partial(self._append, partial(func, *args), future))
        else:
            errand = Errand(self.life, partial(func, *args), future)
            self.life.errands.append(errand)
            world.later(1, errand.step)
        return future

    def _append(self, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        """Whole at one moment: there are hundreds of these, and few of the others."""
        life, result, error = self.life, None, None
        if life.dead:
            return
        try:
            result = call()
        except Died as died:
            life.fell(died.fall)
            return
        except Exception as raised:
            error = raised
        delay = self.world.random.randrange(1, self.world.sync_ms)

        def tell() -> None:
            if not life.dead and not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        self.world.later(delay, tell)

    def end(self) -> None:
        """The process is gone. Its coroutines are closed here and now, not when the collector
        finds them: what they do on the way must not depend on it."""
        for task in list(self.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            with suppress(RuntimeError):  # it awaits something on its way out
                coroutine.close()  # type: ignore[union-attr]
        self.tasks.clear()
