"""The WebSocket to one queue: opened, kept, opened again. Bytes in, actions out.

Owns the reconnecting and the one sender of each connection. It refuses to decide anything about
jobs: that is the conversation's, and the actions it answers with are the agent's. Nothing waits
here without a bound: opening, sending, a silent server and closing each have a limit.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from gridd_protocol.codec import Codec
from gridd_protocol.limits import OUTBOX_STALL_MS
from gridd_protocol.messages import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ToWorker
from gridd_worker.actions import Action, Welcomed
from gridd_worker.conversation import Conversation
from gridd_worker.delays import Delays, End, end_of
from gridd_worker.upstream.dialect import UpstreamDialect
from gridd_worker.wire import Native, Wire

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
SEND_TIMEOUT_S = OUTBOX_STALL_MS / 1000  # one write may wait this long for a server
SERVER_FRAME_BYTES_MAX = 64 << 20  # upstream's server shows a whole queue in one frame
FRAMES_AHEAD_MAX = 16  # received and not yet looked at; beyond it the server is not read

_log = logging.getLogger("gridd_worker")


def worker_url(api_address: str, queue: str) -> str:
    """``http(s)://host/…`` → ``ws(s)://host/…/q/<queue>/worker``, the queue percent-encoded."""
    parts = urlsplit(api_address)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/q/{quote(queue, safe='')}/worker"


