"""``gridd story JOB``: what happened to a job, a line for each thing, in order."""

import argparse
import os
from datetime import datetime
from typing import Any

import msgspec

from gridd.client.api import GridClient
from gridd.client.errors import Exit
from gridd.client.output import Console, clean
from gridd.client.target import resolve
from gridd.client.transport import not_a_grid

_DATE_LATEST_MS = 253_402_214_400_000  # the last day of 9999, where Python's dates end


class Happened(msgspec.Struct, rename="camel"):
    """SPEC 13. Members that are not known to this version are passed over."""

    time: int
    event: str
    namespace: str = ""
    worker: str = ""
    attempt: int = 0
    reason: str = ""
    message: str = ""
    count: int = 0
    waited: int | None = None
    ran: int | None = None


class History(msgspec.Struct, rename="camel"):
    state: str
    waited: int
    ran: int
    events: list[Happened]
    finished_reason: str = ""


async def story(args: argparse.Namespace, console: Console) -> int:
    target = resolve(args.api, args.queue, os.environ)
    async with GridClient(target.api, target.queue) as grid:
        path = grid.job_path(args.job, "/history.json")
        answer = await grid.transport.call("GET", path, missing_is_answer=True)
        if answer is None:
            await grid.definition(args.job)  # says of a job that it is not known, and what to check
            not_a_grid("history.json")
    document = answer.get("data") if isinstance(answer, dict) else None
    if console.machine:
        console.json(document)
        return Exit.OK
    for line in lines_of(document):
        console.data(line)
    return Exit.OK


def lines_of(document: Any) -> list[str]:
    """Raises ``GridError`` when it is no story."""
    try:
        history = msgspec.convert(document, History)
    except msgspec.ValidationError:
        not_a_grid("history.json")
    began = history.events[0].time if history.events else 0
    lines = [f"{_when(began)}  the first entry"] if history.events else []
    lines += [f"{_after(one.time - began):>10}  {_told(one)}" for one in history.events]
    how = f" ({clean(history.finished_reason, 40)})" if history.finished_reason else ""
    state = clean(history.state, 40).lower()
    spent = f"waited {_lasting(history.waited)}, ran {_lasting(history.ran)}"
    return [*lines, f"{state}{how}: {spent} since it was last submitted"]


def _told(one: Happened) -> str:
    namespace, reason = clean(one.namespace, 80), clean(one.reason, 40)
    words = {
        "submitted": "submitted" + (f" by namespace {namespace}" if namespace else ""),
        "held": f"also asked for by namespace {namespace}",
        "dropped": f"namespace {namespace} let go: {reason}",
        "leased": f"given to {_worker(one)}",
        "lost": f"lost with {_worker(one)}",
        "released": f"given back by {_worker(one)}",
        "finished": f"ended: {reason}" + (f", on {_worker(one)}" if one.worker else ""),
        "omitted": f"… {one.count} entries are left out …",
    }.get(one.event, clean(one.event, 40))
    if one.waited is not None:
        words += f", having waited {_lasting(one.waited)}"
    if one.ran is not None:
        words += f", after {_lasting(one.ran)}"
    return words + (f": {clean(one.message)}" if one.message else "")


def _worker(one: Happened) -> str:
    return f"worker {clean(one.worker, 80)} (attempt {one.attempt})"


def _when(time_ms: int) -> str:
    if not 0 <= time_ms <= _DATE_LATEST_MS:
        return str(time_ms)
    return datetime.fromtimestamp(time_ms / 1000).astimezone().isoformat(" ", "seconds")


def _after(ms: int) -> str:
    return f"+{_lasting(ms)}" if ms >= 0 else f"-{_lasting(-ms)}"


def _lasting(ms: int) -> str:
    """In at most two units, to the tenth of a second: ``0.4s``, ``1m05s``, ``3h10m``, ``2d04h``."""
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}m{round(seconds) % 60:02}s"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
