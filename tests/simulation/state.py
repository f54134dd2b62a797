"""The durable state of an engine in one canonical shape, for comparing two engines."""

from __future__ import annotations

from typing import Any

import msgspec

from gridd.core.engine import Engine


def durable_state(engine: Engine) -> dict[str, Any]:
    """Everything that records decide. Places in line are given as ranks: a restored engine
    counts on from the highest place it knows, which is all that their order needs."""
    jobs = engine.jobs
    live = sorted((job for job in jobs.by_id.values() if job.live), key=lambda job: job.sequence)
    rank = {job.id: place for place, job in enumerate(live)}
    return {
        "jobs": {
            name: {
                **msgspec.structs.asdict(job.kept(engine.queue)),
                "sequence": rank.get(name, -1),
            }
            for name, job in sorted(jobs.by_id.items())
        },
        "waiting": sorted((rank[job], needs) for needs, _, job in jobs.lines),
        "holders": {name: job.id for name, job in sorted(jobs.holders.items())},
        "orphans": sorted(jobs.orphans),
        "running": jobs.running,
        "ended": sorted(
            {
                (time, name)
                for time, name in jobs.ended
                if name in jobs.by_id
                and not jobs.by_id[name].live
                and jobs.by_id[name].time == time
            }
        ),
    }
