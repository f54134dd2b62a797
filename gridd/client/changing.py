"""Commands that change a job that is there: cancel, delete, copy."""

import argparse

from gridd.client.errors import Exit
from gridd.client.opening import opened
from gridd.client.output import Console, clean
from gridd.client.target import Target


async def cancel(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        words = await grid.cancel(args.job, namespace=args.namespace, message=args.message or "")
    if console.machine:
        console.json({"jobId": args.job, "message": words})
    else:
        console.remark(clean(words))
    return Exit.OK


async def delete(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, _):
        await grid.definition(args.job)
        await grid.delete(args.job, namespace=args.namespace or "*")
    if console.machine:
        console.json({"jobId": args.job, "message": "deleted"})
    else:
        console.remark("deleted")
    return Exit.OK


async def copy(args: argparse.Namespace, console: Console) -> int:
    async with opened(args) as (grid, target):
        await grid.definition(args.job)
        job = await grid.copy(args.job, args.to, namespace=args.namespace)
    page = Target(target.api, args.to).page(job)
    if console.machine:
        console.json({"jobId": job, "queue": args.to, "api": target.api, "view": page})
    else:
        console.data(job)
        console.remark(page)
    return Exit.OK
