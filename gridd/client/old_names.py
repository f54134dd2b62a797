"""``gridd job add`` and ``gridd job await``: upstream's first command line, ``mtpg`` (BROWSER 4.1),
by its names. Its output is one JSON document; waiting, which is broken there, works."""

import argparse
import os
from pathlib import Path

from gridd.client.api import GridClient
from gridd.client.arguments import read_job_flags
from gridd.client.errors import Exit, UsageError
from gridd.client.following import followed
from gridd.client.opening import opened
from gridd.client.output import Console
from gridd.client.reporting import STORED, exit_code, outputs_of, result_of, save_all
from gridd.client.submitting import planned, send

_DEFAULT_IMAGE = "alpine:latest"


async def job_add(args: argparse.Namespace, console: Console) -> int:
    flags = read_job_flags(_job_line(args))
    flags.words = []
    _use_old_variable(args)
    async with opened(args) as (grid, target):
        async with planned(flags, target) as made:
            made.debug = made.debug or args.debug
            job = await send(grid, made, console)
        console.remark(f"job {job} on queue {target.queue}")
        console.remark(target.page(job))
        if args.wait:
            return await _awaited(args, grid, job, console)
        view = (await grid.jobs()).get(job) or await grid.result(job) or {}
    console.json({"jobId": job, **view})
    return Exit.OK


async def job_await(args: argparse.Namespace, console: Console) -> int:
    _use_old_variable(args)
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        return await _awaited(args, grid, args.job, console)


def _job_line(args: argparse.Namespace) -> list[str]:
    """The same job in the flags of ``gridd run``."""
    if args.image is not None and args.git is not None:
        raise UsageError("--image and --git exclude each other")
    line = ["--definition", "-"] if args.source else []
    if args.git is not None:
        line += [f"--context={args.git}"]  # upstream puts it into `image`, which no worker can run
    elif args.image is not None or not args.source:
        line += [f"--image={args.image or _DEFAULT_IMAGE}"]
    if args.command_text is not None:
        line += [f"--command={args.command_text}"]
    return line + [f"--input={Path(path).name}=@{path}" for path in args.file or []]


def _use_old_variable(args: argparse.Namespace) -> None:
    known = ("GRIDD_API", "CQ_API")
    if args.api is None and not any(os.environ.get(name) for name in known):
        args.api = os.environ.get("API_SERVER_ADDRESS")


async def _awaited(args: argparse.Namespace, grid: GridClient, job: str, console: Console) -> int:
    # standard output is for the document: what the job prints goes to standard error
    reason, _ = await followed(grid, job, Console(quiet=console.quiet, machine=True))
    finished = await grid.result(job) if reason in STORED else None
    result = result_of(finished)
    found = outputs_of(result)
    saved = await save_all(grid, job, found, Path(args.outputs), console)
    document = finished or {"state": "Finished", "finishedReason": reason}
    console.json({"jobId": job, **document})
    return exit_code(reason, result) or (Exit.OK if len(saved) == len(found) else Exit.TROUBLE)
