"""Deleting a job. There is no route for it: clients say so over a socket, which does not answer
(WIRE 2.4), so the job is looked at until it is gone."""

import asyncio
import time
from typing import Any, Protocol

import aiohttp
import msgspec

from gridd.client.errors import GridError
from gridd.client.transport import BROKEN, Transport, refused, unreachable

PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_FRAME_BYTES_MAX = 256 << 20  # the whole list of a large queue comes first


class Grid(Protocol):
    """What deleting asks of a client."""

    transport: Transport

    async def namespaces(self, job: str) -> list[str]: ...
    async def result(self, job: str) -> dict[str, Any] | None: ...


async def delete(grid: Grid, root: str, job: str, namespace: str) -> None:
    """Returns once ``namespace`` (``*``: nobody) holds the job no more. ``root``: the queue's path.

    Raises ``GridError`` when refused, unreachable, or after ``PATIENCE_SECONDS``."""
    transport = grid.transport
    value = {"type": "Finished", "reason": "Deleted", "namespace": namespace}
    change = {"state": "Finished", "job": job, "tag": "", "value": value | {"time": _now_ms()}}
    frame = msgspec.json.encode({"type": "StateChange", "payload": change}).decode()
    try:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            transport.session.ws_connect(
                transport.url(f"{root}/client"), max_msg_size=_FRAME_BYTES_MAX
            ) as socket,
        ):
            await socket.send_str(frame)
            await socket.send_str("PING")
            while not await _has_read(socket):
                pass
            while not await _is_gone(grid, job, namespace):
                await _has_read(socket)
    except aiohttp.WSServerHandshakeError as error:
        raise refused(error.status, error.message.encode()) from error
    except TimeoutError as error:
        raise GridError(
            f"the grid did not delete job {job} within {PATIENCE_SECONDS:.0f} s", 504
        ) from error
    except BROKEN as error:
        raise unreachable(transport.api, error) from error


async def _is_gone(grid: Grid, job: str, namespace: str) -> bool:
    holders = await grid.namespaces(job)
    if namespace != "*":
        return namespace not in holders
    return not holders and await grid.result(job) is None


async def _has_read(socket: aiohttp.ClientWebSocketResponse) -> bool:
    """Listens for a moment: true when the grid has read all that was sent (it answers in order, so
    what is submitted from now on comes after the deletion). Raises ``GridError`` for what the grid
    complains about."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            async for message in socket:
                if message.data == "PONG":
                    return True
                if message.type is aiohttp.WSMsgType.TEXT:
                    _read(message.data)
    except TimeoutError:
        return False
    raise GridError("the grid closed the connection before the job was deleted", 503)


def _read(text: str) -> None:
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if isinstance(said, dict) and said.get("type") == "Error":
        payload = said.get("payload")
        reason = payload.get("error") if isinstance(payload, dict) else None
        raise GridError(f"the grid refused: {reason or 'no reason given'}", 400)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
