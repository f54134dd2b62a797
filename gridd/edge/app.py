"""The HTTP face of a grid: one table of routes (WIRE 1.2), and one place where what went wrong
becomes an answer.

Handlers raise ``ProtocolError`` for what a peer got wrong. Everything else that can escape them
is mapped here, so that a peer sees a code and a sentence, never a trace.
"""

import logging
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gridd.blobs.base import Blobs
from gridd.edge.access import Access, EdgeConfig
from gridd.edge.connections import Connections
from gridd.edge.embed import SCRIPTS, Embed
from gridd.edge.events import EventRoutes, Pace
from gridd.edge.openapi import show_description
from gridd.edge.page import Page
from gridd.edge.responses import refusal
from gridd.edge.routes_documents import DocumentRoutes
from gridd.edge.routes_files import FileRoutes
from gridd.edge.routes_guide import GuideRoutes
from gridd.edge.routes_job_files import JobFileRoutes
from gridd.edge.routes_jobs import JobRoutes
from gridd.edge.routes_metrics import MetricsRoutes
from gridd.edge.routes_status import StatusRoutes
from gridd.errors import BlobError, disk_words
from gridd.grid import Grid
from gridd.journal.base import JournalError
from gridd.mcp.routes import McpRoutes
from gridd.metrics.meters import Meters
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import SUBMIT_BODY_BYTES_MAX

log = logging.getLogger("gridd.edge")

_STARTED: Final = web.RequestKey("started", web.StreamResponse)

# aiohttp's own pattern leaves out braces, which names may hold.
_QUEUE: Final = "{queue:[^/]+}"
_JOB: Final = "{job:[^/]+}"

# Codes for what aiohttp itself refuses, by status.
_CODES = {
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.TOO_LARGE,
}


class Sockets(Protocol):
    """The WebSocket edges. Their queue name is ``parameters.queue_name(request)``."""

    async def client(self, request: web.Request) -> web.StreamResponse: ...
    async def worker(self, request: web.Request) -> web.StreamResponse: ...


def build_app(
    grid: Grid,
    blobs: Blobs,
    config: EdgeConfig,
    sockets: Sockets,
    pace: Pace | None = None,
    meters: Meters | None = None,
) -> web.Application:
    """Run it with ``access_log=None``; requests are logged here, at debug. ``meters``: where
    answers are counted."""
    access = Access(config)
    meters = meters or Meters()
    app = web.Application(
        middlewares=[_answering(access, meters)], client_max_size=SUBMIT_BODY_BYTES_MAX, logger=log
    )
    page = Page(config)
    events = EventRoutes(grid, pace or Pace(), meters.sockets)
    documents = DocumentRoutes(grid, page)
    app.add_routes(_page_routes(page))
    app.add_routes(GuideRoutes(config).routes())
    app.add_routes(_file_routes(FileRoutes(blobs, config.public_url)))
    bounded = Connections(config.connections_per_address).bounded
    app.add_routes(_queue_routes(JobRoutes(grid), documents, bounded(events.stream)))
    app.add_routes(_job_routes(documents, JobFileRoutes(grid, blobs, config.public_url)))
    tools = McpRoutes(grid, blobs, config)
    app.add_routes(tools.routes())
    app.add_routes(_embed_routes(Embed(config)))
    app.add_routes(_status_routes(StatusRoutes(grid), MetricsRoutes(grid, config)))
    app.add_routes(_socket_routes(bounded(sockets.client), bounded(sockets.worker)))

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        access.add_headers(request, response)
        request[_STARTED] = response

    app.on_response_prepare.append(on_prepare)
    app.on_shutdown.append(events.close)
    app.on_shutdown.append(tools.let_go)
    app.on_cleanup.append(tools.close)
    return app


def _page_routes(page: Page) -> list[web.AbstractRouteDef]:
    routes: list[web.AbstractRouteDef] = [
        web.get("/", page.show),
        web.get("/docs", page.to_docs),
        web.get("/docs/", page.show_docs),
        web.get("/openapi.json", show_description),
        web.get("/metaframe.json", page.show_metaframe),
        web.get(f"/q/{_QUEUE}/metaframe.json", page.show_metaframe),
        web.get(f"/j/{_JOB}/metaframe.json", page.show_metaframe),
    ]
    return [*routes, web.static("/assets", page.assets)] if page.assets else routes


def _embed_routes(embed: Embed) -> list[web.AbstractRouteDef]:
    scripts = [web.get(f"/embed/{name}", embed.script) for name in SCRIPTS]
    return [web.get("/embed", embed.to_page), web.get("/embed/", embed.show), *scripts]


def _file_routes(files: FileRoutes) -> list[web.AbstractRouteDef]:
    return [
        web.put("/f/{key:[^/]+}", files.upload),
        web.get("/f/{key:[^/]+}", files.download),
        web.get("/f/{key:[^/]+}/exists", files.exists),
        web.get("/upload/{key:[^/]+}", files.upload_address),
        web.get("/download/{key:[^/]+}", files.download_address),
    ]


