"""The two WebSocket doors of a queue, as aiohttp handlers."""

import asyncio
from typing import cast

from aiohttp import web

from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.edge.client_socket import ClientSocket
from gridd.edge.parameters import queue_name
from gridd.edge.upstream_pace import WorkerPace
from gridd.edge.upstream_worker import UpstreamWorker
from gridd.edge.worker_socket import WorkerSocket
from gridd_protocol.codec import Codec
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import FRAME_BYTES_MAX, UPSTREAM_FRAME_BYTES_MAX
from gridd_protocol.messages import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK

_PING_S = 25.0
"""Protocol pings; a peer that does not answer is dropped after half as long again. A backlog that
takes longer than half of it to be read looks dead too (FACTS 4)."""


class Sockets:
    def __init__(self, daemon: Daemon, frames: JsonFrames, pace: WorkerPace | None = None) -> None:
        """``pace``: of what upstream's workers are told and given; for tests."""
        self._daemon = daemon
        self._frames = frames
        self._pace = pace or WorkerPace()

    async def client(self, request: web.Request) -> web.StreamResponse:
        queue = _queue(request)
        if queue in _NO_QUEUE:
            raise ProtocolError(
                ErrorCode.BAD_NAME,
                f"queue is {queue!r}: that is what a page says that was given none",
                field="queue",
            )
        self._daemon.check_room(queue)
        await self._daemon.readable()
        ws = _socket()
        await ws.prepare(request)
        client = ClientSocket(
            self._daemon, self._frames, queue, reads_gone=request.query.get("gone") == "1"
        )
        await client.run(ws, _transport(request))
        return ws

    async def worker(self, request: web.Request) -> web.StreamResponse:
        queue = _queue(request)
        header = request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "")
        if not header:  # upstream's worker offers none (WIRE 2.1)
            return await self._upstream_worker(request, queue)
        offered = header.split(",")
        chosen = next((name for name in _SUBPROTOCOLS if name in offered), None)
        if chosen is None:
            raise ProtocolError(
                ErrorCode.BAD_VERSION,
                "a worker socket must offer one of the subprotocols " + ", ".join(_SUBPROTOCOLS),
                field="Sec-WebSocket-Protocol",
            )
        self._daemon.check_room(queue)
        self._daemon.check_writable()  # a worker keeps what it has and comes again
        ws = _socket(chosen)
        await ws.prepare(request)
        await WorkerSocket(self._daemon, queue, Codec(chosen)).run(ws, _transport(request))
        return ws

    async def _upstream_worker(self, request: web.Request, queue: str) -> web.StreamResponse:
        self._daemon.check_room(queue)
        self._daemon.check_writable()
        ws = _socket(bytes_max=UPSTREAM_FRAME_BYTES_MAX)
        await ws.prepare(request)
        worker = UpstreamWorker(self._daemon, self._frames, queue, self._pace)
        await worker.run(ws, _transport(request))
        return ws


def _queue(request: web.Request) -> str:
    """Raises ``BAD_REQUEST`` for a request that opens no socket."""
    # It looks at the subprotocols too, and logs a warning about those that it does not know.
    if not web.WebSocketResponse(protocols=_SUBPROTOCOLS).can_prepare(request):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            "this address is a WebSocket: it answers a handshake and nothing else",
            field="Upgrade",
        )
    return queue_name(request)


_NO_QUEUE = ("undefined", "null")
"""Upstream's server refuses these to clients (WIRE 2.1); a job there would wait for ever."""

_SUBPROTOCOLS = (SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON)


def _socket(
    subprotocol: str | None = None, bytes_max: int = FRAME_BYTES_MAX
) -> web.WebSocketResponse:
    return web.WebSocketResponse(
        protocols=(subprotocol,) if subprotocol else (),
        heartbeat=_PING_S,
        compress=False,  # frames are made once for all (edge/frames.py), and cost half (FACTS 4)
        max_msg_size=bytes_max + 1,  # aiohttp refuses a message *of* this size
    )


def _transport(request: web.Request) -> asyncio.WriteTransport:
    transport = request.transport
    if transport is None:  # gone while the handshake was answered
        raise ConnectionResetError("the peer left during the handshake")
    return cast(asyncio.WriteTransport, transport)
