"""How a job ended: told to people and programs, its exit code, its outputs on disk."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridd.client.api import GridClient
from gridd.client.errors import Exit, GridError, UsageError
from gridd.client.files import save_output
from gridd.client.opening import opened
from gridd.client.output import Console, clean
from gridd.client.target import Target

STORED = ("Success", "Error", "TimedOut")
"""The reasons that have a result (WIRE 1.5)."""

_REMARKS_MAX = 20  # lines of a worker's own remarks that are shown after an error
_REASON_EXITS = {"Error": Exit.FAILED, "TimedOut": Exit.TIMED_OUT}


@dataclass(slots=True)
class Seen:
    """What of a job's log was shown while it was followed."""

    run_lines: int = 0
    last_build_line: str | None = None


async def reported(
    args: argparse.Namespace,
    grid: GridClient,
    target: Target,
    job: str,
    reason: str,
    seen: Seen,
    console: Console,
) -> int:
    """Tell the end of a job that was followed, save its outputs if asked to. The exit code."""
    finished = await grid.result(job) if reason in STORED else None
    result = result_of(finished)
    found = outputs_of(result)
    _tell_end(reason, result, seen, console)
    code = exit_code(reason, result)
    told = summary(target, job, "Finished", reason, result)
    if args.output_dir is not None:
        saved = await save_all(grid, job, found, Path(args.output_dir), console)
        code = code or (Exit.OK if len(saved) == len(found) else Exit.TROUBLE)
        told["saved"] = saved
    elif found:
        names = clean(", ".join(found), 200)
        console.remark(f"outputs: {names} (save them with `gridd outputs {job}`)")
    if console.machine:
        console.json(told)
    return code


def summary(
    target: Target, job: str, state: str, reason: str | None, result: dict[str, Any]
) -> dict[str, Any]:
    """What ``--json`` prints of a job."""
    return {
        "jobId": job,
        "queue": target.queue,
        "state": state,
        "finishedReason": reason,
        "StatusCode": result.get("StatusCode"),
        "duration": result.get("duration"),
        "outputs": list(outputs_of(result)),
        "error": result.get("error"),
        "view": target.page(job),
    }


def result_of(finished: dict[str, Any] | None) -> dict[str, Any]:
    """The worker's own part of a finished job; empty when there is none."""
    inner = (finished or {}).get("finished")
    result = inner.get("result") if isinstance(inner, dict) else None
    return result if isinstance(result, dict) else {}


def outputs_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    outputs = result.get("outputs")
    if not isinstance(outputs, dict):
        return {}
    return {name: ref for name, ref in outputs.items() if isinstance(ref, dict)}


def exit_code(reason: str, result: dict[str, Any]) -> int:
    if reason == "Success":
        code = result.get("StatusCode")
        return code & 0xFF if isinstance(code, int) else Exit.OK
    if reason in STORED:
        return _REASON_EXITS[reason]
    return Exit.FAILED if reason == "Unknown" else Exit.CANCELLED


def _tell_end(reason: str, result: dict[str, Any], seen: Seen, console: Console) -> None:
    duration = result.get("duration")
    after = f" after {duration / 1000:.1f} s" if isinstance(duration, int | float) else ""
    if reason == "Success":
        console.remark(f"exit code {clean(result.get('StatusCode'))}{after}")
    elif reason == "TimedOut":
        console.complaint(f"the job took longer than it may{after}; see --max-duration")
    elif reason == "Error":
        error = clean(error_text(result.get("error")))
        for line in _remarks(result, seen):
            if line != error:
                console.complaint(line)
        console.complaint(f"the job failed: {error}")
    else:
        console.complaint(f"the job has no result: {clean(reason)}")


def _remarks(result: dict[str, Any], seen: Seen) -> list[str]:
    """What the worker itself said: the lines of the result that were not streamed before. A failed
    build's result begins with its build lines (WIRE 6.10)."""
    logs = result.get("logs")
    rest = logs[seen.run_lines :] if isinstance(logs, list) else []
    texts = [clean(line[0]) for line in rest if isinstance(line, list) and line]
    if seen.run_lines == 0 and seen.last_build_line is not None:
        last = clean(seen.last_build_line)
        if last in texts:
            texts = texts[len(texts) - texts[::-1].index(last) :]
    return [text for text in texts if text][-_REMARKS_MAX:]


def error_text(error: Any) -> str:
    """``error`` is a text, or an object as Docker clients make them (WIRE 6.10)."""
    if isinstance(error, dict):
        inner = error.get("json")
        words = inner.get("message") if isinstance(inner, dict) else error.get("message")
        return str(words or error.get("reason") or error)
    return str(error or "the grid gave no reason")


async def outputs(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        finished = await grid.result(args.job)
        if finished is None:
            raise UsageError(f"job {args.job} has no result yet; wait for it with `gridd wait`")
        wanted = outputs_of(result_of(finished))
        saved = await save_all(grid, args.job, wanted, Path(args.output_dir), console)
    if console.machine:
        console.json({"files": saved})
    else:
        for path in saved:
            console.data(path)
    return Exit.OK if len(saved) == len(wanted) else Exit.TROUBLE


async def save_all(
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
