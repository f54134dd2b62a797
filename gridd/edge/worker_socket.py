"""Native worker sockets: frames of messages in, messages of one turn out as one frame.

Whether a frame holds messages is the codec's to judge, whether a worker may say a thing the
engine's.
"""

import asyncio
import logging

from aiohttp import WSMsgType, web

from gridd.core.events import WorkerSaid
from gridd.daemon import Daemon
from gridd.edge.frames import binary_frame, text_frame
from gridd.edge.outbox import Outbox
from gridd.edge.turns import Turn
from gridd_protocol import messages as m
from gridd_protocol.codec import Codec
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import (
    HELLO_MS,
    MESSAGES_PER_FRAME_MAX,
    WORKER_OUTBOX_BYTES_MAX,
)

log = logging.getLogger("gridd")

PROTOCOL_CLOSE = 4000
TRY_AGAIN_LATER_CLOSE = 1013  # of the WebSocket registry
_FRAME_BYTES_AIM = 1 << 20
"""Messages of one turn are put into frames of about this size: far from the bound, since one
message (a definition, at most 1 MiB of text) may come on top."""


class WorkerSocket:
    """One connection. ``run`` returns when it is over."""

    def __init__(self, daemon: Daemon, queue: str, codec: Codec) -> None:
        self._daemon = daemon
        self._queue = queue
        self._codec = codec
        self._peer = daemon.new_ref()
        self._messages: list[m.ToWorker] = []
        self._said_hello = False
        self._turn = Turn()
        self._outbox: Outbox

    async def run(self, ws: web.WebSocketResponse, transport: asyncio.WriteTransport) -> None:
        self._outbox = Outbox(
            transport, bytes_max=WORKER_OUTBOX_BYTES_MAX, before_flush=self._frame_messages
        )
        self._daemon.join_worker(self._queue, self._peer, self)
        loop = asyncio.get_running_loop()
        impatience = loop.call_later(HELLO_MS / 1000, self._no_hello)
        sockets = self._daemon.meters.sockets
        number = sockets.begin("worker", self._outbox)
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._read(message.data)
                if self._outbox.closed:
                    break
        finally:
            impatience.cancel()
            sockets.end("worker", number)
            self._daemon.leave_worker(self._queue, self._peer)

    # --- rooms.WorkerPeer -------------------------------------------------------------

    def send(self, message: m.ToWorker) -> None:
        self._messages.append(message)
        self._outbox.wake()

    def close(self, code: int, reason: str) -> None:
        self._frame_messages()
        self._outbox.close_after_sending(code, reason)

    # --- in ---------------------------------------------------------------------------

    async def _read(self, data: str | bytes) -> None:
        decoded = self._codec.decode_from_worker(data)
        size = len(data) // (len(decoded.messages) or 1)
        for message in decoded.messages:
            try:
                self._take(message)
            except ProtocolError as error:
                self._complain(error)
                if error.code is ErrorCode.UNAVAILABLE:
                    self.close(TRY_AGAIN_LATER_CLOSE, error.message)
                    return
            await self._turn.spend(size)
            if self._outbox.closed:  # meanwhile: another connection took its place
                return
        for refused in decoded.errors:
            self._complain(refused)

    def _take(self, message: m.FromWorker) -> None:
        if type(message) is m.Hello:
            if message.protocol != m.PROTOCOL_VERSION:
                raise ProtocolError(
                    ErrorCode.BAD_VERSION,
                    f"protocol {message.protocol} is not spoken here; "
                    f"this server speaks {m.PROTOCOL_VERSION}",
                    field="hello.protocol",
                    limit=m.PROTOCOL_VERSION,
                )
            self._said_hello = True
        self._daemon.step(self._queue, WorkerSaid(self._peer, message))

    def _complain(self, error: ProtocolError) -> None:
        code = error.code
        self._daemon.meters.refused(code)
        self.send(m.Error(code.value, error.message, error.field, error.limit))
        if code.fatal:
            self.close(PROTOCOL_CLOSE, error.message)

    def _no_hello(self) -> None:
        if not self._said_hello:
            text = f"no hello within {HELLO_MS} ms"
            self._complain(
                ProtocolError(ErrorCode.HELLO_FIRST, text, field="hello", limit=HELLO_MS)
            )

    # --- out --------------------------------------------------------------------------

    def _frame_messages(self) -> None:
        """Everything said in this turn, in as few frames as the bounds allow."""
        messages, self._messages = self._messages, []
        part: list[m.ToWorker] = []
        size = 0
        for message in messages:
            part.append(message)
            size += len(message.definition) if type(message) is m.Push else 100
            if size >= _FRAME_BYTES_AIM or len(part) >= MESSAGES_PER_FRAME_MAX:
                self._push(part)
                part, size = [], 0
        if part:
            self._push(part)

    def _push(self, part: list[m.ToWorker]) -> None:
        data = self._codec.encode(part)
        frame = text_frame(data.encode()) if isinstance(data, str) else binary_frame(data)
        self._outbox.push(frame)
