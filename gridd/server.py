"""``gridd serve`` from start to end: opens what is needed in order, closes it in reverse.

The order of a stop is written once, here: let sockets go (1001), stop accepting, finish what was
taken and sync it, keep a snapshot, give webhooks a moment, close the journal.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from aiohttp import web

from gridd.blobs.opening import open_blobs
from gridd.config import Config
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.app import build_app
from gridd.edge.client_frames import JsonFrames
from gridd.edge.sockets import Sockets
from gridd.errors import BlobError
from gridd.journal.base import JournalError
from gridd.journal.files import FileJournal
from gridd.metrics.meters import Meters
from gridd.segments import SEGMENTS_PER_LOG_RETENTION
from gridd.webhooks.webhooks import Webhooks

log = logging.getLogger("gridd")

STOP_S = 5.0
"""For connections to end by themselves; then they are cut. With the last sync, well under the
10 s in which ``gridd serve`` promises to be gone."""

_SEGMENT_MS_MIN = 60_000  # a grid that keeps things for minutes would drown in small files

_COLLECT = (50_000, 20, 50)
"""Our structs make no cycles, and what is not in a cycle is freed without the collector: it is
asked to look far less often than after Python's 700 allocations."""

_SWITCH_S = 0.0005
"""While the loop is busy, the journal's thread waits so long each time that it comes back from the
disk, some four times a batch; Python's 5 ms would make that 20 ms in which nobody is answered."""


async def serve(config: Config, *, ready: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; the answer is the exit code. ``ready`` gets the grid's URL."""
    stopping = asyncio.Event()
    gc.set_threshold(*_COLLECT)
    sys.setswitchinterval(_SWITCH_S)
    try:
        async with running(config) as (url, failed):
            with _signals(stopping):
                ready(url)
                stop = asyncio.ensure_future(stopping.wait())
                both: tuple[asyncio.Future[Any], ...] = (stop, failed)
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
                if failed.done() and failed.exception() is not None:
                    log.critical("stopping: %s", failed.exception())
                    return 1
        return 0
    except (JournalError, BlobError, OSError) as error:
        log.critical("%s", error)
        return 1


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[str, asyncio.Future[None]]]:
    """A grid that serves while the block runs: its URL, and a future that gets the error when it
    can't go on. Raises ``JournalError``, ``BlobError`` or ``OSError`` when it can't start."""
    async with contextlib.AsyncExitStack() as stack:
        meters = Meters()
        kept_ms = min(config.log_retention_ms, config.retention_ms)
        segment_ms = max(kept_ms // SEGMENTS_PER_LOG_RETENTION, _SEGMENT_MS_MIN)
        journal = await asyncio.to_thread(
            partial(
                FileJournal,
                config.journal,
                synced=meters.sync_seconds.observe,
                segment_ms=segment_ms,
            )
        )
        stack.callback(journal.close)
        blobs = await open_blobs(config.blobs, config.s3, config.retention_ms)
        stack.push_async_callback(blobs.close)
        frames = JsonFrames()
        settings = Settings(
            lease_ms=config.lease_ms,
            heartbeat_ms=config.heartbeat_ms,
            retention_ms=config.retention_ms,
            log_retention_ms=config.log_retention_ms,
        )
        webhooks = Webhooks(config.webhook_policy)
        stack.push_async_callback(webhooks.close)
        daemon = await asyncio.to_thread(
            partial(Daemon, journal, frames, settings, webhooks=webhooks, meters=meters)
        )
        daemon.start()
        stack.push_async_callback(daemon.close)
        app = build_app(daemon, blobs, config, Sockets(daemon, frames), meters=meters)
        runner = web.AppRunner(app, access_log=None, logger=_strangers(), shutdown_timeout=STOP_S)
        app.on_shutdown.append(lambda _: daemon.let_go())
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, config.host, config.port)
        await site.start()
        url = config.public_url or _url(runner, config.host)
        log.info("serving", extra={"url": url, "records": daemon.replayed})
        yield url, daemon.failed


def _strangers() -> logging.Logger:
    """Where aiohttp reports bytes that are not HTTP. Anyone can send those: a trace each would
    let a stranger fill the log, so they are debug lines."""
    quiet = logging.getLogger("gridd.http")
    quiet.addFilter(_demote)
    return quiet


def _demote(record: logging.LogRecord) -> bool:
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return log.isEnabledFor(logging.DEBUG)


def _url(runner: web.AppRunner, host: str) -> str:
    port = runner.addresses[0][1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


@contextlib.contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
