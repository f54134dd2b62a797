"""What each client command does, on top of ``api``. Each returns an exit code.

Says what is going on to the console and leaves how it looks to that; raises ``UsageError`` and
``GridError`` for ``gridd.cli`` to tell.
"""

import argparse
import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from gridd.client.api import GridClient
from gridd.client.definition import Plan, plan
from gridd.client.errors import Exit, GridError, UsageError
from gridd.client.files import read_upload, save_output
from gridd.client.follow import Dropped, Final, Lines, Restarted, StateChanged
from gridd.client.output import Console, clean, table
from gridd.client.progress import Progress
from gridd.client.target import Target, new_queue_name, resolve, resolve_api

_HINT_SECONDS = 10.0  # a job that waits for longer makes one wonder
_CANCEL_SECONDS = 10.0  # after Ctrl-C nobody wants to wait for long
_REMARKS_MAX = 20  # lines of a worker's own remarks that are shown after an error
_STORED = ("Success", "Error", "TimedOut")  # the reasons that have a result (WIRE 1.5)
_REASON_EXITS = {"Error": Exit.FAILED, "TimedOut": Exit.TIMED_OUT}


@asynccontextmanager
async def _opened(args: argparse.Namespace) -> AsyncIterator[tuple[GridClient, Target]]:
    target = resolve(args.api, args.queue, os.environ)
    async with GridClient(target.api, target.queue) as grid:
        yield grid, target


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


# --- submitting ------------------------------------------------------------------------


