"""What client sockets are sent, in upstream's JSON (WIRE 2.6), each message framed once for all.

``gone`` in an update is ours: it names the jobs that ended without an answer, with the reason.
Upstream's clients ignore it and learn the same from the next full state.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from gridd.core.effects import JobView, WorkerView
from gridd.documents import wire_lines
from gridd.edge.frames import text_frame
from gridd_protocol.errors import ProtocolError
from gridd_protocol.messages import LogLine
from gridd_protocol.units import format_duration

_encode = msgspec.json.Encoder().encode

# The frame that is made most often, four times a job; a job id needs no escaping.
_UPDATE = b'{"type":"JobStateUpdates","payload":{"state":{"jobs":{"%b":%b}},"isSubset":true}}'


class JsonFrames:
    """The one maker of client frames (``rooms.ClientFrames``)."""

    def job_changed(self, job: str, view: JobView) -> bytes:
        if not view.visible:
            gone = {job: view.finished_reason or view.state}
            return _message(
                "JobStateUpdates", {"state": {"jobs": {}}, "isSubset": True, "gone": gone}
            )
        return text_frame(_UPDATE % (job.encode(), _encode(view)))

    def job(self, job: str, view: JobView | None) -> bytes:
        """The answer to ``QueryJob``: an empty map when the job is unknown or not shown."""
        jobs = {job: view} if view is not None and view.visible else {}
        return _message("JobStateUpdates", {"state": {"jobs": jobs}, "isSubset": True})

    def log_added(self, job: str, step: str, lines: list[LogLine]) -> bytes:
        payload = {"jobId": job, "step": step, "logs": wire_lines(lines)}
        return _message("JobStatusPayload", payload)

    def workers(self, workers: Iterable[WorkerView]) -> bytes:
        return _message("Workers", {"workers": [worker_entry(worker) for worker in workers]})

    def full_state(self, jobs: dict[str, JobView]) -> bytes:
        return _message("JobStates", {"state": {"jobs": jobs}, "isSubset": False})

    def error(self, error: ProtocolError) -> bytes:
        """Ours: what was wrong with a frame. Upstream's clients ignore the type."""
        return _message("Error", error.body())


def worker_entry(worker: WorkerView) -> dict[str, Any]:
    """The members of upstream's registration (WIRE 2.5), and what else we know."""
    has = worker.resources
    return {
        "time": worker.joined_time,
        "version": worker.version,
        "id": worker.id,
        "cpus": has.cpus,
        "gpus": has.gpus,
        "maxJobDuration": format_duration(has.max_duration),
        "memory": has.memory,
        "tags": has.tags,
        "running": len(worker.held),
        "draining": worker.draining,
    }


def _message(kind: str, payload: dict[str, Any]) -> bytes:
    return text_frame(_encode({"type": kind, "payload": payload}))
