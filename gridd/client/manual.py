"""``gridd docs``: what ``/llms.txt`` and ``/skill.md`` say, without a server."""

import argparse
import os

from gridd.client.errors import Exit
from gridd.client.output import Console
from gridd.client.target import resolve


async def docs(args: argparse.Namespace, console: Console) -> int:
    from gridd.guide import overview, skill  # the other commands start without all that these name
    from gridd.guide.template import filled

    target = resolve(args.api, args.queue, os.environ)
    template = skill.template() if args.text == "skill" else overview.template()
    console.data(filled(template, target.api, target.queue).rstrip("\n"))
    return Exit.OK
