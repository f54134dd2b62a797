"""What waits to be sent to one connection: bounded, coalescing, written once a turn.

Frames pushed in one turn of the loop leave in one write. When the peer reads too slowly for the
transport to take more, frames wait here:

* above ``OUTBOX_COALESCE_BYTES``, a frame with a key replaces the waiting one with that key (only
  the latest state of a job is worth sending);
* above the bound, or when the transport took nothing for ``OUTBOX_STALL_MS``, the peer is let go
  with code 4002. It may come back and is then sent the whole state.

Nothing is ever awaited while sending: a cancelled or timed-out ``send`` breaks every later one on
that connection (aiohttp 3.14), so the transport is written to directly and, in the end, aborted.
"""

import asyncio
from collections.abc import Callable

from gridd.edge.frames import close_frame
from gridd_protocol.limits import OUTBOX_BYTES_MAX, OUTBOX_COALESCE_BYTES, OUTBOX_STALL_MS

TOO_SLOW = 4002
_WINDOW_BYTES = 1 << 20  # handed to the transport at most; beyond it frames wait here
_LOOK_AGAIN_S = 0.005  # while frames wait: a slow peer costs a look this often, others nothing
_FAREWELL_S = 1.0  # for a close frame to get through before the connection is aborted


class Outbox:
    def __init__(
        self,
        transport: asyncio.WriteTransport,
        *,
        bytes_max: int = OUTBOX_BYTES_MAX,
        stall_ms: int = OUTBOX_STALL_MS,
        before_flush: Callable[[], None] | None = None,
    ) -> None:
        """``before_flush`` is called at the start of each flush, to push what it gathered."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._bytes_max = bytes_max
        self._stall_s = stall_ms / 1000
        self._before_flush = before_flush
        self._frames: list[bytes | None] = []  # None: replaced by a later one with its key
        self._keys: dict[str, int] = {}  # key -> place in _frames, of waiting frames only
        self._bytes = 0
        self._scheduled = False
        self._stalled_since: float | None = None
        self.closed = False
        self.was_cut_off = False

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    def push(self, frame: bytes, key: str | None = None) -> None:
        """Send ``frame`` after all that was pushed before."""
        if self.closed:
            return
        if key is not None:
            self._replace(key)
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes > self._bytes_max:
            self._cut_off("more is waiting for you than may wait")
            return
        self.wake()

    def wake(self) -> None:
        """Flush at the end of this turn."""
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def close(self, code: int, reason: str) -> None:
        """Let the peer go: what waits is dropped, a close frame goes out if it can, and the
        connection is aborted soon after if the peer does not end it itself."""
        if self.closed:
            return
        self.closed = True
        self._frames.clear()
        self._keys.clear()
        self._bytes = 0
        if not self._transport.is_closing():
            self._transport.write(close_frame(code, reason))
            self._loop.call_later(_FAREWELL_S, self._transport.abort)

    def _cut_off(self, why: str) -> None:
        self.was_cut_off = True
        self.close(TOO_SLOW, f"too slow: {why}")

    def close_after_sending(self, code: int, reason: str) -> None:
        """Let the peer go in peace: what waits is written first, as far as it was pushed."""
        if not self.closed and not self._transport.is_closing():
            self._write(self._bytes + 1)
        self.close(code, reason)

    def _replace(self, key: str) -> None:
        place = self._keys.get(key)
        if place is not None and self._bytes > OUTBOX_COALESCE_BYTES:
            former = self._frames[place]
            if former is not None:
                self._frames[place] = None
                self._bytes -= len(former)
        self._keys[key] = len(self._frames)

    def _flush(self) -> None:
        self._scheduled = False
        if self._before_flush is not None and not self.closed:
            self._before_flush()
        if self.closed or not self._frames:
            return
        if self._transport.is_closing():
            self.closed = True
            return
        room = _WINDOW_BYTES - self._transport.get_write_buffer_size()
        if room > 0:
            self._write(room)
        self._watch_stall(room > 0)

    def _write(self, room: int) -> None:
        taken = 0
        part: list[bytes] = []
        for frame in self._frames:
            if part and room <= 0:
                break
            taken += 1
            if frame is not None:
                part.append(frame)
                room -= len(frame)
                self._bytes -= len(frame)
        if taken == len(self._frames):
            self._frames.clear()
            self._keys.clear()
        else:
            del self._frames[:taken]
            self._keys = {k: place - taken for k, place in self._keys.items() if place >= taken}
        if part:
            self._transport.write(b"".join(part) if len(part) > 1 else part[0])

    def _watch_stall(self, moved: bool) -> None:
        if not self._frames:
            self._stalled_since = None
            return
        now = self._loop.time()
        if moved or self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since > self._stall_s:
            self._cut_off("you have read nothing for a while")
            return
        self._scheduled = True
        self._loop.call_later(_LOOK_AGAIN_S, self._flush)
