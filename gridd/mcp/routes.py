"""``/mcp``, ``/mcp/health`` and ``/mcp/info`` of the daemon (WIRE 1.14).

Stateless: each POST is whole by itself, so there is no stream to open with GET and no session to
end with DELETE; both are answered with 405, as the newest revision of the protocol says. Which
pages and hosts may call is decided by ``edge.access`` before anything here, so the SDK's own
check of that is off.
"""

import asyncio
import importlib.util
from typing import Any, Final

from aiohttp import web

from gridd.blobs.base import Blobs
from gridd.edge import parameters
from gridd.edge.access import EdgeConfig
from gridd.edge.responses import json_value
from gridd.grid import Grid
from gridd.mcp import description
from gridd.mcp.bridge import Asgi, answer
from gridd.mcp.grid_face import GridFace
from gridd_protocol.errors import ErrorCode, ProtocolError, shown

BODY_BYTES_MAX: Final = 4 << 20
"""Of one call, uploads included; larger files go to ``PUT /f/KEY``."""
CALLS_MAX: Final = 1_000
"""Calls under way at a time; each may follow a job for an hour."""

_MISSING: Final = (
    "tools are not installed here; whoever runs this server installs them with "
    "`pip install 'gridd[mcp]'`"
)


class McpRoutes:
    def __init__(self, grid: Grid, blobs: Blobs, config: EdgeConfig) -> None:
        self._grid = grid
        self._blobs = blobs
        self._public_url = config.public_url
        self._default_queue = parameters.default_queue(config.open_to_all)
        self.installed = importlib.util.find_spec("mcp") is not None
        self._door: asyncio.Task[_Door] | None = None
        self._stopping = asyncio.Event()
        self.calls = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.post("/mcp", self.call),
            web.get("/mcp/health", self.health),
            web.get("/mcp/info", self.info),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        if not self.installed:
            return _not_installed()
        if request.content_type != "application/json":
            raise ProtocolError(
                ErrorCode.BAD_REQUEST,
                f"Content-Type is {shown(request.content_type)}; a call is application/json",
                field="Content-Type",
            )
        body = await parameters.body(request, BODY_BYTES_MAX)
        if self.calls >= CALLS_MAX:
            raise ProtocolError(
                ErrorCode.UNAVAILABLE,
                f"{CALLS_MAX} tool calls are under way; try again later",
                limit=CALLS_MAX,
            )
        self.calls += 1
        try:
            door = await self._opened()
            app = door.streaming if _wants_stream(request, body) else door.plain
            return await answer(app, request, body, self._stopping)
        finally:
            self.calls -= 1

    async def health(self, request: web.Request) -> web.Response:
        if not self.installed:
            return _not_installed()
        trouble = self._grid.trouble
        return json_value(description.health(trouble), 200 if trouble is None else 503)

    async def info(self, request: web.Request) -> web.Response:
        if not self.installed:
            return _not_installed()
        return json_value(description.info(self._default_queue))

    async def let_go(self, _: web.Application) -> None:
        """Stop the calls under way."""
        self._stopping.set()

    async def close(self, _: web.Application) -> None:
        if self._door is not None:
            await asyncio.wait({self._door})
            if self._door.exception() is None:  # else the first call told it
                await self._door.result().close()

    async def _opened(self) -> "_Door":
        """The SDK is loaded by the first call, in a thread: importing it takes a second."""
        if self._door is None:
            self._door = asyncio.ensure_future(_open(self._face, self._default_queue))
        return await asyncio.shield(self._door)

    def _face(self, request: Any) -> GridFace:
        """``request`` is Starlette's. Links begin with the address that the caller used."""
        host = request.headers.get("host", "localhost")  # HTTP/1.0 need not name it
        origin = self._public_url or f"{request.url.scheme}://{host}"
        return GridFace(self._grid, self._blobs, origin, self._default_queue)


def _not_installed() -> web.Response:
    return json_value({"error": _MISSING, "code": ErrorCode.UNAVAILABLE.value}, 501)


def _wants_stream(request: web.Request, body: bytes) -> bool:
    """Progress can only be told in an event stream, and only such a stream shows a proxy that a
    long call lives. All else is answered with plain JSON."""
    long = b'"progressToken"' in body or b'"follow_job"' in body
    return long and "text/event-stream" in request.headers.get("Accept", "")


class _Door:
    """The SDK's two ways to answer, open until ``close``. They live in a task of their own: what
    is entered in a task must be left in the same one."""

    def __init__(self, plain: Any, streaming: Any) -> None:
        self._managers = (plain, streaming)
        self.plain: Asgi = plain.handle_request
        self.streaming: Asgi = streaming.handle_request
        self._closing = asyncio.Event()
        self._ready = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        plain, streaming = self._managers
        async with plain.run(), streaming.run():
            self._ready.set()
            await self._closing.wait()

    async def opened(self) -> "_Door":
        await self._ready.wait()
        return self

    async def close(self) -> None:
        self._closing.set()
        await self._task


async def _open(face_of: Any, default_queue: str) -> _Door:
    plain, streaming = await asyncio.to_thread(_managers, face_of, default_queue)
    return await _Door(plain, streaming).opened()


def _managers(face_of: Any, default_queue: str) -> tuple[Any, Any]:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from gridd.mcp.server import McpServer

    server = McpServer(face_of, default_queue).sdk
    plain, streaming = (
        StreamableHTTPSessionManager(
            server, json_response=is_plain, stateless=True, max_request_body_size=BODY_BYTES_MAX
        )
        for is_plain in (True, False)
    )
    return plain, streaming