def _queue_routes(
    jobs: JobRoutes, documents: DocumentRoutes, stream: Handler
) -> list[web.AbstractRouteDef]:
    job = f"/q/{_QUEUE}/j/{_JOB}"
    return [
        web.post(f"/q/{_QUEUE}", jobs.submit),
        web.post(f"/q/{_QUEUE}/j", jobs.submit),
        web.get(f"/q/{_QUEUE}", documents.jobs),
        web.get(f"/q/{_QUEUE}/j", documents.jobs),
        web.get(f"/q/{_QUEUE}/ended.json", documents.ended),
        web.get(job, documents.job),
        web.get(f"{job}/namespaces.json", documents.namespaces),
        web.get(f"{job}/explain", documents.explain),
        web.get(f"{job}/history.json", documents.history),
        web.get(f"{job}/stream", stream),
        web.post(f"{job}/cancel", jobs.cancel),
        web.post(f"{job}/{{namespace:[^/]+}}/cancel", jobs.cancel),
        web.get("/j/{document:[^/]+}", documents.job_or_page),
        web.post(f"/j/{_JOB}/copy", jobs.copy),
        web.get(f"/{_QUEUE}/j/{_JOB}/result.json", documents.result_for_old_clients),
    ]


def _job_routes(documents: DocumentRoutes, files: JobFileRoutes) -> list[web.AbstractRouteDef]:
    """Those that exist with and without a queue."""
    routes: list[web.AbstractRouteDef] = []
    for job in (f"/q/{_QUEUE}/j/{_JOB}", f"/j/{_JOB}"):
        routes += [
            web.get(f"{job}/definition.json", documents.definition),
            web.get(f"{job}/result", documents.outcome),
            web.get(f"{job}/result.json", documents.result),
            web.get(f"{job}/results.json", documents.result),
            web.get(f"{job}/build-logs.json", documents.build_logs),
            web.get(f"{job}/run-logs.json", documents.run_logs),
            web.get(f"{job}/inputs/{{name:.*}}", files.input),
            web.get(f"{job}/outputs/{{name:.*}}", files.output),
        ]
    return routes


def _status_routes(status: StatusRoutes, metrics: MetricsRoutes) -> list[web.AbstractRouteDef]:
    """The forms without ``/q`` are upstream's older ones; they come late, being the widest."""
    routes: list[web.AbstractRouteDef] = [
        web.get("/healthz", status.healthz),
        web.get("/health", status.healthz),
        web.get("/metrics", metrics.operator),
    ]
    for queue in (f"/q/{_QUEUE}", f"/{_QUEUE}"):
        routes += [
            web.get(f"{queue}/status", status.status),
            web.get(f"{queue}/metrics", metrics.queue),
        ]
    return routes


def _socket_routes(client: Handler, worker: Handler) -> list[web.AbstractRouteDef]:
    routes: list[web.AbstractRouteDef] = []
    for queue in (f"/q/{_QUEUE}", f"/{_QUEUE}"):
        routes += [
            web.get(f"{queue}/{{peer:client|browser}}{{tail:(/.*)?}}", client),
            web.get(f"{queue}/worker{{tail:(/.*)?}}", worker),
        ]
    return routes


def _answering(access: Access, meters: Meters) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            access.check(request)
            if request.method == "OPTIONS":
                response: web.StreamResponse = access.preflight(request)
            else:
                response = await handler(request)
        except Exception as error:
            response = _failure(request, error, meters)
        meters.answered(response.status)
        log.debug("%s %s %s", request.method, request.path, response.status)
        return response

    return answer


def _failure(request: web.Request, error: Exception, meters: Meters) -> web.StreamResponse:
    """An answer that began can't become another: its connection is cut, so that the peer sees
    that it is not whole."""
    started: web.StreamResponse | None = request.get(_STARTED)
    if started is None:
        told, response = _answer_to(request, error)
        meters.refused(told.code)
        return response
    if not isinstance(error, ConnectionError):
        log.error("%s %s broke off", request.method, request.path, exc_info=error)
    if request.transport is not None:
        request.transport.abort()
    return started


def _answer_to(request: web.Request, error: Exception) -> tuple[ProtocolError, web.StreamResponse]:
    """What the peer is told, and the answer that says so."""
    if isinstance(error, web.HTTPException):
        return _refused_by_router(error)
    told = _told_of(request, error)
    return told, refusal(told)


def _told_of(request: web.Request, error: Exception) -> ProtocolError:
    match error:
        case ProtocolError():
            return error
        case BlobError() | JournalError():
            log.error("%s %s: %s", request.method, request.path, error)
            what = "files" if isinstance(error, BlobError) else "jobs"
            sentence = f"the grid can't keep {what} now: {disk_words(error)}; try again later"
            return ProtocolError(ErrorCode.UNAVAILABLE, sentence)
        case ConnectionError():
            return ProtocolError(ErrorCode.BAD_REQUEST, "the connection ended early")
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return ProtocolError(ErrorCode.INTERNAL, "internal error")


def _refused_by_router(error: web.HTTPException) -> tuple[ProtocolError, web.StreamResponse]:
    code = _CODES.get(error.status, ErrorCode.BAD_REQUEST)
    allowed = ""
    sentence = error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ",".join(sorted(error.allowed_methods))
        sentence = f"{shown(error.method)} is not answered here; {allowed} is"
    elif error.status == 404:
        sentence = "no such address; /llms.txt lists all"
    told = ProtocolError(code, sentence)
    response = refusal(told)
    if allowed:
        response.headers["Allow"] = allowed
    response.set_status(error.status)
    return told, response
