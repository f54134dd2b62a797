"""The grid that a command line means, opened."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gridd.client.api import GridClient
from gridd.client.target import Target, resolve


@asynccontextmanager
async def opened(args: argparse.Namespace) -> AsyncIterator[tuple[GridClient, Target]]:
    """Raises ``UsageError`` for an address or a queue that make no sense."""
    target = resolve(args.api, args.queue, os.environ)
    async with GridClient(target.api, target.queue) as grid:
        yield grid, target
