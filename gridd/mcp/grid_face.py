"""The tools' view of the daemon in this process: its ``Grid`` and its blobs."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import msgspec

from gridd.blobs.base import Blobs
from gridd.grid import Change, Grid
from gridd.mcp.face import CancelledWas, Ended, JsonObject, Lines, Step
from gridd_protocol.canonical import read_json

_CANCELLED = "Job cancelled by a tool"


class GridFace:
    """``origin``: the URL that the caller reaches this grid under."""

    def __init__(self, grid: Grid, blobs: Blobs, origin: str, default_queue: str) -> None:
        self._grid = grid
        self._blobs = blobs
        self.origin = origin
        self.default_queue = default_queue

    async def submit(self, queue: str, definition: JsonObject, namespace: str) -> str:
        body = {"definition": definition, "control": {"namespace": namespace}}
        return (await self._grid.submit(queue, msgspec.json.encode(body))).job

    async def jobs(self, queue: str) -> dict[str, JsonObject]:
        views: dict[str, JsonObject] = _objects(await self._grid.jobs(queue))
        return views

    async def job(self, queue: str, job: str) -> JsonObject | None:
        view = await self._grid.job(queue, job)
        return None if view is None else _objects(view)

    async def definition(self, queue: str | None, job: str) -> Any:
        text = await self._grid.definition(queue, job)
        return None if text is None else read_json(text)

    async def finished(self, queue: str | None, job: str) -> JsonObject | None:
        text = await self._grid.finished(queue, job)
        return None if text is None else msgspec.json.decode(text)

    async def cancel(self, queue: str, job: str, namespace: str) -> CancelledWas:
        cancelled = await self._grid.cancel(queue, job, namespace, _CANCELLED)
        if cancelled.was is None:
            return "unknown"
        if cancelled.was in ("Finished", "Removed"):
            return "ended"
        return "cancelled" if cancelled.held else "not held"

    async def follow(self, queue: str, job: str) -> AsyncGenerator[Step, None]:
        changes = cast("AsyncGenerator[Change, None]", self._grid.watch(queue, job))
        async with aclosing(changes):
            async for change in changes:
                if change.log is not None:
                    yield Lines(change.log[0], change.log[2])
                elif change.view is not None and change.view.state not in ("Queued", "Running"):
                    yield Ended(change.view.finished_reason or "Unknown")

    async def upload(self, key: str, data: bytes) -> None:
        async def whole() -> AsyncIterator[bytes]:
            yield data

        await self._blobs.put(key, whole(), len(data))

    async def explain(self, queue: str, job: str) -> JsonObject | None:
        explanation = await self._grid.explain(queue, job)
        return None if explanation is None else _objects(explanation)


def _objects(value: Any) -> Any:
    """As it would stand in an answer: views hold JSON that is passed on as it is."""
    return msgspec.json.decode(msgspec.json.encode(value))
