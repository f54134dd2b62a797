"""The durable state of an engine in one canonical shape, for comparing two engines."""

from __future__ import annotations

from typing import Any

import msgspec

from gridd.core.engine import Engine

# Of an ended job these are in the journal and not in memory (core/archive.py).
_READ_BACK = (
    "definition",
    "needs",
    "tags",
    "requirements",
    "control",
    "run_ms_max",
    "build_lines",
    "run_lines",
)


def durable_state(engine: Engine) -> dict[str, Any]:
    """Everything that records decide. Places in line are given as ranks: a restored engine
    counts on from the highest place it knows, which is all that their order needs."""
    jobs = engine.jobs
    kept = {job.job: msgspec.structs.asdict(job) for job in jobs.kept(engine.queue)}
    live = [name for name, job in kept.items() if job["state"] in ("Queued", "Running")]
    live.sort(key=lambda name: kept[name]["sequence"])
    rank = {name: place for place, name in enumerate(live)}
    for name, job in kept.items():
        job["sequence"] = rank.get(name, -1)
        if name not in rank:
            for member in _READ_BACK:
                del job[member]
    return {
        "jobs": kept,
        "waiting": sorted((rank[job], needs) for needs, _, job in jobs.lines),
        "holders": {name: job.id for name, job in sorted(jobs.holders.items())},
        "orphans": sorted(jobs.orphans),
        "running": jobs.running,
    }
