"""How a queue is doing, for people (WIRE 8); for programs that watch: ``routes_metrics``."""

from typing import Any

from aiohttp import web

from gridd.core.effects import JobView, WorkerView
from gridd.edge import parameters
from gridd.edge.responses import json_value, text
from gridd.grid import Grid


class StatusRoutes:
    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    async def healthz(self, request: web.Request) -> web.Response:
        """Whether something new would be accepted. Reads may go on though it is not."""
        trouble = self._grid.trouble
        return text("OK") if trouble is None else text(f"unhealthy: {trouble}", 503)

    async def status(self, request: web.Request) -> web.Response:
        """There is one server, so ``otherServers`` is empty. What workers hold is named without
        its definition (WIRE D9: that member told everyone's environment to anyone)."""
        queue = parameters.queue_name(request)
        jobs = await self._grid.jobs(queue)
        workers = await self._grid.workers(queue)
        counts = await self._grid.counts(queue)
        return json_value(
            {
                "jobs": {job: _state(view) for job, view in jobs.items()},
                "otherServers": {},
                "localWorkers": {worker.id: _worker(worker, jobs) for worker in workers},
                "clientCount": counts.get("clients", 0),
                "queueInfo": {
                    "address": queue,
                    "serverId": "gridd",
                    "broadcastChannel": "in-isolate",
                    "jobCount": len(jobs),
                    "localWorkerCount": len(workers),
                    "otherWorkerCount": 0,
                    "clientCount": counts.get("clients", 0),
                    "jobStates": [_brief(job, view) for job, view in jobs.items()],
                },
            }
        )


def _state(view: JobView) -> dict[str, str]:
    if view.finished_reason is None:
        return {"state": view.state}
    return {"state": view.state, "finishedReason": view.finished_reason}


def _brief(job: str, view: JobView) -> dict[str, str]:
    return {"id": job[:6], "state": view.state, "worker": view.worker[:6] or "none"}


def _worker(worker: WorkerView, jobs: dict[str, JobView]) -> dict[str, Any]:
    """What upstream's server asks its workers for with ``StatusRequest`` (WIRE 2.5); ours knows.
    ``finished`` is upstream's word for a run that is past its preparation."""
    return {
        "time": worker.joined_time,
        "id": worker.id,
        "version": worker.version,
        "cpus": worker.resources.cpus,
        "gpus": worker.resources.gpus,
        "connected": worker.connected,
        "draining": worker.draining,
        "queue": {
            job: {"jobId": job, "finished": job in jobs and jobs[job].started_time > 0}
            for job in worker.held
        },
    }