class Connection:
    """``act`` carries out the conversation's actions, on the loop, without waiting."""

    def __init__(
        self,
        url: str,
        conversation: Conversation,
        act: Callable[[list[Action]], None],
        *,
        proxy: str | bool | None = None,
        tls: ssl.SSLContext | None = None,
        user_agent: str = "gridd-worker",
        delays: Delays | None = None,
        rival: Callable[[], Awaitable[bool]] | None = None,
        dialect: UpstreamDialect | None = None,
    ) -> None:
        """``rival``: whether another worker is connected under our id, as the server sees it.
        ``dialect``: spoken with a server that does not speak our protocol."""
        self._url = url
        self._conversation = conversation
        self._act = act
        self._proxy = proxy
        self._tls = tls
        self._user_agent = user_agent
        self._delays = delays or Delays()
        self._rival = rival
        self._dialect = dialect or UpstreamDialect()
        self._tongue = ""
        self._work = asyncio.Event()  # something may be owed to the server
        self._leaving = asyncio.Event()
        self._lost_at: float | None = None
        self._said_lost = False

    def wake(self) -> None:
        """To be called after the conversation was told something."""
        self._work.set()

    def leave(self) -> None:
        """Say goodbye and let ``run`` return."""
        self._leaving.set()
        self._work.set()

    async def run(self) -> None:
        """Until ``leave`` or cancelled."""
        while not self._leaving.is_set():
            end, why = await self._connect_once()
            if self._leaving.is_set():
                return
            self._on_lost(end, why)
            await self._wait(self._delays.after(end), why)
            while end is End.REPLACED and not self._leaving.is_set() and await self._has_rival():
                await self._wait(self._delays.after(end), "its place is still taken")

    async def _wait(self, delay_s: float, why: str) -> None:
        _log.debug("%s: %s; trying again in %.2f s", self._url, why, delay_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._leaving.wait()

    async def _has_rival(self) -> bool:
        """Two that took each other's place again and again would both lose their jobs."""
        return self._rival is not None and await self._rival()

    # --- one connection -----------------------------------------------------------------

    async def _connect_once(self) -> tuple[End, str]:
        try:
            socket = await connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL_MSGPACK), Subprotocol(SUBPROTOCOL_JSON)],
                compression=None,
                proxy=self._proxy,  # type: ignore[arg-type]  # True: as the system says
                ssl=self._tls,
                user_agent_header=self._user_agent,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # the conversation has its own heartbeat
                max_size=SERVER_FRAME_BYTES_MAX,
                max_queue=FRAMES_AHEAD_MAX,
            )
        except (OSError, EOFError, WebSocketException, ImportError) as error:  # a socks proxy
            return End.FAILED, _sentence(error)
        try:
            if socket.subprotocol is None:  # it knows neither of ours: upstream's server
                self._dialect.opened(_now_ms())
                self._tongue = " (upstream's protocol)"
                return await self._converse(socket, self._dialect)
            return await self._converse(socket, Native(Codec(socket.subprotocol)))
        finally:
            self._conversation.closed()
            await socket.close()

    async def _converse(self, socket: ClientConnection, wire: Wire) -> tuple[End, str]:
        self._conversation.opened(_now_ms())
        self._work.set()
        sender = asyncio.create_task(self._send_all(socket, wire), name="gridd-worker sender")
        try:
            with contextlib.suppress(ConnectionClosed):
                async for data in socket:
                    self._on_frame(data, wire)
        finally:
            sender.cancel()
            (failure,) = await asyncio.gather(sender, return_exceptions=True)
        if isinstance(failure, _Lost):
            return End.FAILED, str(failure)
        if isinstance(failure, Exception) and not isinstance(failure, ConnectionClosed):
            raise failure  # ours to mend
        return end_of(socket.protocol.close_rcvd)

    def _on_frame(self, data: str | bytes, wire: Wire) -> None:
        decoded = wire.decode(data, _now_ms(), _wall_ms())
        for fault in decoded.errors:
            _log.warning("%s sent what can't be read: %s", self._url, fault.message)
        self._receive(decoded.messages)
        self._work.set()

    def _receive(self, messages: list[ToWorker]) -> None:
        for message in messages:
            _log.debug("< %s", message)
            actions = self._conversation.receive(message, _now_ms())
            if actions:
                self._before(actions)
                self._act(actions)

    def _before(self, actions: list[Action]) -> None:
        if isinstance(actions[0], Welcomed):
            self._delays.welcomed(self._conversation.lease_ms)
            if self._lost_at is not None:
                _log.info(
                    "connected to %s after %.1f s", self._url, time.monotonic() - self._lost_at
                )
            else:
                _log.info("connected to %s%s", self._url, self._tongue)
            self._lost_at, self._said_lost = None, False

    # --- the sender ---------------------------------------------------------------------

    async def _send_all(self, socket: ClientConnection, wire: Wire) -> None:
        """The only one that sends. Ends the connection by itself when the server is gone."""
        while not self._leaving.is_set():
            self._work.clear()
            now_ms = _now_ms()
            if (due := wire.due()) is not None and due <= now_ms:
                self._receive(wire.tick(now_ms, _wall_ms()))
            if (why := wire.lost(now_ms)) is not None:
                socket.transport.abort()
                raise _Lost(why)
            frame = self._conversation.take(now_ms, _wall_ms())
            for owed in wire.take():
                await self._send(socket, owed)
            if frame:
                if _log.isEnabledFor(logging.DEBUG):
                    for message in frame:
                        _log.debug("> %s", message)
                for data in wire.encode(frame, now_ms, _wall_ms()):
                    await self._send(socket, data)
            elif self._conversation.lost(now_ms):
                socket.transport.abort()
                raise _Lost("the server was silent for too long")
            else:
                await self._pause(now_ms, wire.due())
        if frame := self._conversation.take(_now_ms()):
            for data in wire.encode(frame, _now_ms(), _wall_ms()):
                await self._send(socket, data)
        await socket.close(1000, "the worker leaves")

    async def _send(self, socket: ClientConnection, data: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await socket.send(data)
        except TimeoutError:
            socket.transport.abort()
            raise _Lost(f"the server did not read for {SEND_TIMEOUT_S:.0f} s") from None

    async def _pause(self, now_ms: int, wire_due: int | None) -> None:
        """Until there is work, or the time that the conversation or the wire names."""
        due = self._conversation.due(now_ms)
        assert due is not None  # it is online as long as there is a sender
        due = due if wire_due is None else max(min(due, wire_due), now_ms)
        loop = asyncio.get_running_loop()
        # A ms more: a timer may ring early by the clock's fraction, and we would spin.
        alarm = loop.call_later((due - now_ms + 1) / 1000, self._work.set)
        try:
            await self._work.wait()
        finally:
            alarm.cancel()

    # --- said once per outage -------------------------------------------------------------

    def _on_lost(self, end: End, why: str) -> None:
        first = self._lost_at is None
        if first:
            self._lost_at = time.monotonic()
        if self._said_lost:
            return
        self._said_lost = True
        if end is End.REPLACED:
            _log.error(
                "%s: another worker uses the same id and has taken this one's place; give one of "
                "them another --id (this one takes jobs again when the other is gone)",
                self._url,
            )
        else:
            _log.warning("no connection to %s: %s; trying until there is one", self._url, why)


class _Lost(Exception):
    """We gave the connection up."""


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_TIMEOUT_S:.0f} s"
    return str(error) or type(error).__name__


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
