"""Answers an aiohttp request with an ASGI application (FACTS 9): the scope is made of the request,
the body is handed over whole, what the application sends becomes the response.

An application is stopped when its caller is gone, or when the server stops: what it waits for
(the end of a job) may be far away.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from aiohttp import web

from gridd.edge.sending import send as send_bytes
from gridd_protocol.errors import ErrorCode, ProtocolError

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
                Awaitable[None]]  # fmt: skip

LOOK_S: Final = 1.0
"""How often it is looked whether the caller is still there: aiohttp does not tell."""
_OURS: Final = frozenset({b"connection", b"transfer-encoding"})  # headers that aiohttp writes


async def answer(
    app: Asgi, request: web.Request, body: bytes, stopping: asyncio.Event
) -> web.StreamResponse:
    exchange = _Exchange(request, body)
    task = asyncio.ensure_future(app(exchange.scope(), exchange.receive, exchange.send))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if stopping.is_set() or request.transport is None or request.transport.is_closing():
                break
    finally:
        if not task.done():
            exchange.gone.set()
            task.cancel()
            await asyncio.wait({task})
    if exchange.broken is not None:  # the application may have put up with it
        raise exchange.broken
    if not task.cancelled():
        task.result()
    if exchange.response is None:
        raise ProtocolError(ErrorCode.UNAVAILABLE, "the grid stops; call again later")
    return exchange.response


class _Exchange:
    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request = request
        self._body: bytes | None = body
        self.gone = asyncio.Event()
        self.response: web.StreamResponse | None = None
        self.broken: ConnectionError | None = None  # nothing may be written after it

    def scope(self) -> Message:
        request = self._request
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.rel_url.raw_path.encode(),
            "query_string": request.rel_url.raw_query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
        }

    async def receive(self) -> Message:
        if self._body is None:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.response = web.StreamResponse(status=message["status"])
            for name, value in message.get("headers", ()):
                if name.lower() not in _OURS:
                    self.response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            self.response.headers.setdefault("Content-Type", "text/plain")  # else: octets
            await self.response.prepare(self._request)
            return
        assert self.response is not None, "an answer begins with its head"
        if self.broken is not None:
            raise self.broken
        try:
            await send_bytes(self.response, message.get("body", b""))
        except ConnectionError as error:
            self.broken = error
            raise
        if not message.get("more_body", False):
            await self.response.write_eof()
