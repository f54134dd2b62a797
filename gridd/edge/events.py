"""A job's story as it happens, as Server-Sent Events (WIRE 1.8).

Told when something changes, not by polling. Ends with ``final``; a quiet stream carries a
comment now and then so that proxies keep it open.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from gridd.core.effects import JobView
from gridd.documents import wire_lines
from gridd.edge import parameters
from gridd.edge.sending import send
from gridd.grid import Change, Grid
from gridd.metrics.meters import SocketMeter

KEEP_ALIVE: Final = b": waiting\n\n"
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # asks nginx to pass frames on as they come
}


@dataclass(frozen=True, slots=True)
class Pace:
    """``keep_alive_s``: silence before a comment; ``longest_s``: age at which a stream ends with
    ``Timeout``, as upstream's does (also what bounds the wait for a job nobody has submitted)."""

    keep_alive_s: float = 15.0
    longest_s: float = 30 * 60.0


class EventRoutes:
    def __init__(self, grid: Grid, pace: Pace, sockets: SocketMeter) -> None:
        self._grid = grid
        self._sockets = sockets
        self._pace = pace
        self._waiting: set[asyncio.Future[Change | None]] = set()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        queue, job = parameters.queue_name(request), parameters.job_id(request)
        self._grid.check_room(queue)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        number = self._sockets.begin("events")
        try:
            async with aclosing(self._frames(self._grid.watch(queue, job))) as frames:
                async for frame in frames:
                    await send(response, frame)
        finally:
            self._sockets.end("events", number)
        await response.write_eof()
        return response

    async def close(self, app: web.Application) -> None:
        """On shutdown: end every stream, without a ``final``."""
        for waiting in list(self._waiting):
            waiting.cancel()

    async def _frames(self, changes: AsyncIterator[Change]) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._pace.longest_s
        story = _Story()
        waiting = self._next(changes)
        try:
            while True:
                patience = min(self._pace.keep_alive_s, deadline - clock())
                await asyncio.wait({waiting}, timeout=max(patience, 0))
                if waiting.cancelled():
                    return
                if waiting.done():
                    if (change := waiting.result()) is None:
                        break
                    for frame in story.tell(change):
                        yield frame
                    waiting = self._next(changes)
                elif clock() >= deadline:
                    yield _frame(
                        "final", {"state": "Timeout", "reason": "Stream max duration exceeded"}
                    )
                    return
                else:
                    yield KEEP_ALIVE
            for frame in story.end():
                yield frame
        finally:
            await _stop(waiting, changes)

    def _next(self, changes: AsyncIterator[Change]) -> asyncio.Future[Change | None]:
        waiting = asyncio.ensure_future(_next_or_none(changes))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting


class _Story:
    """Turns changes into frames; remembers what was said, to say it once."""

    def __init__(self) -> None:
        self._said: tuple[str, str | None, int] | None = None
        self._view: JobView | None = None

    def tell(self, change: Change) -> list[bytes]:
        if change.log is not None:
            kind, first, lines = change.log
            body = {"lines": wire_lines(lines), "cursor": first + len(lines)}
            return [_frame(f"{kind}-log", body)]
        view = self._view = change.view
        if view is None:
            return []
        said = (view.state, view.finished_reason, view.attempt)
        if self._said == said:
            return []
        self._said = said
        if view.state in ("Queued", "Running"):
            attempt = {"attempt": view.attempt} if view.attempt else {}  # ours: upstream has none
            return [_frame("state", {"state": view.state, **attempt})]
        return [_frame("state", _final(view))]

    def end(self) -> list[bytes]:
        """Nothing when the changes stopped before the job did: then the server is stopping."""
        if self._view is None or self._view.state in ("Queued", "Running"):
            return []
        return [_frame("final", _final(self._view))]


def _final(view: JobView) -> dict[str, str]:
    return {"state": "Finished", "reason": view.finished_reason or "Unknown"}


def _frame(event: str, body: dict[str, Any]) -> bytes:
    """JSON holds no line break, so one ``data`` line does."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(body))


async def _next_or_none(changes: AsyncIterator[Change]) -> Change | None:
    return await anext(changes, None)


async def _stop(waiting: asyncio.Future[Change | None], changes: AsyncIterator[Change]) -> None:
    """An iterator may only be closed once nobody waits for its next value."""
    waiting.cancel()
    await asyncio.wait({waiting})
    if isinstance(changes, AsyncGenerator):
        await changes.aclose()
