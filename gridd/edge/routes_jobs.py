"""Submitting, cancelling and copying jobs (WIRE 1.3, 1.9, 1.11)."""

import msgspec
from aiohttp import web

from gridd.core.effects import Cancelled
from gridd.edge import parameters
from gridd.edge.responses import json_value, not_found
from gridd.grid import Grid
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.names import check_queue_name


class _Copy(msgspec.Struct):
    queue: str
    control: msgspec.Raw = msgspec.Raw(b"{}")


class JobRoutes:
    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    async def submit(self, request: web.Request) -> web.Response:
        queue = parameters.queue_name(request)
        accepted = await self._grid.submit(queue, await parameters.body(request))
        return json_value({"success": True, "jobId": accepted.job})

    async def cancel(self, request: web.Request) -> web.Response:
        """Answers at once, whoever else holds the job (WIRE D41)."""
        queue, job = parameters.queue_name(request), parameters.job_id(request)
        namespace = parameters.namespace(request)
        message = parameters.query_text(request, "message", "Job cancelled by API")
        return _cancel_answer(
            job, namespace, await self._grid.cancel(queue, job, namespace, message)
        )

    async def copy(self, request: web.Request) -> web.Response:
        """Submit a known job's definition, as it was sent, to another queue."""
        job = parameters.job_id(request)
        wanted = _copy_of(await parameters.body(request))
        definition = await self._grid.definition(None, job)
        if definition is None:
            raise not_found("Job definition not found")
        body = b'{"definition":%b,"control":%b}' % (definition, bytes(wanted.control))
        accepted = await self._grid.submit(wanted.queue, body)
        return json_value({"success": True, "jobId": accepted.job})


def _cancel_answer(job: str, namespace: str, cancelled: Cancelled) -> web.Response:
    if cancelled.was is None:
        return json_value({"message": "Job not found"})
    if cancelled.was in ("Finished", "Removed"):
        return json_value({"message": f"Job already {cancelled.was}"})
    if not cancelled.held:
        return json_value({"message": f"Job is not held by namespace {shown(namespace, 80)}"})
    return json_value({"success": True, "jobId": job, "namespace": namespace})


def _copy_of(body: bytes) -> _Copy:
    try:
        wanted = msgspec.json.decode(body, type=_Copy)
    except msgspec.ValidationError as error:
        field = "queue" if "queue" in str(error) else "body"
        raise ProtocolError(ErrorCode.BAD_REQUEST, str(error), field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_JSON, f"the body is not JSON: {error}") from None
    check_queue_name(wanted.queue)
    return wanted
