"""Commands that make or send a job: run, rerun, submit, url, upload."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gridd.client.api import GridClient
from gridd.client.definition import Plan, plan
from gridd.client.encoding import wire_json
from gridd.client.errors import Exit, UsageError
from gridd.client.files import read_upload
from gridd.client.following import check_timeout, seen_through
from gridd.client.opening import opened
from gridd.client.output import Console
from gridd.client.progress import Progress
from gridd.client.target import Target, resolve, resolve_api
from gridd_protocol.definitions import checked
from gridd_protocol.errors import ProtocolError


@asynccontextmanager
async def planned(args: argparse.Namespace, target: Target) -> AsyncIterator[Plan]:
    """The definition that the flags say; what it needs on disk is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gridd-") as scratch:
        yield await asyncio.to_thread(plan, args, args.words, target.api, Path(scratch))


async def send(grid: GridClient, made: Plan, console: Console) -> str:
    """Uploads first, then the submission. The job's id."""
    await _upload(grid, made, console)
    return await grid.submit(made.definition, control=made.control, debug=made.debug)


async def _upload(grid: GridClient, made: Plan, console: Console) -> None:
    for upload in made.uploads:
        progress = Progress(upload.name, upload.size, enabled=not console.quiet)
        try:
            await grid.upload(upload, progress)
        finally:
            progress.close()


async def submit(args: argparse.Namespace, console: Console) -> int:
    if args.dry_run:
        return await _dry_run(args, console)
    async with opened(args) as (grid, target), planned(args, target) as made:
        job = await send(grid, made, console)
    _tell_submitted(job, made.definition, target, console)
    return Exit.OK


async def run(args: argparse.Namespace, console: Console) -> int:
    check_timeout(args)
    if args.dry_run:
        return await _dry_run(args, console)
    async with opened(args) as (grid, target):
        async with planned(args, target) as made:
            job = await send(grid, made, console)
        return await _after_submission(args, grid, target, job, made.definition, console)


async def rerun(args: argparse.Namespace, console: Console) -> int:
    check_timeout(args)
    async with opened(args) as (grid, target):
        definition = await grid.definition(args.job)
        listed = (await grid.status()).get("jobs")
        view = listed.get(args.job) if isinstance(listed, dict) else None
        if isinstance(view, dict) and view.get("state") in ("Queued", "Running"):
            raise UsageError(f"job {args.job} has not ended; `gridd cancel` it first, or wait")
        await grid.delete(args.job)
        job = await grid.submit(definition, namespace=args.namespace)
        return await _after_submission(args, grid, target, job, definition, console)


async def _after_submission(
    args: argparse.Namespace,
    grid: GridClient,
    target: Target,
    job: str,
    definition: dict[str, Any],
    console: Console,
) -> int:
    if args.no_follow:
        _tell_submitted(job, definition, target, console)
        return Exit.OK
    console.remark(f"job {job} on queue {target.queue}")
    console.remark(target.page(job))
    return await seen_through(args, grid, target, job, console)


def _tell_submitted(
    job: str,
    definition: dict[str, Any],
    target: Target,
    console: Console,
    more: dict[str, Any] | None = None,
) -> None:
    page = target.page(job)
    if console.machine:
        whole = target.page_of(definition)
        told = {"jobId": job, "queue": target.queue, "api": target.api, "view": page}
        console.json(told | {"viewSelfContained": whole} | (more or {}))
    else:
        console.data(job)
        console.remark(page)


async def _dry_run(args: argparse.Namespace, console: Console) -> int:
    """The id that the grid would give, and what it would be sent; nobody is asked."""
    target = resolve(args.api, args.queue, os.environ)
    async with planned(args, target) as made:
        try:
            job = checked(wire_json(made.definition)).id
        except ProtocolError as error:
            raise UsageError(str(error)) from error
        uploads = [
            {"name": upload.name, "size": upload.size, **upload.reference(target.api)}
            for upload in made.uploads
        ]
    more = {"definition": made.definition, "uploads": uploads}
    _tell_submitted(job, made.definition, target, console, more)
    return Exit.OK


async def url(args: argparse.Namespace, console: Console) -> int:
    if args.job is not None:
        if args.words:
            raise UsageError("`gridd url` takes a job or a definition, not both")
        console.data(resolve(args.api, args.queue, os.environ).page(args.job))
        return Exit.OK
    async with opened(args) as (grid, target), planned(args, target) as made:
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
