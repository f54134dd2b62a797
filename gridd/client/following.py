"""Commands that watch a job: wait, logs, and the second half of run and rerun."""

import argparse
import asyncio
import contextlib
from typing import Any

from gridd.client.api import GridClient
from gridd.client.errors import Exit, GridError, UsageError
from gridd.client.follow import Dropped, Final, Lines, Restarted, StateChanged
from gridd.client.opening import opened
from gridd.client.output import Console, clean
from gridd.client.reporting import Seen, reported, summary
from gridd.client.target import Target
from gridd.client.workers import connected_workers, state_of
from gridd_protocol.units import parse_duration_setting

_HINT_SECONDS = 10.0  # a job that waits for longer makes one wonder
_HINT_ASK_SECONDS = 5.0
_CANCEL_SECONDS = 10.0  # after Ctrl-C nobody wants to wait for long


def check_timeout(args: argparse.Namespace) -> float | None:
    """Seconds of ``--timeout``. Raises ``UsageError``."""
    if args.timeout is None:
        return None
    try:
        return parse_duration_setting(args.timeout) / 1000
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from error


async def wait(args: argparse.Namespace, console: Console) -> int:
    check_timeout(args)
    async with opened(args) as (grid, target):
        await grid.definition(args.job)
        return await seen_through(args, grid, target, args.job, console)


async def seen_through(
    args: argparse.Namespace, grid: GridClient, target: Target, job: str, console: Console
) -> int:
    """Follow to the end, then report; Ctrl-C leaves the job alone unless told otherwise, and so
    does ``--timeout``."""
    try:
        try:
            async with asyncio.timeout(check_timeout(args)) as limit:
                reason, seen = await followed(grid, job, console)
        except TimeoutError:
            if not limit.expired():
                raise
            return await _left(args, grid, target, job, console)
        return await reported(args, grid, target, job, reason, seen, console)
    except asyncio.CancelledError:
        return await _interrupted(args, grid, job, console)


async def followed(
    grid: GridClient,
    job: str,
    console: Console,
    *,
    since: int = 0,
    kind: str = "both",
    lines_alone: bool = False,
) -> tuple[str, Seen]:
    """Why it ended, and what of its log was shown. ``lines_alone``: the lines are what was asked
    for; nothing is told of states."""
    seen = Seen()
    hint = asyncio.ensure_future(_wonder(grid, job, console))
    if lines_alone:
        hint.cancel()
    try:
        async with contextlib.aclosing(grid.follow(job, since=since)) as events:
            async for event in events:
                match event:
                    case StateChanged(state):
                        if state != "Queued":
                            hint.cancel()
                        if state != "Finished" and not lines_alone:
                            console.remark(state.lower())
                    case Lines(which, first, lines):
                        if which == "run":
                            seen.run_lines = first + len(lines)
                        elif lines:
                            seen.last_build_line = lines[-1].text
                        if kind in (which, "both"):
                            console.lines(which, lines, as_data=lines_alone)
                    case Restarted():
                        seen = Seen()
                        console.complaint("the worker was lost; the job starts again")
                    case Dropped(which, count):
                        console.complaint(f"{count} {which} lines are no longer kept")
                    case Final(reason):
                        return reason, seen
        raise GridError("the grid did not say how the job ended; see `gridd result`", 200)
    finally:
        hint.cancel()
        await asyncio.wait({hint})


async def _wonder(grid: GridClient, job: str, console: Console) -> None:
    """Once, to whom a job waits for long: why."""
    await asyncio.sleep(_HINT_SECONDS)
    why = None
    with contextlib.suppress(GridError, TimeoutError):
        async with asyncio.timeout(_HINT_ASK_SECONDS):
            why = await grid.why_it_waits(job)
    console.remark(f"still waiting. {clean(why or 'Nobody says why')} (workers: `gridd status`)")


async def _left(
    args: argparse.Namespace, grid: GridClient, target: Target, job: str, console: Console
) -> int:
    """``--timeout`` is over. Tells whether anybody was there to run the job."""
    status = await grid.status()
    state, workers = state_of(status, job), connected_workers(status)
    lonely = state == "Queued" and not workers
    why = f"nobody works on queue {target.queue}" if lonely else f"the job is {state.lower()}"
    console.complaint(f"not over after {args.timeout}: {why}; it is left as it is")
    _tell_how_to_go_on(job, console)
    if console.machine:
        console.json(summary(target, job, state, None, {}))
    return Exit.NO_WORKER if lonely else Exit.TIMED_OUT


async def _interrupted(
    args: argparse.Namespace, grid: GridClient, job: str, console: Console
) -> int:
    if not getattr(args, "cancel_on_interrupt", False):
        console.complaint("interrupted; the job goes on")
        _tell_how_to_go_on(job, console)
        return Exit.INTERRUPTED
    try:
        async with asyncio.timeout(_CANCEL_SECONDS):
            words = await grid.cancel(job, namespace=args.namespace)
        console.complaint(f"interrupted; job {job}: {clean(words)}")
    except (GridError, TimeoutError) as error:
        console.complaint(f"interrupted; the job could not be cancelled: {clean(error)}")
    return Exit.INTERRUPTED


def _tell_how_to_go_on(job: str, console: Console) -> None:
    console.complaint(f"follow it:  gridd logs -f {job}")
    console.complaint(f"cancel it:  gridd cancel {job}")


async def logs(args: argparse.Namespace, console: Console) -> int:
    kinds = ("build", "run") if args.kind == "both" else (args.kind,)
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        if args.follow:
            await followed(
                grid, args.job, console, since=args.since, kind=args.kind, lines_alone=True
            )
            if not console.machine:
                return Exit.OK
        for kind in kinds:
            page = await grid.logs(args.job, kind, args.since)
            if console.machine:
                console.json(_told_page(kind, page))
            else:
                console.lines(kind, page.data, as_data=True)
    return Exit.OK


def _told_page(kind: str, page: Any) -> dict[str, Any]:
    lines = [
        [line.text, line.time, True] if line.stderr else [line.text, line.time]
        for line in page.data
    ]
    return {
        "kind": kind,
        "data": lines,
        "sliceStart": page.slice_start,
        "nextCursor": page.next_cursor,
        "isFinal": page.is_final,
    }
