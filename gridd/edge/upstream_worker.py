"""Upstream's worker on our socket: its JSON outside, a native worker conversation inside.

Upstream's worker claims jobs by itself from the list that it is shown. It is shown only what the
engine leased to it (an offer) and what it runs, so it never races another worker, and what a
change costs does not grow with the queue (DESIGN 5.5). Towards the engine this is a worker like
any other.

Owns the frames: what may come when, and how large. What they mean is ``upstream_talk``'s.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from gridd.core.events import WorkerSaid
from gridd.daemon import Daemon
from gridd.edge import upstream_messages as um
from gridd.edge.client_frames import JsonFrames
from gridd.edge.frames import text_frame
from gridd.edge.outbox import Outbox
from gridd.edge.turns import Turn
from gridd.edge.upstream_pace import WorkerPace
from gridd.edge.upstream_talk import UpstreamTalk
from gridd.edge.worker_socket import TRY_AGAIN_LATER_CLOSE
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import (
    FRAME_BYTES_MAX,
    UPSTREAM_FRAME_BYTES_MAX,
    WORKER_OUTBOX_BYTES_MAX,
)

EARLY_FRAMES_MAX = 1_000
"""Frames that wait for the worker's registration: after a reconnect it sends first what it could
not send before (WIRE 2.8)."""


class UpstreamWorker:
    """One connection. ``run`` returns when it is over."""

    def __init__(
        self, daemon: Daemon, frames: JsonFrames, queue: str, pace: WorkerPace | None = None
    ) -> None:
        self._daemon = daemon
        self._frames = frames
        self._queue = queue
        self._room = daemon.room(queue)
        self._pace = pace or WorkerPace()
        self._loop = asyncio.get_running_loop()
        self._peer = daemon.new_ref()
        self._outbox: Outbox
        self._talk = UpstreamTalk(self._room, frames, self, daemon.clock.now_ms, self._pace)
        self._early: list[str] = []
        self._early_bytes = 0
        self._said = False  # the frame under way was a sign of life to the engine
        self._ticking: asyncio.TimerHandle

    async def run(self, ws: web.WebSocketResponse, transport: asyncio.WriteTransport) -> None:
        self._outbox = Outbox(
            transport, bytes_max=WORKER_OUTBOX_BYTES_MAX, before_flush=self._talk.push_states
        )
        self._daemon.join_worker(self._queue, self._peer, self)
        self._room.keepers[self._peer] = self._talk.deleted
        self._ticking = self._loop.call_later(min(self._pace.first, self._pace.tick), self._tick)
        sockets = self._daemon.meters.sockets
        number = sockets.begin("upstream-worker", self._outbox)
        turn = Turn()
        try:
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    self._read(frame.data)
                    await self._talk.welcomed.wait()
                    self._read_early()
                    await turn.spend(len(frame.data))
                if self._outbox.closed:
                    break
        finally:
            self._ticking.cancel()
            sockets.end("upstream-worker", number)
            self._outbox.closed = True
            self._room.keepers.pop(self._peer, None)
            self._daemon.leave_worker(self._queue, self._peer)

    # --- rooms.WorkerPeer: what the engine says ----------------------------------------

    def send(self, said: m.ToWorker) -> None:
        self._talk.told(said)

    def close(self, code: int, reason: str) -> None:
        self._outbox.close_after_sending(code, reason)
        self._talk.welcomed.set()

    # --- what the worker says -----------------------------------------------------------

    def _read(self, text: str) -> None:
        """One frame. Any frame is a sign of life."""
        self._said = False
        if text == "PING":
            name = self._talk.name
            said = "unknown" if name is None else name
            self._outbox.push(text_frame(f"PONG {said}".encode()))
        elif text not in ("", "undefined"):
            self._guarded(self._dispatch, text)
        if self._talk.name is not None and not self._said:
            self._guarded(self.say, m.Heartbeat())

    def _dispatch(self, text: str) -> None:
        frame = um.read_frame(text)
        if frame.type == "WorkerRegistration":
            self._talk.heard(frame.type, frame.payload)
            return
        if not self._talk.knows(frame.type):
            raise ProtocolError(
                ErrorCode.UNKNOWN_TYPE,
                f"type {shown(frame.type)} is not one that a worker may send",
                field="type",
            )
        if len(text) > FRAME_BYTES_MAX and frame.type != "StateChange":
            raise ProtocolError(
                ErrorCode.TOO_LARGE,
                f"a {frame.type} of {len(text)} characters; {FRAME_BYTES_MAX} are allowed: only "
                "a result, which holds the whole log, may be larger",
                field="frame",
                limit=FRAME_BYTES_MAX,
            )
        if self._talk.name is None:
            self._keep_early(text)
        else:
            self._talk.heard(frame.type, frame.payload)

    def _keep_early(self, text: str) -> None:
        self._early.append(text)
        self._early_bytes += len(text)
        if len(self._early) > EARLY_FRAMES_MAX or self._early_bytes > UPSTREAM_FRAME_BYTES_MAX:
            self._early.clear()
            self.close(TRY_AGAIN_LATER_CLOSE, "too much was said before WorkerRegistration")

    def _read_early(self) -> None:
        if self._talk.name is None or not self._early:
            return
        early, self._early = self._early, []
        for text in early:
            self._read(text)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(self._pace.tick, self._tick)
        if self._outbox.closed:
            return
        now = self._loop.time()
        self._talk.show_in_time(now)
        self._guarded(self._talk.look, now)

    def _guarded(self, act: Callable[..., None], *args: Any) -> None:
        """What it got wrong is told to it (it ignores the type) and disturbs nothing else."""
        if self._outbox.closed:
            return
        try:
            act(*args)
        except ProtocolError as error:
            self._daemon.meters.refused(error.code)
            self._outbox.push(self._frames.error(error))
            if error.code is ErrorCode.UNAVAILABLE:
                self.close(TRY_AGAIN_LATER_CLOSE, error.message)

    # --- upstream_talk.Outlet ---------------------------------------------------------------

    def push(self, frame: bytes) -> None:
        self._outbox.push(frame)

    def wake(self) -> None:
        self._outbox.wake()

    def say(self, said: m.FromWorker) -> None:
        self._said = True
        self._daemon.step(self._queue, WorkerSaid(self._peer, said))

    def later(self, act: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon(self._guarded, act, *args)

    def others_able(self, job: str) -> bool:
        return any(type(other) is not UpstreamWorker for other in self._room.able(job))
