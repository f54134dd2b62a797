"""Commands that ask and change nothing: result, definition, open, status, list, workers."""

import argparse
import asyncio
import os
import time
import webbrowser
from collections import Counter
from typing import Any

from gridd.client.api import GridClient
from gridd.client.errors import Exit, UsageError
from gridd.client.job_file import read_job_file
from gridd.client.links import is_link, read_link
from gridd.client.opening import opened
from gridd.client.output import Console, clean, table
from gridd.client.target import Target, new_queue_name, resolve, resolve_api
from gridd.client.workers import all_workers, members, worker_rows
from gridd_protocol.names import is_job_id

_NOBODY = "nobody works on this queue: start a worker with `gridd-worker run`"


async def queue_new(args: argparse.Namespace, console: Console) -> int:
    name = new_queue_name()
    console.data(name)
    if console.err_is_terminal and not console.quiet:
        target = Target(resolve_api(args.api, os.environ), name)
        console.remark(f"its page:     {target.queue_page()}")
        worker = f"gridd-worker run --api-address {target.api} {name}"
        console.remark(f"a worker:     {worker}")
        console.remark("who knows the name can use the queue; there is no other key")
    return Exit.OK


async def result(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        console.json(await grid.result(args.job))
    return Exit.OK


async def definition(args: argparse.Namespace, console: Console) -> int:
    """Of a job by its id; or what a link or a job file says, without asking anybody."""
    source = args.job
    link = read_link(source) if is_link(source) else None
    if link is not None and link.job is not None:
        queue = link.queue or resolve(link.api, args.queue, os.environ).queue
        async with GridClient(link.api, queue) as grid:
            console.json(await grid.definition(link.job))
    elif is_job_id(source):
        async with opened(args) as (grid, _):
            console.json(await grid.definition(source))
    else:
        file = await asyncio.to_thread(read_job_file, source)
        console.json(file.definition)
    return Exit.OK


async def open_page(args: argparse.Namespace, console: Console) -> int:
    page = resolve(args.api, args.queue, os.environ).page(args.job)
    console.data(page)
    if not await asyncio.to_thread(webbrowser.open, page):
        raise UsageError("there is no browser here to open it in; the address is above")
    return Exit.OK


async def status(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, target):
        answer = await grid.status()
    if console.machine:
        console.json(answer)
        return Exit.OK
    jobs, workers = members(answer, "jobs"), all_workers(answer)
    counts = Counter(clean(job.get("state"), 20) for job in jobs.values())
    states = ", ".join(f"{counts[state]} {state.lower()}" for state in sorted(counts)) or "no jobs"
    console.data(f"queue {target.queue}: {states}; {_counted(len(workers), 'worker')}")
    if workers:
        console.data(table(worker_rows(answer)))
    elif counts.keys() & {"Queued", "Running"}:
        console.remark(_NOBODY)
    return Exit.OK


async def worker_status(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        answer = await grid.status()
    workers = all_workers(answer)
    if console.machine:
        console.json(workers)
    elif workers:
        console.data(table(worker_rows(answer)))
    else:
        console.remark(_NOBODY)
    return Exit.OK


async def list_jobs(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        jobs = await grid.jobs()
    if console.machine:
        console.json(jobs)
    elif jobs:
        rows: list[tuple[object, ...]] = [("JOB", "STATE", "SUBMITTED", "WORKER", "HELD BY")]
        by_age = sorted(jobs.items(), key=lambda item: _queued_ms(item[1]))
        console.data(table(rows + [_row(job, view) for job, view in by_age]))
    else:
        console.remark("no jobs")
    return Exit.OK


def _row(job: str, view: dict[str, Any]) -> tuple[object, ...]:
    state = view.get("finishedReason") or view.get("state")
    holders = view.get("namespaces")
    names = ", ".join(map(str, holders)) if isinstance(holders, list) else ""
    return (job, state, _ago(_queued_ms(view)), view.get("worker") or "", names)


def _queued_ms(view: dict[str, Any]) -> float:
    at = view.get("queuedTime")
    return float(at) if isinstance(at, int | float) else 0.0


def _ago(at_ms: float) -> str:
    """By this machine's clock; one that is behind the grid's sees the future as now."""
    seconds = max(0, round(time.time() - at_ms / 1000)) if at_ms else 0
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