@asynccontextmanager
async def _planned(args: argparse.Namespace, target: Target) -> AsyncIterator[Plan]:
    """The definition that the flags say; what it needs on disk is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gridd-") as scratch:
        yield await asyncio.to_thread(plan, args, args.words, target.api, Path(scratch))


async def _upload(grid: GridClient, made: Plan, console: Console) -> None:
    for upload in made.uploads:
        progress = Progress(upload.name, upload.size, enabled=not console.quiet)
        try:
            await grid.upload(upload, progress)
        finally:
            progress.close()


async def _submitted(
    args: argparse.Namespace, grid: GridClient, target: Target, console: Console
) -> str:
    async with _planned(args, target) as made:
        await _upload(grid, made, console)
        return await grid.submit(made.definition, namespace=args.namespace)


async def submit(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, target):
        job = await _submitted(args, grid, target, console)
        _tell_submitted(job, target, console)
        return Exit.OK


def _tell_submitted(job: str, target: Target, console: Console) -> None:
    page = target.page(job)
    if console.machine:
        console.json({"jobId": job, "queue": target.queue, "api": target.api, "url": page})
    else:
        console.data(job)
        console.remark(page)


async def run(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, target):
        job = await _submitted(args, grid, target, console)
        if args.no_follow:
            _tell_submitted(job, target, console)
            return Exit.OK
        console.remark(f"job {job} on queue {target.queue}")
        console.remark(target.page(job))
        return await _seen_through(args, grid, target, job, console)


async def wait(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, target):
        await grid.definition(args.job)
        return await _seen_through(args, grid, target, args.job, console)


async def url(args: argparse.Namespace, console: Console) -> int:
    if args.job is not None:
        if args.words:
            raise UsageError("`gridd url` takes a job or a definition, not both")
        console.data(resolve(args.api, args.queue, os.environ).page(args.job))
        return Exit.OK
    async with _opened(args) as (grid, target), _planned(args, target) as made:
        await _upload(grid, made, console)
        console.data(target.page_of(made.definition))
        return Exit.OK


async def upload(args: argparse.Namespace, console: Console) -> int:
    api = resolve_api(args.api, os.environ)
    item = await asyncio.to_thread(read_upload, args.path, Path(args.path))
    async with GridClient(api, "") as grid:
        await _upload(grid, Plan({}, [item]), console)
    reference = item.reference(api)
    if console.machine:
        address = reference["value"]
        console.json({"path": args.path, "hash": item.sha256, "url": address, "ref": reference})
    else:
        console.data(reference["value"])
    return Exit.OK


# --- following -------------------------------------------------------------------------


async def _seen_through(
    args: argparse.Namespace, grid: GridClient, target: Target, job: str, console: Console
) -> int:
    """Follow to the end, then report; Ctrl-C leaves the job alone unless told otherwise."""
    try:
        reason, run_lines = await _followed(grid, job, console)
        return await _reported(args, grid, target, job, reason, run_lines, console)
    except asyncio.CancelledError:
        return await _interrupted(args, grid, job, console)


async def _followed(
    grid: GridClient,
    job: str,
    console: Console,
    *,
    since: int = 0,
    kind: str = "both",
    lines_alone: bool = False,
) -> tuple[str, int]:
    """Why it ended, and how many run lines it had. ``lines_alone`` tells nothing of states."""
    run_lines, loop = 0, asyncio.get_running_loop()
    hint = loop.call_later(
        _HINT_SECONDS, console.remark, "still waiting; `gridd status` shows the queue's workers"
    )
    if lines_alone:
        hint.cancel()
    try:
        async with aclosing(grid.follow(job, since=since)) as events:
            async for event in events:
                match event:
                    case StateChanged(state):
                        if state != "Queued":
                            hint.cancel()
                        if state != "Finished" and not lines_alone:
                            console.remark(state.lower())
                    case Lines("build", _, lines) if kind != "run":
                        console.build_lines(lines, as_data=kind == "build")
                    case Lines("run", first, lines):
                        run_lines = first + len(lines)
                        if kind != "build":
                            console.run_lines(lines)
                    case Restarted():
                        run_lines = 0
                        console.complaint("the worker was lost; the job starts again")
                    case Dropped(which, count):
                        console.complaint(f"{count} {which} lines are no longer kept")
                    case Final(reason):
                        return reason, run_lines
        raise GridError("the grid did not say how the job ended; see `gridd result`", 200)
    finally:
        hint.cancel()


async def _interrupted(
    args: argparse.Namespace, grid: GridClient, job: str, console: Console
) -> int:
    if getattr(args, "cancel_on_interrupt", False):
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                words = await grid.cancel(job, namespace=args.namespace)
            console.complaint(f"interrupted; job {job}: {clean(words)}")
        except (GridError, TimeoutError) as error:
            console.complaint(f"interrupted; the job could not be cancelled: {clean(error)}")
        return Exit.INTERRUPTED
    console.complaint("interrupted; the job goes on")
    console.complaint(f"follow it:  gridd logs -f {job}")
    console.complaint(f"cancel it:  gridd cancel {job}")
    return Exit.INTERRUPTED


# --- reporting -------------------------------------------------------------------------


async def _reported(
    args: argparse.Namespace,
    grid: GridClient,
    target: Target,
    job: str,
    reason: str,
    run_lines: int,
    console: Console,
) -> int:
    finished = await grid.result(job) if reason in _STORED else None
    result = _result_of(finished)
    outputs = _outputs_of(result)
    _tell_end(reason, result, run_lines, console)
    code = _exit_code(reason, result)
    saved: list[str] = []
    if args.output_dir is not None:
        saved = await _saved(grid, job, outputs, Path(args.output_dir), console)
        code = code or (Exit.OK if len(saved) == len(outputs) else Exit.TROUBLE)
    elif outputs:
        names = clean(", ".join(outputs), 200)
        console.remark(f"outputs: {names} (save them with `gridd outputs {job}`)")
    if console.machine:
        summary = {
            "jobId": job,
            "queue": target.queue,
            "state": "Finished",
            "finishedReason": reason,
            "StatusCode": result.get("StatusCode"),
            "duration": result.get("duration"),
            "outputs": list(outputs),
            "error": result.get("error"),
            "url": target.page(job),
        }
        console.json(summary | ({"saved": saved} if args.output_dir is not None else {}))
    return code


def _result_of(finished: dict[str, Any] | None) -> dict[str, Any]:
    inner = (finished or {}).get("finished")
    result = inner.get("result") if isinstance(inner, dict) else None
    return result if isinstance(result, dict) else {}


def _outputs_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    outputs = result.get("outputs")
    if not isinstance(outputs, dict):
        return {}
    return {name: ref for name, ref in outputs.items() if isinstance(ref, dict)}


def _exit_code(reason: str, result: dict[str, Any]) -> int:
    if reason == "Success":
        code = result.get("StatusCode")
        return code & 0xFF if isinstance(code, int) else Exit.OK
    if reason in _STORED:
        return _REASON_EXITS[reason]
    return Exit.FAILED if reason == "Unknown" else Exit.CANCELLED


def _tell_end(reason: str, result: dict[str, Any], run_lines: int, console: Console) -> None:
    duration = result.get("duration")
    after = f" after {duration / 1000:.1f} s" if isinstance(duration, int | float) else ""
    if reason == "Success":
        console.remark(f"exit code {clean(result.get('StatusCode'))}{after}")
    elif reason == "TimedOut":
        console.complaint(f"the job took longer than it may{after}; see --max-duration")
    elif reason == "Error":
        for line in _remarks(result, run_lines):
            console.complaint(line)
        console.complaint(f"the job failed: {clean(_error_text(result.get('error')))}")
    else:
        console.complaint(f"the job has no result: {clean(reason)}")


def _remarks(result: dict[str, Any], run_lines: int) -> list[str]:
    """What the worker itself said: the lines of the result that were not streamed before."""
    logs = result.get("logs")
    rest = logs[run_lines:] if isinstance(logs, list) else []
    texts = [clean(line[0]) for line in rest if isinstance(line, list) and line]
    return [text for text in texts if text][-_REMARKS_MAX:]


def _error_text(error: Any) -> str:
    """``error`` is a text, or an object as Docker clients make them (WIRE 6.10)."""
    if isinstance(error, dict):
        inner = error.get("json")
        words = inner.get("message") if isinstance(inner, dict) else error.get("message")
        return str(words or error.get("reason") or error)
    return str(error or "the grid gave no reason")


async def _saved(
    grid: GridClient,
    job: str,
    outputs: dict[str, dict[str, Any]],
    folder: Path,
    console: Console,
) -> list[str]:
    """The paths of what could be saved; what could not is told, and the rest goes on."""
    paths: list[str] = []
    for name, reference in outputs.items():
        try:
            path = await save_output(grid, job, name, reference, folder, quiet=console.quiet)
        except GridError as error:
            console.complaint(f"output {clean(name, 80)}: {clean(error)}")
        else:
            console.remark(f"saved {path}")
            paths.append(str(path))
    return paths


# --- asking ----------------------------------------------------------------------------


async def logs(args: argparse.Namespace, console: Console) -> int:
    kinds = ("build", "run") if args.kind == "both" else (args.kind,)
    async with _opened(args) as (grid, _):
        await grid.definition(args.job)
        if args.follow:
            await _followed(
                grid, args.job, console, since=args.since, kind=args.kind, lines_alone=True
            )
            return Exit.OK
        for kind in kinds:
            page = await grid.logs(args.job, kind, args.since)
            if console.machine:
                body = {
                    "kind": kind,
                    "data": [_line(line) for line in page.data],
                    "sliceStart": page.slice_start,
                    "nextCursor": page.next_cursor,
                    "isFinal": page.is_final,
                }
                console.json(body)
            elif kind == "build":
                console.build_lines(page.data, as_data=args.kind == "build")
            else:
                console.run_lines(page.data)
    return Exit.OK


def _line(line: Any) -> list[Any]:
    return [line.text, line.time, True] if line.stderr else [line.text, line.time]


async def result(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, _):
        await grid.definition(args.job)
        console.json(await grid.result(args.job))
    return Exit.OK


async def outputs(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, _):
        await grid.definition(args.job)
        finished = await grid.result(args.job)
        if finished is None:
            raise UsageError(f"job {args.job} has no result yet; wait for it with `gridd wait`")
        wanted = _outputs_of(_result_of(finished))
        saved = await _saved(grid, args.job, wanted, Path(args.output_dir), console)
    if console.machine:
        console.json({"files": saved})
    else:
        for path in saved:
            console.data(path)
    return Exit.OK if len(saved) == len(wanted) else Exit.TROUBLE


async def cancel(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, _):
        await grid.definition(args.job)
        words = await grid.cancel(args.job, namespace=args.namespace, message=args.message or "")
    if console.machine:
        console.json({"jobId": args.job, "message": words})
    else:
        console.remark(clean(words))
    return Exit.OK


async def status(args: argparse.Namespace, console: Console) -> int:
    async with _opened(args) as (grid, target):
        answer = await grid.status()
    if console.machine:
        console.json(answer)
        return Exit.OK
    jobs, workers = _members(answer, "jobs"), _workers(answer)
    counts = Counter(clean(job.get("state"), 20) for job in jobs.values())
    states = ", ".join(f"{counts[state]} {state.lower()}" for state in sorted(counts)) or "no jobs"
    console.data(f"queue {target.queue}: {states}; {_counted(len(workers), 'worker')}")
    if workers:
        rows: list[tuple[object, ...]] = [("WORKER", "CPUS", "GPUS", "JOBS", "STATE")]
        rows += [
            (
                worker_id,
                _plain(worker.get("cpus")),
                _plain(worker.get("gpus")),
                len(_members(worker, "queue")),
                _worker_state(worker),
            )
            for worker_id, worker in workers.items()
        ]
        console.data(table(rows))
    elif counts.keys() & {"Queued", "Running"}:
        console.remark("nobody works on this queue: start a worker with `gridd-worker run`")
    return Exit.OK


def _members(value: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    member = value.get(name)
    if not isinstance(member, dict):
        return {}
    return {str(key): item for key, item in member.items() if isinstance(item, dict)}


def _workers(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of this server and, where a grid has several, of the others (WIRE 8)."""
    workers = _members(answer, "localWorkers")
    for server in _members(answer, "otherServers").values():
        workers |= _members(server, "workers")
    return workers


def _worker_state(worker: dict[str, Any]) -> str:
    if worker.get("connected") is False:
        return "away"
    return "draining" if worker.get("draining") else "ready"


def _plain(number: Any) -> object:
    return f"{number:g}" if isinstance(number, int | float) else "?"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
