"""``gridd doctor``: what a client or a server would miss on this machine, and what to do.

Looks and changes nothing. Each look has a deadline and answers with a sentence. What a worker needs
is for the worker to say: ``gridd worker doctor``.
"""

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

from gridd.client.api import GridClient
from gridd.client.errors import Exit, GridError, UsageError
from gridd.client.output import Console, clean
from gridd.client.target import DEFAULT_API, Target, resolve
from gridd.client.transport import BROKEN, Transport
from gridd.client.workers import all_workers, connected_workers
from gridd_protocol.version import __version__

_T = TypeVar("_T")

LOOK_SECONDS = 5.0
_SKEW_SECONDS_MAX = 5.0  # a Date header has whole seconds, and the answer was under way


@dataclass(frozen=True, slots=True)
class Finding:
    """``good`` is ``None`` where nothing is wrong and something is not there."""

    name: str
    good: bool | None
    words: str


async def doctor(args: argparse.Namespace, console: Console) -> int:
    """Exit code 0 when the grid answers and nothing is wrong, 1 otherwise."""
    findings = [_python(), _port()]
    try:
        target = resolve(args.api, args.queue, os.environ)
    except UsageError as error:
        findings.append(Finding("grid", False, str(error)))
    else:
        findings += await _grid(target)
    if console.machine:
        console.json({one.name: {"ok": one.good, "about": one.words} for one in findings})
    else:
        marks = {True: "ok", False: "FAIL", None: "-"}
        for one in findings:
            console.data(f"{marks[one.good]:<5} {one.name:<8} {clean(one.words)}")
        console.remark("for a worker on this machine: gridd worker doctor")
    return Exit.FAILED if any(one.good is False for one in findings) else Exit.OK


def _python() -> Finding:
    return Finding("gridd", True, f"{__version__} on Python {sys.version.split()[0]}")


def _port() -> Finding:
    """Whether ``gridd serve`` could take its port."""
    port = urlsplit(DEFAULT_API).port or 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = f"{port} is taken ({_reason(error)}); a server here needs `--port`"
            return Finding("port", None, why)
    return Finding("port", True, f"{port} is free for a server")


async def _grid(target: Target) -> list[Finding]:
    transport = Transport(target.api, tries=1)
    async with GridClient(target.api, target.queue, transport=transport) as grid:
        try:
            status = await _within(grid.status())
            skew = await _within(_clock_skew(transport, target))
        except (GridError, *BROKEN) as error:
            return [Finding("grid", False, _reason(error) or "no answer in time")]
    away = len(all_workers(status)) - len(connected_workers(status))
    there = f"{len(connected_workers(status))} workers, {away} away, on queue {target.queue}"
    if not connected_workers(status):
        there += "; start one with `gridd-worker run`"
    return [
        Finding("grid", True, f"{target.api} answers"),
        Finding("workers", True if connected_workers(status) else None, there),
        _clock(skew),
    ]


async def _clock_skew(transport: Transport, target: Target) -> float | None:
    """Seconds that this machine's clock is ahead of the grid's."""
    async with transport.session.get(transport.url("/healthz")) as response:
        date = response.headers.get("Date")
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return Finding("clock", None, "the grid does not say what time it is")
    if abs(skew) <= _SKEW_SECONDS_MAX:
        return Finding("clock", True, "agrees with the grid's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding("clock", False, f"{abs(skew):.0f} s {way} the grid's; set one of them right")


async def _within(look: Awaitable[_T]) -> _T:
    return await asyncio.wait_for(look, LOOK_SECONDS)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error)
