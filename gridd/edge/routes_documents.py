"""What is known of a job, as JSON documents and log pages (WIRE 1.4, 1.5, 1.7).

Definitions and results are passed on as the bytes that the grid holds, so that they come back
as they were sent (DESIGN 5.7).
"""

from typing import Any

import msgspec
from aiohttp import web

from gridd.documents import wire_lines
from gridd.edge import parameters
from gridd.edge.page import Page, wants_page
from gridd.edge.responses import data, json_bytes, json_value, not_found
from gridd.grid import Grid
from gridd_protocol.errors import ErrorCode, ProtocolError


class _Outcome(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Finished(msgspec.Struct):
    finished: _Outcome = msgspec.field(default_factory=_Outcome)


class DocumentRoutes:
    def __init__(self, grid: Grid, page: Page) -> None:
        self._grid = grid
        self._page = page

    async def jobs(self, request: web.Request) -> web.Response:
        """The list; or the page, for a browser that was sent to this address."""
        queue = parameters.queue_name(request)
        if wants_page(request):
            return self._page.response(request)
        response = json_value({"data": await self._grid.jobs(queue)})
        response.headers["Vary"] = "Accept"
        return response

    async def ended(self, request: web.Request) -> web.Response:
        """``…/ended.json``, ours: the jobs that ended last, the last first. The list of the queue
        itself shows them for a minute only (WIRE 3.4)."""
        return json_value({"data": await self._grid.ended(parameters.queue_name(request))})

    async def job_or_page(self, request: web.Request) -> web.Response:
        """``/j/:id.json`` is the document, ``/j/:id`` the page that shows it."""
        job, is_document = parameters.document_job_id(request)
        return await self._whole(None, job) if is_document else self._page.response(request)

    async def job(self, request: web.Request) -> web.Response:
        return await self._whole(*parameters.job_place(request))

    async def _whole(self, queue: str | None, job: str) -> web.Response:
        definition = await self._grid.definition(queue, job)
        if definition is None:
            return await self._absent(queue, job)
        finished = await self._grid.finished(queue, job)
        results = b',"results":' + finished if finished else b""
        return json_bytes(b'{"data":{"definition":%b%b}}' % (definition, results))

    async def outcome(self, request: web.Request) -> web.Response:
        """``…/result``, ours: what became of the job, by the status alone. 200: it has ended;
        202: it waits or runs; 404: nobody knows it; 410: it was there, and its time is over.

        A path of its own, because upstream's peers rely on a 200 for the document from submission
        on and for ``result.json`` always (WIRE 1.5, 9.5).
        """
        queue, job = parameters.job_place(request)
        view = await self._grid.job(queue, job)
        if view is None:
            return await self._absent(queue, job)
        finished = await self._grid.finished(queue, job)
        if finished is not None:
            return data(finished)
        waits = view.state in ("Queued", "Running")
        return json_value({"data": view}, 202 if waits else 200)

    async def explain(self, request: web.Request) -> web.Response:
        """``…/explain``, ours: why the job waits."""
        queue, job = parameters.queue_name(request), parameters.job_id(request)
        explanation = await self._grid.explain(queue, job)
        if explanation is None:
            return await self._absent(queue, job)
        return json_value({"data": explanation})

    async def history(self, request: web.Request) -> web.Response:
        """``…/history.json``: what happened to the job and when (WIRE 1.2; upstream's answers that
        it is not implemented)."""
        queue, job = parameters.queue_name(request), parameters.job_id(request)
        history = await self._grid.history(queue, job)
        if history is None:
            return await self._absent(queue, job)
        return json_value({"data": history})

    async def _absent(self, queue: str | None, job: str) -> web.Response:
        """410 with what is still known of the job, or 404."""
        expired_ms = await self._grid.expired(queue, job)
        if expired_ms is None:
            raise not_found("Job not found")
        sentence = f"Job {job} expired; its answer was kept as long as the grid keeps answers"
        error = ProtocolError(ErrorCode.GONE, sentence, field="job")
        return json_value(error.body() | {"job": job, "expiredTime": expired_ms}, error.code.http)

    async def definition(self, request: web.Request) -> web.Response:
        return data(await self._grid.definition(*parameters.job_place(request)))

    async def result(self, request: web.Request) -> web.Response:
        return data(await self._grid.finished(*parameters.job_place(request)))

    async def result_for_old_clients(self, request: web.Request) -> web.Response:
        """``/:queue/j/:id/result.json``: upstream's command line reads ``result`` beside ``data``
        (WIRE 9.4)."""
        finished = await self._grid.finished(*parameters.job_place(request))
        if finished is None:
            return data(None)
        result = msgspec.json.decode(finished, type=_Finished).finished.result
        return json_bytes(b'{"data":%b,"result":%b}' % (finished, bytes(result)))

    async def namespaces(self, request: web.Request) -> web.Response:
        view = await self._grid.job(*parameters.job_place(request))
        return json_value({"data": sorted(view.namespaces) if view else []})

    async def build_logs(self, request: web.Request) -> web.Response:
        return await self._logs(request, "build")

    async def run_logs(self, request: web.Request) -> web.Response:
        return await self._logs(request, "run")

    async def _logs(self, request: web.Request, kind: str) -> web.Response:
        queue, job = parameters.job_place(request)
        page = await self._grid.logs(queue, job, kind, parameters.since(request))
        more: dict[str, Any] = {"logsExpired": True} if page.expired else {}  # upstream has none
        if page.steps:
            more["steps"] = page.steps
        return json_value(
            {
                "data": wire_lines(page.data),
                "sliceStart": page.slice_start,
                "nextCursor": page.next_cursor,
                "isFinal": page.is_final,
                **more,
            }
        )
