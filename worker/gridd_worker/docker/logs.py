"""Reads a container's log from the engine: frames, timestamps, lines, and going on after a break.

Our own reader over one ``logs?follow=1`` request, because the client library drops which stream a
line came from and leaves a cancelled request open (FACTS of the engine: API 1.41).
"""

import asyncio
import calendar
import logging
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.messages import LogLine
from gridd_worker.lines import LineJoiner

_log = logging.getLogger("gridd_worker")

_HEADER: Final = struct.Struct(">BxxxL")  # stream (1: stdout, 2: stderr), payload length in bytes
_FRAME_BYTES_MAX: Final = 1 << 20  # the engine cuts output every 16 KiB; beyond this it is no log
_BREAKS_MAX: Final = 20  # reads in a row that ended early and brought no line: about 15 s
_OVERLAP_NS: Final = 10_000_000  # 10 ms, chosen: how far the stamps of two streams may be apart
_QUIET_S: Final = 30.0  # a request without a byte for so long is made anew, lest it be dead
BROKEN: Final = (DockerError, aiohttp.ClientError, OSError, TimeoutError)
"""What a request to the engine can end with when the engine, not the job, is at fault."""


@asynccontextmanager
async def open_stream(
    docker: Docker, path: str, method: str = "GET", **options: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A request whose answer is read as it comes, closed on the way out, also when cancelled.

    Without the close the engine goes on building or following after a cancel.
    """
    options.setdefault("timeout", aiohttp.ClientTimeout())
    async with docker._query(path, method, **options) as response:
        try:
            yield response
        finally:
            response.close()


class FrameReader:
    """Takes the multiplexed byte stream apart: ``(stream, payload)`` frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that ``data`` completes. Raises ``ValueError`` when it is no such stream."""
        self._buffer += data
        frames = []
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            stream, size = _HEADER.unpack_from(self._buffer, at)
            if stream > 2 or size > _FRAME_BYTES_MAX:
                raise ValueError(f"log frame of stream {stream} with {size} bytes")
            end = at + _HEADER.size + size
            if len(self._buffer) < end:
                break
            frames.append((stream, bytes(self._buffer[at + _HEADER.size : end])))
            at = end
        del self._buffer[:at]
        return frames


class LogReader:
    """Frames of one container in, lines out, each once; knows where to go on after a break.

    The engine cuts a line over 16 KiB into frames that carry the same timestamp, with a newline
    only in the last one; a last line without newline is a frame without one.
    """

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._streams = {1: _Stream(LineJoiner()), 2: _Stream(LineJoiner(stderr=True))}

    @property
    def since(self) -> str | None:
        """``since`` of the next request: a little before the newest line, because the two streams
        are stamped apart and may be written in another order; None at the start."""
        newest = max(stream.newest_ns for stream in self._streams.values())
        unfinished = [s.begun_ns for s in self._streams.values() if s.joiner.holds]
        if newest == 0:
            return None
        since = max(1, min([newest - _OVERLAP_NS, *unfinished]))
        return f"{since // 10**9}.{since % 10**9:09d}"

    @property
    def position(self) -> tuple[int, ...]:
        """Grows with every line that was handed over."""
        return tuple(stream.newest_ns for stream in self._streams.values())

    def feed(self, data: bytes) -> list[LogLine]:
        """The lines that ``data`` completes. Raises ``ValueError`` when it is no log stream."""
        lines: list[LogLine] = []
        for number, payload in self._frames.feed(data):
            stream = self._streams[number or 1]
            stamp, _, text = payload.partition(b" ")
            time_ns = parse_time(stamp.decode("ascii", "replace"))
            if time_ns <= stream.seen_ns:
                continue
            if stream.joiner.holds and time_ns != stream.begun_ns:
                # Another line begins, so the one before had its newline: engine 20.10 with the
                # `local` driver leaves it out after a line that was cut.
                lines += stream.joiner.feed(b"\n", time_ns // 1_000_000)
                stream.newest_ns = stream.begun_ns
            if not stream.joiner.holds:
                stream.begun_ns = time_ns
            lines += stream.joiner.feed(text, time_ns // 1_000_000)
            if not stream.joiner.holds:
                stream.newest_ns = time_ns
        return lines

    def finish(self) -> list[LogLine]:
        """Unfinished last lines, once the program has ended and all was read."""
        return [line for stream in self._streams.values() for line in stream.joiner.finish()]

    def again(self) -> None:
        """Reading starts again at ``since``: what was handed over is left out, and unfinished
        lines come again from their first piece."""
        self._frames = FrameReader()
        for stream in self._streams.values():
            stream.seen_ns = stream.newest_ns
            stream.joiner.drop()


@dataclass(slots=True)
class _Stream:
    joiner: LineJoiner
    newest_ns: int = 0  # of the newest line that was handed over in whole
    begun_ns: int = 0  # of the first piece of the unfinished line
    seen_ns: int = 0  # frames up to here were handed over before reading started again


def parse_time(stamp: str) -> int:
    """Nanoseconds since the epoch of ``2026-01-31T23:59:59.123456789Z`` (UTC, as the engine writes
    it). Raises ``ValueError``."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return _parse_second(whole) * 10**9 + int((fraction or "0").ljust(9, "0")[:9])


@lru_cache(maxsize=16)  # a fast log has many lines in one second
def _parse_second(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


async def follow(
    docker: Docker,
    container: str,
    sink: Callable[[list[LogLine]], None],
    exited: asyncio.Event,
) -> None:
    """Hands every line of the container to ``sink`` as it is printed; returns after the last one.

    A stream that breaks off can look like one that ended, so reading starts again behind the last
    line until a read that began after ``exited`` has come to its end. Raises one of ``BROKEN``
    when the engine can't be read any more.
    """
    reader = LogReader()
    breaks = 0
    while True:
        last = exited.is_set()
        before = reader.position
        try:
            await _read_once(docker, container, reader, sink, following=not last)
            if last:
                break
        except TimeoutError:
            _log.debug("container %s: quiet for %s s", container[:12], _QUIET_S)
            if last:
                raise
        except (*BROKEN, ValueError) as error:
            _log.info("container %s: log broke off: %r", container[:12], error)
            if isinstance(error, DockerError) and error.status == 404:
                raise
        breaks = 0 if reader.position != before else breaks + 1
        if breaks > _BREAKS_MAX:
            raise DockerError(900, f"log of container {container[:12]} can't be read")
        with suppress(TimeoutError):
            await asyncio.wait_for(exited.wait(), 0.005 * 2 ** min(breaks, 8))
        reader.again()
    if lines := reader.finish():
        sink(lines)


async def _read_once(
    docker: Docker,
    container: str,
    reader: LogReader,
    sink: Callable[[list[LogLine]], None],
    *,
    following: bool,
) -> None:
    params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if following else "0"}
    if reader.since is not None:
        params["since"] = reader.since
    path = f"containers/{container}/logs"
    timeout = aiohttp.ClientTimeout(sock_read=_QUIET_S)
    async with open_stream(docker, path, params=params, timeout=timeout) as response:
        async for data in response.content.iter_any():
            if lines := reader.feed(data):
                sink(lines)
