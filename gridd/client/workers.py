"""A queue's status (WIRE 8) as a client reads it: who works there, and what on."""

from typing import Any


def members(value: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The objects in member ``name``; empty when it is not there or no object."""
    member = value.get(name)
    if not isinstance(member, dict):
        return {}
    return {str(key): item for key, item in member.items() if isinstance(item, dict)}


def all_workers(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of this server and, where a grid has several, of the others."""
    workers = members(status, "localWorkers")
    for server in members(status, "otherServers").values():
        workers |= members(server, "workers")
    return workers


def connected_workers(status: dict[str, Any]) -> list[str]:
    return [
        name for name, worker in all_workers(status).items() if worker.get("connected") is not False
    ]


def state_of(status: dict[str, Any], job: str) -> str:
    """The job's state, ``Unknown`` when it is not listed."""
    return str(members(status, "jobs").get(job, {}).get("state") or "Unknown")


def worker_rows(status: dict[str, Any]) -> list[tuple[object, ...]]:
    """A table of the workers, with its heading; empty when there are none."""
    workers = all_workers(status)
    if not workers:
        return []
    rows: list[tuple[object, ...]] = [("WORKER", "CPUS", "GPUS", "JOBS", "VERSION", "STATE")]
    return rows + [
        (
            name,
            _plain(worker.get("cpus")),
            _plain(worker.get("gpus")),
            len(members(worker, "queue")),
            worker.get("version") or "?",
            _state(worker),
        )
        for name, worker in workers.items()
    ]


def _state(worker: dict[str, Any]) -> str:
    if worker.get("connected") is False:
        return "away"
    return "draining" if worker.get("draining") else "ready"


def _plain(number: Any) -> object:
    return f"{number:g}" if isinstance(number, int | float) else "?"
