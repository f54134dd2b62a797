"""A grid in this process, with upstream's times scaled."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from gridd.blobs.base import Blobs
from gridd.blobs.folder import FolderBlobs
from gridd.clock import Clock
from gridd.config import Config
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.app import build_app
from gridd.edge.client_frames import JsonFrames
from gridd.edge.sockets import Sockets
from gridd.edge.upstream_pace import WorkerPace
from gridd.journal.memory import MemoryJournal
from gridd.webhooks.webhooks import Webhooks


@dataclass
class Grid:
    url: str
    daemon: Daemon

    async def submit(
        self, definition: dict[str, Any], namespace: str = "_", queue: str = "q"
    ) -> str:
        body = {"definition": definition, "control": {"namespace": namespace}}
        return (await self.daemon.submit(queue, json.dumps(body).encode())).job

    async def state(self, job: str, queue: str = "q") -> tuple[str, str, int]:
        """State, worker and attempt."""
        view = await self.daemon.job(queue, job)
        assert view is not None, job
        return view.state, view.worker, view.attempt


@asynccontextmanager
async def grid(
    folder: Path,
    *,
    scale: float = 0.1,
    blobs: Blobs | None = None,
    options: dict[str, Any] | None = None,
    journal: MemoryJournal | None = None,
    clock: Callable[[int], Clock] = Clock,
    webhooks: Webhooks | None = None,
    **settings: int,
) -> AsyncIterator[Grid]:
    """``blobs`` instead of a folder; ``options`` of the ``Config``, ``settings`` of the engine."""
    frames = JsonFrames()
    daemon = Daemon(
        journal or MemoryJournal(), frames, Settings(**settings), clock=clock, webhooks=webhooks
    )
    daemon.start()
    blobs = blobs or FolderBlobs(folder / "blobs")
    pace = WorkerPace(*(seconds * scale for seconds in astuple(WorkerPace())))
    config = Config(port=0, data_dir=folder, **(options or {}))
    runner = web.AppRunner(build_app(daemon, blobs, config, Sockets(daemon, frames, pace)))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Grid(f"http://127.0.0.1:{runner.addresses[0][1]}", daemon)
    finally:
        await daemon.let_go()
        await runner.cleanup()
        await daemon.close()
        await blobs.close()


async def until(condition: Any, seen: Any, timeout_s: float = 15) -> None:
    """Wait for ``condition()``, plain or to be awaited; on time-out say what ``seen()`` was."""
    import asyncio
    import inspect
    import time

    deadline = time.monotonic() + timeout_s
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {seen()!r}"
        await asyncio.sleep(0.01)
